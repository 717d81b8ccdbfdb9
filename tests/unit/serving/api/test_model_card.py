"""What callers are told of the served model: which golden prompts the chat page offers as questions."""

from typing import Literal

from contract.documents.model import Golden, Message
from serving.api.model_card import _examples


def golden(text: str, *expect: str, role: Literal["system", "user"] = "user") -> Golden:
    return Golden(messages=[Message(role=role, content=text)], expect=list(expect))


def test_short_questions_with_an_expected_answer_are_offered_and_no_more_than_three() -> None:
    prompts = [golden("any"), golden("W" * 121, "x"), golden("be kind", "x", role="system")]
    prompts += [golden(f"question {n}?", "x") for n in range(5)]
    assert _examples(prompts) == ["question 0?", "question 1?", "question 2?"]
