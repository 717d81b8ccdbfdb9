"""Documents validate, name file, line and field, and stay readable once released."""

import json
from pathlib import Path

import pytest

from llmops_kit.core.document import Document
from llmops_kit.core.documents.dataset import DatasetManifest
from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.documents.run import RunSpec
from llmops_kit.core.documents.schemas import DOCUMENTS, json_schema
from llmops_kit.core.errors import DocumentError
from llmops_kit.core.names import Name
from tests.support.checkout import EXAMPLES

RECIPE = """\
schema: recipe/2
name: chatbot
base_model:
  name: smollm2
  source: folder:./base
data:
  sources:
    - source: facts.jsonl
  split: {test: 0.2}
evaluation:
  suites:
    - {name: facts, split: test}
  gate:
    - {suite: facts, low: 0.8}
"""


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.json")), ids=lambda p: p.stem)
def test_released_versions_stay_readable(path: Path) -> None:
    kind = DOCUMENTS[path.stem.rpartition("-")[0]]
    document = kind.load(path)
    assert kind.parse(document.to_json(), "again") == document


def test_each_document_has_an_example_of_its_version() -> None:
    assert {d.SCHEMA.replace("/", "-") for d in DOCUMENTS.values()} <= {p.stem for p in EXAMPLES.glob("*.json")}


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_published_schema_accepts_what_the_kit_writes(name: str) -> None:
    schema = json_schema(name)
    newest = DOCUMENTS[name].SCHEMA.replace("/", "-")
    example = json.loads((EXAMPLES / f"{newest}.json").read_text())
    assert schema["properties"]["schema"]["const"] == example["schema"]
    assert set(schema["required"]) <= set(example)
    assert set(example) <= set(schema["properties"])
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "says"),
    [
        (
            "name: chatbot",
            "name: Chat Bot",
            2,
            "name",
            "small letters, digits and single dashes, a letter first",
        ),
        (
            "    - source: facts.jsonl",
            "    - source: facts.jsonl\n      licens: MIT",
            9,
            "data.sources.0.licens",
            "unknown key",
        ),
        ("low: 0.8", "low: 8", 14, "evaluation.gate.0.low", "must be at most 1.0 (found 8"),
        ("low: 0.8", "low: 0", 14, "evaluation.gate.0.low", "must be greater than 0"),
        (
            ", low: 0.8",
            "",
            14,
            "evaluation.gate.0",
            "needs `low`, `high`, `gain_low`, `copy_gain_low` or `not_worse_than`",
        ),
        ("split: test}", "split: train}", 10, "evaluation", "proves nothing"),
        ("test: 0.2", "test: 1.5", 9, "data.split", "`test` is 1.5"),
        ("test: 0.2", "rephrased: 1", 9, "data.split", "`rephrased` needs `group`"),
        ("- source: facts.jsonl", "- source: hub:org/data", 8, "data.sources.0", "needs `revision`"),
        ("- source: facts.jsonl", '- {source: facts.jsonl, token: "secret:hub"}', 8, "data.sources.0", "no effect"),
        ("{suite: facts,", "{suite: fact,", 10, "evaluation", "the gate names suite 'fact'"),
        ("folder:./base", "hub:org/model", 3, "base_model", "needs `revision`"),
        ("folder:./base", "folder:./base\n  token: secret:hub-token", 3, "base_model", "no effect without hub:"),
        ("folder:./base", "hub:org/model\n  token: hf_123", 6, "base_model.token", "pattern"),
        ("data:\n", "dataset:\n", 6, "dataset", "unknown key"),
    ],
)
def test_errors_name_file_line_and_field(tmp_path: Path, old: str, new: str, line: int, field: str, says: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.replace(old, new, 1))
    with pytest.raises(DocumentError) as e:
        Recipe.load(path)
    assert f"{path}:{line}: {field}: " in str(e.value)
    assert says in str(e.value)


