"""Checks whether an object in a cloud is what a manifest says, by the SHA-256 that the cloud computed when it was
written.

S3 stores one of the whole object (https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html,
"full object"), or for a multipart upload the SHA-256 of the parts' SHA-256s ("composite"), which a manifest's `parts`
have too. Uploaders may send a checksum, and S3 refuses one that does not match, so it can't be forged. An MD5 or a CRC
proves nothing here, because collisions are easy to construct.
"""

import base64
import hashlib
import io
import json
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from llmops_kit.cli.store.bounded_file import FETCH_ANEW
from llmops_kit.cli.store.objects import Say
from llmops_kit.core.documents.dataset import FileEntry
from llmops_kit.core.errors import IntegrityError

_THREADS = 8


class Stored(NamedTuple):
    """A cloud's metadata of an object."""

    size: int
    sha256: str = ""
    """Base64; for a multipart upload with `-<count>` appended. Empty if the cloud stores no SHA-256 of it."""
    mark: str = ""
    """A value that changes with each write, and that no writer can choose. Empty if there is none."""


class ObjectFolder(NamedTuple):
    """A folder of objects, by file names relative to it."""

    where: str
    """The folder's URL."""
    stored: Callable[[str], Stored | None]
    """Returns the cloud's metadata of an object; None if it does not exist."""
    read: Callable[[str, "Hashed"], None]
    """Downloads an object."""


def faults(
    place: ObjectFolder, files: Mapping[str, FileEntry], known: Mapping[str, str], say: Say
) -> tuple[dict[str, IntegrityError], dict[str, str]]:
    """Compares objects with what a manifest lists.

    Args:
        place: the objects' folder.
        files: the manifest's list.
        known: file -> its mark when it was read and matched.
        say: called with the method, before anything is read.

    Returns:
        The files that are missing or differ, with the reason; and file -> mark of those that were read.
    """
    errors: dict[str, IntegrityError] = {}
    unknown: dict[str, FileEntry] = {}
    read: dict[str, str] = {}

    def attempt(name: str, work: Callable[[str, FileEntry], None]) -> None:
        try:
            work(name, files[name])
        except IntegrityError as e:
            errors[name] = e

    def look(name: str, entry: FileEntry) -> None:
        where, stored = f"{place.where}/{name}", place.stored(name)
        if stored is None:
            raise IntegrityError("is missing, though the manifest lists it", where=where, fix=FETCH_ANEW)
        if not fits(stored, entry, where) and not (stored.mark and known.get(name) == stored.mark):
            unknown[name] = entry

    def hash_whole(name: str, entry: FileEntry) -> None:
        hashed, before = Hashed(entry, f"{place.where}/{name}"), place.stored(name)
        place.read(name, hashed)
        hashed.check()
        if before and before == place.stored(name):  # else it was written again meanwhile
            read[name] = before.mark

    at_once(lambda name: attempt(name, look), files)
    if unknown:
        size = in_words(sum(entry.size for entry in unknown.values()))
        say(f"reading {size} to verify: {place.where} keeps no SHA-256 of {len(unknown)} files that could be compared")
        at_once(lambda name: attempt(name, hash_whole), unknown)
    elif files and not errors:
        how = "this machine has read them, and they have not been written since" if known else "the store keeps"
        say(f"{len(files)} files in {place.where} verified by the SHA-256 that {how}")
    return errors, read


def fits(stored: Stored, entry: FileEntry, where: str) -> bool:
    """Returns whether an object is known to be a manifest's file; False if the checksums can't tell, and it has to be
    read.

    Raises:
        IntegrityError: it is a different one.
    """
    if stored.size != entry.size:
        what = f"has {stored.size} bytes, the manifest says {entry.size}"
        raise IntegrityError(what, where=where, fix=FETCH_ANEW)
    if stored.sha256 in (_base64(entry.sha256), _of_parts(entry)):
        return True
    if not stored.sha256 or "-" in stored.sha256:
        return False  # none, or perhaps one of parts with other boundaries
    what = "was changed: the sha256 that the store keeps of it differs from the manifest's"
    raise IntegrityError(what, where=where, fix=FETCH_ANEW)


def _of_parts(entry: FileEntry) -> str:
    digests = b"".join(bytes.fromhex(part) for part in entry.parts)
    return f"{_base64(hashlib.sha256(digests).hexdigest())}-{len(entry.parts)}"


def _base64(sha256: str) -> str:
    return base64.b64encode(bytes.fromhex(sha256)).decode()


class Hashed(io.RawIOBase):
    """Receives a download from a cloud's client to hash it without keeping it: pieces in order, up to the expected
    size.
    """

    def __init__(self, entry: FileEntry, where: str) -> None:
        self._entry, self._where = entry, where
        self._digest, self._size = hashlib.sha256(), 0

    def write(self, data) -> int:  # type: ignore[override]  # of any object with a buffer
        """Hashes a piece.

        Raises:
            IntegrityError: it exceeds the size in the manifest.
        """
        self._size += len(data)
        if self._size > self._entry.size:
            what = f"has more bytes than the {self._entry.size} that the manifest says"
            raise IntegrityError(what, where=self._where, fix=FETCH_ANEW)
        self._digest.update(data)
        return len(data)

    def writable(self) -> bool:
        """Returns True: it can only be written to."""
        return True

    def check(self) -> None:
        """Compares the written content with the manifest.

        Raises:
            IntegrityError: its size or hash differs.
        """
        if (self._size, self._digest.hexdigest()) != (self._entry.size, self._entry.sha256):
            what = "was changed: its sha256 differs from the manifest's"
            raise IntegrityError(what, where=self._where, fix=FETCH_ANEW)


def at_once(work: Callable[[Any], None], items: Iterable[Any]) -> None:
    """Runs work for all items in a few threads; the first error ends it."""
    with ThreadPoolExecutor(_THREADS) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def in_words(size: int) -> str:
    """Returns a number of bytes in readable form."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def read_json(path: Path) -> dict[str, str]:
    """Returns notes from this machine's cache; empty if there are none."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def write_json(path: Path, notes: Mapping[str, str]) -> None:
    """Writes notes into this machine's cache, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    temporary.write_text(json.dumps(notes))
    temporary.replace(path)
