"""File of several API keys, which servers and the router read again whenever it changes."""

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from llmops_kit.core.document import Document, Part, parse_json
from llmops_kit.core.errors import DocumentError
from llmops_kit.core.expiry import Expiry

KEY_FILE_EXAMPLE = '{"schema": "keys/1", "keys": [{"name": ..., "sha256": ...}]}'
MOST_FILE_BYTES = 1 << 20
"""Of a file of keys: more are not read."""


class ApiKey(Part):
    """An API key in a server's key file: its digest, and its limits."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="Name of its user in the log.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Of the key, in hex: the file holds no key itself.")
    owner: str = Field(default="", max_length=200, description="Who answers for the key.")
    expires: Expiry = ""
    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    tokens_per_day: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Of prompts and answers together, from midnight UTC."
    )

    def has_expired(self, now: str) -> bool:
        """Returns whether the key is no longer accepted.

        Args:
            now: by `llmops_kit.core.expiry.utc_text`.
        """
        return bool(self.expires) and self.expires <= now


class KeyFile(Document):
    """The content of LLMOPS_API_KEYS_FILE."""

    SCHEMA: ClassVar[str] = "keys/1"

    keys: list[ApiKey]


class WatchedKeyFile:
    """The keys of a file, which is read again when it has changed."""

    def __init__(self, path: Path, own: tuple[ApiKey, ...] = ()) -> None:
        """Reads nothing yet; `own` are keys beside those of the file."""
        self.path = path
        self.keys = list(own)
        """The keys of the last complete file, after `own`."""
        self._own = own
        self._state: tuple[int, ...] | None = None

    def renew(self) -> bool:
        """Reads the file if it has changed since the last call; returns whether it had.

        Raises:
            DocumentError: it holds no complete document; the keys stay unchanged.
        """
        if (state := _state(self.path)) == self._state:
            return False
        self._state = state
        self.keys = [*self._own, *read_key_file(self.path, self._own)]
        return True


def read_key_file(path: Path, own: tuple[ApiKey, ...] = ()) -> list[ApiKey]:
    """Returns the keys of a file. It is JSON, because a truncated JSON file is invalid, while a truncated YAML file may
    not be.

    Raises:
        DocumentError: it can't be read, is not a key file, or has a name or key twice, those of `own` included.
    """
    where = str(path)
    try:
        with path.open("rb") as file:
            content = file.read(MOST_FILE_BYTES + 1)
        parse_json(content, where)
    except OSError as e:
        raise DocumentError(f"can't be read: {e.strerror}", where=where) from None
    except ValueError as e:
        raise DocumentError(f"is not JSON: {e}", where=where) from None
    if len(content) > MOST_FILE_BYTES:
        raise DocumentError(f"has more than {MOST_FILE_BYTES} bytes", where=where, fix="use fewer keys")
    found = KeyFile.parse(content, where).keys
    for name in ("name", "sha256"):
        values = [getattr(key, name) for key in (*own, *found)]
        if twice := next((v for v in values if values.count(v) > 1), None):
            raise DocumentError(f"has {name} {twice!r} twice", where=where, fix="give each key its own")
    return found


def _state(path: Path) -> tuple[int, ...]:
    """Returns a value that changes whenever the file does; empty if it is missing."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_size, status.st_ino
