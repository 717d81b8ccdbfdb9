"""The API keys of an endpoint, in the file that its servers and its router read whenever it changes."""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from llmops_kit.core.errors import KitError, NotFoundError, RefusedError
from llmops_kit.core.expiry import utc_text
from llmops_kit.core.key_file import MOST_FILE_BYTES, ApiKey, KeyFile, read_key_file
from llmops_kit.core.network.key_usage import tokens_of_day
from llmops_kit.core.validation import did_you_mean

OWN_KEY = "default"
"""Name under which servers count the endpoint's own key, which is in no file of several keys."""


@dataclass(frozen=True)
class IssuedKeys:
    """Lists, adds and removes keys. The file has their hashes; changes take effect without a restart."""

    endpoint: str
    file: Path
    lock: Path
    usage: Path | None
    """Where the endpoint's servers count what each key uses."""

    def list(self) -> "list[ApiKey]":
        """Returns the keys of the file, expired ones too.

        Raises:
            DocumentError: the file can't be read.
        """
        return read_key_file(self.file)

    def used_today(self) -> dict[str, int]:
        """Returns name -> tokens used since midnight UTC.

        Raises:
            KitError: the servers' file can't be read.
        """
        try:
            return tokens_of_day(self.usage, utc_text(time.time())[:10]) if self.usage else {}
        except sqlite3.Error as e:
            fix = f"remove {self.usage}*: the servers make a new one, and count from zero"
            raise KitError(f"can't be read: {e}", where=str(self.usage), fix=fix) from None

    def add(self, key: ApiKey) -> None:
        """Adds a key.

        Raises:
            RefusedError: there is one of this name, or there are too many keys.
        """
        with self._changing() as keys:
            if key.name == OWN_KEY:
                raise RefusedError("is the name of the endpoint's own key", where=key.name, fix="choose another name")
            if any(each.name == key.name for each in keys):
                fix = f"choose another name, or `llmops keys api revoke {key.name}` first"
                raise RefusedError(f"there is a key {key.name}", where=str(self.file), fix=fix)
            keys.append(key)

    def remove(self, name: str) -> ApiKey:
        """Removes a key, and returns it.

        Raises:
            NotFoundError: there is none of this name.
        """
        with self._changing() as keys:
            found = next((key for key in keys if key.name == name), None)
            if not found:
                names = [key.name for key in keys]
                there = f"there are: {', '.join(names)}" if names else "`llmops keys api issue` makes one"
                fix = did_you_mean(name, names) or there
                raise NotFoundError(f"endpoint {self.endpoint} has no key {name}", where=str(self.file), fix=fix)
            keys.remove(found)
        return found

    @contextmanager
    def _changing(self) -> "Iterator[list[ApiKey]]":
        """Yields the file's keys, and writes what has become of them; one process at a time."""
        from llmops_kit.local_runtime.files import locked, write_atomic

        with locked(self.lock):
            keys = self.list()
            yield keys
            document = KeyFile.new(keys=keys).model_dump(mode="json", by_alias=True, exclude_defaults=True)
            text = json.dumps(document, indent=2) + "\n"
            if len(text) > MOST_FILE_BYTES:
                what = f"would have more than {MOST_FILE_BYTES} bytes, which servers refuse"
                raise RefusedError(what, where=str(self.file), fix="revoke keys that have expired first")
            write_atomic(self.file, text)
