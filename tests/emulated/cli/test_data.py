"""`llmops data collect` as a process: packages of the index, and a collect that is killed or interrupted."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.data_pipeline.readers.reader import read
from tests.support.servers.https_site import ROWS, Site, running_site

RECIPE = """\
schema: recipe/2
name: pairs
base_model: {name: tiny, source: "store:tiny@1"}
data:
  sources:
"""
EVALUATION = "evaluation: {suites: [{name: all, split: train}]}\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def command(home: Path, **environ: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "llmops_kit.cli", "data", "collect", "recipe.yaml", "--out", "out", "--json"],
        cwd=home,
        env=os.environ | {"LLMOPS_CACHE": str(home / "cache"), **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def write_recipe(home: Path, *sources: dict[str, Any]) -> None:
    (home / "recipe.yaml").write_text(RECIPE + "".join(f"    - {json.dumps(each)}\n" for each in sources) + EVALUATION)


def collected(home: Path, **environ: str) -> dict[str, Any]:
    with command(home, **environ) as process:
        stdout, stderr = process.communicate()
    assert process.returncode == 0, stdout + stderr
    return json.loads(stdout)


def test_sentence_pairs_of_wheels(home: Path) -> None:
    """Django's catalogues and JupyterLab's, at the index; the second time without one."""
    both = {"languages": ["en", "de"], "licence": "BSD-3-Clause"}
    write_recipe(
        home,
        {"source": "package:django==5.2", "files": "django/**/de/**/*.po", **both},
        {"source": "package:jupyterlab-language-pack-de-de==4.5.post3", "files": "**/*.mo", **both},
    )
    found = collected(home)
    originals: dict[str, set[str]] = {".po": set(), ".mo": set()}
    for file in found["files"]:
        for row in read(home / "out" / file["path"], languages=["en", "de"]):
            assert row.row
            originals[Path(file["path"]).suffix].add(row.row["translation"]["en"])
    assert len(originals[".po"]) == 779
    assert len(originals[".mo"]) == 1097
    assert {each["licence"] for each in found["files"]} == {"BSD-3-Clause"}
    nowhere = dict.fromkeys(("UV_DEFAULT_INDEX", "UV_INDEX_URL", "HTTPS_PROXY"), "http://127.0.0.1:9")
    again = collected(home, **nowhere)
    assert (again["fetched"], again["files"]) == (0, found["files"])


@pytest.fixture
def site(home: Path) -> Iterator[tuple[Site, Path]]:
    with running_site(home) as found:
        yield found


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_ended_collect_goes_on_where_it_was(home: Path, site: tuple[Site, Path], how: signal.Signals) -> None:
    server, authority = site
    write_recipe(home, {"source": "first.jsonl"}, {"source": f"{server.url}/rows.jsonl"})
    (home / "first.jsonl").write_text("{}\n")
    server.hold_after = 400_000
    with command(home, SSL_CERT_FILE=str(authority)) as process:
        assert server.held.wait(60)
        partial = home / "out/.partial"
        while not any(path.stat().st_size > 300_000 for path in partial.glob("*.jsonl")):
            assert process.poll() is None
        process.send_signal(how)
        server.released.set()  # a reader in a thread gives way with the next piece
        process.communicate()
    assert process.returncode == (-how if how == signal.SIGKILL else 130)
    assert not (home / "out/receipts.jsonl").exists()
    assert not list((home / "out").glob("*/rows.jsonl"))
    found = collected(home, SSL_CERT_FILE=str(authority))
    assert (found["fetched"], len(found["files"])) == (1, 2)
    assert (home / "out" / found["files"][1]["path"]).read_bytes() == ROWS
    assert int(server.requests[-1][1]["range"][6:-1]) > 300_000
    assert not partial.exists()
