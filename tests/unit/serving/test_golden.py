"""What counts as the expected answer."""

import asyncio

import pytest
from pydantic import ValidationError

from llmops_kit.core.documents.model import Golden
from llmops_kit.core.errors import ServingError
from llmops_kit.core.models.tool_call_stream import CallDelta
from llmops_kit.serving.golden import ask_golden, missing, pause


@pytest.mark.parametrize(
    ("expect", "text", "lacks"),
    [
        ([], "anything", ""),
        ([], " \n", "any text"),
        (["Pulumi  Up"], "run `pulumi\nup` now", ""),
        (["nine"], "nineteen", "nine"),
        (["a|b"], "only B here", ""),
        (["a", "zz"], "a", "zz"),
        (["x|y"], "", "x|y"),
    ],
)
def test_case_and_spaces_do_not_matter_alternatives_do(expect: list[str], text: str, lacks: str) -> None:
    assert missing(expect, text) == lacks


def test_several_samples_come_while_a_rollout_is_watched() -> None:
    times, now = [], 0.0
    while now < 900:
        now += pause(300.0, now)
        times.append(now)
    assert [t for t in times if t <= 300] == [60, 120, 180, 240, 300], "in the bake that is the default in a cloud"
    assert times[-1] - times[-2] == 300
    assert pause(0.2, 0) == 0.2


def prompt(expect: list[str]) -> Golden:
    return Golden(messages=[{"role": "user", "content": "q"}], expect=expect)  # pyright: ignore[reportArgumentType]


def test_reading_ends_with_what_was_expected() -> None:
    read: list[str] = []

    async def answer(request):
        for piece in ("one ", "two ", "three"):
            read.append(piece)
            yield piece

    quality = asyncio.run(ask_golden([prompt(["two"])], answer))
    assert (quality.score, quality.failure) == (1.0, None)
    assert read == ["one ", "two "]


def test_a_word_counts_once_it_is_whole() -> None:
    async def answer(request):
        for piece in ("I say nine", "teen, ", "not 9"):
            yield piece

    assert asyncio.run(ask_golden([prompt(["nine"]), prompt(["9"]), prompt(["nineteen"])], answer)).passed == 2


LAMP = {"type": "function", "function": {"name": "lamp", "parameters": {"properties": {"on": {"type": "boolean"}}}}}


@pytest.mark.parametrize(
    ("made", "passed"),
    [
        ([("lamp", '{"on": '), ("", "true}")], True),
        ([("lamp", '{"on": false}')], False),
        ([("lamp", "{on")], False),
        ([], False),
    ],
)
def test_the_expected_calls_must_be_made_and_no_others(made: list[tuple[str, str]], passed: bool) -> None:
    async def answer(request):
        assert [tool.for_template() for tool in request.tools] == [LAMP]
        yield "I do: "
        for name, arguments in made:
            yield CallDelta(0, name, arguments)

    asked = {"messages": [{"role": "user", "content": "Lamp on!"}], "tools": [LAMP]}
    golden = Golden.model_validate({**asked, "calls": [{"name": "lamp", "arguments": {"on": True}}]})
    quality = asyncio.run(ask_golden([golden], answer))
    assert quality.passed == passed
    if not passed:
        assert quality.failure
        assert "lacks 'lamp {\"on\": true}'" in quality.failure.what
    with pytest.raises(ValidationError, match="go together"):
        Golden.model_validate(asked)


def test_a_wrong_answer_names_the_prompt_and_what_it_lacks() -> None:
    async def answer(request):
        yield "no idea"

    quality = asyncio.run(ask_golden([prompt([]), prompt(["Paris"]), prompt(["Rome"])], answer))
    assert (quality.passed, quality.total) == (1, 3)
    assert isinstance(quality.failure, ServingError)
    assert "golden[1]" in quality.failure.where
    assert "Paris" in quality.failure.what
