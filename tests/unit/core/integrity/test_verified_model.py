"""What was verified is what is read, whatever becomes of the folder."""

import os
import threading
from pathlib import Path

import pytest

from llmops_kit.core.errors import IntegrityError
from llmops_kit.core.integrity.signing import make_key, sign
from llmops_kit.core.integrity.verified_model import Early, VerifiedVersion
from tests.support.tiny_models.versions import write_version

WEIGHTS = "model.safetensors"
CONTENT = b"weights" * 1000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_version(tmp_path / "version", "chatbot", CONTENT.decode(), True, "run")
    return tmp_path / "version"


@pytest.fixture
def key(tmp_path: Path, folder: Path) -> str:
    public = make_key(tmp_path / "signing.key")
    sign(folder, tmp_path / "signing.key")
    return public


def is_within(handle: int, folder: Path) -> bool:
    return Path(f"/proc/self/fd/{handle}").readlink().is_relative_to(folder)


def open_handles() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_everything_is_read_by_the_handles_that_were_verified(folder: Path, key: str) -> None:
    reports: list[tuple[int, int]] = []
    version = VerifiedVersion.open(folder, key, report=lambda done, total: reports.append((done, total)))
    total = sum(entry.size for entry in version.manifest.files.values())
    assert ([of for _, of in reports], reports[-1][0]) == ([total, total], total)
    assert version.manifest.name == "chatbot"
    assert set(version.handles) == {WEIGHTS, "openvino/openvino_model.xml"}
    assert version.read(WEIGHTS) == version.read(WEIGHTS) == CONTENT
    assert version.read("manifest.json") is None, "the manifest lists all that is read"
    version.require_unchanged()
    version.close()
    assert not version.handles
    version.close()


def test_early_files_are_verified_before_they_are_used_and_the_others_before_the_version_is(
    folder: Path, key: str
) -> None:
    used: list[dict[str, int]] = []
    name = "openvino/openvino_model.xml"
    early = lambda _: Early([name], lambda handles: used.append(dict(handles)))  # noqa: E731
    version = VerifiedVersion.open(folder, key, early=early)
    assert used == [{name: version.handles[name]}]
    version.close()
    before = open_handles()
    (folder / WEIGHTS).write_bytes(b"tampere" * 1000)
    with pytest.raises(IntegrityError, match="was changed"):
        VerifiedVersion.open(folder, key, early=early)
    assert len(used) == 2, "the early file is as the manifest says"
    (folder / name).write_bytes(bytes((folder / name).stat().st_size))
    with pytest.raises(IntegrityError, match=name):
        VerifiedVersion.open(folder, key, early=early)
    assert len(used) == 2, "nobody uses a file that was changed"
    assert open_handles() == before


@pytest.mark.vulnerability(9)
@pytest.mark.scorecard("tampered-refused")
def test_vulnerability_9_a_path_that_leads_elsewhere_is_not_followed(folder: Path, key: str) -> None:
    version = VerifiedVersion.open(folder, key)
    (folder / "other").write_bytes(b"tampere" * 1000)
    (folder / "other").replace(folder / WEIGHTS)
    assert version.read(WEIGHTS) == CONTENT
    version.close()


@pytest.mark.vulnerability(9)
@pytest.mark.scorecard("tampered-refused")
@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_vulnerability_9_a_file_that_others_may_write_to_is_copied(folder: Path, key: str, mode: int) -> None:
    (folder / WEIGHTS).chmod(mode)
    version = VerifiedVersion.open(folder, key)
    with (folder / WEIGHTS).open("r+b") as file:
        file.write(b"tampere")
    assert version.read(WEIGHTS) == CONTENT
    version.require_unchanged()
    assert not is_within(version.handles[WEIGHTS], folder)
    version.close()


@pytest.mark.vulnerability(9)
def test_vulnerability_9_a_file_of_another_user_is_copied(folder: Path, key: str) -> None:
    if os.geteuid():
        pytest.skip("only root can give a file away")
    os.chown(folder / WEIGHTS, 65534, 65534)
    version = VerifiedVersion.open(folder, key)
    assert not is_within(version.handles[WEIGHTS], folder)
    version.close()


@pytest.mark.vulnerability(9)
@pytest.mark.scorecard("tampered-refused")
def test_vulnerability_9_writing_into_a_file_meanwhile_is_found(folder: Path, key: str) -> None:
    version = VerifiedVersion.open(folder, key)
    with (folder / WEIGHTS).open("r+b") as file:
        file.write(b"tampere")
    with pytest.raises(IntegrityError, match="while it was loaded") as caught:
        version.require_unchanged()
    assert caught.value.where == str(folder / WEIGHTS)
    version.close()


def test_a_refused_version_leaves_no_handle(folder: Path, key: str) -> None:
    (folder / WEIGHTS).chmod(0o666)
    (folder / "openvino" / "openvino_model.xml").write_text("<nut/>")
    before = open_handles()
    with pytest.raises(IntegrityError, match="was changed") as caught:
        VerifiedVersion.open(folder, key)
    assert "openvino_model.xml" in caught.value.where
    assert open_handles() == before


@pytest.mark.parametrize("what", ["fifo", "link"])
def test_what_is_no_file_is_refused_and_not_waited_for(folder: Path, key: str, what: str) -> None:
    (folder / WEIGHTS).unlink()
    if what == "fifo":
        os.mkfifo(folder / WEIGHTS)
    else:
        (folder / WEIGHTS).symlink_to("/etc/passwd")
    with pytest.raises(IntegrityError, match="not a regular file"):
        VerifiedVersion.open(folder, key)


def test_no_room_for_a_copy_is_told(folder: Path, key: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (folder / WEIGHTS).chmod(0o666)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    before = set(threading.enumerate())
    with pytest.raises(IntegrityError, match="can't be copied") as caught:
        VerifiedVersion.open(folder, key)
    assert "chmod go-w" in caught.value.fix
    assert set(threading.enumerate()) <= before, "other tests' threads may run, or end meanwhile"
