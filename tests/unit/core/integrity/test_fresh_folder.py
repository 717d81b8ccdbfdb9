"""Files by names from elsewhere land in a new folder, or nowhere."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llmops_kit.core.errors import IntegrityError
from llmops_kit.core.integrity.fresh_folder import FreshFolder, folder_below
from tests.support.hostile import everything, hostile_keys


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    path = tmp_path / "inside"
    path.mkdir()
    return path


def write(fresh: FreshFolder, key: str, content: bytes = b"new") -> None:
    with fresh.create(key, "listing") as file:
        file.write(content)


def test_files_and_folders_are_made(inside: Path) -> None:
    fresh = FreshFolder(inside)
    write(fresh, "a/b/c")
    write(fresh, "a/b/d")
    fresh.make_folder("a/b", "listing")
    fresh.make_folder("e/f", "listing")
    fresh.link("g/h", inside / "a/b/c", "listing")
    assert everything(inside) == {
        **dict.fromkeys(("a", "a/b", "e", "e/f", "g")),
        **dict.fromkeys(("a/b/c", "a/b/d", "g/h"), b"new"),
    }


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [("a", "a", "is there twice"), ("a/b", "a", "is there twice"), ("a", "a/b", "is below a file")],
)
def test_a_name_is_taken_once(inside: Path, first: str, second: str, words: str) -> None:
    fresh = FreshFolder(inside)
    write(fresh, first, b"first")
    for add in (lambda: write(fresh, second), lambda: fresh.link(second, inside / first, "listing")):
        with pytest.raises(IntegrityError, match=words) as caught:
            add()
        assert caught.value.where == "listing"
    assert (inside / first).read_bytes() == b"first"


@pytest.mark.vulnerability(1)
def test_vulnerability_1_links_in_the_folder_are_not_followed(inside: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (inside / "folder").symlink_to(tmp_path / "outside")
    (inside / "file").symlink_to(tmp_path / "outside/new")
    fresh = FreshFolder(inside)
    for key in ("folder/x", "file", "folder"):
        with pytest.raises(IntegrityError):
            write(fresh, key)
    with pytest.raises(OSError, match="Not a directory"), folder_below(inside, ["folder", "deeper"]):
        pass
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_folder_is_not_made_for_reading(inside: Path) -> None:
    with pytest.raises(FileNotFoundError), folder_below(inside, ["a"], make=False):
        pass
    with folder_below(inside, ["a", "b"]) as handle:
        assert os.listdir(handle) == []  # noqa: PTH208  # of a handle


def test_entries_are_counted_with_the_folders_that_they_need(inside: Path) -> None:
    fresh = FreshFolder(inside, most=3)
    write(fresh, "a/b/c")
    with pytest.raises(IntegrityError, match="maximum number"):
        write(fresh, "a/b/d")


def test_threads_share_folders(inside: Path) -> None:
    fresh = FreshFolder(inside)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: write(fresh, f"a/b/c/{number}"), range(200)))
    assert len(list((inside / "a/b/c").iterdir())) == 200


@pytest.mark.vulnerability(1)
def test_vulnerability_1_fuzzed_names_never_leave_the_folder(inside: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    before, made = everything(tmp_path, but=inside), 0
    fresh = FreshFolder(inside)
    for key in hostile_keys(2, 1_000, tmp_path / "outside"):
        try:
            write(fresh, key)
            made += 1
        except IntegrityError:
            continue
    assert everything(tmp_path, but=inside) == before
    assert 20 < made == len([path for path in inside.rglob("*") if path.is_file()])
