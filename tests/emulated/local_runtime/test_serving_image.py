"""The real serving image with a small real model, hosted."""

import http.client
import json
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from openai import OpenAI

from llmops_kit.core.errors import HostingError
from llmops_kit.local_runtime.endpoint import HostedEndpoint
from llmops_kit.local_runtime.host import Host
from llmops_kit.local_runtime.process_images import build
from llmops_kit.local_runtime.spec import EndpointSpec, EndpointState
from tests.support.servers.serving import API_KEY, sign_version
from tests.support.tiny_models.models import copy_model, tiny_encoder, tiny_model


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


class Asker(threading.Thread):
    """Asks for one streamed answer after the other until `stop`, at least for one; `ends`: how each ended."""

    def __init__(self, port: int, tokens: int) -> None:
        super().__init__(daemon=True)
        self.ends: list[str] = []
        self.begun = threading.Event()
        self.stop = threading.Event()
        self._port = port
        fields = {"messages": [{"role": "user", "content": "Hello"}], "stream": True, "max_tokens": tokens}
        self._body = json.dumps(fields | {"ignore_eos": True})
        self.start()

    def run(self) -> None:
        while not self.ends or not self.stop.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
            try:
                self.ends.append(self._ask(connection))
            except (http.client.HTTPException, ConnectionError):
                self.ends.append("closed")
            except TimeoutError:
                self.ends.append("silent")
            finally:
                connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> str:
        connection.request("POST", "/v1/chat/completions", self._body, {"Authorization": f"Bearer {API_KEY}"})
        answer = connection.getresponse()
        if answer.status != 200:
            return str(answer.status)
        text = answer.read1()
        self.begun.set()
        text += answer.read()
        if text.endswith(b"data: [DONE]\n\n"):
            return "done"
        return "error" if b'data: {"error"' in text else "cut without a word"


def ends_of(askers: list[Asker]) -> set[str]:
    """How the answers ended, once all askers have stopped."""
    for asker in askers:
        asker.stop.set()
    for asker in askers:
        asker.join()
    return {end for asker in askers for end in asker.ends}


def engines_of(worker: int) -> list[psutil.Process]:
    try:
        return psutil.Process(worker).children()
    except psutil.NoSuchProcess:
        return []


@pytest.mark.scorecard("rolling-restart", "kill-worker", "sigterm-streams")
def test_no_answer_is_lost_by_an_update_or_silent_after_a_kill(
    host: Host, chatbot: EndpointSpec, eventually: Callable[..., None]
) -> None:
    state = host.apply(chatbot.model_copy(update={"instances": 2}))
    routed = HostedEndpoint(host._daemon, "chatbot").router_state()
    assert routed
    assert [b["takes_connections"] for b in routed["backends"]] == [True, True]

    askers = [Asker(state.port, 16) for _ in range(8)]
    changed = {"instances": 2, "environ": chatbot.environ | {"LLMOPS_QUALITY_SECONDS": "0"}}
    state = host.apply(chatbot.model_copy(update=changed))
    assert ends_of(askers) == {"done"}

    askers = [Asker(state.port, 24) for _ in range(50)]
    for asker in askers:
        asker.stop.set()
    eventually(lambda: any(asker.begun.is_set() for asker in askers))
    ended = state.variants[0].instances[0].pid
    os.kill(ended, signal.SIGTERM)
    assert ends_of(askers) <= {"done", "error"}
    eventually(lambda: ended not in {i.pid for i in host.state("chatbot").variants[0].instances})

    for victim in ("engine", "worker", "router"):
        # The router may not know yet that one was killed.
        eventually(lambda: all(i.ready and engines_of(i.pid) for i in host.state("chatbot").variants[0].instances))
        state = host.state("chatbot")
        worker = state.variants[0].instances[0].pid
        pid = {"engine": engines_of(worker)[0].pid, "worker": worker, "router": state.router_pid}[victim]
        askers = [Asker(state.port, 200) for _ in range(4)]
        for asker in askers:
            asker.stop.set()
        eventually(lambda: all(asker.begun.is_set() or asker.ends for asker in askers))  # noqa: B023
        os.kill(pid, signal.SIGKILL)
        assert ends_of(askers) <= {"done", "error", "closed", "503"}
        eventually(lambda: not psutil.pid_exists(pid))  # noqa: B023  until then it may still look well
    eventually(lambda: host.state("chatbot").ready and host.state("chatbot").router_pid != state.router_pid)
    assert chat(host.state("chatbot")) > 1


def test_an_embedding_version_takes_the_place_of_another_without_a_lost_answer(
    host: Host, chatbot: EndpointSpec, tmp_path: Path
) -> None:
    version = copy_model(tiny_encoder(), tmp_path / "model")
    folders = chatbot.folders | {
        "/opt/ml/model": str(version),
        "/run/llmops/signing.pub": str(tmp_path / "signing.pub"),
    }

    def spec(number: int) -> EndpointSpec:
        named = {"LLMOPS_MODEL_SHA256": sign_version(version, tmp_path), "LLMOPS_MODEL_NAME": f"encoder@{number}"}
        return chatbot.model_copy(update={"folders": folders, "environ": chatbot.environ | named})

    state, stop = host.apply(spec(1)), threading.Event()
    client = OpenAI(base_url=f"{state.url}/v1", api_key=API_KEY, max_retries=0, timeout=600)

    def ask() -> tuple[str, int]:
        answer = client.embeddings.create(model="encoder", input="a red fox runs .")
        return answer.model, len(answer.data[0].embedding)

    def keep_asking() -> None:
        while not stop.is_set():
            assert ask()[1] == 32

    with client, ThreadPoolExecutor(1) as pool:
        assert ask() == ("encoder@1", 32)
        asking = pool.submit(keep_asking)
        try:
            host.apply(spec(2))
        finally:
            stop.set()
        asking.result()  # raises: an answer was lost
        assert ask() == ("encoder@2", 32)


def test_a_changed_model_is_refused_with_the_servers_own_words(
    host: Host, chatbot: EndpointSpec, tmp_path: Path
) -> None:
    changed: dict[str, Any] = dict(chatbot.folders)
    changed["/opt/ml/model"] = str(copy_model(Path(chatbot.folders["/opt/ml/model"]), tmp_path / "changed"))
    with Path(changed["/opt/ml/model"], "tokenizer.json").open("a") as f:
        f.write(" ")
    with pytest.raises(HostingError, match=r"(?s)ended \d times before it was ready.*tokenizer\.json"):
        host.apply(chatbot.model_copy(update={"folders": changed}))