def test_all_findings_are_told_at_once() -> None:
    with pytest.raises(DocumentError) as e:
        Recipe.parse(RECIPE.replace("chatbot", "X").replace("0.8", "high"), "r.yaml")
    assert "r.yaml:2: name" in str(e.value)
    assert "r.yaml:14: evaluation.gate.0.low" in str(e.value)


def test_yaml_that_is_none_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("schema: recipe/1\nname: [chatbot\n")
    with pytest.raises(DocumentError, match=r"recipe\.yaml:3: is not YAML"):
        Recipe.load(path)


@pytest.mark.parametrize(("schema", "says"), [("recipe/3", "newer|wrote it"), ("run/1", "expected `schema: recipe/2`")])
def test_a_newer_or_foreign_document_is_refused(schema: str, says: str) -> None:
    with pytest.raises(DocumentError, match=says):
        Recipe.parse(RECIPE.replace("recipe/2", schema), "r.yaml")


def test_an_older_document_is_migrated() -> None:
    class Note(Document):
        SCHEMA = "note/3"
        MIGRATIONS = {  # noqa: RUF012
            1: lambda d: {"title": d["headline"]},
            2: lambda d: {"name": d["title"].lower()},
        }
        name: Name

    note = Note.parse("schema: note/1\nheadline: HELLO\n", "n.yaml")
    assert (note.name, note.schema_) == ("hello", "note/3")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"nothing\.yaml: can't be read: No such file"):
        Recipe.load(tmp_path / "nothing.yaml")


def test_writing_is_canonical(tmp_path: Path) -> None:
    recipe = Recipe.parse(RECIPE, "r.yaml")
    recipe.write(tmp_path / "deep" / "a.json")
    Recipe.load(tmp_path / "deep" / "a.json").write(tmp_path / "b.json")
    assert (tmp_path / "deep" / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_run_of_an_older_kit_that_names_a_branch_stays_readable() -> None:
    run = json.loads((EXAMPLES / "run-1.json").read_text())
    run["recipe"]["base_model"] |= {"source": "hub:org/model", "revision": "main"}
    assert RunSpec.parse(json.dumps(run), where="run.json").recipe.base_model.revision == "main"


def test_a_recipe_of_an_older_kit_says_the_same_in_the_words_of_this_one() -> None:
    recipe = Recipe.load(EXAMPLES / "recipe-1.json")
    assert recipe.data.sources[0].source == "chatbot/facts.jsonl"
    split = recipe.data.split
    assert (split.group, split.test, split.rephrased, split.validation) == ("fact", 8, 1, 0)
    assert recipe.evaluation.suites[0].split == "rephrased"
    check = recipe.evaluation.gate[0]
    assert (check.low, check.gain_low) == (0.8, 0.3)
    assert RunSpec.load(EXAMPLES / "run-1.json").recipe == recipe


def test_an_old_recipe_without_a_split_holds_out_what_it_did() -> None:
    old = json.loads((EXAMPLES / "recipe-1.json").read_text())
    del old["data"]["split"]
    split = Recipe.parse(json.dumps(old), "r.json").data.split
    assert (split.test, split.rephrased) == (0, 1)


def test_a_mistake_in_an_old_recipe_is_named() -> None:
    old = json.loads((EXAMPLES / "recipe-1.json").read_text())
    old["evaluation"]["gate"] = [{"suite": "new-phrasings", "minimum": 0.0}]
    with pytest.raises(DocumentError) as caught:
        Recipe.parse(json.dumps(old), "r.json")
    assert "evaluation.gate.0" in str(caught.value)


def test_versions_of_an_older_kit_keep_what_they_say() -> None:
    dataset = DatasetManifest.load(EXAMPLES / "dataset-1.json")
    assert (dataset.splits, dataset.group) == ({"train": "train.jsonl"}, "fact")
    assert dataset.rows == {"rephrased": 1, "train": 2}
    result = ModelManifest.load(EXAMPLES / "model-1.json").evaluation[0]
    assert (result.after.value, result.after.rows, result.after.groups, result.gain) == (0.9, 50, 50, None)
