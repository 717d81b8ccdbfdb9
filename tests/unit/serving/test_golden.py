"""What counts as the expected answer."""

import asyncio

import pytest

from contract.errors import ServingError
from contract.model import Golden
from serving.golden import check_golden, missing


@pytest.mark.parametrize(
    ("expect", "text", "lacks"),
    [
        ([], "anything", ""),
        ([], " \n", "any text"),
        (["Pulumi  Up"], "run `pulumi\nup` now", ""),
        (["a|b"], "only B here", ""),
        (["a", "zz"], "a", "zz"),
        (["x|y"], "", "x|y"),
    ],
)
def test_case_and_spaces_do_not_matter_alternatives_do(expect: list[str], text: str, lacks: str) -> None:
    assert missing(expect, text) == lacks


def prompt(expect: list[str]) -> Golden:
    return Golden(messages=[{"role": "user", "content": "q"}], expect=expect)  # pyright: ignore[reportArgumentType]


def test_reading_ends_with_what_was_expected() -> None:
    read: list[str] = []

    async def answer(request):
        for piece in ("one ", "two ", "three"):
            read.append(piece)
            yield piece

    asyncio.run(check_golden([prompt(["two"])], answer))
    assert read == ["one ", "two "]


def test_a_wrong_answer_names_the_prompt_and_what_it_lacks() -> None:
    async def answer(request):
        yield "no idea"

    with pytest.raises(ServingError) as caught:
        asyncio.run(check_golden([prompt([]), prompt(["Paris"])], answer))
    assert "golden[1]" in caught.value.where
    assert "Paris" in caught.value.what
