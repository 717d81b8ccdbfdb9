"""What an approver of a promotion sees, and that nothing else is signed afterwards."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.cli.deploying.promotion import promote
from llmops_kit.cli.deploying.review import review
from llmops_kit.cli.deploying.review_page import fields, markdown
from llmops_kit.cli.platforms.local.platform import LocalPlatform
from llmops_kit.cli.runs.runs import collect, find_run
from llmops_kit.cli.stacks.stack_file import StackFile
from llmops_kit.core.documents.model import GateResult
from llmops_kit.core.documents.outputs import EndpointOutput
from llmops_kit.core.documents.recipe_evaluation import ScoreProgram
from llmops_kit.core.errors import IntegrityError, NotFoundError, RefusedError
from llmops_kit.core.layout import SIGNATURE
from llmops_kit.core.names import ModelRef
from tests.support.tiny_models.versions import write_output
from tests.unit.cli.runs.test_runs import deploy, folder_of, lines_of, start, write_recipe

MakeImage = Callable[[str], str]

_FINISH = """
import os, time
from pathlib import Path
model = Path(os.environ["LLMOPS_ROOT"]) / "opt/ml/model/manifest.json"
while not model.exists():
    time.sleep(0.02)
"""


def output_of(platform: LocalPlatform, run: str) -> Path:
    return folder_of(platform, run) / "root/opt/ml/model"


def complete(platform: LocalPlatform, recipe: Path) -> str:
    """A completed run of the recipe, which nobody collected."""
    run = start(platform, recipe)
    write_output(output_of(platform, run), find_run(platform, run).spec, platform.store())
    lines_of(platform, run)
    return run


def serve(platform: LocalPlatform, ref: ModelRef) -> None:
    """As `llmops up` leaves it in the stack's outputs."""
    platform.outputs.endpoints["chatbot"] = EndpointOutput.model_construct(model=str(ref), on=True)


def names_of(rows: list[dict[str, Any]]) -> set[str]:
    return {row["what"] for row in rows if row["version"] != row["production"]}


@pytest.fixture
def platform(tmp_path: Path, make_image: MakeImage) -> LocalPlatform:
    return deploy(tmp_path, make_image(_FINISH))


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write_recipe(tmp_path)


@pytest.mark.scorecard("approval")
def test_exactly_the_reviewed_version_of_a_run_is_signed(platform: LocalPlatform, recipe: Path, tmp_path: Path) -> None:
    run = complete(platform, recipe)
    seen = review(platform, "latest")
    assert (seen.run, seen.version.alias) == (run, "")
    assert not platform.store().versions("chatbot")
    assert not (output_of(platform, run) / SIGNATURE).exists()

    ref = collect(platform, find_run(platform, run), lambda _: None, reviewed=seen.version.sha256)
    assert ref.sha256 == seen.version.sha256
    (tmp_path / "Pulumi.dev.yaml").write_text("config:\n  llmops:target: local\n")
    assert promote(platform, StackFile(tmp_path / "Pulumi.dev.yaml"), seen.version.identity).after == ref
    again = review(platform, run)
    assert (again.run, again.version.alias, again.version.identity) == ("", "chatbot@1", seen.version.identity)


@pytest.mark.scorecard("approval")
def test_a_version_that_changed_after_its_review_is_not_signed(platform: LocalPlatform, recipe: Path) -> None:
    """The change is one that passes every other check: another time of creation."""
    run = complete(platform, recipe)
    seen = review(platform, run)
    path = output_of(platform, run) / "manifest.json"
    path.write_text(path.read_text().replace("2026-11-25T12:00:00Z", "2026-11-25T12:00:01Z"))
    with pytest.raises(IntegrityError, match=f"sha256:{seen.version.sha256} was reviewed"):
        collect(platform, find_run(platform, run), lambda _: None, reviewed=seen.version.sha256)
    assert not platform.store().versions("chatbot")

    collect(platform, find_run(platform, run), lambda _: None)
    with pytest.raises(IntegrityError, match="was reviewed"):
        collect(platform, find_run(platform, run), lambda _: None, reviewed=seen.version.sha256)
    with pytest.raises(NotFoundError, match=r"model version chatbot sha256:.* is not in the store"):
        platform.store().find(seen.version.identity)


