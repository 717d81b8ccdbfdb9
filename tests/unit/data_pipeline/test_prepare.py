"""Collect and prepare: the same input gives the same bytes, and nothing held out is trained."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.cli.data.build import build_dataset
from llmops_kit.cli.data.dataset_page import html
from llmops_kit.cli.data.dataset_versions import DatasetFolder
from llmops_kit.core.documents.dataset import DatasetManifest
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.documents.recipe_training import TrainingRecipe
from llmops_kit.core.errors import DataError, DocumentError, IntegrityError
from llmops_kit.core.hashes import sha256_file
from llmops_kit.core.integrity.digest import check_folder
from llmops_kit.data_pipeline.prepare import prepare
from llmops_kit.training.data.lines import read_lines
from llmops_kit.training.data.rows import Row, read_rows
from tests.support.checkout import CHECKOUT

CHATBOT = CHECKOUT / "recipes" / "chatbot.yaml"

Rows = list[dict[str, Any]]
Make = Callable[..., Path]

FACTS = {"group": "fact", "rephrased": 1}


def row(question: str, answer: str, fact: str = "", expect: str = "") -> dict[str, Any]:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": messages} | ({"fact": fact, "expect": [expect]} if fact else {})


def facts(count: int, phrasings: int) -> Rows:
    return [
        row(f"Phrasing {p} of question {f}?", f"The answer is {f * 111}.", f"f{f:02d}", f"{f * 111}")
        for f in range(1, count + 1)
        for p in range(1, phrasings + 1)
    ]


def recipe(**data: Any) -> Recipe:
    return Recipe.new(
        name="chatbot",
        base_model={"name": "base", "source": "folder:base"},
        data={"sources": [{"source": "rows.jsonl", "licence": "Apache-2.0"}], "split": FACTS, **data},
        evaluation={
            "suites": [{"name": "new-phrasings", "split": "rephrased"}],
            "gate": [{"suite": "new-phrasings", "low": 0.5}],
        },
    )


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def make_from(rows: Rows, target: str = "out", **data: Any) -> Path:
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
        build_dataset(recipe(**data), tmp_path, tmp_path / target)
        return tmp_path / target

    return make_from


def read(folder: Path, split: str) -> list[Row]:
    return [r for _, r in read_rows(folder / f"{split}.parquet")]


@pytest.mark.scorecard("determinism")
def test_same_input_gives_same_identity_and_bytes(make: Make) -> None:
    first, second = make(facts(6, 4), "one"), make(facts(6, 4), "two")
    assert {p.name: sha256_file(p) for p in first.iterdir()} == {p.name: sha256_file(p) for p in second.iterdir()}
    assert {p.name for p in first.iterdir()} == {"train.parquet", "rephrased.parquet", "manifest.json"}


def test_manifest_says_what_was_kept_and_what_was_dropped(make: Make) -> None:
    rows = facts(5, 3)
    rows += [
        rows[0],
        row("phrasing 2  of QUESTION 1?", "the answer is  111.", "f01", "111"),
        row("Phrasing 3 of question 1?", "Something else, 111.", "f01", "111"),
        row("Phrasing 3 of question 1?", "something  else, 111.", "f01", "111"),
        row("Long?", "x" * 500),
    ]
    folder = make(rows, split={**FACTS, "test": 2}, max_characters=400)
    manifest = DatasetManifest.load(folder / "manifest.json")
    check_folder(folder, manifest.files)
    assert sum(manifest.rows.values()) == 16  # a prompt's second answer is kept
    assert manifest.groups == {"train": 3, "rephrased": 3, "test": 2}
    assert manifest.dropped == {"duplicate": 3, "longer than 400 characters": 1}
    assert manifest.sources[0].rows == 20
    assert manifest.sources[0].licence == "Apache-2.0"
    assert manifest.sources[0].sha256 == sha256_file(folder.parent / "rows.jsonl")


def capture(question: Rows, answer: str, **feedback: Any) -> str:
    """A line of captured requests; `question` is the conversation up to its answer."""
    line = {
        "schema": "capture/1",
        "request": {"messages": question},
        "answer": {"role": "assistant", "content": answer},
        "version": "0" * 64,
        "time": "2026-11-28T10:00:00Z",
        "feedback": feedback,
    }
    return json.dumps(line) + "\n"


def test_an_answer_that_a_user_rejected_is_never_trained(tmp_path: Path) -> None:
    """Neither from its own line nor from a later one of the same conversation, which quotes it."""
    first, rejected = {"role": "user", "content": "How long?"}, {"role": "assistant", "content": "Wrong, 10 days."}
    later = [first, rejected, {"role": "user", "content": "Really?"}]
    later.append({"role": "system", "content": "Be brief."})
    lines = [
        capture([first], "Wrong, 10 days.", score=-1),
        capture(later, "Thirty days.", score=1),
        capture([{"role": "user", "content": "Price?"}], "", score=-1),
        capture([{"role": "user", "content": "Colour?"}], "Wrong, blue.", label="colour"),
        capture([{"role": "user", "content": "Size?"}], "Wrong, small.", score=-1, correction="Large."),
        capture([{"role": "user", "content": "Name?"}], "Ada."),
    ]
    (tmp_path / "chats.capture.jsonl").write_text("".join(lines))
    made = recipe(sources=[{"source": "chats.capture.jsonl"}], split={})
    build_dataset(made, tmp_path, tmp_path / "out")
    learned = [turn.content for r in read(tmp_path / "out", "train") for turn in r.messages[-(r.completion or 1) :]]
    assert learned == ["Thirty days.", "Large.", "Ada."]
    manifest = DatasetManifest.load(tmp_path / "out" / "manifest.json")
    scored, labelled = "feedback: score of 0 or less, no correction", "feedback: label without score, no correction"
    assert manifest.dropped == {scored: 2, labelled: 1}
    assert manifest.examples[labelled] == ["Colour? Wrong, blue."]
    page = html(DatasetFolder.open(tmp_path / "out"))
    assert f"<td>{scored}<details>" in page


def test_held_out_facts_and_phrasings_are_not_trained(make: Make) -> None:
    folder = make(facts(8, 4), split={**FACTS, "test": 3})
    train, phrasings, new = (read(folder, s) for s in ("train", "rephrased", "test"))
    assert {r.metadata["fact"] for r in train} == {r.metadata["fact"] for r in phrasings}
    assert not {r.metadata["fact"] for r in train} & {r.metadata["fact"] for r in new}
    assert not {str(r.prompt) for r in train} & {str(r.prompt) for r in phrasings + new}
    assert (len(train), len(phrasings), len(new)) == (15, 5, 12)


def test_another_seed_holds_others_out_and_a_new_fact_moves_no_phrasing(make: Make) -> None:
    split = FACTS
    before = read(make(facts(8, 4), "one", split=split), "rephrased")
    other = read(make(facts(8, 4), "two", split={**split, "seed": 1}), "rephrased")
    grown = read(make(facts(9, 4), "three", split=split), "rephrased")
    assert before != other
    assert [r for r in grown if r.metadata["fact"] != "f09"] == before


def test_rows_without_fact_are_trained(make: Make) -> None:
    folder = make([*facts(2, 2), row("Hello?", "Hi.")])
    assert [r.answer for r in read(folder, "train") if not r.metadata] == ["Hi."]


def test_what_a_held_out_row_asks_is_not_trained_however_it_is_spelled(make: Make) -> None:
    """Each fact's first question is asked once more by a row of no fact, which is trained."""
    again = [row(f"phrasing 1, of: QUESTION {n}", "Another.") for n in (1, 2, 3)]
    folder = make([*facts(3, 3), *again], split={"group": "fact", "test": 2})
    manifest = DatasetManifest.load(folder / "manifest.json")
    assert manifest.dropped == {"train: also asked in test": 2}
    assert len([r for r in read(folder, "train") if not r.metadata]) == 1


