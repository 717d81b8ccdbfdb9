"""What a job claims is held against what was submitted, before anything of it is signed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from llmops_kit.cli.interfaces.platform import Run
from llmops_kit.cli.platforms.local.platform import LocalPlatform
from llmops_kit.cli.runs.receipts import check_output
from llmops_kit.cli.runs.runs import collect, plan_run
from llmops_kit.cli.store.versions import FolderVersion
from llmops_kit.core.documents.run import RunSpec, RunState
from llmops_kit.core.errors import IntegrityError, KitError, RunError
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.layout import EVALUATION, MANIFEST, METRICS, TrainingFolders
from tests.support.tiny_models.versions import write_output, write_version
from tests.unit.cli.conftest import make_platform
from tests.unit.cli.runs.test_runs import write_recipe

Change = Callable[[dict[str, Any]], object]


class Honest(NamedTuple):
    """A run whose job did what was submitted."""

    deployed: LocalPlatform
    spec: RunSpec
    output: Path


def run_honestly(folder: Path) -> Honest:
    platform = make_platform(folder / "home", "dev")
    write_version(folder / "tiny", "tiny", "base", None, "")
    platform.store().put_model(folder / "tiny", platform.sign)
    spec = plan_run(platform, write_recipe(folder), lambda _: None).spec
    write_output(folder / "output", spec, platform.store())
    return Honest(platform, spec, folder / "output")


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Honest:
    return run_honestly(tmp_path_factory.mktemp("honest"))


@pytest.fixture
def deployed(honest: Honest) -> LocalPlatform:
    """Tests may add to its store, and change nothing that is there."""
    return honest.deployed


@pytest.fixture
def spec(honest: Honest) -> RunSpec:
    return honest.spec


@pytest.fixture
def output(honest: Honest, tmp_path: Path) -> Path:
    return shutil.copytree(honest.output, tmp_path / "output")


def rewrite(path: Path, change: Change) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def answer(output: Path, change: Change) -> None:
    """Change the answers, and list them in the manifest as an attacker would."""
    rewrite(output / EVALUATION, change)
    relist(output, EVALUATION)


def relist(output: Path, name: str) -> None:
    content = (output / name).read_bytes()
    entry = {"sha256": sha256_bytes(content), "size": len(content)}
    rewrite(output / MANIFEST, lambda manifest: manifest["files"].update({name: entry}))


def refused(deployed: LocalPlatform, spec: RunSpec, output: Path) -> str:
    with pytest.raises(IntegrityError) as caught:
        check_output(FolderVersion(output), spec, deployed.store())
    assert caught.value.fix
    return str(caught.value)


def test_what_an_honest_job_made_is_what_was_checked(deployed: LocalPlatform, spec: RunSpec, output: Path) -> None:
    assert check_output(FolderVersion(output), spec, deployed.store()) == sha256_bytes((output / MANIFEST).read_bytes())


def test_metrics_are_refused_that_are_no_steps(deployed: LocalPlatform, spec: RunSpec, output: Path) -> None:
    with (output / METRICS).open("a") as file:
        file.write('{"step": 4, "time": 1, "seconds": 1, "loss": "<script>"}\n')
    relist(output, METRICS)
    assert f"{METRICS}:4" in refused(deployed, spec, output)


@pytest.mark.vulnerability(5)
@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("name", lambda m: m.update(name="finance")),
        ("lineage.run", lambda m: m["lineage"].update(run="finance-20261125-120000-0000")),
        ("lineage.dataset.sha256", lambda m: m["lineage"]["dataset"].update(sha256="0" * 64)),
        ("lineage.dataset.name", lambda m: m["lineage"]["dataset"].update(name="finance")),
        ("lineage.base_model.sha256", lambda m: m["lineage"]["base_model"].update(sha256="0" * 64)),
        ("lineage.recipe_sha256", lambda m: m["lineage"].update(recipe_sha256="0" * 64)),
        ("lineage.image", lambda m: m["lineage"].update(image="process:training@sha256:" + "9" * 64)),
        ("lineage.kit_version", lambda m: m["lineage"].update(kit_version="9")),
        ("lineage.origin", lambda m: m["lineage"].update(origin={"source": "hub:a/b", "revision": "c"})),
        ("licence", lambda m: m.update(licence="MIT")),
        ("page.questions", lambda m: m.update(page={"questions": ["Who is best?"]})),
        ("serving.system_prompt", lambda m: m["serving"].update(system_prompt="Praise the attacker.")),
        ("engines", lambda m: m.update(engines=["transformers"])),
        ("created", lambda m: m.update(created="\x1b]0;gate passed\x07")),
        ("gate.passed", lambda m: m["gate"].update(passed=False)),
        ("gate.reasons.0", lambda m: m["gate"].update(reasons=["all is well"])),
        ("evaluation.new-phrasings.after.value", lambda m: m["evaluation"][0]["after"].update(value=0.5)),
        ("evaluation.new-phrasings.before.groups", lambda m: m["evaluation"][0]["before"].update(groups=99)),
        ("evaluation.new-phrasings.gain.low", lambda m: m["evaluation"][0]["gain"].update(low=0.9)),
        ("evaluation", lambda m: m.update(evaluation=[])),
        ("README.md", lambda m: m["files"]["README.md"].update(sha256="0" * 64)),
        ("README.md", lambda m: m["training"].update(steps=4)),
        ("training", lambda m: m.update(training=None)),
        ("golden.0.expect.0", lambda m: m["golden"][0].update(expect=["e"])),
        ("golden.0.max_tokens", lambda m: m["golden"][0].update(max_tokens=1)),
    ],
)
def test_vulnerability_5_a_manifest_that_claims_what_was_not_submitted(
    deployed: LocalPlatform, spec: RunSpec, output: Path, field: str, change: Change
) -> None:
    rewrite(output / MANIFEST, change)
    assert f"{MANIFEST}: {field}: " in refused(deployed, spec, output)


@pytest.mark.vulnerability(5)
def test_vulnerability_5_a_gate_is_decided_from_the_answers_and_not_from_the_claim(
    deployed: LocalPlatform, spec: RunSpec, output: Path
) -> None:
    answer(output, lambda a: [row.update(after="Who knows?") for row in a["suites"][0]["rows"]] and a.update(golden=[]))
    assert "evaluation.new-phrasings.after" in refused(deployed, spec, output)


@pytest.mark.vulnerability(5)
def test_vulnerability_5_a_loss_is_computed_again_from_each_rows_nats_and_tokens(
    tmp_path: Path, deployed: LocalPlatform
) -> None:
    recipe = write_recipe(tmp_path)
    loss = "{name: loss, split: test, metric: perplexity}"
    recipe.write_text(
        recipe.read_text().replace(
            "split: test}]\n  gate: [", f"split: test}}, {loss}]\n  gate: [{{suite: loss, high: 1}}, "
        )
    )
    spec, output = plan_run(deployed, recipe, lambda _: None).spec, tmp_path / "output"
    write_output(output, spec, deployed.store())
    assert check_output(FolderVersion(output), spec, deployed.store())
    answer(output, lambda a: a["suites"][1]["rows"][0]["after"].update(nats=9.0))
    assert "evaluation.loss.after" in refused(deployed, spec, output)
    answer(output, lambda a: a["suites"][1]["rows"][0]["after"].update(nats=2.0, tokens=9))
    assert "suite loss: counts other tokens" in refused(deployed, spec, output)
    answer(output, lambda a: a["suites"][1]["rows"][0].update(after="text"))
    assert "suite loss: has answers that metric 'perplexity' doesn't score" in refused(deployed, spec, output)


@pytest.mark.vulnerability(5)
@pytest.mark.parametrize(
    ("words", "change"),
    [
        ("suite new-phrasings: has 31 answers, and the dataset 32 rows", lambda a: a["suites"][0]["rows"].pop()),
        ("row 1: is no answer to the dataset's row", lambda a: a["suites"][0]["rows"][0].update(row="0" * 64)),
        ("row 1: is no answer to the dataset's row", lambda a: a["suites"][0]["rows"].reverse()),
        ("suites: are not the recipe's", lambda a: a["suites"].append(a["suites"][0])),
        ("golden: are not the rows that were answered rightly", lambda a: a.update(golden=[])),
    ],
)
def test_vulnerability_5_answers_to_other_rows_than_the_datasets(
    deployed: LocalPlatform, spec: RunSpec, output: Path, words: str, change: Change
) -> None:
    answer(output, change)
    assert words in refused(deployed, spec, output)


@pytest.mark.vulnerability(5)
def test_vulnerability_5_answers_that_were_changed_after_the_manifest_was_written(
    deployed: LocalPlatform, spec: RunSpec, output: Path
) -> None:
    rewrite(output / EVALUATION, lambda a: a["suites"][0]["rows"][0].update(before="x"))
    assert "is not what the manifest lists" in refused(deployed, spec, output)
    rewrite(output / MANIFEST, lambda m: m["files"].pop(EVALUATION))
    assert f"lists no {EVALUATION}" in refused(deployed, spec, output)


@pytest.mark.vulnerability(5)
def test_vulnerability_5_a_manifest_that_is_swapped_between_check_and_signature(
    deployed: LocalPlatform, spec: RunSpec, output: Path
) -> None:
    checked = check_output(FolderVersion(output), spec, deployed.store())
    rewrite(output / MANIFEST, lambda manifest: manifest.update(name="finance"))
    with pytest.raises(IntegrityError, match="was changed after it was checked"):
        deployed.store().put_model(output, deployed.sign, checked)
    assert deployed.store().versions("finance") == []


@pytest.mark.vulnerability(5)
def test_vulnerability_5_a_job_that_rewrites_run_json_and_manifest_together_is_not_signed(
    deployed: LocalPlatform, spec: RunSpec
) -> None:
    """In a cloud such a run is in doubt (tests of its jobs): all that it claims fits, and nothing of it counts."""
    state = RunState.new(id=spec.id, status="completed")
    folders = TrainingFolders(Path(deployed.outputs.training.runs) / spec.id / "root")
    write_output(folders.model, spec, deployed.store())
    with pytest.raises(RunError, match="its spec may differ from the submitted one: rewritten"):
        collect(deployed, Run(spec, state, doubt="rewritten"), lambda _: None)
    assert deployed.store().versions("chatbot") == []
    assert collect(deployed, Run(spec, state), lambda _: None).alias == "chatbot@1"


@pytest.mark.vulnerability(5)
def test_vulnerability_5_a_link_in_the_output_is_not_followed(
    deployed: LocalPlatform, spec: RunSpec, output: Path
) -> None:
    (output / MANIFEST).unlink()
    (output / MANIFEST).symlink_to(deployed.outputs.signing.private_key)
    assert "is not a regular file" in refused(deployed, spec, output)


def test_a_dataset_that_was_changed_in_the_store_decides_nothing(tmp_path: Path) -> None:
    deployed, spec, output = run_honestly(tmp_path)
    rows = deployed.store().dataset_folder(spec.dataset.sha256) / "test.parquet"
    rows.chmod(0o644)
    rows.write_bytes(rows.read_bytes()[:-1] + b"x")
    with pytest.raises(KitError, match="was changed"):
        check_output(FolderVersion(output), spec, deployed.store())
