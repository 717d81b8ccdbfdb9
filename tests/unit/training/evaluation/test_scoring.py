"""The gate, and the rows that suites ask."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from llmops_kit.cli.data.build import build_dataset
from llmops_kit.core.documents.evaluation import GoldenAnswer, Likelihood
from llmops_kit.core.documents.model import GateResult, Score, SuiteResult
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.documents.recipe_data import DataSource
from llmops_kit.core.documents.recipe_evaluation import MIN_GATE_GROUPS, GateCheck
from llmops_kit.core.documents.recipe_training import TranslationTask
from llmops_kit.core.errors import DataError, IntegrityError, RunError
from llmops_kit.training.data.rows import row_of
from llmops_kit.training.data.translations import as_conversation
from llmops_kit.training.evaluation.scorers import SuiteRow
from llmops_kit.training.evaluation.scoring import (
    assess,
    check_suites,
    decide,
    load_suite,
    not_worse,
    record,
    suite_result,
    to_ask_again,
)

JUDGE = {"url": "https://judge.example.com/v1", "model": "big"}


def result(suite: str, low: float, gain_low: float = 0.0, groups: int = 40) -> SuiteResult:
    def score(bound: float) -> Score:
        return Score(value=min(1.0, bound + 0.1), low=bound, high=1, rows=80, groups=groups)

    return SuiteResult(suite=suite, split="test", before=score(0), after=score(low), gain=score(gain_low))


@pytest.mark.parametrize(
    ("low", "gain_low", "passed"),
    [(0.9, 0.8, True), (0.8, 0.5, True), (0.79, 0.8, False), (0.95, 0.45, False), (0.8, 0.9 - 0.4, True)],
)
def test_a_gate_holds_lower_bounds_and_not_means(low: float, gain_low: float, passed: bool) -> None:
    gate = decide([GateCheck(suite="facts", low=0.8, gain_low=0.5)], [result("facts", low, gain_low)])
    assert gate.passed is passed
    assert len(gate.reasons) == 2


def test_one_failed_suite_fails_the_gate() -> None:
    gate = decide(
        [GateCheck(suite="one", low=0.5), GateCheck(suite="two", low=0.5)], [result("one", 0.4), result("two", 0.6)]
    )
    assert not gate.passed
    assert [("less" in reason) for reason in gate.reasons] == [True, False]


def test_too_few_groups_fail_the_gate_however_good() -> None:
    few = result("facts", 0.95, groups=MIN_GATE_GROUPS - 1)
    assert not decide([GateCheck(suite="facts", low=0.5)], [few]).passed


@pytest.mark.parametrize(
    ("check", "passed", "words"),
    [
        ({"high": 2.5}, True, "loss 2.10 nats per token, 2.50 at its upper bound, at most 2.50"),
        ({"high": 2.4}, False, "loss 2.10 nats per token, 2.50 at its upper bound, more than 2.40"),
        ({"gain_low": 0.2}, True, "decrease 0.30 nats per token, 0.20 at its lower bound, at least 0.20"),
        ({"gain_low": 1.5}, False, "decrease 0.30 nats per token, 0.20 at its lower bound, less than 1.50"),
    ],
)
def test_of_a_loss_the_gate_bounds_the_upper_end(check: dict[str, float], passed: bool, words: str) -> None:
    loss = Score(value=2.1, low=1.9, high=2.5, rows=80, groups=40)
    gain = Score(value=0.3, low=0.2, high=0.4, rows=80, groups=40)
    found = SuiteResult(suite="loss", split="test", metric="perplexity", before=loss, after=loss, gain=gain)
    assert decide([GateCheck.model_validate({"suite": "loss", **check})], [found]) == GateResult(
        passed=passed, reasons=[f"loss: {words}"]
    )


@pytest.mark.parametrize(
    ("metric", "check", "use"),
    [
        ("perplexity", {"low": 0.5}, "write `high`"),
        ("tools", {"high": 0.5}, "write `low`"),
        ("f1", {"gain_low": 1.5}, "scores are at most 1"),
        ("translation", {"copy_gain_low": 0.1}, "needs `metric: translation` and `languages`"),
    ],
)
def test_a_bound_on_the_wrong_side_is_refused_with_the_key_to_use(
    metric: str, check: dict[str, float], use: str
) -> None:
    with pytest.raises(ValidationError, match=use):
        recipe({"metric": metric}, [{"suite": "held-out", **check}])
    recipe({"metric": metric}, [])


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"metric": "comet"}, "go together"),
        ({"metric": "comet", "comet": {"model": "comet-da@1"}}, "needs `languages`"),
        ({"metric": "comet", "comet": {"model": "Unbabel/wmt22-comet-da"}}, "should match pattern"),
        ({"metric": "judge"}, "go together"),
        ({"metric": "exact", "judge": JUDGE}, "go together"),
        ({"metric": "judge", "judge": JUDGE | {"url": "http://judge.example.com/v1"}}, "unencrypted"),
        ({"metric": "judge", "judge": JUDGE | {"url": "https://me:word@example.com/v1"}}, "contains a user, a"),
        ({"metric": "judge", "judge": JUDGE | {"parameters": {"messages": []}}}, "can't set messages"),
        ({"metric": "judge", "judge": JUDGE | {"key": "AWS_SECRET_ACCESS_KEY"}}, "ends in API_KEY"),
        ({"metric": "translation", "languages": ["en"]}, "must be two"),
        ({"metric": "exact", "prompt": "In German: {text}"}, "without `languages`"),
        ({"metric": "translation", "languages": ["en", "de"], "prompt": "In German:"}, "must contain {text}"),
        ({"metric": "exact", "json_schema": {"type": "array"}}, "no effect"),
        ({"metric": "schema", "json_schema": {"type": "list"}}, "not a JSON schema"),
    ],
)
def test_a_suite_that_can_not_be_run_is_refused(keys: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        recipe(keys, [])


def test_without_a_gate_nothing_passes() -> None:
    assert not decide([], [result("facts", 1.0)]).passed


def recipe(suite: dict[str, Any], gate: list[dict[str, Any]], **split: Any) -> Recipe:
    return Recipe.new(
        name="chatbot",
        base_model={"name": "base", "source": "folder:base"},
        data={"sources": [{"source": "rows.jsonl"}], "split": split},
        evaluation={"suites": [{"name": "held-out", "split": "test", **suite}], "gate": gate},
    )


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    lines = []
    for n in range(80):
        messages = [{"role": "user", "content": f"Double {n}?"}, {"role": "assistant", "content": str(2 * n)}]
        reference = {"fact": f"f{n // 2}", "expect": [str(2 * n)]} if n < 70 else {}
        lines.append(json.dumps({"messages": messages, **reference}) + "\n")
    (tmp_path / "rows.jsonl").write_text("".join(lines))
    return tmp_path


GATE = [{"suite": "held-out", "low": 0.5}]


@pytest.mark.parametrize(
    ("suite", "split", "groups"),
    [
        ({}, {"test": 29}, None),
        ({"metric": "f1"}, {"test": 29}, 29),
        ({"metric": "f1", "limit": 20}, {"test": 40}, 20),
        ({}, {"group": "fact", "test": 20}, 20),  # 40 rows of 20 facts
    ],
)
def test_a_gate_on_too_few_groups_is_refused_before_a_machine_starts(
    rows: Path, suite: dict[str, Any], split: dict[str, Any], groups: int | None
) -> None:
    gated = recipe(suite, GATE, **split)
    build_dataset(gated, rows, rows / "out")
    with pytest.raises(RunError) as caught:
        check_suites(gated, rows / "out")
    assert groups is None or f"{groups} groups" in caught.value.what
    check_suites(recipe(suite, [], **split), rows / "out")


@pytest.mark.parametrize(
    ("suite", "split", "fix"),
    [
        (
            {"split": "rephrased"},
            {"group": "fact", "rephrased": 1},
            "write rows with 5 more values of `fact`, each with 2",
        ),
        ({}, {"group": "fact", "test": 20}, "hold out 30 groups by data.split.test; or"),
        ({"metric": "f1"}, {"test": 29}, "hold out 30 groups by data.split.test; or"),
        ({"metric": "f1", "limit": 20}, {"test": 40}, "raise the suite's `limit: 20`, or hold"),
    ],
)
def test_the_fix_for_too_few_groups_gives_enough(
    rows: Path, suite: dict[str, Any], split: dict[str, Any], fix: str
) -> None:
    lines = (rows / "rows.jsonl").read_text().splitlines(keepends=True)
    (rows / "rows.jsonl").write_text("".join(lines[:50] if "rephrased" in split else lines[:70]))
    gated = recipe(suite, GATE, **split)
    build_dataset(gated, rows, rows / "out")
    with pytest.raises(RunError) as caught:
        check_suites(gated, rows / "out")
    assert caught.value.fix.startswith(fix)


def test_the_fix_says_when_the_data_has_too_few_groups_at_all(rows: Path) -> None:
    (rows / "rows.jsonl").write_text("".join((rows / "rows.jsonl").read_text().splitlines(keepends=True)[:20]))
    gated = recipe({}, GATE, test=10)
    build_dataset(gated, rows, rows / "out")
    with pytest.raises(RunError) as caught:
        check_suites(gated, rows / "out")
    assert "write rows of more groups: the data has 20" in caught.value.fix


def test_the_fix_for_rows_that_the_metric_can_not_score_is_to_complete_them(rows: Path) -> None:
    gated = recipe({}, GATE, test=79)
    build_dataset(gated, rows, rows / "out")
    check_suites(gated, rows / "out")
    (rows / "rows.jsonl").write_text((rows / "rows.jsonl").read_text().replace('"expect"', '"other"', 50))
    build_dataset(gated, rows, rows / "less")
    with pytest.raises(RunError) as caught:
        check_suites(gated, rows / "less")
    assert caught.value.fix.startswith("write what metric 'expect' needs (rows with `expect`) into the split's other")


def test_a_margin_that_too_few_groups_can_show_is_refused(rows: Path) -> None:
    def gated(margin: float) -> Recipe:
        check = {"suite": "held-out", "not_worse_than": "production", "margin": margin}
        return recipe({"metric": "f1"}, [check], test=40)

    build_dataset(gated(0.1), rows, rows / "out")
    check_suites(gated(0.1), rows / "out")
    with pytest.raises(RunError, match="which has 40 groups; it needs 137") as caught:
        check_suites(gated(0.02), rows / "out")
    assert caught.value.fix.startswith("raise the check's `margin`, or ")


def test_a_difference_holds_by_its_lower_bound() -> None:
    check = GateCheck(suite="facts", not_worse_than="production", margin=0.1)
    for low, holds in ((-0.1, True), (-0.11, False)):
        assert not_worse(check, Score(value=0.0, low=low, high=0.1, rows=40, groups=40))[0] is holds
    left_to_promotion = decide([check], [result("facts", 0.0)])
    assert left_to_promotion.passed
    assert "`llmops promote` compares it with production" in left_to_promotion.reasons[0]


@pytest.mark.parametrize("check", [{}, {"low": 0.5, "margin": 0.1}])
def test_a_check_without_a_bound_or_with_half_of_one_is_refused(check: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"needs `low`|has no effect without `not_worse_than`"):
        GateCheck(suite="facts", **check)


def test_a_gate_on_enough_groups_stands(rows: Path) -> None:
    gated = recipe({"metric": "f1"}, GATE, test=30)
    build_dataset(gated, rows, rows / "out")
    check_suites(gated, rows / "out")


def test_held_out_rows_without_the_groups_key_are_observations_of_their_own(rows: Path) -> None:
    made = Recipe.new(
        name="chatbot",
        base_model={"name": "base", "source": "folder:base"},
        data={
            "sources": [{"source": "rows.jsonl", "split": "test"}, {"source": "more.jsonl", "split": "train"}],
            "split": {"group": "nobodys"},
        },
        evaluation={"suites": [{"name": "held-out", "split": "test"}], "gate": GATE},
    )
    (rows / "more.jsonl").write_text((rows / "rows.jsonl").read_text().replace("Double", "Twice"))
    build_dataset(made, rows, rows / "out")
    assert len({row.group for row in check_suites(made, rows / "out")["held-out"]}) == 70


def test_a_suite_without_rows_is_refused(rows: Path) -> None:
    empty = recipe({"split": "validation"}, [], test=0.5)
    build_dataset(empty, rows, rows / "out")
    with pytest.raises(RunError, match="finds no rows with `expect` in split 'validation'"):
        check_suites(empty, rows / "out")


def test_a_suite_asks_only_the_rows_whose_keys_have_its_values(rows: Path) -> None:
    made = recipe({"only": {"fact": "f3"}}, [], test=79)
    build_dataset(made, rows, rows / "out")
    asked = load_suite(made.evaluation.suites[0], rows / "out")
    assert {row.row.metadata["fact"] for row in asked} == {"f3"}
    with pytest.raises(RunError) as caught:
        check_suites(recipe({"only": {"fact": "f99"}}, [], test=79), rows / "out")
    assert "fact: f99" in caught.value.fix


def test_rows_without_expected_strings_are_asked_by_other_metrics(rows: Path) -> None:
    for metric, extra in (("expect", 0), ("exact", 10)):
        made = recipe({"metric": metric}, [], test=79)
        build_dataset(made, rows, rows / metric)
        asked = load_suite(made.evaluation.suites[0], rows / metric)
        assert len([r for r in asked if not r.row.expect]) in (extra, max(extra - 1, 0))


@pytest.mark.parametrize(
    ("metric", "needs"),
    [
        ("tools", "`tools`"),
        ("schema", "`json_schema`"),
        ("refusal", "`refuse: true`"),
        ("leak", "`redacted`"),
        ("paraphrase", "two prompts of one group"),
    ],
)
def test_rows_that_lack_what_a_metric_needs_are_named_before_a_machine_starts(
    rows: Path, metric: str, needs: str
) -> None:
    made = recipe({"metric": metric}, [], test=30)
    build_dataset(made, rows, rows / "out")
    with pytest.raises(RunError, match=needs) as caught:
        check_suites(made, rows / "out")
    assert metric == "paraphrase" or caught.value.where == str(rows / "out" / "test.parquet:1")


def test_a_row_that_contradicts_itself_is_named_before_a_machine_starts(rows: Path) -> None:
    lines = (rows / "rows.jsonl").read_text().splitlines(keepends=True)
    bad = [json.dumps(json.loads(line) | {"redacted": [7]}) + "\n" for line in lines]
    (rows / "rows.jsonl").write_text("".join(bad))
    made = recipe({"metric": "leak"}, [], test=30)
    build_dataset(made, rows, rows / "out")
    with pytest.raises(DataError, match="list of strings") as caught:
        check_suites(made, rows / "out")
    assert caught.value.where == f"{rows / 'out' / 'test.parquet'}:1: redacted"


def test_paraphrases_are_asked_where_a_group_has_two(rows: Path) -> None:
    made = recipe({"metric": "paraphrase", "limit": 3}, [], group="fact", test=4)
    build_dataset(made, rows, rows / "out")
    assert len(load_suite(made.evaluation.suites[0], rows / "out")) == 2  # of 8 rows; the third is alone


def test_a_pair_of_sentences_is_asked_by_the_suites_prompt(tmp_path: Path) -> None:
    pairs = [{"translation": {"de": f"Haus {n}", "en": f"House {n}"}} for n in range(3)]
    (tmp_path / "rows.jsonl").write_text(json.dumps({"prompt": "Which?", "completion": "This."}) + "\n")
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    suite = {"metric": "translation", "languages": ["en", "de"]}
    for prompt, asked in (("", "Translate from en to de:\n\nHouse 0"), ("German for {text}?", "German for House 0?")):
        made = recipe({**suite, "prompt": prompt}, [])
        made.data.sources.append(DataSource(source="pairs.jsonl", split="test"))
        build_dataset(made, tmp_path, tmp_path / asked[:6])
        first = load_suite(made.evaluation.suites[0], tmp_path / asked[:6])[0].row
        assert (first.prompt[-1]["content"], first.answer) == (asked, "Haus 0")
    without = recipe({**suite, "languages": []}, [])
    with pytest.raises(RunError, match="in the suite's `languages`"):
        load_suite(without.evaluation.suites[0], tmp_path / "German")


def test_translations_are_held_against_giving_the_source_back() -> None:
    suite = {"metric": "translation", "languages": ["en", "de"]}
    made = recipe(suite, [{"suite": "held-out", "copy_gain_low": 0.5}])
    asked = []
    for n in range(40):
        texts = {"translation": {"en": f"The house has {n} doors.", "de": f"Das Haus hat {n} Fenster und {n} Türen."}}
        row = as_conversation(row_of(texts, "a:1"), ["en", "de"], "")
        assert row
        asked.append(SuiteRow(row, "0" * 64, str(n), texts["translation"]["en"]))
    sources, right = [each.source for each in asked], [each.row.answer for each in asked]
    result = suite_result(made.evaluation.suites[0], asked, right, sources, {})
    assert result.copied
    assert result.gain
    assert result.copied.score == result.after
    assert result.copied.gain.value == 0 > result.copied.gain.low
    assert all(each.copied == each.after < each.before == 100 for each in result.corpus)
    assert decide(made.evaluation.gate, [result]).reasons == [
        "held-out: gain over copying 0.00, -0.07 at its lower bound, less than 0.50"
    ]
    better = suite_result(made.evaluation.suites[0], asked, sources, right, {})
    assert decide(made.evaluation.gate, [better]).passed
    without = [each._replace(source="") for each in asked]
    assert suite_result(made.evaluation.suites[0], without, sources, right, {}).copied is None


def test_golden_prompts_are_made_of_translations_that_copying_misses() -> None:
    texts = [("House", "Haus"), ("OK", "OK"), ("On or off", "an|aus"), ("Door", "Tür"), ("Roof", "Dach")]
    made = recipe({"metric": "translation", "languages": ["en", "de"], "max_tokens": 8}, [])
    asked = []
    for n, (english, german) in enumerate(texts):
        row = as_conversation(row_of({"translation": {"en": english, "de": german}}, "a:1"), ["en", "de"], "{text}?")
        assert row
        asked.append(SuiteRow(row, f"{n:064}", str(n), english))
    right = [german for _, german in texts[:4]] + ["Das Dach"]
    [suite] = made.evaluation.suites
    again = to_ask_again(suite, asked, right)
    assert [each.source for each in again] == ["House", "Door"]
    in_f32 = ["Das House", "Tür"]
    second = [GoldenAnswer(suite=suite.name, row=each.id, answer=a) for each, a in zip(again, in_f32, strict=True)]
    answers = record({suite.name: asked}, {suite.name: right}, {suite.name: right}, second)
    [golden] = assess(made, {suite.name: asked}, answers, None).golden
    assert (golden.messages[0].content, golden.expect, golden.max_tokens) == ("Door?", ["Tür"], 8)


def test_golden_prompts_are_made_of_calls_that_were_right_twice() -> None:
    made = recipe({"metric": "tools", "max_tokens": 8}, [])
    lamp = {
        "type": "function",
        "function": {"name": "lamp", "parameters": {"type": "object", "properties": {"on": {"type": "boolean"}}}},
    }
    asked = []
    for n, on in enumerate((True, False, None, True)):
        answer: dict[str, Any] = {"role": "assistant", "content": "No lamp fits."}
        if on is not None:
            answer = {"role": "assistant", "tool_calls": [{"function": {"name": "lamp", "arguments": {"on": on}}}]}
        lines = {"messages": [{"role": "user", "content": f"Lamp {n}"}, answer], "tools": [lamp]}
        asked.append(SuiteRow(row_of(lines, "a:1"), f"{n:064}", str(n)))
    calls = [f'<tool_call>{{"name": "lamp", "arguments": {{"on": {on}}}}}</tool_call>' for on in ("true", "false")]
    right = [*calls, "No lamp fits.", calls[1]]
    [suite] = made.evaluation.suites
    again = to_ask_again(suite, asked, right)
    assert [each.group for each in again] == ["0", "1"], "a row without a call tells no worse version"
    second = [GoldenAnswer(suite=suite.name, row=each.id, answer=calls[0]) for each in again]
    answers = record({suite.name: asked}, {suite.name: right}, {suite.name: right}, second)
    [golden] = assess(made, {suite.name: asked}, answers, None).golden
    assert (golden.messages[0].content, golden.expect, golden.tools) == ("Lamp 0", [], [lamp])
    assert [call.model_dump() for call in golden.calls] == [{"name": "lamp", "arguments": {"on": True}}]


def test_a_translation_that_no_row_teaches_is_refused_by_name(tmp_path: Path) -> None:
    pairs = [{"translation": {"en": f"House {n}", "de": f"Haus {n}"}} for n in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    suite = {"metric": "translation", "languages": ["en", "de"]}
    made = recipe(suite, [], test=30)
    for languages, why in ((["en", "de"], ""), (["en", "fr"], "no row to train has a text in en and one in fr")):
        made.training.translations.append(TranslationTask(languages=languages))
        target = tmp_path / languages[1]
        build_dataset(made, tmp_path, target)
        if not why:
            assert set(check_suites(made, target)) == {"held-out"}
            continue
        with pytest.raises(RunError, match=why) as caught:
            check_suites(made, target)
        assert caught.value.where == "training.translations.1"


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        (
            "rows.jsonl",
            '{"translation": {"en": "Tea", "de": "Tee"}}\n{"translation": {"en": "Milk", "de": " "}}\n',
            ":2",
        ),
        ("rows.po", 'msgid "Tea"\nmsgstr "Tee"\n\nmsgid "Milk"\nmsgstr " "\n', ":4"),
    ],
)
def test_a_pair_with_an_empty_side_is_told_by_file_and_line(
    name: str, content: str, where: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    made = recipe({}, [])
    made.data.sources[0] = DataSource(source=name, languages=["en", "de"])
    with pytest.raises(DataError, match="has no content") as caught:
        build_dataset(made, tmp_path, tmp_path / "out")
    assert caught.value.where == f"{tmp_path / name}{where}: translation.de"


def test_losses_of_other_tokens_are_not_compared(rows: Path) -> None:
    made = recipe({"metric": "perplexity", "limit": 2}, [], test=30)
    build_dataset(made, rows, rows / "out")
    suite = made.evaluation.suites[0]
    asked = load_suite(suite, rows / "out")
    before, after = ([Likelihood(nats=nats, tokens=4)] * 2 for nats in (8, 2))
    result = suite_result(suite, asked, before, after, {})
    assert result.gain is not None
    assert (result.before.value, result.after.value, result.gain.value) == (2.0, 0.5, 1.5)
    with pytest.raises(IntegrityError, match="counts other tokens"):
        suite_result(suite, asked, before, [Likelihood(nats=2, tokens=5)] * 2, {})
