"""`llmops models import --check` of a model of the hub, against a server of this machine that stands for it."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from trl import chat_template_utils as trl_templates

from tests.support.checkout import CHECKOUT, IMPORT_PATH
from tests.support.servers.http_servers import serving

COMMIT = "b" * 40
LISTED = {
    "config.json": (CHECKOUT / "tests/data/llama-3.1-8b/config.json").read_bytes(),
    "tokenizer_config.json": b'{"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}',
    "chat_template.jinja": (trl_templates._CHAT_TEMPLATES_DIR / "llama3_1.jinja").read_bytes(),
    "README.md": b"---\nlicense: llama3.1\n---\n",
}
WEIGHTS = {f"model-0000{n}-of-00004.safetensors": 4_000_000_000 for n in range(1, 5)} | {"original/old.pth": 16 * 10**9}


@pytest.fixture
def hub() -> Iterator[tuple[str, list[str]]]:
    """The server's address, and the paths that it was asked for. `org/closed` is gated, and asks for a token."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            asked.append(path)
            name = path.rpartition("/")[2]
            if path.endswith(f"/revision/{COMMIT}"):
                sizes = {each: len(content) for each, content in LISTED.items()} | WEIGHTS
                siblings = [{"rfilename": each, "size": size} for each, size in sizes.items()]
                stated = {"_id": "1", "id": "org/x", "sha": COMMIT, "gated": "closed" in path and "manual"}
                self.answer(200, json.dumps({**stated, "siblings": siblings}).encode(), "application/json")
            elif "closed" in path:
                self.answer(401, b"{}", "application/json")
            elif name in LISTED:
                self.answer(200, LISTED[name], "text/plain")
            else:
                self.answer(404, b"", "text/plain")

        def answer(self, status: int, content: bytes, kind: str) -> None:
            self.send_response(status)
            for field, value in {
                "Content-Length": str(len(content)),
                "Content-Type": kind,
                "ETag": f'"{hashlib.sha1(content).hexdigest()}"',
                "X-Repo-Commit": COMMIT,
            }.items():
                self.send_header(field, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        yield f"http://127.0.0.1:{server.server_port}", asked


def check(folder: Path, address: str, repository: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = ["models", "import", "big", "--source", f"hub:{repository}", "--revision", COMMIT, "--check", *options]
    return subprocess.run(
        [sys.executable, "-m", "llmops_kit.cli", *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": IMPORT_PATH, "HF_ENDPOINT": address},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_model_of_the_hub_is_judged_without_its_weights(tmp_path: Path, hub: tuple[str, list[str]]) -> None:
    address, asked = hub
    done = check(tmp_path, address, "org/open", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert not [path for path in asked if "safetensors" in path or path.endswith(".pth")]
    assert found["importable"]
    assert found["tested"]
    assert found["family"].startswith("Llama 3, ")
    assert found["licence"] == "llama3.1"
    assert found["download"] == 16_000_000_000
    assert found["pickles"] == ["original/old.pth"]
    assert "2 billion parameters" in found["engines"]["openvino"]
    assert found["model"]["parameters"] == 8_030_261_248
    assert found["model"]["cache"] == 131_072
    fits = {fit["adapter"]: fit["machine"]["name"] for fit in found["model"]["fits"]}
    assert fits == {"lora": "A10G 24 GB", "qlora": "T4 16 GB", "none": "8 x A100 80 GB"}


def test_a_gated_model_says_where_its_licence_is_accepted(tmp_path: Path, hub: tuple[str, list[str]]) -> None:
    done = check(tmp_path, hub[0], "org/closed")
    assert done.returncode == 1
    assert "accept its licence on https://huggingface.co/org/closed" in done.stderr
