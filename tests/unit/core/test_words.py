"""Expected strings are found as whole words, in any script."""

import random

import pytest

from llmops_kit.core.words import fold, found, words_of
from llmops_kit.training.data.rows import asked_words


@pytest.mark.parametrize(
    ("answer", "expect", "right"),
    [
        ("Run  `LLMOPS\nrollback` now.", ["llmops rollback"], True),
        ("It is 8 GB.", ["8 gb|8 gigabytes"], True),
        ("It is 8 gigabytes.", ["8 gb|8 gigabytes"], True),
        ("It is 9 GB.", ["8 gb|8 gigabytes"], False),
        ("Port 8080.", ["8080", "port"], True),
        ("8080.", ["8080", "port"], False),
        ("", ["x"], False),
        # whole words
        ("nineteen", ["nine"], False),
        ("Canine nineteen, then nine", ["nine"], True),
        ("(nine)", ["nine"], True),
        ("nine_lives", ["nine"], False),
        ("about 19", ["9"], False),
        ("about 90", ["9"], False),
        ("in 1990s", ["1990"], False),
        ("v2.9", ["9"], True),
        ("the ports", ["port"], False),
        # ends that are no letter or digit ask for no end of a word
        ("It is 9%.", ["9%"], True),
        ("It is 19%.", ["9%"], False),
        ("9%ige Lösung", ["9%"], True),
        ("in C++17", ["c++"], True),
        ("in C++.", ["C++"], True),
        ("in ABC++", ["c++"], False),
        ("--force now", ["--force"], True),
        ("costs $5", ["$5"], True),
        ("costs $50", ["$5"], False),
        # scripts without spaces, and Korean particles
        ("首都は東京です", ["東京"], True),
        ("首都是北京。", ["北京"], True),
        ("第9章", ["9"], True),
        ("第19章", ["9"], False),
        ("ราคา9บาท", ["9"], True),
        ("กรุงเทพมหานคร", ["กรุงเทพ"], True),
        ("포트는 8080이다", ["포트", "8080"], True),
        ("ラインAPIを使う", ["api"], True),
        # letters with marks of their own
        ("naïve", ["na"], False),
        ("नमस्ते", ["नमस"], False),
        ("Это девятнадцать", ["девят"], False),
        ("ﬁne Ⅸ", ["fine", "ix"], True),
    ],
)
def test_an_expected_string_is_found_as_whole_words(answer: str, expect: list[str], right: bool) -> None:
    assert found(answer, expect) is right


def test_texts_of_ascii_are_folded_and_cut_as_all_others() -> None:
    """A character beyond ASCII makes a text take the general way; so does its comparison here."""
    draw = random.Random(1)
    for _ in range(300):
        text = "".join(draw.choices([chr(code) for code in range(128)], k=draw.randint(0, 60)))
        assert words_of(text) == words_of(f"{text} \u00e4")[:-1]
        assert fold(text) == fold(f"{text} \u00e4").removesuffix("\u00e4").rstrip(" ")
        assert asked_words(fold(text)) == asked_words(f"{fold(text)} \u00e4").removesuffix("\u00e4").rstrip(" ")
