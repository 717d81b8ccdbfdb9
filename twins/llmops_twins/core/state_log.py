"""A twin's state on disk: named parts in one file, to which each write appends the parts that changed.

The file begins with a line of JSON that names its writer. Frames follow: a line of JSON with the names and lengths
of parts, those that are gone, and the SHA-256 of all that; then the parts' bytes. The last frame of a part counts.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmops_kit.core.errors import KitError
from llmops_kit.local_runtime.files import write_atomic

STATE_FILE = "state.log"
_OLDER_FILES = ("state.pickle", "state.json")
"""Files in which earlier versions of the kit saved the whole state."""
_MOST_OUTDATED = 4
"""The file is rewritten once it has this many times the bytes of its parts, but not below `_SMALL`."""
_SMALL = 1 << 20


def drop_state(home: Path) -> None:
    """Removes the state from a twin's folder, of whichever version."""
    for name in (STATE_FILE, *_OLDER_FILES):
        (home / name).unlink(missing_ok=True)


class StateLog:
    """The parts of a twin's state, in one file of its folder that only its owner can read.

    A frame that a killed process left incomplete at the file's end counts as not written. The file is replaced as a
    whole, instead of appended to, while another folder has it by a hard link: a snapshot's never changes.
    """

    def __init__(self, home: Path, writer: Mapping[str, str], reset: str) -> None:
        """Opens nothing yet.

        Args:
            home: the twin's folder.
            writer: the format and the versions on which the parts' content depends; a file of others is refused.
            reset: the command that drops the state, for errors.
        """
        self._home = home
        self._file = home / STATE_FILE
        self._writer = dict(writer)
        self._reset = reset
        self._parts: dict[str, bytes] = {}
        self._appendable = False  # True once this object has written the file

    def read(self) -> dict[str, bytes] | None:
        """Returns the parts, by name; None if there is no file.

        Raises:
            KitError: another format or other versions wrote the file, or it is damaged.
        """
        self._appendable = False
        if not self._file.exists():
            if older := next((self._home / name for name in _OLDER_FILES if (self._home / name).exists()), None):
                raise self._refused("an earlier version of the kit wrote this state", "go back to that version", older)
            return None
        head, _, rest = self._file.read_bytes().partition(b"\n")
        writer = self._parsed(head)
        if writer != self._writer:
            what = f"the state was written with {_spoken(writer)}, and this is {_spoken(self._writer)}"
            raise self._refused(what, "go back to those versions", self._file)
        parts: dict[str, bytes] = {}
        at = 0
        while (end := rest.find(b"\n", at)) >= 0:
            frame = self._parsed(rest[at:end])
            try:
                lengths, gone, digest = dict(frame["parts"]), list(frame["gone"]), frame["sha256"]
                content = rest[end + 1 : end + 1 + sum(lengths.values())]
                if len(content) < sum(lengths.values()):
                    break
            except (KeyError, TypeError, ValueError):
                raise self._damaged() from None
            if digest != _digest(lengths, gone, content):
                raise self._damaged()
            at = end + 1
            for name in gone:
                parts.pop(name, None)
            for name, length in lengths.items():
                parts[name] = rest[at : at + length]
                at += length
        return parts

    def write(self, parts: Mapping[str, bytes]) -> None:
        """Saves these parts as the state: appends those that changed, or rewrites the file."""
        if self._appendable and self._file.exists() and self._file.stat().st_nlink == 1:
            changed = {name: content for name, content in parts.items() if self._parts.get(name) != content}
            gone = [name for name in self._parts if name not in parts]
            if changed or gone:
                self._append(_frame(changed, gone))
        else:
            self._replace(parts)
        self._parts = dict(parts)
        if self._file.stat().st_size > max(_SMALL, _MOST_OUTDATED * sum(map(len, parts.values()))):
            self._replace(parts)

    def _append(self, frame: bytes) -> None:
        self._appendable = False  # until the frame is complete
        with self._file.open("ab") as f:
            f.write(frame)
            f.flush()
            os.fsync(f.fileno())
        self._appendable = True

    def _replace(self, parts: Mapping[str, bytes]) -> None:
        write_atomic(self._file, json.dumps(self._writer).encode() + b"\n" + _frame(parts, []))
        self._appendable = True

    def _parsed(self, line: bytes) -> dict[str, Any]:
        try:
            found = json.loads(line)
        except ValueError:
            raise self._damaged() from None
        if not isinstance(found, dict):
            raise self._damaged()
        return found

    def _damaged(self) -> KitError:
        what = "the state is damaged, or was changed: it does not fit its SHA-256"
        return self._refused(what, "restore a copy of the folder", self._file)

    def _refused(self, what: str, remedy: str, file: Path) -> KitError:
        return KitError(what, where=str(file), fix=f"{remedy}, or drop the state: {self._reset}")


def _frame(parts: Mapping[str, bytes], gone: list[str]) -> bytes:
    lengths = {name: len(content) for name, content in parts.items()}
    content = b"".join(parts.values())
    head = {"parts": lengths, "gone": gone, "sha256": _digest(lengths, gone, content)}
    return json.dumps(head).encode() + b"\n" + content


def _digest(lengths: Mapping[str, int], gone: list[str], content: bytes) -> str:
    return hashlib.sha256(json.dumps([lengths, gone]).encode() + content).hexdigest()


def _spoken(writer: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in writer.items())
