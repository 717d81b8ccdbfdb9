"""Calls to Azure Resource Manager as Pulumi's azure-native plugin makes them: tokens, retries, long operations.

How long operations are polled: https://learn.microsoft.com/en-us/azure/azure-resource-manager/management/async-operations
"""

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

from twins.plugins.plugin import ProviderError

RETRIED = (408, 429, 500, 502, 503, 504)
RETRY_SECONDS = (20.0, 60.0, 120.0)
PUT_POLL_SECONDS, DELETE_POLL_SECONDS = 10.0, 30.0
FIRST_POLL_SECONDS, LONGEST_QUICK_POLL_SECONDS = 0.02, 0.5
"""Between looks where waits are shortened."""
TIMEOUT_SECONDS = 7200.0
IDLE_SECONDS = 60.0
_ANSWER_SECONDS = 120
_ENDED = ("succeeded", "failed", "canceled", "cancelled")
_BUSY = ("AnotherOperationInProgress", "StorageAccountOperationInProgress")
"""Conflicts that pass: https://github.com/pulumi/pulumi-azure-native/pull/4497."""


class ArmError(ProviderError):
    """An answer that refuses, in the plugin's words."""

    def __init__(self, status: int, code: str, message: str) -> None:
        told = f'Status={status} Code="{code}"' if code else f"Status={status}"
        super().__init__(f'{told} Message="{message}"')
        self.status = status
        self.code = code


class AcceptedError(ProviderError):
    """A PUT was accepted, but did not end well: the resource is there in part."""


@dataclass(frozen=True)
class Answer:
    """Of a server."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name."""
    body: Any
    text: str = ""

    def error(self) -> ArmError:
        """The refusal that it is."""
        told = self.body.get("error") if isinstance(self.body, dict) else None
        told = told if isinstance(told, dict) else {}
        code = self.headers.get("x-ms-error-code") or told.get("code") or ""
        return ArmError(self.status, code, told.get("message") or self.text)


@dataclass
class Waiting:
    """How one operation waits: until when, and whether anybody still wants it."""

    until: float
    wanted: Callable[[], bool] = lambda: True

    @classmethod
    def of(cls, seconds: float, wanted: Callable[[], bool]) -> "Waiting":
        """For so many seconds from now; 0: the plugin's two hours."""
        return cls(time.monotonic() + (seconds or TIMEOUT_SECONDS), wanted)

    def sleep(self, seconds: float) -> None:
        """Wait.

        Raises:
            ProviderError: the time is over, or nobody waits any more.
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if time.monotonic() > self.until:
                raise ProviderError("operation timed out")
            if not self.wanted():
                raise ProviderError("context canceled")
            time.sleep(min(left, 0.2))


class Connections:
    """Kept connections to several hosts, over TLS that is verified. For several threads."""

    _all: ClassVar["weakref.WeakSet[Connections]"] = weakref.WeakSet()
    """Each command of the engine configures anew: what earlier ones have left open is closed then."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._idle: dict[str, deque[tuple[http.client.HTTPConnection, float]]] = {}
        self._lock = threading.Lock()
        for other in list(self._all):
            other.close(IDLE_SECONDS)
        self._all.add(self)

    def close(self, idle_seconds: float = 0.0) -> None:
        """Close the connections that nobody has used for so long."""
        since = time.monotonic() - idle_seconds
        with self._lock:
            for idle in self._idle.values():
                while idle and idle[0][1] <= since:
                    idle.popleft()[0].close()

    def call(self, method: str, url: str, headers: Mapping[str, str], data: bytes | None) -> Answer:
        """One exchange. A kept connection that the server has closed meanwhile is made anew.

        Raises:
            OSError: there is no answer.
        """
        parts = urlsplit(url)
        target = urlunsplit(("", "", parts.path or "/", parts.query, ""))
        while True:
            connection, kept = self._take(parts.scheme, parts.netloc)
            try:
                connection.request(method, target, body=data, headers=dict(headers))
                answer = connection.getresponse()
                text = answer.read().decode("utf-8", "replace")
            except (http.client.HTTPException, OSError) as error:
                connection.close()
                if kept and isinstance(error, ConnectionError | http.client.BadStatusLine):
                    continue
                raise error if isinstance(error, OSError) else OSError(f"{type(error).__name__}: {error}") from error
            if answer.will_close:
                connection.close()
            else:
                with self._lock:
                    self._idle[f"{parts.scheme}://{parts.netloc}"].append((connection, time.monotonic()))
            return Answer(answer.status, {n.lower(): v for n, v in answer.getheaders()}, _json(text), text)

    def _take(self, scheme: str, host: str) -> tuple[http.client.HTTPConnection, bool]:
        with self._lock:
            idle = self._idle.setdefault(f"{scheme}://{host}", deque())
            if idle:
                return idle.pop()[0], True
        made: http.client.HTTPConnection
        if scheme == "https":
            made = http.client.HTTPSConnection(host, timeout=_ANSWER_SECONDS, context=self._context)
        else:
            made = http.client.HTTPConnection(host, timeout=_ANSWER_SECONDS)
        made.connect()
        made.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made, False