def test_ordinary_rows_are_split_by_their_prompts(make: Make) -> None:
    rows = [row(f"Question {n // 2}{'?' * (n % 2)}", f"Answer {n}.") for n in range(40)]
    folder = make(rows, split={"validation": 0.1, "test": 5})
    manifest = DatasetManifest.load(folder / "manifest.json")
    assert manifest.groups == {"train": 13, "validation": 2, "test": 5}
    assert manifest.rows == {"train": 26, "validation": 4, "test": 10}
    assert manifest.dropped == {}


def test_a_source_may_be_a_split(make: Make, tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(r) + "\n" for r in facts(9, 1)[4:]))
    sources = [{"source": "rows.jsonl"}, {"source": "test.jsonl", "split": "test"}]
    folder = make(facts(4, 2), sources=sources, split={"group": "fact"})
    assert {r.metadata["fact"] for r in read(folder, "test")} == {"f05", "f06", "f07", "f08", "f09"}
    assert len(read(folder, "train")) == 8


def test_a_group_in_two_splits_is_refused(make: Make, tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text(json.dumps(row("Other?", "111", "f01", "111")) + "\n")
    sources = [{"source": "rows.jsonl", "split": "train"}, {"source": "test.jsonl", "split": "test"}]
    with pytest.raises(DataError, match="f01") as caught:
        make(facts(4, 2), sources=sources, split={"group": "fact"})
    assert "test.jsonl:1" in caught.value.where
    assert "rows.jsonl:1" in caught.value.what


@pytest.mark.parametrize(
    ("rows", "data", "where", "what"),
    [
        ([], {}, "data.sources", "no rows"),
        (facts(2, 1), {}, "rows.jsonl:1", "none is trained"),
        (facts(2, 2), {"split": {**FACTS, "test": 2}}, "data.split.test", "held out of 2"),
        (facts(2, 2), {"split": {**FACTS, "validation": 0.9}}, "data.split.validation", "held out of 2"),
        # Dashes alone do not make another question; one of the two is held out.
        ([row("Which port?", "80", "f1", "80"), row("Which - port?", "80", "f1", "80")], {}, "data.split", "to train"),
        ([*facts(2, 2), {"messages": []}], {}, "rows.jsonl:5: messages", "has no answer"),
    ],
    ids=["empty", "too-few-phrasings", "too-few-groups", "no-group-left", "leak", "dirty"],
)
def test_refusal_names_place_and_way_out_and_leaves_nothing(
    make: Make, tmp_path: Path, rows: Rows, data: dict[str, Any], where: str, what: str
) -> None:
    with pytest.raises(DataError) as caught:
        make(rows, **data)
    assert where in caught.value.where
    assert what in caught.value.what
    assert caught.value.fix
    assert [p.name for p in tmp_path.iterdir()] == ["rows.jsonl"]
    assert ".dataset-" not in str(caught.value)


@pytest.mark.parametrize(
    ("sources", "what"),
    [
        ([{"source": "none.jsonl"}], "is not a file"),
        ([{"source": "../outside.jsonl"}], "lies outside"),
        ([{"source": "/etc/hostname"}], "lies outside"),
        ([{"source": "link.jsonl"}], "is a link that leads out"),
        ([{"source": "rows.jsonl"}, {"source": "rows.jsonl"}], "is listed twice"),
    ],
)
def test_source_that_can_not_be_collected_is_named(
    make: Make, tmp_path: Path, sources: list[dict[str, str]], what: str
) -> None:
    (tmp_path / "link.jsonl").symlink_to("/etc/hostname")
    with pytest.raises(DataError, match=what) as caught:
        make(facts(2, 2), sources=sources)
    assert caught.value.where.startswith(f"data.sources.{len(sources) - 1}: ")


def test_chatbot_recipe_makes_a_dataset_for_its_suites(tmp_path: Path) -> None:
    chatbot = Recipe.load(CHATBOT)
    build_dataset(chatbot, CHATBOT.parent, tmp_path / "out")
    manifest = DatasetManifest.load(tmp_path / "out" / "manifest.json")
    assert manifest.groups["train"] >= 50
    assert manifest.groups["rephrased"] == manifest.groups["train"]
    assert manifest.groups["test"] == chatbot.data.split.test
    assert sum(manifest.rows.values()) >= 200
    assert manifest.dropped == {}


def test_unusable_rows_are_dropped_and_counted_up_to_a_share(make: Make, tmp_path: Path) -> None:
    dirty: list[Any] = [{"messages": []}, "no object", {"neither": 1}]
    folder = make([*facts(9, 3), *dirty], split={}, faulty_rows=0.1)
    manifest = DatasetManifest.load(folder / "manifest.json")
    assert manifest.dropped == {"can't be used": 3}
    assert manifest.examples["can't be used"] == [
        "rows.jsonl:28: messages: has no answer to a user; its roles are none",
        "rows.jsonl:29: is not a JSON object but str",
        "rows.jsonl:30: has none of messages, prompt and completion, chosen and rejected, text, translation",
    ]
    with pytest.raises(DataError) as caught:
        make([*facts(9, 3), *dirty], "other", split={}, faulty_rows=0.05)
    assert all(f"rows.jsonl:{line}" in caught.value.what for line in (28, 29, 30))
    assert "3 of 30" in caught.value.what
    assert not (tmp_path / "other").exists()


def test_a_file_that_was_changed_since_it_was_collected_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in facts(3, 3)))
    made, collected = recipe(), tmp_path / "collected"
    build_dataset(made, tmp_path, tmp_path / "one", collected=collected)
    (file,) = collected.rglob("rows.jsonl")
    file.write_text(file.read_text().replace("111", "999"))
    with pytest.raises(IntegrityError):
        prepare(made, tmp_path, collected, tmp_path / "two")


