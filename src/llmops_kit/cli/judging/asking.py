"""Sends requests to OpenAI-compatible servers; retries after the time that a busy server asks for."""

import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPResponse
from typing import Any, TypeVar

from llmops_kit.cli.chat_http import ask, refusal_words
from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.core.errors import BusyError, KitError

STREAMS = 4
"""Number of concurrent requests to a server."""
_ATTEMPTS = 8
_LONGEST_S = 300.0
"""Longest wait: a server that asks for more, as with an exhausted daily quota, is not waited for."""
_TOO_MANY, _FAULTS = 429, 500  # statuses from _FAULTS on are faults of the server, or of a proxy
T = TypeVar("T")
R = TypeVar("R")


def ask_patiently(
    url: str,
    key: str,
    request: dict[str, Any],
    fix: str,
    say: Say,
    sleep: Callable[[float], object] = time.sleep,
) -> dict[str, Any]:
    """Sends a chat request; retries it up to 8 times in all if a busy or failing server refuses (429, 5xx).

    Waits as Retry-After says (RFC 9110, 10.2.3), otherwise doubles the wait each time, starting with about a second.

    Args:
        url: the server's base URL, without /v1.
        key: its API key; empty: none is sent.
        request: the body of /v1/chat/completions.
        fix: of the error if the server refuses.
        say: called before a wait.
        sleep: waits.

    Returns:
        The reply.

    Raises:
        BusyError: the server is still busy, or asks for a wait of more than 5 minutes.
        KitError: the server can't be reached, or refuses for another reason.
    """
    waits = 0.0

    def refused(response: HTTPResponse) -> KitError:
        nonlocal waits
        passing = response.status == _TOO_MANY or response.status >= _FAULTS
        waits = _seconds(response.headers.get("Retry-After", ""))
        return (BusyError if passing else KitError)(
            f"answers {response.status}: {refusal_words(response)}", where=url, fix=fix
        )

    for attempt in range(1, _ATTEMPTS + 1):
        try:
            (reply,) = ask(url, key, request, refused=refused)
        except BusyError as e:
            if attempt == _ATTEMPTS or waits > _LONGEST_S:
                raise
            waits = waits if waits >= 0 else 2 ** (attempt - 1) * random.uniform(0.75, 1.25)
            say(f"{e.where} {e.what}; asked again in {waits:.0f} s")
            sleep(waits)
        else:
            return reply
    raise AssertionError


def request_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns a row's messages as clients send them: the arguments of calls are a text, and each result names its call.

    Args:
        messages: of a checked row, whose results follow their calls. Calls without an id get one.
    """
    sent: list[dict[str, Any]] = []
    unanswered: list[dict[str, Any]] = []
    for message in map(dict, messages):
        calls = [
            {"id": f"call_{len(sent)}_{n}", **call, "function": _with_text_arguments(call["function"])}
            for n, call in enumerate(message.get("tool_calls") or ())
        ]
        if calls:
            message["tool_calls"] = calls
            unanswered = list(calls)
        elif message["role"] == "tool":
            own, name = message.get("tool_call_id"), message.get("name")
            fitting = [call for call in unanswered if call["id"] == own]
            call = (fitting or [call for call in unanswered if call["function"]["name"] == name])[0]
            unanswered.remove(call)
            message["tool_call_id"] = call["id"]
        sent.append(message)
    return sent


def _with_text_arguments(function: Mapping[str, Any]) -> dict[str, Any]:
    return {**function, "arguments": json.dumps(function["arguments"], ensure_ascii=False)}


def reply_message(reply: dict[str, Any], url: str) -> dict[str, Any]:
    """Returns the first choice's message of a chat completion.

    Args:
        reply: the API's whole response.
        url: where it came from, for the error.

    Raises:
        KitError: it has none.
    """
    try:
        message = reply["choices"][0]["message"]
        if isinstance(message, dict):
            return message
    except (KeyError, IndexError, TypeError):
        pass
    raise KitError("answers without `choices`", where=url, fix="check that it is an OpenAI API")


def at_once(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yields the result of `work` for each item, in their order, STREAMS at a time; starts nothing more after an
    error.
    """
    with ThreadPoolExecutor(STREAMS) as pool:
        try:
            yield from pool.map(work, items)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _seconds(text: str) -> float:
    """Returns the seconds that Retry-After asks for, given in seconds or as a date; negative if it can't be parsed."""
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):  # not a date, or one without a time zone
        return -1.0