@dataclass
class Arm:
    """A subscription's resources.

    Args:
        url: of Resource Manager.
        token: gives a bearer token for an audience.
        pace: how many times quicker than the plugin this one waits between tries and looks.
    """

    url: str
    connections: Connections
    token: Callable[[str], str]
    user_agent: str = ""
    pace: float = 1.0
    audience: str = ""

    def get(self, path: str, version: str, waiting: Waiting) -> dict[str, Any]:
        """What is at a path. Raises: ArmError."""
        answer = self.call("GET", path, {"api-version": version}, None, waiting)
        if answer.status != 200:
            raise answer.error()
        return answer.body or {}

    def post(self, path: str, version: str, body: Any, waiting: Waiting) -> Any:
        """An action's answer. Raises: ArmError."""
        answer = self.call("POST", path, {"api-version": version}, body, waiting)
        if answer.status not in (200, 201):
            raise answer.error()
        return answer.body

    def refuse_existing(self, identity: str, version: str, singleton: bool, waiting: Waiting) -> None:
        """Raises: ProviderError: there is such a resource, or whether there is can't be told."""
        answer = self.call("GET", identity, {"api-version": version}, None, waiting)
        if answer.status in (204, 404) or (answer.status == 200 and (singleton or not answer.body)):
            return
        if answer.status == 200:
            raise ProviderError(f"cannot create already existing resource '{identity}'")
        raise ProviderError(
            f"cannot check existence of resource '{identity}': status code {answer.status}, {answer.text}"
        )

    def put(
        self, identity: str, query: Mapping[str, str], body: Any, waits: bool, waiting: Waiting, method: str = "PUT"
    ) -> dict[str, Any]:
        """Make or change a resource: what the operation ends with.

        Raises:
            ArmError: it was refused.
            AcceptedError: it was accepted, and failed later.
        """
        answer = self.call(method, identity, query, body, waiting)
        if answer.status not in (200, 201, 202):
            raise answer.error()
        if not waits and answer.status != 202:
            return answer.body or {}
        try:
            return self._ended(answer, identity, query, PUT_POLL_SECONDS, waiting) or {}
        except ProviderError as error:
            raise AcceptedError(str(error)) from None

    def delete(self, identity: str, version: str, waits: bool, waiting: Waiting) -> None:
        """Remove a resource; one that is gone is no error. Raises: ArmError."""
        query = {"api-version": version}
        answer = self.call("DELETE", identity, query, None, waiting)
        if answer.status == 404:
            return
        if answer.status not in (200, 202, 204):
            raise answer.error()
        if waits:
            try:
                self._ended(answer, identity, query, DELETE_POLL_SECONDS, waiting, removing=True)
            except ArmError as error:
                if error.status != 404:
                    raise

    def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Any,
        waiting: Waiting,
        *,
        audience: str = "",
    ) -> Answer:
        """One request, tried again where the plugin tries again. `path`: below Resource Manager's URL, or a URL."""
        url = path if "://" in path else f"{self.url.rstrip('/')}/{path.lstrip('/')}"
        if query:
            url += ("&" if "?" in url else "?") + urlencode(sorted(query.items()))
        data = None if body is None else json.dumps(body).encode()
        if method in ("PUT", "POST", "PATCH") and data is None:
            data = b""
        for seconds in (*RETRY_SECONDS, None):
            headers = {"Accept": "application/json", "User-Agent": self.user_agent}
            headers["Authorization"] = f"Bearer {self.token(audience or self.audience)}"
            if data is not None:
                headers["Content-Type"] = "application/json; charset=utf-8"
            try:
                answer = self.connections.call(method, url, headers, data)
            except OSError as error:
                if seconds is None:
                    raise ProviderError(f'{method.capitalize()} "{url}": {error}') from None
                answer = Answer(0, {}, None)
            if seconds is None or not _again(answer):
                return answer
            told = answer.headers.get("retry-after", "")
            waiting.sleep((float(told) if told.isdigit() else seconds) / self.pace)
        raise AssertionError

    def _ended(
        self,
        answer: Answer,
        identity: str,
        query: Mapping[str, str],
        seconds: float,
        waiting: Waiting,
        removing: bool = False,
    ) -> dict[str, Any] | None:
        """Follow an operation to its end. Raises: ArmError."""
        operation = answer.headers.get("azure-asyncoperation", "")
        location = _absolute(self.url, answer.headers.get("location", ""), query.get("api-version", ""))
        if operation:
            self._polled(operation, seconds, waiting, lambda a: _status(a.body))
            if removing:
                return None
            return self.get(identity, query.get("api-version", ""), waiting)
        if location and answer.status in (201, 202):
            return self._polled(location, seconds, waiting, _by_code).body
        if removing:
            return None
        state = _provisioning(answer.body)
        if state and state not in _ENDED:
            url = f"{identity}?{urlencode(query)}"
            return self._polled(url, seconds, waiting, lambda a: _provisioning(a.body) or "succeeded").body
        if state in _ENDED[1:]:
            raise answer.error()
        return answer.body

    def _polled(self, url: str, seconds: float, waiting: Waiting, status: Callable[[Answer], str]) -> Answer:
        wait = FIRST_POLL_SECONDS
        while True:
            answer = self.call("GET", url, {}, None, waiting)
            if answer.status not in (200, 201, 202, 204):
                raise answer.error()
            state = status(answer)
            if state == "succeeded":
                return answer
            if state in _ENDED:
                raise answer.error()
            told = answer.headers.get("retry-after", "")
            longest = (float(told) if told.isdigit() else seconds) / self.pace
            waiting.sleep(min(wait, max(longest, LONGEST_QUICK_POLL_SECONDS)) if self.pace > 1 else longest)
            wait *= 1.5


def _again(answer: Answer) -> bool:
    if answer.status in (0, *RETRIED):
        return True
    return answer.status == 409 and answer.error().code in _BUSY


def _status(body: Any) -> str:
    return str(body.get("status") or "").lower() if isinstance(body, dict) else ""


def _by_code(answer: Answer) -> str:
    if answer.status == 202:
        return ""
    state = _provisioning(answer.body)
    return state or "succeeded"


def _provisioning(body: Any) -> str:
    properties = body.get("properties") if isinstance(body, dict) else None
    return str(properties.get("provisioningState") or "").lower() if isinstance(properties, dict) else ""


def _absolute(base: str, location: str, version: str) -> str:
    """A Location header as a URL with an API version."""
    if not location:
        return ""
    parts = urlsplit(location)
    query = parts.query
    if "api-version" not in parse_qs(query):
        query = f"{query}&" * bool(query) + urlencode({"api-version": version})
    host = urlsplit(base)
    return urlunsplit((parts.scheme or host.scheme, parts.netloc or host.netloc, parts.path, query, ""))


def _json(text: str) -> Any:
    with contextlib.suppress(ValueError):
        return json.loads(text)
    return None