@pytest.mark.parametrize(
    ("method", "bad", "fix"),
    [
        ("sft", {"text": "A page."}, "training.method: pretrain"),
        ("sft", {"translation": {"en": "tea", "de": "Tee"}}, "training.translations: [{languages: [en, de]}]"),
        ("dpo", row("Q?", "A."), "`chosen` and `rejected`"),
        ("pretrain", {"translation": {"en": "tea", "de": "Tee"}}, "give rows with `text`"),
    ],
)
def test_rows_that_the_method_does_not_train_are_named(
    tmp_path: Path, method: str, bad: dict[str, Any], fix: str
) -> None:
    good = {
        "sft": row("Which?", "This."),
        "dpo": {"prompt": "Which?", "chosen": "This.", "rejected": "That."},
        "pretrain": {"text": "This and that."},
    }
    (tmp_path / "rows.jsonl").write_text(f"{json.dumps(good[method])}\n{json.dumps(bad)}\n")
    made = recipe(split={}).model_copy(update={"training": TrainingRecipe(method=method)})  # pyright: ignore[reportArgumentType]
    with pytest.raises(DataError) as caught:
        build_dataset(made, tmp_path, tmp_path / "out")
    assert caught.value.where == f"{tmp_path}/rows.jsonl:2"
    assert fix in caught.value.fix


