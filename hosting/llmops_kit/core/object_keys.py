"""Keys: untrusted names of objects and files from a store, a job, a manifest, a listing or an archive.

They are checked here before they are used as paths.

Limits: S3's and Azure's keys have at most 1,024 bytes and characters
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html,
https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata), a file's
name on ext4, XFS, APFS and NTFS 255 bytes or characters.
"""

import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator

from llmops_kit.core.errors import IntegrityError

MOST_BYTES, MOST_PART_BYTES, MOST_PARTS = 1024, 255, 64
_DRIVE = re.compile(r"[A-Za-z]:")
_SHOWN = 80


def fault(key: str) -> str:
    """Returns why a key can't be a path below a folder, in words that follow "the key …"; empty if it can.

    It is relative, its parts are separated by single slashes, and each of them is a plain name on every system.
    """
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        return "is not Unicode text"
    if size > MOST_BYTES:
        return f"has {size} bytes, more than {MOST_BYTES}"
    if not key:
        return "is empty"
    if key.startswith("/"):
        return "is absolute"
    if not key.isprintable():
        return "holds a control character, or one that is not printable"
    if "\\" in key:
        return "holds a backslash"
    parts = key.split("/")
    if len(parts) > MOST_PARTS:
        return f"is {len(parts)} folders deep, more than {MOST_PARTS}"
    return next((found for part in parts if (found := _fault_of_part(part))), "")


def faults(keys: Iterable[str]) -> dict[str, str]:
    """Returns the keys of a listing that can't coexist, and why: `fault`, listed twice, or both file and folder."""
    found: dict[str, str] = {}
    files: set[str] = set()
    for key in keys:
        if why := fault(key):
            found[key] = why
        elif key in files:
            found[key] = "is there twice"
        files.add(key)
    for key in files - found.keys():
        for parent in _parents(key):
            if parent in files:
                found[parent] = f"is a file and, for {shown(key)}, a folder"
    return found


def check(key: str, where: str) -> str:
    """Returns the key if it can be a path below a folder.

    Raises:
        IntegrityError: it can't be a path below a folder; `where` is the place that holds it.
    """
    if why := fault(key):
        raise _refused(key, why, where)
    return key


def check_all(keys: Iterable[str], where: str) -> list[str]:
    """Returns the keys of a listing if all of them can be paths below one folder.

    Raises:
        IntegrityError: naming the first that can't be a path, is there twice, or is a file and a folder.
    """
    there = list(keys)
    for key, why in sorted(faults(there).items()):
        raise _refused(key, why, where)
    return there


def shown(key: str) -> str:
    """Returns a key in quotes, for a message."""
    return f"'{plain(key)}'"


def plain(text: str) -> str:
    """Returns text from elsewhere for a message: unprintable characters escaped, no longer than a line."""
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _validated(key: str) -> str:
    if why := fault(key):
        raise ValueError(f"the name {shown(key)} {why}")
    return key


Key = Annotated[str, AfterValidator(_validated)]
"""A field that holds a key."""


def _fault_of_part(part: str) -> str:
    if not part:
        return "has an empty part"
    if part in (".", ".."):
        return f"has a part {part!r}"
    if len(part.encode()) > MOST_PART_BYTES:
        return f"has a part of {len(part.encode())} bytes, more than {MOST_PART_BYTES}"
    return "names a drive" if _DRIVE.match(part) else ""


def _parents(key: str) -> Iterable[str]:
    parts = key.split("/")
    return ("/".join(parts[:depth]) for depth in range(1, len(parts)))


def _refused(key: str, why: str, where: str) -> IntegrityError:
    return IntegrityError(
        f"the key {shown(key)} {why}",
        where=where,
        fix="nothing was written; find out who created this name, and remove it",
    )
