"""Files that a job writes: carried once they are settled, in their order, and removed where a mount would lose them."""

import os
from pathlib import Path

from twins.common.jobs_files import Carrier, files
from twins.common.jobs_run import loopback_addresses


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


def test_what_has_settled_is_carried_once_the_oldest_first(tmp_path: Path) -> None:
    stored = Stored()
    carrier = Carrier(tmp_path, stored.put)
    write(tmp_path, "index", "names b", 20)
    write(tmp_path, "deep/b", "b", 10)
    carrier.carry()
    assert stored.order == []  # it may be written still
    carrier.carry()
    assert stored.order == ["deep/b", "index"]
    write(tmp_path, "index", "names c", 30)
    carrier.carry(last=True)
    assert stored.order == ["deep/b", "index", "index"]


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
