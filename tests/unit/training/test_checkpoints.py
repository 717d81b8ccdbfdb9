"""A checkpoint is complete or skipped."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from llmops_kit.core.errors import IntegrityError
from llmops_kit.core.integrity.digest import file_entries
from llmops_kit.training.checkpoints import (
    MARKER,
    checked,
    fetched,
    keep,
    newest,
    notes_of,
    once,
    publish,
    restored,
    sealed,
)


def write(folder: Path, step: int) -> Path:
    work = folder.with_name(f"{folder.name}-work") / f"checkpoint-{step}"
    work.mkdir(parents=True, exist_ok=True)
    (work / "optimizer.pt").write_bytes(b"o" * step)
    (work / "adapter.safetensors").write_bytes(b"a" * step)
    publish(work, folder / work.name, {"seconds": step * 1.5})
    return folder / work.name


def test_newest_is_by_step_and_keeps_its_notes(tmp_path: Path) -> None:
    for step in (5, 10, 100):
        write(tmp_path, step)
    assert newest(tmp_path) == tmp_path / "checkpoint-100"
    assert notes_of(tmp_path / "checkpoint-100") == {"seconds": 150.0}


def _truncate(folder: Path) -> None:
    (folder / "optimizer.pt").write_bytes(b"o")


def _flip(folder: Path) -> None:
    (folder / "adapter.safetensors").write_bytes(b"b" * 10)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "optimizer.pt").unlink(),
        lambda folder: (folder / MARKER).unlink(),
        lambda folder: (folder / MARKER).write_text('{"files": {'),
        _truncate,
        _flip,
    ],
)
def test_damaged_checkpoint_is_passed_over(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    good, bad = write(tmp_path, 5), write(tmp_path, 10)
    damage(bad)
    assert newest(tmp_path) == good
    damage(good)
    assert newest(tmp_path) is None


def _byte(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def _cut(path: Path, draw: random.Random) -> None:
    os.truncate(path, draw.randrange(path.stat().st_size))


def _insert(path: Path, draw: random.Random) -> None:
    data = path.read_bytes()
    at = draw.randrange(len(data) + 1)
    path.write_bytes(data[:at] + draw.choice((b" ", b"\n", b"0", b"\0")) + data[at:])


def _rename(path: Path, draw: random.Random) -> None:
    path.rename(path.with_name(path.name + draw.choice(("", "a")) + ".bak"))


def _add(path: Path, draw: random.Random) -> None:
    (path.parent / f"added-{draw.randrange(9)}").write_bytes(draw.randbytes(draw.randrange(9)))


def _swap(path: Path, draw: random.Random) -> None:
    """With another file of the checkpoint, or with the same one of another checkpoint."""
    there = sorted(p for p in path.parent.parent.glob("checkpoint-*/*") if p.read_bytes() != path.read_bytes())
    other = draw.choice(there)
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(mine)


def _notes(path: Path, draw: random.Random) -> None:
    """Changes the notes in the marker, and writes it in the form in which the kit does."""
    marker = path.with_name(MARKER)
    document = json.loads(marker.read_text())
    document["content"]["notes"] = draw.choice(({}, {"seconds": draw.random()}, {"seconds": 15.0, "more": 1}))
    marker.write_text(json.dumps(document, indent=2) + "\n")


def _checkpoint(path: Path, draw: random.Random) -> None:
    """The whole of it under another name."""
    path.parent.rename(path.parent.with_name(f"checkpoint-{draw.randint(100, 999)}"))


MUTATIONS = [
    _byte,
    _byte,
    _byte,
    _cut,
    _insert,
    _rename,
    _add,
    _swap,
    _notes,
    _checkpoint,
    lambda path, _: path.unlink(),
]


@pytest.mark.scorecard("corrupt-checkpoint")
def test_of_1000_mutated_checkpoints_each_is_found(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    for step in (5, 10):
        write(whole, step)
    missed: list[tuple[int, str]] = []
    for number in range(1_000):
        draw = random.Random(number)
        folder = tmp_path / str(number)
        shutil.copytree(whole, folder)
        mutate, name = draw.choice(MUTATIONS), draw.choice((MARKER, MARKER, "optimizer.pt", "adapter.safetensors"))
        mutate(folder / "checkpoint-10" / name, draw)
        found = newest(folder)
        if found is not None and found.name != "checkpoint-5":
            missed.append((number, f"{mutate.__name__} {name}"))
        shutil.rmtree(folder)
    assert missed == []
    assert newest(whole) == whole / "checkpoint-10"


def test_why_a_checkpoint_is_passed_over_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = write(tmp_path, 5), write(tmp_path, 10)
    _flip(bad)
    assert newest(tmp_path) == good
    assert capsys.readouterr().out == (
        f"checkpoint skipped: {bad}/adapter.safetensors: was changed: its sha256 differs from the manifest's\n"
    )


def test_a_checkpoint_of_an_older_kit_is_refused(tmp_path: Path) -> None:
    """Its marker was not sealed: what notes it had, nobody can know."""
    folder = write(tmp_path, 5)
    files = {name: entry.model_dump() for name, entry in file_entries(folder, [MARKER]).items()}
    (folder / MARKER).write_text(json.dumps({"files": files, "notes": {"seconds": 1.0}}, indent=2))
    with pytest.raises(IntegrityError, match="was changed: its sha256 does not match") as caught:
        checked(folder)
    assert caught.value.fix
    assert newest(tmp_path) is None


@pytest.mark.parametrize("name", ["checkpoint-", "checkpoint-x", "checkpoint--1", "checkpoint-²", "checkpoint-5.bak"])
def test_what_is_only_named_like_a_checkpoint_is_left_alone(tmp_path: Path, name: str) -> None:
    good = write(tmp_path, 5)
    (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-7").touch()
    (tmp_path / "checkpoint-8").symlink_to(good)
    assert newest(tmp_path) == good
    keep(tmp_path, 1)
    assert (tmp_path / name).is_dir()
    assert good.is_dir()


def test_unfinished_folder_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-7").mkdir()
    assert newest(tmp_path) is None
    assert newest(tmp_path / "none") is None


def test_keep_deletes_the_oldest(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        write(tmp_path, step)
    keep(tmp_path, 2)
    assert sorted(p.name for p in tmp_path.glob("checkpoint-*")) == ["checkpoint-10", "checkpoint-15"]


def test_it_is_kept_on_another_disk_than_it_was_written_on(tmp_path: Path) -> None:
    """As where a container is mounted: between file systems nothing can be renamed."""
    places = [Path("/dev/shm"), Path("/var/tmp")]
    others = [place for place in places if place.is_dir() and place.stat().st_dev != tmp_path.stat().st_dev]
    if not others:
        pytest.skip("no second file system here")
    with tempfile.TemporaryDirectory(dir=others[0]) as other:
        kept = write(Path(other) / "kept", 5)
        assert newest(kept.parent) == kept
        copy = tmp_path / "local/checkpoint-5"
        assert restored(kept.parent, copy.parent) == copy
        assert notes_of(copy) == {"seconds": 7.5}


def test_the_marker_comes_last(tmp_path: Path) -> None:
    """A job that is killed while it keeps a checkpoint leaves no marker, not even an older checkpoint's."""
    target = write(tmp_path, 5)
    work = tmp_path / "work"
    work.mkdir()
    (work / "optimizer.pt").write_bytes(b"new")
    (work / "vocabulary").write_bytes(b"new")
    script = f"""
import os, pathlib, shutil, signal
from llmops_kit.training import checkpoints
copy = shutil.copyfile
def killed(source, path):
    copy(source, path)
    os.kill(os.getpid(), signal.SIGKILL)
shutil.copyfile = killed
checkpoints.publish(pathlib.Path({str(work)!r}), pathlib.Path({str(target)!r}))
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    assert len(list(target.iterdir())) == 1
    assert not (target / MARKER).exists()


def test_a_file_that_came_before_the_others_is_no_checkpoint(tmp_path: Path) -> None:
    """SageMaker brings files back as they reached S3: in any order, until the machine was taken away."""
    whole, there = write(tmp_path / "whole", 10), tmp_path / "there/checkpoint-10"
    there.mkdir(parents=True)
    for name in (MARKER, "optimizer.pt", "adapter.safetensors"):
        assert newest(there.parent) is None
        shutil.copyfile(whole / name, there / name)
    assert newest(there.parent) == there


def test_what_is_loaded_is_what_was_checked(tmp_path: Path) -> None:
    good, bad = write(tmp_path / "kept", 5), write(tmp_path / "kept", 10)
    _flip(bad)
    copy = tmp_path / "local/checkpoint-5"
    assert restored(good.parent, copy.parent) == copy
    _flip(good)  # after it was checked, by somebody who may write where runs are
    assert notes_of(copy) == {"seconds": 7.5}
    assert restored(good.parent, tmp_path / "local") is None
    with pytest.raises(IntegrityError):
        fetched(good, tmp_path / "local")


def test_a_deletion_that_is_cut_leaves_no_checkpoint(tmp_path: Path) -> None:
    oldest, newer = write(tmp_path, 5), write(tmp_path, 10)
    (oldest / "closed").mkdir()
    (oldest / "closed/file").touch()
    (oldest / MARKER).unlink()
    (oldest / MARKER).mkdir()  # what is only named like a marker
    keep(tmp_path, 1)
    assert not oldest.exists()
    assert newest(tmp_path) == newer


def test_publish_replaces(tmp_path: Path) -> None:
    write(tmp_path, 5)
    target = write(tmp_path, 5)
    assert notes_of(target) is not None


def test_a_finished_stage_is_not_done_again(tmp_path: Path) -> None:
    calls: list[int] = []

    def make() -> list[int]:
        calls.append(1)
        return [1, 2]

    assert once(tmp_path / "s" / "stage.json", make) == once(tmp_path / "s" / "stage.json", make) == [1, 2]
    assert calls == [1]


def test_a_stage_that_was_restored_by_half_is_done_again(tmp_path: Path) -> None:
    path = tmp_path / "stage.json"
    once(path, lambda: {"found": 1})
    path.write_text(path.read_text()[:5])
    assert once(path, lambda: {"found": 2}) == {"found": 2}
    assert once(path, lambda: {"found": 3}) == {"found": 2}


@pytest.mark.parametrize(
    "text", ['{"found": 1}', sealed({"found": 1}).replace("1", "9"), sealed({}) + " ", "", "[" * 9999]
)
def test_a_stage_whose_result_was_changed_is_done_again(tmp_path: Path, text: str) -> None:
    path = tmp_path / "stage.json"
    path.write_text(text)
    assert once(path, lambda: {"found": 2}) == {"found": 2}
