"""A checkpoint is whole or passed over."""

from collections.abc import Callable
from pathlib import Path

import pytest

from training.checkpoints import MARKER, keep, newest, notes_of, once, publish


def write(folder: Path, step: int) -> Path:
    work = folder / ".partial" / f"checkpoint-{step}"
    work.mkdir(parents=True)
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


def test_unfinished_folder_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / ".partial" / "checkpoint-7").mkdir(parents=True)
    assert newest(tmp_path) is None
    assert newest(tmp_path / "none") is None


def test_keep_deletes_the_oldest(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        write(tmp_path, step)
    keep(tmp_path, 2)
    assert sorted(p.name for p in tmp_path.glob("checkpoint-*")) == ["checkpoint-10", "checkpoint-15"]


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
