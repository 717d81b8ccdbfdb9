"""The size of a pattern is known before it is compiled."""

import pytest

from llmops_kit.core.json_schema.patterns import compile_pattern, size_of_pattern

UNICODE_CLASS = 50
"""What a class of Unicode's counts."""


@pytest.mark.parametrize(
    ("pattern", "size"),
    [
        ("", 0),
        ("abc", 3),
        (r"^\d{4}-\d{2}$", 33),
        (r"\w{190}x", 190 * UNICODE_CLASS + 1),
        ("(a{100}){100}", 10_000),
        ("((a{30}){30}){30}", 27_000),
        ("(ab|c){2,5}", 20),
        ("a{7,}", 7),
        ("a{,9}", 9),
        ("[0-9a-f]{8}", 8),
        (r"[\w.-]{10}", 10 * UNICODE_CLASS + 2),
        (r"\p{L}{3}", 3 * UNICODE_CLASS),
        (r"\x{41}{4}", 4),
        (r"\{3}[{5}]\]", 5),
    ],
)
def test_repetitions_are_written_out(pattern: str, size: int) -> None:
    assert size_of_pattern(pattern) == size


@pytest.mark.parametrize(
    "pattern",
    [
        r"\w{10}?{19}",
        r"\w*{190}",
        r"(?:\w{19}){10}",
        r"(?P<name>\w{190})",
        r"[]\w]{190}",
        r"[[:alpha:]\w]{190}",
        r"[^\w]{190}",
        r"(?x)\w {190}",
        r"(?i-u)(?ix)\w {190}",
        "\\w" * 190,
        "|".join([r"\w{10}"] * 19),
        "a{99999999999999999999}",
        "(" * 60 + "a" + "{999999})" * 60,
    ],
)
def test_no_way_to_write_a_repetition_hides_it(pattern: str) -> None:
    assert size_of_pattern(pattern) >= 190 * UNICODE_CLASS


@pytest.mark.parametrize(
    "pattern", ["(", ")", "[", "]", "{", "}", "\\", "*", "a{", "a{b}", "(?", "[[", "\\p{", "\\x{41"]
)
def test_what_is_no_regular_expression_has_a_size_and_is_refused(pattern: str) -> None:
    assert size_of_pattern(pattern) <= len(pattern) + UNICODE_CLASS
    if pattern not in ("]", "}"):
        with pytest.raises(ValueError, match="not a plain regular expression"):
            compile_pattern(pattern)
