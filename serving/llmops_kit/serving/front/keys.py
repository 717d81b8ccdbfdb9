"""Authenticates callers by API keys with rates and budgets, or trusts a platform that has authenticated them."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from llmops_kit.core.errors import DocumentError, ServingError
from llmops_kit.core.expiry import utc_text
from llmops_kit.core.key_file import KEY_FILE_EXAMPLE, ApiKey, WatchedKeyFile
from llmops_kit.core.network.api_key import authorized_digest, key_digest
from llmops_kit.core.network.key_usage import KeyUsage
from llmops_kit.serving.errors import ApiError
from llmops_kit.serving.log import say
from llmops_kit.serving.server_settings import ServerSettings

_INVALID = "invalid_api_key"
_UNAUTHORIZED = "send a valid API key of the endpoint as `Authorization: Bearer <key>`"
_LONGEST_RETRY = 3600
_DAY = 86_400


class ExpiredKeyError(ApiError):
    """Error for a key that has expired: the same as for an unknown one, with the key's name for the log."""

    def __init__(self, name: str) -> None:
        super().__init__(401, _UNAUTHORIZED, code=_INVALID)
        self.name = name


@dataclass(frozen=True)
class Caller:
    """A key, and where its use is counted."""

    key: ApiKey
    usage: KeyUsage
    clock: Callable[[], float]

    @property
    def name(self) -> str:
        """The caller's name in the log and in metrics."""
        return self.key.name

    def begin(self) -> None:
        """Counts a request.

        Raises:
            ApiError: 429, the key's rate limit or budget is exhausted.
        """
        now = self.clock()
        if (budget := self.key.tokens_per_day) and self.usage.tokens(self.name, _day(now)) >= budget:
            what = f"the key's {budget} tokens of this day are used up"
            retry = min(_LONGEST_RETRY, math.ceil(_DAY - now % _DAY))
            raise ApiError(429, what, code="token_budget_exceeded", retry_after=retry)
        rate = self.key.requests_per_minute
        if rate and (wait := self.usage.take(self.name, rate, now)):
            what = f"the key has {rate} requests a minute"
            raise ApiError(429, what, code="rate_limit_exceeded", retry_after=math.ceil(wait))

    def count(self, tokens: int) -> None:
        """Adds tokens to those of this day."""
        if tokens:
            self.usage.add(self.name, _day(self.clock()), tokens)


class Keys:
    """Checks the Authorization header. Reads a file of keys again whenever it has changed."""

    def __init__(self, settings: ServerSettings, clock: Callable[[], float] = time.time) -> None:
        """Reads the keys.

        Args:
            settings: name the files.
            clock: returns the seconds since 1970.

        Raises:
            ServingError: the file of keys can't be used.
        """
        self._by_platform = settings.auth == "platform"
        self._clock = clock
        self._usage = KeyUsage(settings.usage_file, say)
        self.anybody = Caller(ApiKey(name="anybody", sha256="0" * 64), KeyUsage(None, say), clock)
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
            ApiError: 401, without saying what was wrong with the key; ExpiredKeyError if it has expired.
        """
        if self._by_platform:
            return self.anybody
        self._renew()
        if not (digest := authorized_digest(header, self._callers)):
            raise _unauthorized()
        caller = self._callers[digest]
        if caller.key.has_expired(utc_text(self._clock())):
            raise ExpiredKeyError(caller.name)
        return caller

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
        self._callers = {key.sha256: Caller(key, self._usage, self._clock) for key in keys}


def _unauthorized() -> ApiError:
    return ApiError(401, _UNAUTHORIZED, code=_INVALID)


def _day(now: float) -> str:
    return utc_text(now)[:10]
