"""Grammars that constrain answers to a JSON schema or to tool calls, and their trial before the engine gets them."""

import asyncio
import json
import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from contract.json_values import parts_of_schema
from contract.models.tool_call_stream import HERMES, LLAMA, CallForm
from contract.models.tool_calls import CLOSE, OPEN
from serving.engines.engine import Grammar, Tagged
from serving.errors import ApiError
from serving.tools import OfferedTool

_KEPT = 256
"""Number of grammars remembered as compilable."""
_LONGEST_LINE = 1 << 20
# What xgrammar holds answers to (its JSON schema converter), and what says nothing about a value.
_HONOURED = {
    "type", "enum", "const", "properties", "required", "additionalProperties", "minProperties", "maxProperties",
    "propertyNames", "items", "prefixItems", "minItems", "maxItems", "unevaluatedItems", "unevaluatedProperties",
    "anyOf", "oneOf", "allOf", "$ref", "$defs", "definitions", "pattern", "format", "minLength", "maxLength",
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
    "title", "description", "default", "examples", "$schema", "$comment", "deprecated", "readOnly", "writeOnly",
}  # fmt: skip


def schema_grammar(schema: dict[str, Any], place: str) -> Grammar:
    """Returns the grammar of all JSON values that a schema allows.

    Raises:
        ApiError: 400, the schema has a keyword that can't be enforced.
    """
    require_honoured(schema, place)
    return Grammar(schema=json.dumps(schema))


def strict_grammar(tools: Sequence[OfferedTool], *, several: bool) -> Grammar:
    """Returns a grammar for any text in which calls in the form of Hermes are valid.

    Raises:
        ApiError: 400, a tool's parameters have a keyword that can't be enforced.
    """
    return replace(calls_grammar(HERMES, tools, several=several), trigger=OPEN)


def calls_grammar(form: CallForm, tools: Sequence[OfferedTool], *, several: bool) -> Grammar:
    """Returns a grammar for tool calls, in the form in which the model writes them.

    Raises:
        ApiError: 400, a tool's parameters have a keyword that can't be enforced.
    """
    for tool in tools:
        require_honoured(tool.function.parameters or {}, f"tools: {tool.function.name}: parameters")
    if form is HERMES:
        choices = _tagged(tools, f'{OPEN}\n{{"name": ', "arguments", f"}}\n{CLOSE}")
        return Grammar(choices=choices, separator="\n", several=several)
    if form is LLAMA:
        return Grammar(choices=_tagged(tools, '{"name": ', "parameters", "}"), separator="; ", several=several)
    choices = _tagged(tools, '{"name": ', "arguments", "}")
    return Grammar(choices=choices, before='{"tool_calls": [', after="]}", separator=", ", several=several)


def _tagged(tools: Sequence[OfferedTool], begin: str, key: str, end: str) -> tuple[Tagged, ...]:
    return tuple(Tagged(f'{begin}{json.dumps(tool.function.name)}, "{key}": ', tool.schema_text, end) for tool in tools)


def require_honoured(schema: dict[str, Any], place: str) -> None:
    """Refuses keywords of a schema that can't be enforced.

    Raises:
        ApiError: 400, naming the keyword.
    """
    for keyword in _unhonoured(schema):
        raise ApiError(400, f"{place}: answers can't be held to {keyword}", code="unsupported_parameter",
                       param=place)  # fmt: skip


def _unhonoured(schema: dict[str, Any]) -> Iterator[str]:
    for part in parts_of_schema(schema):
        yield from (keyword[:64] for keyword in part if keyword not in _HONOURED)
        if len(part.get("allOf", ())) > 1:
            yield "allOf with more than one schema"


class GrammarTrials:
    """Tries grammars in a separate process, which is started with the first of them, and again if one ends it."""

    def __init__(self) -> None:
        self._passed: OrderedDict[str, None] = OrderedDict()
        self._one_at_a_time = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None

    async def check(self, grammar: Grammar, engine: str, vocabulary: Callable[[], list[bytes]], place: str) -> None:
        """Checks that the engine can be given a grammar.

        Args:
            engine: the engine's name, always the same.
            vocabulary: the bytes of each token; empty for special ones.
            place: names the grammar's origin in errors.

        Raises:
            ApiError: 400, it does not compile, or takes too long; 503, it could not be tried.
        """
        line = json.dumps(asdict(grammar))
        if line not in self._passed:
            async with self._one_at_a_time:
                fault = await self._try(line, engine, vocabulary)
            if fault:
                raise ApiError(400, f"{place}: {fault}", code="invalid_value", param=place)
            self._passed[line] = None
        self._passed.move_to_end(line)
        if len(self._passed) > _KEPT:
            self._passed.popitem(last=False)

    async def close(self) -> None:
        """Ends the process."""
        if process := self._process:
            self._process = None
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _try(self, line: str, engine: str, vocabulary: Callable[[], list[bytes]]) -> str:
        process = self._process or await self._start(engine, vocabulary)
        answer = b""
        try:
            answer = await self._ask(process, line)
        finally:
            if not answer:  # it ended, or its answer would come when nobody waits for it
                await self.close()
        return json.loads(answer) if answer else "its grammar takes too much time or memory to compile"

    async def _start(self, engine: str, vocabulary: Callable[[], list[bytes]]) -> asyncio.subprocess.Process:
        tokens = await asyncio.to_thread(lambda: json.dumps([token.decode("latin-1") for token in vocabulary()]))
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "serving.engines.grammar_trial", engine, stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, limit=_LONGEST_LINE, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        ready = b""
        try:
            ready = await self._ask(process, tokens)
        finally:
            if not ready:
                await self.close()
        if not ready:
            raise ApiError(503, "grammars can't be tried; the server's log says why", code="unavailable", retry_after=1)
        return process

    async def _ask(self, process: asyncio.subprocess.Process, line: str) -> bytes:
        """Sends a line to the process; returns its answer, empty if it ended."""
        assert process.stdin
        assert process.stdout
        with suppress(ConnectionError):
            process.stdin.write(line.encode() + b"\n")
            await process.stdin.drain()
        return await process.stdout.readline()
