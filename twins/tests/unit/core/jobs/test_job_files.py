"""Files that a job writes: carried once they are settled, in their order, and removed where a mount would lose them."""

import os
import time
from pathlib import Path

from llmops_twins.core.jobs.job_files import Carrier, files
from llmops_twins.core.jobs.job_run import loopback_addresses


class Stored:
    """What was stored."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.files: dict[str, str] = {}

    def put(self, file: Path, path: str) -> None:
        self.order.append(path)
        self.files[path] = file.read_text()

    def gone(self, path: str) -> None:
        del self.files[path]


def write(folder: Path, path: str, text: str, when: int) -> None:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    os.utime(file, ns=(when, when))


def test_what_has_settled_is_carried_once_as_it_was_closed(tmp_path: Path) -> None:
    stored = Stored()
    carrier = Carrier(tmp_path, stored.put, stored.gone)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/b").write_text("b")
    time.sleep(0.02)
    (tmp_path / "index").write_text("names b")
    carrier.carry()
    assert stored.order == []  # it may be written still
    carrier.carry()
    assert stored.order == ["deep/b", "index"]
    (tmp_path / "index").write_text("names both")
    carrier.carry(last=True)
    assert stored.order == ["deep/b", "index", "index"]


def test_a_synchronised_folder_keeps_no_order(tmp_path: Path) -> None:
    """What names others may come before them: SageMaker promises no order."""
    first = set()
    for number in range(8):
        stored = Stored()
        for when, name in enumerate((f"a-{number}", f"b-{number}", f"index-{number}")):
            write(tmp_path / str(number), name, "", 10 + when)
        Carrier(tmp_path / str(number), stored.put).carry(last=True)
        first.add(stored.order[0].partition("-")[0])
    assert first == {"a", "b", "index"}


def test_a_rename_in_a_mounted_folder_is_cut_where_the_machine_is_taken_away(tmp_path: Path) -> None:
    stored = Stored()
    carrier = Carrier(tmp_path, stored.put, stored.gone)
    work = tmp_path / "work"
    work.mkdir()
    for name in ("adapter", "complete.json", "optimizer", "state"):
        (work / name).write_text(name)
    carrier.carry(last=True)
    time.sleep(0.02)
    work.rename(tmp_path / "checkpoint-1")
    (tmp_path / "log").write_text("done")
    carrier.carry(last=True, cut=True)
    assert set(stored.files) == {
        *(f"work/{name}" for name in ("adapter", "complete.json", "optimizer", "state")),
        "checkpoint-1/adapter",
        "checkpoint-1/complete.json",
        "log",
    }


def test_what_is_known_is_not_carried_again(tmp_path: Path) -> None:
    stored = Stored()
    write(tmp_path, "old", "o", 10)
    carrier = Carrier(tmp_path, stored.put)
    carrier.know()
    carrier.carry(last=True)
    assert stored.order == []


def test_a_mounted_folder_loses_what_was_removed(tmp_path: Path) -> None:
    stored = Stored()
    write(tmp_path, "step-1", "1", 10)
    carrier, plain = Carrier(tmp_path, stored.put, stored.gone), Carrier(tmp_path, Stored().put)
    carrier.carry(last=True)
    plain.carry(last=True)
    (tmp_path / "step-1").unlink()
    carrier.carry(last=True)
    plain.carry(last=True)
    assert stored.files == {}


def test_links_that_leave_the_folder_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, "out/a", "a", 10)
    write(tmp_path, "secret", "s", 10)
    (tmp_path / "out/leak").symlink_to(tmp_path / "secret")
    (tmp_path / "out/same").symlink_to("a")
    assert sorted(file.name for file in files(tmp_path / "out")) == ["a", "same"]


def test_nodes_have_addresses_of_their_own() -> None:
    found = loopback_addresses(3)
    assert len(set(found)) == 3
    assert all(each.startswith("127.") and each != "127.0.0.1" for each in found)
