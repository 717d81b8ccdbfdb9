"""Requests' schemas are checked by a process that can be ended, by turns, and once."""

import asyncio
import json
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.serving.engines.engine import Grammar
from llmops_kit.serving.errors import ApiError
from llmops_kit.serving.front.schema_checks import SchemaChecks, Vocabulary

# Does what the first schema's title says, and writes down each order.
STAND_IN = """
import json, os, signal, sys, time
for line in sys.stdin:
    with open(sys.argv[1], "a") as log:
        log.write(json.dumps([os.getpid(), line]) + "\\n")
    order = json.loads(line)
    title = next(iter(order.get("schemas", {"": {}}).values())).get("title", "")
    if title in ("SIGXCPU", "SIGKILL"):
        os.kill(os.getpid(), signal.Signals[title])
    while title == "never" or (title == "held" and not os.path.exists(sys.argv[1] + ".go")):
        time.sleep(0.01)
    print(json.dumps(["", "", title == "grown"]), flush=True)
"""


class StandIn:
    """A process in place of the checker."""

    def __init__(self, folder: Path, seconds: float = 60) -> None:
        self._log = folder / "orders"
        self.checks = SchemaChecks((sys.executable, "-c", STAND_IN, str(self._log)), seconds)

    def check(self, title: str, caller: str = "a", place: str = "tools") -> Coroutine[Any, Any, None]:
        return self.checks.check_schemas({place: {"title": title}}, caller)

    def go(self) -> None:
        """Lets what is held end."""
        Path(f"{self._log}.go").touch()

    def orders(self) -> list[tuple[int, Any]]:
        """Process and order of each check that reached it."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [(pid, json.loads(line)) for pid, line in map(json.loads, lines)]

    def titles(self) -> list[str]:
        return [next(iter(order["schemas"].values()))["title"] for _, order in self.orders()]

    def processes(self) -> int:
        """Number of processes that have been asked."""
        return len({pid for pid, _ in self.orders()})

    async def until_asked(self, number: int) -> None:
        async with asyncio.timeout(60):
            while len(self.orders()) < number:
                await asyncio.sleep(0.01)


async def status_of(check: Coroutine[Any, Any, None]) -> int:
    try:
        await check
    except ApiError as e:
        return e.status
    return 200


@pytest.mark.scorecard("schema-process")
def test_faults_are_told_by_place_from_a_process_that_goes_on() -> None:
    async def checked() -> None:
        checks = SchemaChecks()
        city = {"type": "object", "properties": {"city": {"type": "string", "pattern": "^[A-Z]"}}}
        faults: dict[str, Any] = {
            "not a JSON schema: type": {"type": "lamp"},
            "not a JSON schema: properties": {"properties": 5},
            "patternProperties": {"patternProperties": {"(a+)+$": True}},
            "not a plain regular expression": {"pattern": "(?=a)b"},
            "exceeds the limit pattern_size": {"pattern": r"\w{190}\w{190}"},
        }
        try:
            await checks.check_schemas({}, "a")
            await checks.check_schemas({"tools[0].function.parameters": city}, "a")
            for words, schema in faults.items():
                with pytest.raises(ApiError) as caught:
                    await checks.check_schemas({"tools[0].function.parameters": city, "x": schema}, "a")
                assert (caught.value.status, caught.value.body["error"]["param"]) == (400, "x")
                assert words in str(caught.value)
        finally:
            await checks.close()

    asyncio.run(checked())


def test_equal_schemas_are_checked_once_and_grammars_after_the_vocabulary(tmp_path: Path) -> None:
    async def checked() -> None:
        stand_in = StandIn(tmp_path)
        await asyncio.gather(*(stand_in.check("one", caller) for caller in "aabb"))
        await stand_in.check("one")
        await stand_in.check("one", place="elsewhere")
        assert stand_in.titles() == ["one", "one"]
        for number in range(2):
            grammar = Grammar(schema=json.dumps({"title": number}))
            await stand_in.checks.check_grammar(grammar, Vocabulary("openvino", lambda: [b"\xff", b""]), "tools", "a")
        assert stand_in.orders()[2][1] == {"engine": "openvino", "vocabulary": ["\xff", ""]}
        assert ["grammar" in order for _, order in stand_in.orders()[3:]] == [True, True]
        assert stand_in.processes() == 1
        await stand_in.checks.close()

    asyncio.run(checked())


@pytest.mark.scorecard("schema-process")
def test_what_ends_the_process_is_refused_and_the_next_one_is_checked(tmp_path: Path) -> None:
    async def checked() -> None:
        stand_in = StandIn(tmp_path)
        for _ in range(2):
            with pytest.raises(ApiError, match="tools: takes too much time or memory to check") as caught:
                await stand_in.check("SIGXCPU")
            assert caught.value.status == 400
        assert stand_in.titles() == ["SIGXCPU"], "it is remembered"
        for number in range(2):
            assert await status_of(stand_in.check("SIGKILL")) == 503, "somebody else ended it: it is tried again"
            assert await status_of(stand_in.check(f"good {number}")) == 200
        assert stand_in.titles()[1:] == ["SIGKILL", "good 0", "SIGKILL", "good 1"]
        assert await status_of(stand_in.check("grown")) == 200
        assert await status_of(stand_in.check("after it")) == 200
        assert len({pid for pid, _ in stand_in.orders()[-2:]}) == 2, "another process took over"
        await stand_in.checks.close()

    asyncio.run(checked())


@pytest.mark.scorecard("schema-process")
def test_a_check_that_does_not_end_is_ended(tmp_path: Path) -> None:
    async def checked() -> None:
        stand_in = StandIn(tmp_path, seconds=0.5)
        assert await status_of(stand_in.check("never")) == 503
        assert not Path(f"/proc/{stand_in.orders()[0][0]}").exists()

    asyncio.run(checked())


def test_keys_take_turns_and_one_fills_half_of_the_room(tmp_path: Path) -> None:
    async def checked() -> None:
        stand_in = StandIn(tmp_path)
        held = [asyncio.create_task(stand_in.check("held"))]
        await stand_in.until_asked(1)
        held += [asyncio.create_task(stand_in.check(f"a{number}")) for number in range(15)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert await status_of(stand_in.check("a16")) == 429
        held += [asyncio.create_task(stand_in.check("b", "b"))]
        await asyncio.sleep(0)
        held[2].cancel()  # who went away; its check is made
        stand_in.go()
        await asyncio.gather(*held, return_exceptions=True)
        assert stand_in.titles().index("b") <= 2, "b waits for one of a's"
        await stand_in.check("a1")
        assert len(stand_in.orders()) == 17
        await stand_in.checks.close()

    asyncio.run(checked())


@pytest.mark.scorecard("schema-process")
def test_closing_ends_the_process_and_whoever_waits_is_told(tmp_path: Path) -> None:
    async def checked() -> None:
        stand_in = StandIn(tmp_path)
        waiting = [asyncio.create_task(status_of(stand_in.check(title))) for title in ("never", "b", "c")]
        await stand_in.until_asked(1)
        await stand_in.checks.close()
        assert await asyncio.gather(*waiting) == [503, 503, 503]
        assert not Path(f"/proc/{stand_in.orders()[0][0]}").exists()
        assert await status_of(stand_in.check("d")) == 503
        assert stand_in.titles() == ["never"]

    asyncio.run(checked())
