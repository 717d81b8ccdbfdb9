"""Rules for single rows that need no library: quality, pairs, redaction."""

import hashlib
import json

import pytest

from llmops_kit.core.documents.recipe_data import Data
from llmops_kit.core.documents.recipe_prepare import Pairs, Prepare, TextQuality
from llmops_kit.data_pipeline import pairs, quality
from llmops_kit.data_pipeline.examine import RowRules
from llmops_kit.data_pipeline.found import FoundText, redacted
from llmops_kit.data_pipeline.texts import changed, prose_of, texts_of
from llmops_kit.training.data.rows import parse_row

GOOD = "the cat and the dog have gone to the river with a basket of bread that nobody wanted to carry any longer"


@pytest.mark.parametrize(
    ("text", "limits", "fault"),
    [
        (GOOD, {}, ""),
        ("too few words", {}, "fewer than 10 words"),
        (" ".join(f"w{n}" for n in range(40)), {}, "mean word length not 3 to 10"),
        (" ".join(["to", "the", *map(str, range(1000, 1040))]), {}, "words with letters below 0.8"),
        ("cat dog house river bread basket nobody wanted carry longer", {}, "fewer than 2 stop words"),
        (f"{GOOD} # # # # # #", {"min_alphabetic_words": 0}, "symbols above 0.1"),
        ("\n".join(f"- {GOOD} {n}" for n in "abc"), {"repetition": False}, "bullet lines above 0.9"),
        ("\n".join(f"{GOOD} {n}..." for n in "abc"), {"repetition": False}, "ellipsis lines above 0.3"),
        (f"{GOOD}\n{GOOD}", {}, "repeated lines"),
        (f"{GOOD} {' '.join(['very well'] * 12)}", {}, "one 2-gram repeated"),
        (f"{GOOD} and so it went, because {GOOD}", {}, "repeated 5-grams"),
    ],
)
def test_quality_names_the_limit_that_a_text_exceeds(text: str, limits: dict[str, object], fault: str) -> None:
    assert quality.fault_of(text, TextQuality.model_validate({"min_words": 10, **limits})) == fault


@pytest.mark.parametrize(
    ("first", "second", "fault"),
    [
        ("Delete %(count)d of %s", "%s: %(count)d löschen", ""),
        ("100% sure, 50%% off", "100 % sicher, 50 %% weniger", ""),
        ("JSON  Lines", "json lines", "pair: untranslated"),
        ("Delete %s", "Löschen", "pair: placeholders differ"),
        ("Hello {name}", "Hallo {nom}", "pair: placeholders differ"),
        ("Yes", "Jawohl, das ist so", "pair: one side longer than 3 times the other"),
        ("English here, all of it", "English there, all of it", "pair: not de"),
        ("Hindi", "English", ""),
        ("{name}: add another {name}", "{name}: noch eins", ""),
        ("%s or %s", "%s oder", "pair: placeholders differ"),
    ],
)
def test_pairs_are_judged_by_both_sides(first: str, second: str, fault: str) -> None:
    def told(text: str) -> str:
        return "en" if "English" in text else ""

    assert pairs.fault_of({"en": first, "de-AT": second}, Pairs(), told).replace("de-AT", "de") == fault


def test_all_text_of_a_row_is_seen_and_replaced_within_its_structure() -> None:
    call = {"type": "function", "function": {"name": "mail", "arguments": {"to": ["me@x"], "n": 1}}}
    row = parse_row(
        json.dumps(
            {
                "prompt": [{"role": "system", "content": "S me@x"}, {"role": "user", "content": "U me@x"}],
                "chosen": [
                    {"role": "assistant", "content": "", "tool_calls": [call]},
                    {"role": "tool", "content": "T"},
                    {"role": "assistant", "content": "C"},
                ],
                "rejected": "R me@x",
                "tools": [
                    {
                        "type": "function",
                        "function": {"name": "mail", "description": "D", "parameters": {"type": "object"}},
                    }
                ],
                "note": {"by": ["N me@x"]},
            }
        ),
        "here:1",
    )
    assert {"S me@x", "U me@x", "me@x", "T", "C", "R me@x", "D", "N me@x"} <= set(texts_of(row))
    assert prose_of(row) == "U me@x\nT\nC\nR me@x"
    line = changed(row, lambda text: text.replace("me@x", "<MAIL>")).to_line()
    assert "me@x" not in line
    again = parse_row(line, "here:1")
    assert again.chosen[0].tool_calls[0].function.arguments == {"to": ["<MAIL>"], "n": 1}
    assert again.metadata == {"note": {"by": ["N <MAIL>"]}}