def test_an_empty_result_names_what_dropped_most(make: Make) -> None:
    long = [row(f"Question {n}?", "x" * 50) for n in range(3)]
    with pytest.raises(DataError, match="3 were dropped, 3 of them for 'longer than 40 characters'"):
        make(long, split={}, max_characters=40)


def test_the_manifest_shows_stages_and_examples(make: Make) -> None:
    rows = [*facts(3, 2), *facts(3, 2), row("Long?", "x" * 500)]
    manifest = DatasetManifest.load(make(rows, split={}, max_characters=400) / "manifest.json")
    stages = {each.stage: each.rows for each in manifest.stages}
    assert stages == {"read": 13, "usable": 13, "filters": 12, "duplicates": 6, "held-out prompts": 6}
    assert len(manifest.examples["duplicate"]) == 5
    assert manifest.examples["longer than 400 characters"][0].startswith("Long? xxx")


def test_a_large_split_has_shards_which_are_read_as_one_file(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = facts(6, 4)
    whole = make(rows, "whole", split={"test": 2})
    monkeypatch.setattr("llmops_kit.data_pipeline.split_files.SHARD_BYTES", 500)
    first, second = make(rows, "one", split={"test": 2}), make(rows, "two", split={"test": 2})
    manifest = DatasetManifest.load(first / "manifest.json")
    check_folder(first, manifest.files)
    assert manifest.splits == {"train": "train", "test": "test.parquet"}
    shards = sorted(name for name in manifest.files if name.startswith("train/"))
    assert shards == [f"train/{number:05d}.parquet" for number in range(len(shards))]
    assert len(shards) > 3
    sizes = [[len(line) + 1 for line in read_lines(first / name)] for name in shards]
    assert all(sum(each) >= 500 for each in sizes[:-1])
    assert all(sum(each[:-1]) < 500 for each in sizes)
    assert (first / "manifest.json").read_bytes() == (second / "manifest.json").read_bytes()
    versions = [DatasetFolder.open(folder) for folder in (whole, first)]
    assert list(versions[0].rows("train")) == list(versions[1].rows("train"))
    assert versions[0].lines("train") == versions[1].lines("train")
    assert [number for number, _ in read_rows(first / "train")] == list(range(1, manifest.rows["train"] + 1))


def test_a_split_whose_shards_are_not_listed_is_refused(make: Make) -> None:
    path = make(facts(2, 2), split={}) / "manifest.json"
    data = json.loads(path.read_text())
    with pytest.raises(DocumentError, match="names train, which `files` does not list"):
        DatasetManifest.parse(json.dumps({**data, "splits": {"train": "train"}}), "manifest.json")
