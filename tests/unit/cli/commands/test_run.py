"""How `llmops train` and `llmops runs follow` end."""

from pathlib import Path

import pytest
import typer

from llmops_kit.cli.commands.train import collect_run
from llmops_kit.cli.platforms.local.platform import LocalPlatform
from llmops_kit.cli.runs.runs import find_run
from tests.support.tiny_models.versions import write_output
from tests.unit.cli.runs.test_runs import (
    MakeImage,
    deploy,
    folder_of,
    start,
    wait_until,
    write_recipe,
)

_WAIT = """
import os, time
from pathlib import Path
while not (Path(os.environ["LLMOPS_ROOT"]) / "opt/ml/model/manifest.json").exists():
    time.sleep(0.02)
"""


def finished(tmp_path: Path, image: str, right: bool, gated: bool) -> tuple[LocalPlatform, str]:
    """A stack with a completed run, whose answers are all right or all wrong."""
    platform = deploy(tmp_path, image)
    recipe = write_recipe(tmp_path)
    if not gated:
        recipe.write_text("".join(line for line in recipe.read_text().splitlines(True) if "gate:" not in line))
    run = start(platform, recipe)
    spec = find_run(platform, run).spec
    write_output(folder_of(platform, run) / "root/opt/ml/model", spec, platform.store(), right=right)
    wait_until(lambda: find_run(platform, run).state.status != "running")
    return platform, run


def test_a_version_that_did_not_pass_its_gate_ends_with_code_3(tmp_path: Path, make_image: MakeImage) -> None:
    platform, run = finished(tmp_path, make_image(_WAIT), right=False, gated=True)
    with pytest.raises(typer.Exit) as ended:
        collect_run(platform, run, as_json=True)
    assert ended.value.exit_code == 3
    assert platform.store().of_run("chatbot", run)


def test_who_did_not_pass_reads_how_long_it_was_trained(
    tmp_path: Path, make_image: MakeImage, capsys: pytest.CaptureFixture[str]
) -> None:
    platform, run = finished(tmp_path, make_image(_WAIT), right=False, gated=True)
    with pytest.raises(typer.Exit):
        collect_run(platform, run, as_json=False)
    ref = platform.store().of_run("chatbot", run)
    assert ref
    facts = platform.store().manifest(ref).training
    assert facts
    said = capsys.readouterr().err
    assert f"It took {facts.steps} steps, in which the loss went from {facts.first_loss:.3g}" in said
    assert ("raise `training.epochs`" in said) is (facts.last_loss < facts.first_loss)


@pytest.mark.parametrize(("right", "gated"), [(True, True), (False, False)])
def test_a_version_that_passed_or_has_no_gate_ends_well(
    tmp_path: Path, make_image: MakeImage, capsys: pytest.CaptureFixture[str], right: bool, gated: bool
) -> None:
    platform, run = finished(tmp_path, make_image(_WAIT), right=right, gated=gated)
    collect_run(platform, run, as_json=False)
    assert ("--force" in capsys.readouterr().err) is not gated
