"""Hashes of files and folders, and the check of a folder against its manifest."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from llmops_kit.core import object_keys
from llmops_kit.core.documents.dataset import PART_BYTES, FileEntry, part_count
from llmops_kit.core.errors import IntegrityError
from llmops_kit.core.hashes import sha256_file
from llmops_kit.core.layout import MANIFEST, SIGNATURE

_PIECE = 1 << 20
FETCH_AGAIN = "fetch the version from its store again; nothing was loaded"


def file_entry(path: Path) -> FileEntry:
    """Return a file's manifest entry; the parts of a large file are hashed in the same read."""
    size = path.stat().st_size
    if not part_count(size):
        return FileEntry(sha256=sha256_file(path), size=size)
    whole, parts = hashlib.sha256(), [hashlib.sha256() for _ in range(part_count(size))]
    with path.open("rb") as file:
        for part in parts:
            left = PART_BYTES
            while left and (piece := file.read(min(_PIECE, left))):
                whole.update(piece)
                part.update(piece)
                left -= len(piece)
    return FileEntry(sha256=whole.hexdigest(), size=size, parts=[part.hexdigest() for part in parts])


def tree_hash(files: Mapping[str, Path]) -> str:
    """Returns the hex sha256 over names and contents, in the order of names; independent of dates and modes."""
    total = hashlib.sha256()
    for name in sorted(files):
        total.update(f"{name}\0{sha256_file(files[name])}\n".encode())
    return total.hexdigest()


def list_files(folder: Path) -> dict[str, Path]:
    """Returns every file below a folder: path relative to it, with slashes -> file.

    Raises:
        IntegrityError: a link or special file, or a name that is invalid in a manifest.
    """
    found: dict[str, Path] = {}
    for base, folders, names in os.walk(folder):
        for name in [*names, *(d for d in folders if Path(base, d).is_symlink())]:
            path = Path(base, name)
            if path.is_symlink() or not path.is_file():
                raise IntegrityError(
                    "is not a regular file", where=str(path), fix="a version can have only regular files"
                )
            found[object_keys.check(path.relative_to(folder).as_posix(), str(folder))] = path
    return found


def file_entries(folder: Path, leave_out: Iterable[str] = (MANIFEST, SIGNATURE)) -> dict[str, FileEntry]:
    """Hash every file of a folder in parallel, for a manifest's `files`."""
    skip = set(leave_out)
    files = {name: path for name, path in list_files(folder).items() if name not in skip}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(files, pool.map(file_entry, files.values()), strict=True))


def check_names(folder: Path, expected: Mapping[str, FileEntry]) -> dict[str, Path]:
    """Compare the names of a folder's files with those that its manifest lists.

    Returns:
        Name -> path of the files that are there, without manifest and signature.

    Raises:
        IntegrityError: naming the first file that was added or is missing.
    """
    present = {name: path for name, path in list_files(folder).items() if name not in (MANIFEST, SIGNATURE)}
    for name in sorted(expected.keys() - present.keys()):
        raise IntegrityError("is missing, but the manifest lists it", where=str(folder / name), fix=FETCH_AGAIN)
    for name in sorted(present.keys() - expected.keys()):
        raise IntegrityError("was added: the manifest does not list it", where=str(folder / name), fix=FETCH_AGAIN)
    return present


def check_folder(folder: Path, expected: Mapping[str, FileEntry]) -> None:
    """Compare a folder with the files that its manifest lists.

    Raises:
        IntegrityError: naming the first file that was added, is missing, or differs.
    """
    present = check_names(folder, expected)
    for name, entry in expected.items():
        if (size := present[name].stat().st_size) != entry.size:
            what = f"has {size} bytes, the manifest says {entry.size}"
            raise IntegrityError(what, where=str(folder / name), fix=FETCH_AGAIN)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, found in zip(expected, pool.map(sha256_file, (present[n] for n in expected)), strict=True):
            if found != expected[name].sha256:
                raise IntegrityError(
                    "was changed: its sha256 differs from the manifest's", where=str(folder / name), fix=FETCH_AGAIN
                )
