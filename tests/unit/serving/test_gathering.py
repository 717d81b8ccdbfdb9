"""Requests gathered for an idle engine."""

import asyncio
from typing import Any

from llmops_kit.serving.engines.gathering import STEP_TOKENS, Gathering


def _request(number: int) -> dict[str, Any]:
    return {"add": [number, {}]}


def test_requests_that_arrive_together_are_sent_together_and_a_lone_one_soon() -> None:
    async def run() -> None:
        sent: list[list[dict[str, Any]]] = []
        gathering = Gathering(sent.append, longest_seconds=60)
        gathering.add(0, _request(0), 10, running=1)
        for number in (1, 2, 3):  # each needs a few rounds of the loop from its arrival to its tokens
            for _ in range(50):
                await asyncio.sleep(0)
            gathering.add(number, _request(number), 10, running=number + 1)
        assert gathering.remove(2), "cancelled before it was sent"
        assert not sent
        for _ in range(500):
            await asyncio.sleep(0)
        assert sent == [[_request(0), _request(1), _request(3)]]
        assert not gathering.remove(1), "the engine has it"

        gathering.add(4, _request(4), 10, running=4)
        assert sent[1:] == [[_request(4)]], "the engine computes: at once"
        gathering.add(5, _request(5), STEP_TOKENS - 1, running=1)
        assert len(sent) == 2
        gathering.add(6, _request(6), 1, running=2)
        assert sent[2:] == [[_request(5), _request(6)]], "a step is full"
        for _ in range(500):
            await asyncio.sleep(0)
        gathering.add(7, _request(7), 1, running=1)
        assert gathering.remove(7)
        for _ in range(500):
            await asyncio.sleep(0)
        assert len(sent) == 3, "nothing is left to send"

    asyncio.run(run())


def test_a_request_does_not_wait_for_rounds_that_take_long() -> None:
    async def run() -> None:
        sent: list[list[dict[str, Any]]] = []
        Gathering(sent.append, longest_seconds=0).add(0, _request(0), 10, running=1)
        assert not sent, "others may come in this round"
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert sent == [[_request(0)]]

    asyncio.run(run())
