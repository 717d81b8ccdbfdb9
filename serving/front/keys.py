"""Authentication of callers: API keys with their rates and budgets, or a platform that has already authenticated
them.
"""

import math
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from contract.api_key import authorized_digest, key_digest
from contract.documents.document import Document, Part, parse_json
from contract.errors import DocumentError, ServingError
from serving.errors import ApiError
from serving.log import say
from serving.settings import ServerSettings

_MOST_FILE_BYTES = 1 << 20
_MINUTE = 60.0
_LONGEST_RETRY = 3600


class ApiKey(Part):
    """One key of the file."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="What the log calls its user.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Of the key, in hex: the file holds no key itself.")
    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    tokens_per_day: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="Of prompts and answers together, from midnight UTC; counted by each server for itself.",
    )


class KeyFile(Document):
    """The content of LLMOPS_API_KEYS_FILE."""

    SCHEMA: ClassVar[str] = "keys/1"

    keys: list[ApiKey]


@dataclass
class Caller:
    """A key with its usage."""

    key: ApiKey
    _tokens: int = 0
    _day: str = ""
    _allowance: float = -1.0  # requests that may come at once; -1: not used yet
    _last: float = field(default=0.0, repr=False)

    @property
    def name(self) -> str:
        """The key's name."""
        return self.key.name

    def begin(self) -> None:
        """Counts a request.

        Raises:
            ApiError: 429, the key's rate limit or budget is exhausted.
        """
        if (budget := self.key.tokens_per_day) and self._used() >= budget:
            what = f"the key's {budget} tokens of this day are used up"
            raise ApiError(429, what, code="token_budget_exceeded", retry_after=_until_midnight())
        if not (rate := self.key.requests_per_minute):
            return
        now = time.monotonic()
        allowance = rate if self._allowance < 0 else self._allowance + (now - self._last) * rate / _MINUTE
        self._allowance, self._last = min(allowance, rate), now
        if self._allowance < 1:
            retry = math.ceil((1 - self._allowance) * _MINUTE / rate)
            what = f"the key has {rate} requests a minute"
            raise ApiError(429, what, code="rate_limit_exceeded", retry_after=retry)
        self._allowance -= 1

    def count(self, tokens: int) -> None:
        """Subtracts tokens from the day's budget."""
        self._tokens = self._used() + tokens

    def _used(self) -> int:
        today = datetime.now(UTC).date().isoformat()
        if self._day != today:
            self._day, self._tokens = today, 0
        return self._tokens


class Keys:
    """Checks the Authorization header. A file of keys is read again whenever it has changed."""

    def __init__(self, settings: ServerSettings) -> None:
        """Reads the keys.

        Raises:
            ServingError: the file of keys can't be used.
        """
        self._by_platform = settings.auth == "platform"
        self.anybody = Caller(ApiKey(name="anybody", sha256="0" * 64))
        """Who asks where no key is needed."""
        self._scrape = [key_digest(settings.metrics_key)] if settings.metrics_key else []
        self._own = [ApiKey(name="default", sha256=key_digest(settings.api_key))] if settings.api_key else []
        self._file = settings.api_keys_file
        self._state: tuple[int, ...] = ()
        self._callers: dict[str, Caller] = {}
        if not self._file:
            self._take(self._own)
        else:
            self._state = _state(self._file)
            try:
                self._take(_read(self._file, self._own))
            except DocumentError as e:
                fix = 'write {"schema": "keys/1", "keys": [{"name": ..., "sha256": ...}]}'
                raise ServingError(str(e), where=f"LLMOPS_API_KEYS_FILE={self._file}", fix=fix) from None

    @property
    def count(self) -> int:
        """The number of keys."""
        return len(self._callers)

    def check(self, header: str) -> Caller:
        """Returns the caller of a request.

        Raises:
            ApiError: 401, without saying what was wrong with the key.
        """
        if self._by_platform:
            return self.anybody
        self._renew()
        if not (digest := authorized_digest(header, self._callers)):
            raise _unauthorized()
        return self._callers[digest]

    def check_scrape(self, header: str) -> Caller:
        """Authorizes a request for /metrics: by the scrape key if there is one, otherwise by any key.

        Raises:
            ApiError: 401.
        """
        if not self._scrape:
            return self.check(header)
        if not authorized_digest(header, self._scrape):
            raise _unauthorized()
        return self.anybody

    def _renew(self) -> None:
        if not self._file or (state := _state(self._file)) == self._state:
            return
        self._state = state
        try:
            self._take(_read(self._file, self._own))
        except DocumentError as e:
            say(f"{self._file}: {e}; the {self.count} keys that it had go on")
        else:
            say(f"{self._file}: {self.count} keys")

    def _take(self, keys: list[ApiKey]) -> None:
        """Replaces the keys; usage is kept by a key's name."""
        counts = {caller.name: caller for caller in self._callers.values()}
        callers: dict[str, Caller] = {}
        for key in keys:
            caller = counts.get(key.name) or Caller(key)
            caller.key = key
            callers[key.sha256] = caller
        self._callers = callers


def _state(path: Path) -> tuple[int, ...]:
    """Returns a value that changes whenever the file does; empty if it is missing."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read(path: Path, own: list[ApiKey]) -> list[ApiKey]:
    """Returns `own` and the keys of a file. It is JSON, because a truncated JSON file is invalid, while a truncated
    YAML file may not be.
    """
    where = str(path)
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_FILE_BYTES + 1)
        parse_json(content, where)
    except OSError as e:
        raise DocumentError(f"can't be read: {e.strerror}", where=where) from None
    except ValueError as e:
        raise DocumentError(f"is not JSON: {e}", where=where) from None
    if len(content) > _MOST_FILE_BYTES:
        raise DocumentError(f"has more than {_MOST_FILE_BYTES} bytes", where=where, fix="use fewer keys")
    keys = [*own, *KeyFile.parse(content, where).keys]
    for name in ("name", "sha256"):
        values = [getattr(key, name) for key in keys]
        if twice := next((v for v in values if values.count(v) > 1), None):
            raise DocumentError(f"has {name} {twice!r} twice", where=where, fix="give each key its own")
    return keys


def _unauthorized() -> ApiError:
    what = "send the endpoint's API key as `Authorization: Bearer <key>`"
    return ApiError(401, what, code="invalid_api_key")


def _until_midnight() -> int:
    now = datetime.now(UTC)
    left = 86_400 - (now.hour * 3600 + now.minute * 60 + now.second)
    return min(_LONGEST_RETRY, max(1, left))
