"""What callers are told of the served model: its names, and which golden prompts the chat page offers as questions."""

from dataclasses import replace
from typing import Literal

import pytest

from llmops_kit.core.documents.model import Golden, Message
from llmops_kit.serving.api.model_card import _examples
from llmops_kit.serving.errors import ApiError
from tests.support.servers.vllm_stand_in import CARD


def golden(text: str, *expect: str, role: Literal["system", "user"] = "user") -> Golden:
    return Golden(messages=[Message(role=role, content=text)], expect=list(expect))


def test_short_questions_with_an_expected_answer_are_offered_and_no_more_than_three() -> None:
    prompts = [golden("any"), golden("W" * 121, "x"), golden("be kind", "x", role="system")]
    prompts += [golden(f"question {n}?", "x") for n in range(5)]
    assert _examples(prompts) == ["question 0?", "question 1?", "question 2?"]


@pytest.mark.parametrize(
    ("served", "asked", "known"),
    [
        ("chatbot@3", "chatbot", True),
        ("chatbot@3", "chatbot@3", True),
        ("chatbot@3", f"chatbot@3@sha256:{CARD.sha256}", True),
        ("chatbot@3", f"chatbot@sha256:{CARD.sha256}", True),
        ("chatbot@4", "chatbot", True),
        ("chatbot@4", "chatbot@3", False),
        ("chatbot", "chatbot", True),
        ("chatbot", "chatbot@1", False),
        ("chatbot@3", f"chatbot@sha256:{'1' * 64}", False),
        ("chatbot@3", "chat", False),
        ("chatbot@3", "", False),
    ],
)
def test_a_model_answers_to_its_name_and_its_alias_and_to_no_other_versions(
    served: str, asked: str, known: bool
) -> None:
    card = replace(CARD, name=served)
    if known:
        card.check_name(asked)
        return
    with pytest.raises(ApiError) as caught:
        card.check_name(asked)
    assert (caught.value.status, caught.value.body["error"]["code"]) == (404, "model_not_found")
