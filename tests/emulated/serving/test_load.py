"""A server and a router under more than they take: malformed requests by the thousand, ten times the load, the end."""

import asyncio
import http.client
import os
import random
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from llmops_kit.core.network.api_key import key_digest
from tests.support.servers.malformed import first_statuses, malformed_request
from tests.support.servers.router import RouterProcess
from tests.support.servers.serving import API_KEY, ServingProcess, text_of, until

MALFORMED = 10_000


@pytest.mark.scorecard("malformed", "rss-flat")
@pytest.mark.parametrize("kind", ["server", "router"])
def test_10000_malformed_requests(shared_server: ServingProcess, tmp_path: Path, kind: str) -> None:
    process, port, log, router = shared_server.process, shared_server.port, shared_server.log, None
    try:
        if kind == "router":
            router = RouterProcess(tmp_path / "router", shared_server.url, key_digest(API_KEY))
            process, port, log = router.process, router.port, router.log
        generator = random.Random(12)
        requests = [malformed_request(generator) for _ in range(MALFORMED)]
        warm = asyncio.run(first_statuses(port, iter(requests[: MALFORMED // 4])))
        memory = psutil.Process(process.pid).memory_info().rss
        found = warm + asyncio.run(first_statuses(port, iter(requests[MALFORMED // 4 :])))
        assert found.total() == MALFORMED
        assert {400, 401, 431} <= found.keys()
        assert psutil.Process(process.pid).memory_info().rss < 1.05 * memory
        assert "Traceback" not in log.read_text()
        until(lambda: shared_server.metric("llmops_running") == 0)
        assert shared_server.chat(max_tokens=2)[0] == 200
    finally:
        if router:
            router.kill()


# --- overload

ROOM = 4
HEAD = f"POST /invocations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {API_KEY}\r\nContent-Length: 1000\r\n\r\n"


def _refused(port: int) -> http.client.HTTPResponse:
    """The answer to a request whose body never comes."""
    with socket.create_connection(("127.0.0.1", port), timeout=600) as sock:
        sock.sendall(HEAD.encode())
        response = http.client.HTTPResponse(sock)
        response.begin()
        response.read()
        return response


@pytest.mark.scorecard("overload")
def test_ten_times_the_load_is_refused_unread_and_whoever_was_accepted_is_answered(
    serve: Callable[..., ServingProcess],
) -> None:
    """The engine stands still while all places are taken. How fast it goes, says `python -m bench.overload`."""
    server = serve(LLMOPS_MAX_RUNNING="2", LLMOPS_MAX_QUEUE="2", LLMOPS_READ_SECONDS="600").wait_ready()
    alone = text_of(server.chat(max_tokens=30)[1])

    def whole() -> str:
        with server.stream(max_tokens=60) as events:
            *pieces, end = events
        assert end == "[DONE]"
        return "".join(piece["choices"][0]["delta"].get("content") or "" for piece in pieces)

    os.kill(server.engine_pid(), signal.SIGSTOP)
    with ThreadPoolExecutor(10 * ROOM) as pool:
        held = [pool.submit(whole) for _ in range(ROOM)]
        until(lambda: (server.metric("llmops_running"), server.metric("llmops_queue_length")) == (2, 2))
        refusals = list(pool.map(_refused, [server.port] * 9 * ROOM))
        os.kill(server.engine_pid(), signal.SIGCONT)
        assert {answer.status for answer in refusals} == {429}
        assert all(1 <= int(answer.headers["Retry-After"]) <= 60 for answer in refusals)
        texts = {each.result() for each in held}
        assert len(texts) == 1
        assert texts.pop().startswith(alone)
        answers = list(pool.map(lambda _: server.chat(max_tokens=30), range(10 * ROOM)))
    assert {status for status, _ in answers} <= {200, 429}
    assert {text_of(answer) for status, answer in answers if status == 200} == {alone}
    until(lambda: server.metric("llmops_running") == 0)


# --- the end


@pytest.mark.scorecard("sigterm-streams")
def test_sigterm_with_50_streams_completes_or_tells_each(serve: Callable[..., ServingProcess]) -> None:
    server = serve(LLMOPS_MAX_RUNNING="50", LLMOPS_DRAIN_SECONDS="0.5", LLMOPS_LAME_DUCK_SECONDS="0").wait_ready()

    def ends(tokens: int) -> Any:
        with server.stream(max_tokens=tokens) as events:
            return list(events)[-1]

    with ThreadPoolExecutor(50) as pool:
        asked = [pool.submit(ends, 40 if i % 2 else 1900) for i in range(50)]
        # A busy machine would not end a short one in the time to drain.
        until(lambda: any(a.done() for a in asked))
        server.process.send_signal(signal.SIGTERM)
        last = [a.result() for a in asked]
    told = [end for end in last if end != "[DONE]"]
    assert all("the server stops" in end["error"]["message"] for end in told)
    assert 0 < len(told) < 50
    assert server.process.wait(120) == 0
