"""JSON of others is read within limits."""

from typing import Any

import pytest

from llmops_kit.core.json_values import equal_json, read_json


@pytest.mark.parametrize(
    "text",
    ['{"a": 1, "a": 2}', "[" * 40 + "]" * 40, "1e999", "NaN", "9223372036854775808", '"\\ud800"', "{", "[" * 70_000],
)
def test_json_that_readers_differ_on_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"twice|nested|finite|64 bits|surrogate|Expecting|characters"):
        read_json(text)


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [(1, 1.0, True), (1, True, False), ([1, [0]], [1, [False]], False), ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True)],
)
def test_values_are_equal_as_json_has_them(one: Any, other: Any, equal: bool) -> None:
    assert equal_json(one, other) is equal