def test_what_overlaps_is_replaced_once() -> None:
    found = [FoundText(8, 12, "B"), FoundText(2, 10, "A"), FoundText(14, 15, "C")]
    assert redacted("0123456789abcdef", found) == "01<A>cd<C>f"


def test_a_row_that_redaction_breaks_is_dropped() -> None:
    """Its `expect` is a part of what was replaced."""

    class Finder:
        def find(self, text: str) -> list[FoundText]:
            at = text.find("me@x")
            return [FoundText(at, at + 4, "EMAIL_ADDRESS")] if at >= 0 else []

    rules = RowRules(Data.model_validate({"sources": [{"source": "a"}], "prepare": {"pii": "redact"}}))
    rules._personal = Finder()  # type: ignore[assignment]
    row = {"prompt": "Whose?", "completion": "It is of me@x."}
    kept = rules.examine(json.dumps(row), "a:1")
    assert (json.loads(kept.line)["messages"][1]["content"], kept.redacted) == (
        "It is of <EMAIL_ADDRESS>.",
        "EMAIL_ADDRESS",
    )
    broken = rules.examine(json.dumps({**row, "expect": ["me"]}), "a:2")
    assert broken.reason == "can't be used once it is redacted"
    assert (broken.line, "me@x" in broken.example) == ("", False)
    tools = [{"type": "function", "function": {"name": "mail", "description": "to me@x"}}]
    assert rules.examine(json.dumps({**row, "tools": tools}), "a:3").reason == "can't be redacted: EMAIL_ADDRESS"
    faulty = rules.examine(json.dumps({**row, "expect": ["you or me@x"]}), "a:4")
    assert faulty.fault.startswith("expects 'you or me@x', ")
    assert faulty.example.startswith("expects 'you or <EMAIL_ADDRESS>', ")


@pytest.mark.parametrize(
    "prepare", [{"near_duplicates": 0.3}, {"overlap_words": 3}, {"pii": {"NAME": "drop"}}, {"pii": "hide"}]
)
def test_settings_that_mean_nothing_are_refused(prepare: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"near_duplicates|overlap_words|pii"):
        Prepare.model_validate(prepare)


def test_pii_is_one_action_or_one_for_each_kind() -> None:
    assert set(Prepare.model_validate({"pii": "redact"}).pii.values()) == {"redact"}
    assert Prepare.model_validate({"pii": "off"}).is_off
    assert not Prepare.model_validate({"secrets": "drop"}).is_off


def test_what_the_rules_find_is_what_earlier_versions_found() -> None:
    """Another result would give the same files another dataset version."""
    rows = [
        {"text": "  The CAT sat,\ton the\r\nmat -- twice!\x1c "},
        {"text": "caf\u00e9 \u2014 \ufb01ne \u2168", "source": "a", "n": [1, None, 2.5]},
        {"text": "tab\x0bfeed \x85 and \u2028 line"},
        {"text": "bad \x07 bell"},
        {"text": "bad \ufffd \u00e9"},
        {"text": "\x7f"},
        {"text": ""},
        {
            "messages": [{"role": "user", "content": "How?\nWhy?"}, {"role": "assistant", "content": "So."}],
            "expect": ["so"],
            "fact": "x",
        },
        {"prompt": "Say \u6771\u4eac", "completion": "\u6771\u4eac"},
        {"prompt": "a", "chosen": "b", "rejected": "c"},
        {"translation": {"de": "Stra\u00dfe", "en": "Street"}},
        {"text": "x", "messages": []},
        {"other": 1},
    ]
    split = {"rephrased": 1, "group": "fact"}
    prepare = {"near_duplicates": 0.7}
    rules = RowRules(Data.model_validate({"sources": [{"source": "r.jsonl"}], "prepare": prepare, "split": split}))
    # A fix is shown alone; it is in no dataset.
    said = "".join(repr(tuple(rules.examine(json.dumps(row), "r:1")._replace(fix=""))) for row in rows)
    assert hashlib.sha256(said.encode()).hexdigest() == (
        "4128ac5aefab5cbc93571580282a7469e96ac5c152f140ec0e7e4b618908161b"
    )
