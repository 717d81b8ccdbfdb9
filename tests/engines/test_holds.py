"""What must hold of every engine, held by vLLM behind the kit's front: `make engines`."""

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.engines.conftest import START_SECONDS, VLLM
from tests.support import no_network
from tests.support.checkout import CHECKOUT
from tests.support.servers.asking import CONTRACTS, ask_all
from tests.support.servers.malformed import first_statuses, malformed_request
from tests.support.servers.serving import ServingProcess, sign_version, text_of, until
from tests.support.tiny_models.models import copy_model
from tools.conformance.questions import QUESTIONS, offer_tools

HELLO = [{"role": "user", "content": "Hello"}]
MALFORMED = 10_000
BROKEN = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 5, "maximum": 2}}, "required": ["n"]}
# In whole answers vLLM writes calls' arguments with spaces of its own, and gives a call that max_tokens cut as text.
CALLS = [q for q in QUESTIONS if q.get("tool_choice") not in (None, "auto", "none")]


@pytest.fixture(scope="module")
def with_tools(version: Path, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_model(version, tmp_path_factory.mktemp("tools") / "model")
    offer_tools(folder)
    sign_version(folder, keys)
    return folder


@pytest.fixture(scope="module")
def server(serve: Callable[..., ServingProcess], vllm_python: Path, with_tools: Path) -> Iterator[ServingProcess]:
    server = serve(with_tools, python=vllm_python, **VLLM).wait_ready(START_SECONDS)
    yield server
    server.terminate()


def test_30_questions_get_equal_answers_by_each_contract_and_those_of_the_other_engine(
    server: ServingProcess, serve: Callable[..., ServingProcess], with_tools: Path
) -> None:
    other = serve(with_tools, LLMOPS_ENGINE="openvino", LLMOPS_THREADS="1").wait_ready()
    theirs = ask_all(other.url, CONTRACTS[0], stream=False)
    other.terminate()
    whole, streamed = ([ask_all(server.url, path, stream=stream) for path in CONTRACTS] for stream in (False, True))
    for number, question in enumerate(QUESTIONS):
        assert len({answers[number] for answers in whole}) == 1, question
        assert len({answers[number] for answers in streamed}) == 1, question
        assert streamed[0][number] == theirs[number], question
        if question not in CALLS:
            assert whole[0][number] == theirs[number], question


@pytest.mark.parametrize("strict", [False, True])
def test_responses_are_held_to_calls_as_chats_are(server: ServingProcess, strict: bool) -> None:
    for question in CALLS[:2] + CALLS[3:4]:
        functions = [tool["function"] | {"strict": strict} for tool in question["tools"]]
        named = isinstance(choice := question["tool_choice"], dict)
        chat = question | {"tools": [{"type": "function", "function": each} for each in functions], "max_tokens": 100}
        response = {
            "input": question["messages"],
            "temperature": 0,
            "max_output_tokens": 100,
            "tools": [{"type": "function", **each} for each in functions],
            "tool_choice": {"type": "function", **choice["function"]} if named else choice,
            "parallel_tool_calls": question.get("parallel_tool_calls"),
        }
        answers = [
            server.ask("POST", path, body)[1]
            for path, body in (("/v1/chat/completions", chat), ("/v1/responses", response))
        ]
        calls = [each["function"] for each in answers[0]["choices"][0]["message"]["tool_calls"]]
        given = [each for each in answers[1]["output"] if each["type"] == "function_call"]
        assert calls, answers[0]
        assert [(c["name"], json.loads(c["arguments"])) for c in given] == [
            (c["name"], json.loads(c["arguments"])) for c in calls
        ]


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"model": "gpt-9"}, 404, "gpt-9"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": BROKEN}}},
            400, "response_format: Invalid range",
        ),
        ({"tools": [{"type": "function", "function": {"parameters": {"type": "object"}}}]}, 400, "name"),
        (
            {"tools": [{"type": "function", "function": {"name": "x", "parameters": BROKEN}}],
             "tool_choice": "required"},
            400, "tools",
        ),
        ({"max_tokens": 4000}, 400, "2048"),
        ({"messages": [{"role": "user", "content": "x" * 2100}]}, 400, "2048"),
        ({"messages": []}, 400, "empty"),
    ],
)  # fmt: skip
def test_bad_input_is_told_and_a_neighbour_gets_its_tokens(
    server: ServingProcess, fields: dict[str, Any], status: int, words: str
) -> None:
    with ThreadPoolExecutor(1) as pool:
        neighbour = pool.submit(server.chat, "Neighbour", max_tokens=64)
        got, answer = server.ask("POST", "/v1/chat/completions", {"messages": HELLO} | fields)
        assert (got, set(answer["error"])) == (status, {"message", "type", "param", "code"})
        assert words in answer["error"]["message"]
        assert text_of(neighbour.result()[1]) == text_of(server.chat("Neighbour", max_tokens=64)[1])


@pytest.mark.scorecard("malformed", "rss-flat")
def test_10000_malformed_requests(server: ServingProcess) -> None:
    generator = random.Random(12)
    requests = [malformed_request(generator) for _ in range(MALFORMED)]
    warm = asyncio.run(first_statuses(server.port, iter(requests[: MALFORMED // 4])))
    processes = [psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children(recursive=True)]
    before = sum(process.memory_info().rss for process in processes)
    found = warm + asyncio.run(first_statuses(server.port, iter(requests[MALFORMED // 4 :])))
    assert found.total() == MALFORMED
    assert {400, 401, 404} <= found.keys()
    assert sum(process.memory_info().rss for process in processes) < 1.05 * before
    until(lambda: server.metric("llmops_running") == 0)
    assert server.chat(max_tokens=2)[0] == 200


ALONE = """
import sys
from pathlib import Path
from tests.engines.conftest import START_SECONDS, VLLM
from tests.support.servers.serving import ServingProcess

version, keys, logs, python = map(Path, sys.argv[1:])
server = ServingProcess(version, keys, logs, python=python, **VLLM).wait_ready(START_SECONDS)
status, answer = server.chat(max_tokens=5)
assert (status, answer["usage"]["completion_tokens"]) == (200, 5), answer
assert server.terminate() == 0
"""


@pytest.mark.scorecard("no-egress")
def test_it_serves_with_loopback_as_its_only_network(
    version: Path, keys: Path, vllm_python: Path, tmp_path: Path
) -> None:
    words = no_network.command(sys.executable, "-c", ALONE, *map(str, (version, keys, tmp_path, vllm_python)))
    done = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
