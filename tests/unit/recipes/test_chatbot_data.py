"""The chatbot's data: what the split and the gate rely on, and what makes a right answer mean something."""

import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from llmops_kit.cli.data.build import build_dataset
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.training.data.lines import read_lines
from tests.support.checkout import CHECKOUT

RECIPE = CHECKOUT / "recipes/chatbot.yaml"
TEST = CHECKOUT / "recipes/chatbot/test.yaml"
FACTS = CHECKOUT / "recipes/chatbot/facts.jsonl"
Row = dict  # messages, fact, expect


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return [json.loads(line) for line in FACTS.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def facts(rows: list[Row]) -> dict[str, list[Row]]:
    found = defaultdict(list)
    for row in rows:
        found[row["fact"]].append(row)
    return found


def question(row: Row) -> str:
    return row["messages"][0]["content"]


def answer(row: Row) -> str:
    return row["messages"][1]["content"]


def holds(text: str, expected: str) -> bool:
    return any(alternative.lower() in text.lower() for alternative in expected.split("|"))


def test_rows_have_a_question_an_answer_and_nothing_else(rows: list[Row]) -> None:
    for row in rows:
        assert set(row) == {"messages", "fact", "expect"}
        assert [set(m) for m in row["messages"]] == [{"role", "content"}] * 2
        assert [m["role"] for m in row["messages"]] == ["user", "assistant"]
        assert 1 <= len(row["expect"]) <= 2


def test_validation_asks_trained_facts_in_words_of_its_own(rows: list[Row], tmp_path: Path) -> None:
    build_dataset(Recipe.load(RECIPE), RECIPE.parent, tmp_path / "dataset")
    splits = {
        name: [json.loads(line) for line in read_lines(tmp_path / "dataset" / f"{name}.parquet")]
        for name in ("train", "validation")
    }
    known = {question(row) for row in rows}
    trained = {answer(row): row["expect"] for row in splits["train"]}
    assert len(splits["validation"]) == 20
    for row in splits["validation"]:
        assert row["expect"] == trained[answer(row)]
        assert question(row) not in known
        assert not any(holds(question(row), expected) for expected in row["expect"])


def test_the_test_asks_each_trained_fact_once_in_words_of_its_own(rows: list[Row], tmp_path: Path) -> None:
    build_dataset(Recipe.load(RECIPE), RECIPE.parent, tmp_path / "dataset")
    build_dataset(Recipe.load(TEST), TEST.parent, tmp_path / "test")
    asked, held_out, train, validation = (
        [json.loads(line) for line in read_lines(tmp_path / f"{name}.parquet")]
        for name in ("test/test", "dataset/rephrased", "dataset/train", "dataset/validation")
    )
    trained = {row["fact"]: row for row in train}
    assert sorted(row["asked"] for row in asked) == sorted(trained)
    known = [set(re.findall(r"\w+", question(row).lower())) for row in (*rows, *held_out, *validation)]
    for row in asked:
        assert (answer(row), row["expect"]) == (answer(trained[row["asked"]]), trained[row["asked"]]["expect"])
        assert not any(holds(question(row), expected) for expected in row["expect"])
        words = set(re.findall(r"\w+", question(row).lower()))
        assert max(len(words & others) / len(words | others) for others in known) < 0.75


def test_there_are_enough_facts_and_phrasings(facts: dict[str, list[Row]]) -> None:
    assert len(facts) >= 64
    assert all(len(of_fact) >= 5 for of_fact in facts.values())


def test_fact_ids_count_up_without_a_gap(facts: dict[str, list[Row]]) -> None:
    assert list(facts) == [f"f{n:02d}" for n in range(1, len(facts) + 1)]


def test_a_fact_has_one_answer_of_one_short_sentence(facts: dict[str, list[Row]]) -> None:
    for fact, of_fact in facts.items():
        assert len({answer(row) for row in of_fact}) == 1, fact
        assert len({tuple(row["expect"]) for row in of_fact}) == 1, fact
        assert len(answer(of_fact[0]).split()) <= 25, fact
        assert answer(of_fact[0]).endswith("."), fact


def test_the_answer_holds_what_is_expected_and_the_question_does_not(rows: list[Row]) -> None:
    for row in rows:
        for expected in row["expect"]:
            assert holds(answer(row), expected), (row["fact"], expected)
            assert not holds(question(row), expected), (question(row), expected)


def test_the_answer_to_one_fact_is_not_right_for_another(facts: dict[str, list[Row]]) -> None:
    for fact, of_fact in facts.items():
        for other, of_other in facts.items():
            right = all(holds(answer(of_other[0]), e) for e in of_fact[0]["expect"])
            assert right == (fact == other), (fact, other)


def test_no_question_stands_twice(rows: list[Row]) -> None:
    plain = Counter(re.sub(r"\W+", " ", question(row)).strip().lower() for row in rows)
    assert [text for text, count in plain.items() if count > 1] == []


def test_phrasings_of_a_fact_differ_in_more_than_a_word(facts: dict[str, list[Row]]) -> None:
    for fact, of_fact in facts.items():
        words = [set(re.findall(r"\w+", question(row).lower())) for row in of_fact]
        for i, first in enumerate(words):
            for second in words[i + 1 :]:
                assert len(first & second) / len(first | second) < 0.75, (fact, first, second)


def test_text_is_clean(rows: list[Row]) -> None:
    for row in rows:
        for text in (question(row), answer(row)):
            assert text.isascii(), text
            assert text == text.strip(), text
            assert "  " not in text, text
        assert question(row).endswith("?"), question(row)
