"""Pins by content: nothing here moves, and `make pin` writes what the sources say now."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from llmops_kit.cli.pulumi_engine import install
from llmops_kit.cli.pulumi_engine.version import pinned_version
from tests.support.servers.http_servers import serving
from tools import pins

DIGEST = "sha256:" + "d" * 64
SUM = "5" * 64


class _Sources(BaseHTTPRequestHandler):
    """Docker's registry with its tokens, and Pulumi's releases."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base's name)
        pass

    def do_GET(self) -> None:
        version = pinned_version()
        names = [f"pulumi-v{version}-{machine}.tar.gz" for machine in ("linux-x64", "darwin-arm64")]
        sums = "".join(f"{SUM}  {name}\n" for name in [*names, f"pulumi-v{version}-windows-x64.zip"])
        found = self.path == f"/releases/v{version}/pulumi-{version}-checksums.txt"
        body = sums if found else json.dumps({"token": "let-in"})
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def do_HEAD(self) -> None:
        asked = (self.path, self.headers["Authorization"])
        self.send_response(
            200 if asked == ("/v2/library/python/manifests/3.11-slim-bookworm", "Bearer let-in") else 404
        )
        self.send_header("Docker-Content-Digest", DIGEST)
        self.end_headers()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The files of this checkout that have pins."""
    shutil.copytree(pins.ROOT / "docs/how-to/github", tmp_path / "docs/how-to/github")
    for name in ("serving", "training"):
        folder = f"{name}/llmops_kit/{name}"
        (tmp_path / folder).mkdir(parents=True)
        for path in (pins.ROOT / folder).glob("Dockerfile*"):
            shutil.copy(path, tmp_path / folder)
    return tmp_path


@pytest.fixture
def commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The commit that every action's tag points to."""
    source = tmp_path / "source"
    git = ["git", "-C", str(source), "-c", "user.name=n", "-c", "user.email=e"]
    source.mkdir()
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "one"]):
        subprocess.run([*git, *command], check=True)
    pinned = {(f["repository"], f["version"]) for p in _workflows() for f in pins._USES.finditer(p.read_text())}
    for version in {version for _, version in pinned}:
        subprocess.run([*git, "tag", "-a", "-m", "a tag has a commit of its own", version], check=True)
    for repository, _ in pinned:
        place = tmp_path / "github" / repository
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(source)
    monkeypatch.setattr(pins, "GITHUB", str(tmp_path / "github"))
    return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


def _workflows() -> Iterator[Path]:
    yield from (pins.ROOT / "docs/how-to/github").rglob("*.yml")


@pytest.mark.scorecard("non-root-digests")
def test_actions_and_base_images_are_pinned_by_content() -> None:
    assert list(pins.unpinned()) == []
    assert sum(path.read_text().count("uses: ") for path in _workflows()) > 10
    for name in (
        "serving/llmops_kit/serving/Dockerfile",
        "serving/llmops_kit/serving/Dockerfile.vllm",
        "training/llmops_kit/training/Dockerfile",
    ):
        assert (pins.ROOT / name).read_text().count("@sha256:") == 1


@pytest.mark.scorecard("non-root-digests")
def test_what_moves_is_named_with_its_line(root: Path) -> None:
    workflow = root / "docs/how-to/github/deploy.yml"
    workflow.write_text(
        "steps:\n  - uses: actions/checkout@v5\n  - uses: a/b@main # v1\n  - uses: a/b@" + "0" * 40 + "\n"
    )
    (root / "serving/llmops_kit/serving/Dockerfile").write_text("ARG BASE=python:3.11-slim\nFROM ${BASE}\n")
    assert [line.partition(" is ")[0].partition(" has ")[0] for line in pins.unpinned(root)] == [
        "docs/how-to/github/deploy.yml:2: actions/checkout@v5",
        "docs/how-to/github/deploy.yml:3: a/b@main",
        f"docs/how-to/github/deploy.yml:4: a/b@{'0' * 40}",
        "serving/llmops_kit/serving/Dockerfile:1: python:3.11-slim",
    ]


def test_pins_are_renewed(root: Path, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sums = root / "sums"
    sums.write_text(f"# a comment\n{'0' * 64}  pulumi-v1.0.0-linux-x64.tar.gz\n")
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), _Sources)) as server:
        here = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(pins, "DOCKER_REGISTRY", here)
        monkeypatch.setattr(pins, "DOCKER_TOKENS", f"{here}/token?service=x")
        monkeypatch.setattr(install, "RELEASES", f"{here}/releases")
        pins.renew(root, sums)
    for path in (root / "docs/how-to/github").rglob("*.yml"):
        assert {found["commit"] for found in pins._USES.finditer(path.read_text())} == {commit}
    assert (
        f"ARG BASE=python:3.11-slim-bookworm@{DIGEST}\n"
        in (root / "training/llmops_kit/training/Dockerfile").read_text()
    )
    assert "FROM ${BASE}\n" in (root / "training/llmops_kit/training/Dockerfile").read_text()
    assert sums.read_text() == (
        f"# a comment\n{SUM}  pulumi-v{pinned_version()}-darwin-arm64.tar.gz\n"
        f"{SUM}  pulumi-v{pinned_version()}-linux-x64.tar.gz\n"
    )
    assert list(pins.unpinned(root)) == []
