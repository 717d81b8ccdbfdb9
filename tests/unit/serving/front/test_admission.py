"""Who waits, for how long, and who is refused."""

import asyncio
from contextlib import ExitStack

import pytest

from llmops_kit.core.limits import RequestLimits
from llmops_kit.serving.errors import ApiError
from llmops_kit.serving.front.admission import Admission


async def settled() -> None:
    """Let every task go as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_free_place_goes_to_the_key_that_has_the_fewest_and_then_waited_longest() -> None:
    async def scenario() -> list[str]:
        admission = Admission(RequestLimits(max_running=2, max_queue=100))
        served: list[str] = []
        ends = [asyncio.Event() for _ in range(8)]

        async def request(number: int, key: str) -> None:
            async with admission.place(key, 4):
                served.append(key)
                await ends[number].wait()

        tasks = [asyncio.create_task(request(n, key)) for n, key in enumerate(["a"] * 6 + ["b", "c"])]
        await settled()
        assert (served, admission.running, admission.queued, admission.waiting_tokens) == (["a", "a"], 2, 6, 6)
        for end in ends:
            end.set()
            await settled()
        await asyncio.gather(*tasks)
        assert (admission.running, admission.queued, admission.waiting_tokens) == (0, 0, 0)
        return served

    assert asyncio.run(scenario())[:4] == ["a", "a", "b", "c"], "though four of a came before them"


def test_who_gives_up_waiting_leaves_nothing_behind_whenever_that_is() -> None:
    async def scenario() -> None:
        admission = Admission(RequestLimits(max_running=1))
        free = asyncio.Event()

        async def request() -> None:
            async with admission.place("a", 400):
                await free.wait()

        first, second, third, fourth = (asyncio.create_task(request()) for _ in range(4))
        await settled()
        second.cancel()
        free.set()
        await first
        third.cancel()  # as its turn came
        await settled()
        assert fourth.done()
        assert not fourth.cancelled()
        assert (admission.running, admission.queued, admission.waiting_tokens) == (0, 0, 0)

    asyncio.run(scenario())


def test_the_prompts_that_wait_are_bounded_together_but_one_may_always_wait() -> None:
    async def scenario() -> None:
        admission = Admission(RequestLimits(max_running=1, max_queue_tokens=100))
        free = asyncio.Event()

        async def request(tokens: int) -> None:
            async with admission.place("a", 4 * tokens):
                await free.wait()

        tasks = [asyncio.create_task(request(tokens)) for tokens in (1000, 500, 1)]
        await settled()
        assert (admission.running, admission.queued) == (1, 1)
        with pytest.raises(ApiError) as caught:
            tasks[2].result()
        assert caught.value.status == 429
        free.set()
        await asyncio.gather(*tasks[:2])

    asyncio.run(scenario())


def test_one_of_several_keys_leaves_half_of_the_room_to_the_others() -> None:
    admission = Admission(RequestLimits(max_running=2, max_queue=4))
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(admission.admitted("a", 2))
        with pytest.raises(ApiError):
            stack.enter_context(admission.admitted("a", 2))
        stack.enter_context(admission.admitted("a", 1))  # where it is the only one
        for _ in range(2):
            stack.enter_context(admission.admitted("b", 2))
        with pytest.raises(ApiError):
            stack.enter_context(admission.admitted("b", 2))
    stack.enter_context(admission.admitted("a", 2))


def test_the_further_answers_of_a_request_take_places_without_waiting_and_others_wait_longer() -> None:
    async def scenario() -> None:
        admission = Admission(RequestLimits(max_running=2))
        async with admission.place("a", 4), admission.place("b", 4):
            with admission.more("a", 1):
                assert admission.running == 3
                waiting = asyncio.create_task(admission.place("b", 4).__aenter__())
                await settled()
            await settled()
            assert not waiting.done(), "two places are taken still"
        await waiting
        with pytest.raises(ApiError) as caught:
            admission.more("a", 2).__enter__()
        assert (caught.value.status, caught.value.body["error"]["param"]) == (400, "n")

    asyncio.run(scenario())


def test_retry_after_follows_from_the_time_that_answers_take(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> list[int]:
        admission = Admission(RequestLimits(max_running=1, max_queue=0))
        loop, now, retries = asyncio.get_running_loop(), [0.0], []
        monkeypatch.setattr(loop, "time", lambda: now[0])
        for took in (0.0, 8.0, 1000.0):
            with admission.admitted("a", 1):
                async with admission.place("a", 4):
                    now[0] += took
                with pytest.raises(ApiError) as caught:
                    admission.admitted("b", 1).__enter__()
                retries.append(caught.value.retry_after)
        return retries

    assert asyncio.run(scenario()) == [1, 8, 60]
