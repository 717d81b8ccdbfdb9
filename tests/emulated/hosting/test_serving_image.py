"""The real serving image with a small real model, hosted."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import psutil
import pytest
from openai import APIError, OpenAI

from contract.errors import HostingError
from hosting.host import Host
from hosting.images import build
from hosting.spec import EndpointSpec, EndpointState
from tests.support.models import copy_model, tiny_model
from tests.support.serving import API_KEY, sign_version

STREAMS, LONGEST = 6, 1900
"""Answers at once that are killed, and the tokens of each."""


@pytest.fixture(scope="module")
def chatbot(tmp_path_factory: pytest.TempPathFactory) -> EndpointSpec:
    """An endpoint with the tiny model, signed."""
    folder = tmp_path_factory.mktemp("chatbot")
    version = copy_model(tiny_model(), folder / "model")
    identity = sign_version(version, folder)
    (folder / "api.key").write_text(API_KEY)
    return EndpointSpec(
        name="chatbot",
        image=build("serving"),
        folders={
            "/opt/ml/model": str(version),
            "/run/llmops/signing.pub": str(folder / "signing.pub"),
            "/run/llmops/api.key": str(folder / "api.key"),
        },
        environ={
            "LLMOPS_PUBLIC_KEY_FILE": "/run/llmops/signing.pub",
            "LLMOPS_API_KEY_FILE": "/run/llmops/api.key",
            "LLMOPS_MODEL_SHA256": identity,
            "LLMOPS_MODEL_NAME": "tiny@1",
            "LLMOPS_THREADS": "1",
            "LLMOPS_PRECISION": "f32",  # with one thread in bf16 OpenVINO 2026.4.1 divides by zero on some processors
        },
        ready_seconds=120,
    )


def chat(state: EndpointState, tokens: int = 8) -> int:
    """Stream one answer; the number of its pieces."""
    client = OpenAI(base_url=f"{state.url}/v1", api_key=API_KEY, max_retries=0, timeout=60)
    with client:
        pieces = client.chat.completions.create(
            model="tiny@1", messages=[{"role": "user", "content": "Hello"}], max_tokens=tokens, stream=True
        )
        return sum(bool(p.choices and p.choices[0].delta.content) for p in pieces)


class ChatLoad:
    """Streamed answers, 50 asked for a second and at most 64 at once, for as long as the block runs."""

    def __init__(self, url: str) -> None:
        self.answered = 0
        self.failures: list[str] = []
        self._url = url
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> "ChatLoad":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    async def _run(self) -> None:
        headers, room = {"Authorization": f"Bearer {API_KEY}"}, asyncio.Semaphore(64)
        async with aiohttp.ClientSession(headers=headers) as session, asyncio.TaskGroup() as asked:
            while not self._stopped.is_set():
                await room.acquire()
                asked.create_task(self._ask(session)).add_done_callback(lambda _: room.release())
                await asyncio.sleep(1 / 50)

    async def _ask(self, session: aiohttp.ClientSession) -> None:
        body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4, "stream": True}
        try:
            async with session.post(f"{self._url}/v1/chat/completions", json=body) as answer:
                text = await answer.text()
            if answer.status != 200 or not text.endswith("data: [DONE]\n\n"):
                self.failures.append(f"{answer.status} {text}")
        except aiohttp.ClientError as e:
            self.failures.append(repr(e))
        self.answered += 1


def family(state: EndpointState) -> list[psutil.Process]:
    """The worker and its children: the engine runs in a process of its own."""
    worker = psutil.Process(state.variants[0].instances[0].pid)
    return [worker, *worker.children(recursive=True)]


def test_it_answers_and_comes_back_after_kill(
    host: Host, chatbot: EndpointSpec, eventually: Callable[..., None]
) -> None:
    state = host.apply(chatbot)
    assert chat(state) > 1
    worker, *children = family(state)
    assert children
    os.kill(worker.pid, signal.SIGKILL)
    assert chat(state) > 1
    eventually(lambda: not any(c.is_running() and c.status() != psutil.STATUS_ZOMBIE for c in children))
    state = host.state("chatbot")
    assert state.variants[0].instances[0].restarts == 1


def test_its_engine_dies_with_the_supervisor(
    host: Host, chatbot: EndpointSpec, eventually: Callable[..., None]
) -> None:
    processes = family(host.apply(chatbot))
    psutil.Process(host._daemon.pid()).kill()
    eventually(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes))


def test_a_changed_model_is_refused_with_the_servers_own_words(
    host: Host, chatbot: EndpointSpec, tmp_path: Path
) -> None:
    changed: dict[str, Any] = dict(chatbot.folders)
    changed["/opt/ml/model"] = str(copy_model(Path(chatbot.folders["/opt/ml/model"]), tmp_path / "changed"))
    with Path(changed["/opt/ml/model"], "tokenizer.json").open("a") as f:
        f.write(" ")
    with pytest.raises(HostingError, match=r"(?s)ended \d times before it was ready.*tokenizer\.json"):
        host.apply(chatbot.model_copy(update={"folders": changed}))


@pytest.mark.scorecard("rolling-restart", "kill-worker")
def test_under_load_a_rolling_restart_fails_no_request_and_no_kill_ends_a_stream_in_silence(
    host: Host, chatbot: EndpointSpec, eventually: Callable[..., None]
) -> None:
    before = host.apply(chatbot)
    with ChatLoad(before.url) as load:
        eventually(lambda: load.answered > 50)
        state = host.apply(chatbot.model_copy(update={"environ": chatbot.environ | {"LLMOPS_QUALITY_SECONDS": "0"}}))
        answered = load.answered
        eventually(lambda: load.answered > answered + 100)
    assert load.failures == []
    assert state.variants[0].id != before.variants[0].id
    for killed in ("server", "router"):
        pid = state.router_pid if killed == "router" else state.variants[0].instances[0].pid
        with ThreadPoolExecutor(STREAMS) as pool:
            for tokens, complete in pool.map(asked_until_killed, [state.url] * STREAMS, [pid] * STREAMS):
                assert tokens == LONGEST or not complete, f"{tokens} tokens, then nothing: the {killed} was killed"
        eventually(lambda: chats(host.state("chatbot")))
        state = host.state("chatbot")


def asked_until_killed(url: str, pid: int) -> tuple[int, bool]:
    """Kills a process once a stream has begun; the tokens that came, and whether it ended as if it were complete."""
    client = OpenAI(base_url=f"{url}/v1", api_key=API_KEY, max_retries=0, timeout=600)
    asked: Any = {"model": "tiny@1", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": LONGEST}
    tokens = 0
    try:
        with client, client.chat.completions.create(**asked, stream=True) as pieces:
            for piece in pieces:
                if not tokens:
                    with suppress(ProcessLookupError):  # another stream's token came first
                        os.kill(pid, signal.SIGKILL)
                tokens += bool(piece.choices and piece.choices[0].delta.content)
    except (APIError, httpx.TransportError):
        return tokens, False
    return tokens, True


def chats(state: EndpointState) -> bool:
    """Whether it answers."""
    try:
        return chat(state) > 1
    except APIError:
        return False
