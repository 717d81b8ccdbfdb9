"""From the labels of tokens to what is replaced in a text; no model."""

import json

import pytest

from llmops_kit.core.documents.recipe_data import Data
from llmops_kit.core.documents.recipe_prepare import NamedEntities, Prepare
from llmops_kit.data_pipeline.examine import RowRules
from llmops_kit.data_pipeline.found import FoundText
from llmops_kit.data_pipeline.named_entities import actions_of, kind_of, spans


@pytest.mark.parametrize(
    ("text", "labels", "found"),
    [
        ("Maria sails", {"Mar": "B-PER"}, [("Maria", "PER")]),
        ("Maria Jonas sails", {"Mar": "B-PER", "Jonas": "I-PER"}, [("Maria Jonas", "PER")]),
        ("Maria Jonas sails", {"Maria": "B-PER", "Jonas": "B-PER"}, [("Maria", "PER"), ("Jonas", "PER")]),
        ("Maria, Jonas", {"Maria": "PER", "Jonas": "PER"}, [("Maria", "PER"), ("Jonas", "PER")]),
        ("Maria Riga", {"Maria": "I-PER", "Riga": "I-LOC"}, [("Maria", "PER"), ("Riga", "LOC")]),
        ("Jean-Luc O'Brien", {"Luc": "S-PER", "Brien": "U-PER"}, [("Luc", "PER"), ("Brien", "PER")]),
        ("to Maria", {" Mar": "B-PER", "ia": "B-PER"}, [("Maria", "PER")]),
        ("東京に行く", {"東京": "B-LOC"}, [("東京", "LOC")]),
        ("nothing here", {"nothing": "O"}, []),
    ],
)
def test_labels_become_whole_words(text: str, labels: dict[str, str], found: list[tuple[str, str]]) -> None:
    labelled = [(text.index(token), text.index(token) + len(token), label) for token, label in labels.items()]
    assert [(text[each.start : each.end], each.kind) for each in spans(text, labelled)] == found


def test_labels_are_words_that_a_placeholder_can_hold() -> None:
    assert [kind_of(label) for label in ("B-PER", "PER", "I-first name", "E-<|im_end|>")] == [
        "PER",
        "PER",
        "first_name",
        "_im_end_",
    ]
    config = {"id2label": {"0": "O", "1": "B-PER", "2": "I-PER", "3": "B-LOC"}}
    assert actions_of(config, NamedEntities(model="pii@1")) == {"LOC": "redact", "PER": "redact"}
    assert not Prepare.model_validate({"ner": {"model": "pii-model@2"}}).is_off


class Names:
    """Finds a name, and what replaces it."""

    actions = {"PER": "redact"}  # noqa: RUF012

    def find(self, text: str) -> list[FoundText]:
        return [FoundText(at, at + 3, "PER") for name in ("Mia", "PER") if (at := text.find(name)) >= 0]


def test_a_model_that_finds_a_name_in_what_replaced_one_is_not_asked_again() -> None:
    rules = RowRules(Data.model_validate({"sources": [{"source": "a"}], "prepare": {"secrets": "drop"}}))
    rules._ner = Names()  # type: ignore[assignment]
    rules._actions = {"PER": "redact"}
    row = {"prompt": "Who?", "completion": "Mia."}
    kept = rules.examine(json.dumps(row), "a:1")
    assert (json.loads(kept.line)["messages"][1]["content"], kept.redacted) == ("<PER>.", "PER")
    # A tool's description can't be replaced.
    tools = [{"type": "function", "function": {"name": "mail", "description": "Mia"}}]
    assert rules.examine(json.dumps({**row, "tools": tools}), "a:2").reason == "can't be redacted: PER"
