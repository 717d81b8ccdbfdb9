"""Authenticates callers by API keys with rates and budgets, or trusts a platform that has authenticated them."""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from llmops_kit.core.errors import DocumentError, ServingError
from llmops_kit.core.key_file import KEY_FILE_EXAMPLE, ApiKey, WatchedKeyFile
from llmops_kit.core.network.api_key import authorized_digest, key_digest
from llmops_kit.serving.errors import ApiError
from llmops_kit.serving.log import say
from llmops_kit.serving.server_settings import ServerSettings

_MINUTE = 60.0
_LONGEST_RETRY = 3600


@dataclass
class Caller:
    """A key with its usage."""

    key: ApiKey
    _tokens: int = 0
    _day: str = ""
    _allowance: float = -1.0  # requests that are allowed at once; -1: not used yet
    _last: float = field(default=0.0, repr=False)

    @property
    def name(self) -> str:
        """The caller's name in the log and in metrics."""
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
    """Checks the Authorization header. Reads a file of keys again whenever it has changed."""

    def __init__(self, settings: ServerSettings) -> None:
        """Reads the keys.

        Raises:
            ServingError: the file of keys can't be used.
        """
        self._by_platform = settings.auth == "platform"
        self.anybody = Caller(ApiKey(name="anybody", sha256="0" * 64))
        """The caller of requests that need no key."""
        self._scrape = [key_digest(settings.metrics_key)] if settings.metrics_key else []
        own = (ApiKey(name="default", sha256=key_digest(settings.api_key)),) if settings.api_key else ()
        self._file = WatchedKeyFile(settings.api_keys_file, own) if settings.api_keys_file else None
        self._callers: dict[str, Caller] = {}
        try:
            if self._file:
                self._file.renew()
        except DocumentError as e:
            where = f"LLMOPS_API_KEYS_FILE={settings.api_keys_file}"
            raise ServingError(str(e), where=where, fix=f"write {KEY_FILE_EXAMPLE}") from None
        self._take(self._file.keys if self._file else own)

    @property
    def count(self) -> int:
        """Number of accepted keys."""
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
        if not self._file:
            return
        try:
            if self._file.renew():
                self._take(self._file.keys)
                say(f"{self._file.path}: {self.count} keys")
        except DocumentError as e:
            say(f"{self._file.path}: {e}; its {self.count} previous keys stay valid")

    def _take(self, keys: Iterable[ApiKey]) -> None:
        """Replaces the keys; usage is kept by a key's name."""
        counts = {caller.name: caller for caller in self._callers.values()}
        callers: dict[str, Caller] = {}
        for key in keys:
            caller = counts.get(key.name) or Caller(key)
            caller.key = key
            callers[key.sha256] = caller
        self._callers = callers


def _unauthorized() -> ApiError:
    what = "send the endpoint's API key as `Authorization: Bearer <key>`"
    return ApiError(401, what, code="invalid_api_key")


def _until_midnight() -> int:
    now = datetime.now(UTC)
    left = 86_400 - (now.hour * 3600 + now.minute * 60 + now.second)
    return min(_LONGEST_RETRY, max(1, left))
