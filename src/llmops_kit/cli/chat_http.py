"""Sends chat requests over the OpenAI API with the standard library's HTTP client, which imports quickly."""

import base64
import http.client
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from llmops_kit.core.errors import BusyError, KitError
from llmops_kit.core.twins import is_loopback

_TIMEOUT_S = 300
_DATA = b"data:"
PASSING = frozenset({429, 503})
"""Statuses of an endpoint that is overloaded or starting: a retry of the request may succeed."""

Refused = Callable[[http.client.HTTPResponse], KitError]


def ask(
    url: str, key: str, request: dict[str, Any], *, where: str = "", refused: Refused | None = None
) -> Iterator[dict[str, Any]]:
    """Sends a chat request; yields the answer, or its chunks as they arrive if `request["stream"]` is true.

    Closing the iterator closes the connection, which stops the generation.

    Args:
        url: the endpoint's base URL, without /v1.
        key: its API key.
        request: the body of /v1/chat/completions.
        where: name of the endpoint in errors; empty: its URL.
        refused: returns the error for a status other than 200; None: that of the kit's own server.

    Raises:
        BusyError: it accepts no request at the moment; nothing of the answer has arrived.
        KitError: not reachable, or a status other than 200, with the server's message.
    """
    connection, path = connect(url)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    try:
        connection.request("POST", f"{path}/v1/chat/completions", json.dumps(request).encode(), headers)
        with connection.getresponse() as response:
            if response.status != 200:
                raise refused(response) if refused else _refusal(url, response)
            if not request.get("stream"):
                yield json.loads(response.read())
                return
            yield from events(where or url, response)
    except http.client.IncompleteRead as e:
        raise _cut_off(where or url) from e
    except (OSError, http.client.HTTPException) as e:
        raise KitError(
            f"does not answer: {e or type(e).__name__}",
            where=where or url,
            fix="`llmops status` shows the endpoint, `llmops logs` its output; `llmops up` restores it",
        ) from e
    finally:
        connection.close()


def events(where: str, lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yields the chunks of a streamed answer, parsed from its lines.

    Raises:
        KitError: it was cut off, or ended with an error in OpenAI's format.
    """
    for line in lines:
        if not line.startswith(_DATA):
            continue
        data = line[len(_DATA) :].strip()
        if data == b"[DONE]":
            return
        try:
            chunk = json.loads(data)
        except ValueError as e:  # the connection ended within the line
            raise _cut_off(where) from e
        if error := chunk.get("error"):
            raise KitError(f"broke off: {error.get('message', error)}", where=where, fix="`llmops logs` says more")
        yield chunk
    raise _cut_off(where)


def loaded_model(url: str) -> str:
    """Returns the identity of the model version that a server reports; empty while it is not ready."""
    connection, path = connect(url, timeout_s=5)
    try:
        connection.request("GET", f"{path}/ping")
        with connection.getresponse() as response:
            return str(json.loads(response.read())["sha256"]) if response.status == 200 else ""
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return ""
    finally:
        connection.close()


def connect(url: str, timeout_s: float = _TIMEOUT_S) -> tuple[http.client.HTTPConnection, str]:
    """Returns an unopened connection to a base URL, and the path to request through it.

    It uses the proxy in HTTPS_PROXY or HTTP_PROXY, unless NO_PROXY or the system's settings exclude the host. Requests
    to this machine never use a proxy.

    Raises:
        KitError: the proxy's address can't be used.
    """
    parts, proxy = urlsplit(url), _proxy(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    path = parts.path.rstrip("/")
    if proxy is None:
        return kind(parts.hostname or "", parts.port, timeout=timeout_s), path
    connection = kind(proxy.hostname or "", proxy.port or 80, timeout=timeout_s)
    headers = {}
    if proxy.username is not None:
        credentials = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        headers["Proxy-Authorization"] = f"Basic {base64.b64encode(credentials.encode()).decode()}"
    # Always through a tunnel: its headers reach the proxy only.
    connection.set_tunnel(parts.hostname or "", parts.port, headers)
    return connection, path


def _proxy(url: str) -> SplitResult | None:
    parts = urlsplit(url)
    found = getproxies().get(parts.scheme, "")
    if not found or is_loopback(url) or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    proxy = urlsplit(found if "://" in found else f"http://{found}")
    if proxy.scheme != "http" or not proxy.hostname:
        raise KitError(
            "is not a proxy that can be used",  # not repeated: it may hold a password
            where=f"{parts.scheme.upper()}_PROXY",
            fix="write http://HOST:PORT; connections through it to https:// addresses stay encrypted",
        )
    return proxy


def refusal_words(response: http.client.HTTPResponse) -> str:
    """Returns the message of an error response: that of an error in OpenAI's format, or the beginning of its text."""
    body = response.read(65536)
    try:
        error = json.loads(body)["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")[:200] or response.reason


def _cut_off(where: str) -> KitError:
    return KitError("the answer was cut off before its end", where=where, fix="ask again; `llmops logs` says more")


def _refusal(url: str, response: http.client.HTTPResponse) -> KitError:
    fixes = {
        401: "the key is the one in the file that `llmops status --json` names",
        429: "it is busy: try again in a moment",
        503: "it is not ready: `llmops status` shows why",
    }
    kind = BusyError if response.status in PASSING else KitError
    words = refusal_words(response)
    return kind(f"answers {response.status}: {words}", where=url, fix=fixes.get(response.status, ""))