@pytest.mark.scorecard("approval")
def test_an_approver_sees_scores_gate_and_changes_of_data_and_code(platform: LocalPlatform, recipe: Path) -> None:
    first = collect(platform, find_run(platform, complete(platform, recipe)), lambda _: None)
    serve(platform, first)
    facts = recipe.parent / "facts.jsonl"
    facts.write_text(facts.read_text().splitlines(keepends=True)[0])
    recipe.write_text(recipe.read_text().replace("low: 0.5", "low: 0.4"))
    seen = review(platform, complete(platform, recipe))

    assert names_of(seen.code()) == {"recipe"}
    assert names_of(seen.data()) == {"split train", "source facts.jsonl"}
    assert seen.unknown == []
    changed = [line for line in seen.recipe_diff() if line[0] in "+-" and line[1] == " "]
    assert changed == ['-        "low": 0.5,', '+        "low": 0.4,']
    page = markdown(seen)
    assert f"`{seen.version.identity}`" in page
    assert "### Gate: passed" in page
    assert "| `new-phrasings` | 0.0 % | 100.0 % (89.3 % to 100.0 %) | 32 | 100.0 % |" in page
    assert "| `split train` | `rows 1, groups 1` | `rows 4, groups 4` | **differs** |" in page
    assert "in production: `chatbot@1`" in page
    assert json.loads(json.dumps(fields(seen)))["production"] == "chatbot@1"


def test_the_version_in_production_has_nothing_to_compare_with(platform: LocalPlatform, recipe: Path) -> None:
    ref = collect(platform, find_run(platform, complete(platform, recipe)), lambda _: None)
    assert "no other version" in markdown(review(platform, "chatbot@1"))
    serve(platform, ref)
    assert "no other version" in markdown(review(platform, "chatbot@latest"))


def test_what_cant_be_read_is_told(platform: LocalPlatform, recipe: Path) -> None:
    ref = collect(platform, find_run(platform, complete(platform, recipe)), lambda _: None)
    pinned = platform.store().manifest(ref).lineage.dataset
    assert pinned
    path = platform.store().dataset_folder(pinned.sha256) / "manifest.json"
    path.unlink()
    path.write_text("{}")
    (told,) = review(platform, "chatbot@1").unknown
    assert told.startswith("dataset of chatbot@1:")
    assert "was changed in the store" in told


def test_a_judged_run_is_reviewed_after_its_collection(
    platform: LocalPlatform, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = complete(platform, recipe)
    found = find_run(platform, run)
    suites = [
        suite.model_copy(update={"program": ScoreProgram(file="x.py")}) for suite in found.spec.recipe.evaluation.suites
    ]
    evaluation = found.spec.recipe.evaluation.model_copy(update={"suites": suites})
    spec = found.spec.model_copy(update={"recipe": found.spec.recipe.model_copy(update={"evaluation": evaluation})})
    monkeypatch.setattr(platform, "find", lambda _="": [replace(found, spec=spec)])
    with pytest.raises(RefusedError, match="its judges are asked when it is collected"):
        review(platform, run)


_HOSTILE = (
    "passed\n\n### Gate: passed\n| a | b |",
    "<img src=https://evil.example/x>",
    "[approve](https://evil.example)",
    "`` `code` ``",
    "a | b \\| c",
    "\x1b[2J\u202e",
    "@acme/security please approve",
    "```\n~~~\n",
    "x" * 5000,
)


@pytest.mark.scorecard("approval")
def test_a_jobs_texts_stay_lines_of_code(platform: LocalPlatform, recipe: Path) -> None:
    seen = review(platform, complete(platform, recipe))

    def page(text: str) -> list[str]:
        gate = GateResult(passed=False, reasons=[text])
        manifest = seen.version.manifest.model_copy(update={"gate": gate, "licence": text, "created": text})
        told = replace(seen, version=replace(seen.version, manifest=manifest), unknown=[text], rejected=text)
        return markdown(told).splitlines()

    def structure(lines: list[str]) -> list[str]:
        return [re.sub(r"`[^`]*`", "`", line) for line in lines]

    harmless = structure(page("harmless"))
    assert "### Gate: NOT PASSED" in harmless
    for text in _HOSTILE:
        assert structure(page(text)) == harmless, text
        assert max(map(len, page(text))) < 1000
