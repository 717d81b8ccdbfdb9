"""Schemas that cost a server its memory and its threads: it refuses them, answers everybody else, and ends in time."""

import asyncio
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.serving.errors import ApiError
from llmops_kit.serving.front.schema_checks import SchemaChecks, Vocabulary
from llmops_kit.serving.grammars import schema_grammar
from tests.support.servers.serving import ServingProcess, until

MB = 1 << 20


def response(schema: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}, "max_tokens": 2}


def tools(schema: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"} | schema}}]}


def properties(count: int, schema: Callable[[int], Any]) -> dict[str, Any]:
    return {"properties": {f"p{n}": schema(n) for n in range(count)}}


def doubled(last: Any) -> dict[str, Any]:
    chain = {f"l{n}": {"allOf": [{"$ref": f"#/$defs/l{n + 1}"}] * 2} for n in range(11)}
    return {"$ref": "#/$defs/l0", "$defs": {**chain, "l11": last}}


ATTACKS: dict[str, tuple[str, Any]] = {
    # 8 requests with it took 3 GB
    "patterns": ("pattern_size", properties(32, lambda n: {"type": "string", "pattern": rf"\w{{190}}x{n}"})),
    "nested repetitions": ("pattern_size", {"pattern": "((a{100}){100}){100}"}),
    "unicode classes": ("pattern_size", properties(60, lambda n: {"pattern": rf"[\p{{L}}\W]{{9}}{n}"})),
    "alternations": ("pattern_size", properties(60, lambda n: {"pattern": "|".join(f"a{n}b{i}" for i in range(70))})),
    "many patterns": ("patterns", properties(900, lambda n: {"pattern": f"a{n}"})),
    # none of 8 requests with it was answered in 122 s
    "references": ("expansion", doubled({"enum": list(range(1000))})),
    "enum": ("enum_values", {"enum": list(range(5000))}),
    "enums": ("enum_values", properties(150, lambda n: {"enum": [f"{n}-{i}" for i in range(8)]})),
    "branches": ("subschemas", {"anyOf": [True] * 5000}),
}


def memory(pid: int) -> int:
    """The most that a process has held, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def checkers(server: ServingProcess) -> Iterator[int]:
    """The processes in which the server checks schemas."""
    return processes(server, b"llmops_kit.serving.engines.checker")


def processes(server: ServingProcess, module: bytes) -> Iterator[int]:
    for path in Path("/proc").glob("[0-9]*"):
        try:
            stat, command = (path / "stat").read_text(), (path / "cmdline").read_bytes()
        except OSError:
            continue
        if module in command and int(stat.rpartition(")")[2].split()[1]) == server.process.pid:
            yield int(path.name)


@pytest.mark.cve("grammar-length")
@pytest.mark.scorecard("schema-process")
def test_schemas_take_no_memory_and_no_thread_and_the_server_ends(serve: Callable[..., ServingProcess]) -> None:
    server = serve(LLMOPS_DRAIN_SECONDS="1").wait_ready()
    on = {"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"]}
    assert server.chat(**response(on))[0] == 200
    (checker,) = checkers(server)
    held = memory(server.process.pid)

    def attack(how: Callable[[Any], dict[str, Any]], name: str) -> None:
        limit, schema = ATTACKS[name]
        status, answer = server.chat(**how(schema))
        assert (status, f"the limit {limit} of" in answer["error"]["message"]) == (400, True), (name, answer)
        assert answer["error"]["param"].startswith(("response_format.json_schema", "tools[0].function.parameters"))

    def costly(number: int) -> int:
        """Within the limits: it takes what it may of the checker."""
        schema = {"type": "object"} | properties(480, lambda n: {"type": "string", "maxLength": 300 + number + n})
        return server.chat(**response(schema))[0]

    with ThreadPoolExecutor(16) as pool:
        running = [pool.submit(attack, how, name) for how, name in product((response, tools), list(ATTACKS) * 4)]
        while not all(each.done() for each in running):
            assert server.ask("GET", "/ping")[0] == 200
            assert server.chat(max_tokens=1)[0] == 200
        for each in running:
            each.result()
        assert list(checkers(server)) == [checker], "none of them reached it"
        assert memory(server.process.pid) - held < 64 * MB
        flood = [pool.submit(costly, number) for number in range(24)]
        until(lambda: sum(each.done() for each in flood) >= 4)
        assert server.ask("GET", "/ping")[0] == 200
        assert server.chat("x" * 2001, max_tokens=1)[0] in (200, 429), "threads are free"
        assert memory(server.process.pid) - held < 128 * MB
        assert all(memory(pid) < 1024 * MB for pid in checkers(server))
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        told = {each.result() for each in flood if not each.exception()}  # the others' connections were refused
    assert told <= {200, 400, 429, 503}
    assert not list(checkers(server))
    assert "Traceback" not in server.log.read_text()


@pytest.mark.cve("grammar-length")
@pytest.mark.scorecard("schema-process")
def test_a_grammar_that_takes_too_long_ends_its_process_alone() -> None:
    words = ["".join(letters).encode() for letters in product("etaoinshrdlucmfw", repeat=4)][:49_000]
    vocabulary = Vocabulary("openvino", lambda: [*(bytes([byte]) for byte in range(256)), *words, b""])
    switch = {"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"]}

    async def tried() -> None:
        checks = SchemaChecks()
        try:
            texts = {name: {"type": "string", "maxLength": 5000 - n} for n, name in enumerate("abc")}
            long = schema_grammar({"type": "object", "properties": texts}, "response_format")
            with pytest.raises(ApiError, match="takes too much time or memory to compile") as caught:
                await checks.check_grammar(long, vocabulary, "response_format", "a")
            assert (caught.value.status, caught.value.body["error"]["param"]) == (400, "response_format")
            await checks.check_grammar(schema_grammar(switch, "response_format"), vocabulary, "response_format", "a")
        finally:
            await checks.close()

    asyncio.run(tried())


def engine_of(server: ServingProcess) -> int:
    """The engine's process."""
    (engine,) = processes(server, b"llmops_kit.serving.engines.worker")
    return engine


def large(number: int) -> dict[str, Any]:
    """Within the limits; compiled for the tiny model's 259 tokens it takes 2 MB."""
    lengths = {f"p{number}_{n}": {"type": "string", "maxLength": 20 + n} for n in range(24)}
    return {"type": "object", "properties": lengths}


@pytest.mark.cve("grammar-length", "grammar-cache")
@pytest.mark.parametrize("more", [60, pytest.param(1970, marks=pytest.mark.long)])
def test_memory_does_not_grow_with_the_number_of_distinct_schemas(
    serve: Callable[..., ServingProcess], more: int
) -> None:
    server = serve().wait_ready()
    (engine,) = processes(server, b"llmops_kit.serving.engines.worker")
    kept: list[float] = []

    def ask(number: int) -> None:
        assert server.chat(**response(large(number)))[0] == 200
        kept.append(server.metric("llmops_engine_grammar_bytes"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(30)))
        engines, servers = memory(engine), memory(server.process.pid)
        list(pool.map(ask, range(30, 30 + more)))
    assert memory(engine) - engines < 48 * MB, "without a bound: 130 MB more"
    assert memory(server.process.pid) - servers < 16 * MB
    assert 32 * MB < max(kept) < 80 * MB
    assert server.metric("llmops_schema_process_starts") >= 1
    assert all(memory(pid) < 1024 * MB for pid in checkers(server))
    assert list(processes(server, b"llmops_kit.serving.engines.worker")) == [engine], "it was not replaced"
