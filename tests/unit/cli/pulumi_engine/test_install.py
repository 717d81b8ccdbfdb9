"""Pulumi's release, as a server on loopback has it: what is not the pinned archive is not run."""

import hashlib
import io
import os
import tarfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from llmops_kit.cli.pulumi_engine import engine as pulumi_engine
from llmops_kit.cli.pulumi_engine import install
from llmops_kit.cli.pulumi_engine.version import FOLDER
from llmops_kit.core.errors import KitError
from tests.support.servers.http_servers import serving

VERSION = pulumi_engine.pinned_version()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base's name)
        pass


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMOPS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    return tmp_path / "cache"


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Pulumi's archive for this machine on a server, its sum pinned."""
    folder = tmp_path / "releases" / f"v{VERSION}"
    folder.mkdir(parents=True)
    monkeypatch.setattr(install, "SUMS", tmp_path / "sums")
    path = folder / install.archive_name(VERSION)
    write(path, {"pulumi/pulumi": f"#!/bin/sh\necho v{VERSION}\n"})
    pin(path, tmp_path)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tmp_path / "releases")))
    monkeypatch.setattr(install, "RELEASES", f"http://127.0.0.1:{server.server_port}")
    with serving(server):
        yield path


def write(path: Path, files: dict[str, str]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))


def pin(path: Path, folder: Path) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "sums").write_text(f"# a comment\n{digest}  {path.name}\n")


def test_the_pinned_archive_gives_the_engine_and_nothing_else(archive: Path, tmp_path: Path) -> None:
    evil = {"pulumi/pulumi-language-python": "#!/bin/sh\nexit 9\n", "../../../escaped": "x", "/tmp/escaped": "x"}
    write(archive, evil | {"pulumi/pulumi": f"#!/bin/sh\necho v{VERSION}\n"})
    pin(archive, tmp_path)
    found = pulumi_engine.ensure(lambda line: None)
    assert (found.own, found.version) == (True, VERSION)
    host = found.pulumi.with_name("pulumi-language-python")
    assert host.read_bytes() == (FOLDER / "bin/pulumi-language-python").read_bytes()
    assert not list(tmp_path.rglob("escaped"))
    assert not list(pulumi_engine.engine_home().parent.glob("making-*"))


@pytest.mark.vulnerability(11)
@pytest.mark.scorecard("hashed-locks")
def test_vulnerability_11_another_archive_than_the_pinned_one_is_not_run(archive: Path, tmp_path: Path) -> None:
    marker = tmp_path / "owned"
    write(archive, {"pulumi/pulumi": f"#!/bin/sh\ntouch {marker}\necho v{VERSION}\n"})
    with pytest.raises(KitError, match="this is not the pinned archive") as caught:
        pulumi_engine.ensure(lambda line: None)
    assert archive.name in caught.value.where
    assert not marker.exists()
    assert [path.suffix for path in pulumi_engine.engine_home().parent.iterdir()] == [".lock"]


@pytest.mark.vulnerability(11)
@pytest.mark.parametrize("there", ["no sum", "no archive"])
def test_vulnerability_11_without_a_sum_or_an_archive_the_engine_is_built(
    there: str, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No script is downloaded instead."""
    if there == "no sum":
        (tmp_path / "sums").write_text("")
    archive.unlink()
    built: list[str] = []

    def build(making: Path, version: str, report: pulumi_engine.Report) -> None:
        built.append(version)
        (making / "bin").mkdir()
        (making / "bin" / "pulumi").write_text(f"#!/bin/sh\necho v{version}\n")
        (making / "bin" / "pulumi").chmod(0o755)

    monkeypatch.setattr(install, "_build", build)
    said: list[str] = []
    assert os.access(pulumi_engine.ensure(said.append).pulumi, os.X_OK)
    assert built == [VERSION]
    assert any(("no checksum" if there == "no sum" else "can't be downloaded") in line for line in said)


def test_an_archive_without_the_engine_and_a_link_in_its_place_are_refused(archive: Path, tmp_path: Path) -> None:
    with tarfile.open(archive, "w:gz") as tar:
        link = tarfile.TarInfo("pulumi/pulumi")
        link.type, link.linkname = tarfile.SYMTYPE, "/bin/true"
        tar.addfile(link)
    pin(archive, tmp_path)
    with pytest.raises(KitError, match="there is no pulumi/pulumi"):
        pulumi_engine.ensure(lambda line: None)


def test_the_pinned_sums_are_of_the_pinned_version() -> None:
    for name, digest in install.pinned_sums().items():
        assert name.startswith(f"pulumi-v{VERSION}-")
        assert len(bytes.fromhex(digest)) == 32


@pytest.mark.parametrize(
    ("system", "machine", "name"),
    [
        ("Linux", "x86_64", "linux-x64"),
        ("Linux", "aarch64", "linux-arm64"),
        ("Darwin", "arm64", "darwin-arm64"),
        ("Plan9", "x86_64", ""),
        ("Linux", "s390x", ""),
    ],
)
def test_archive_names(system: str, machine: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install.platform, "system", lambda: system)
    monkeypatch.setattr(install.platform, "machine", lambda: machine)
    assert install.archive_name("1.2.3") == (f"pulumi-v1.2.3-{name}.tar.gz" if name else "")
