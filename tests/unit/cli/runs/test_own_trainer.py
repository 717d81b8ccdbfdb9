"""Runs on this machine whose recipe has a trainer of its own: two jobs; whoever follows starts the second one."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from llmops_kit.cli.machines.prices import Prices
from llmops_kit.cli.plan.check import check_run, check_training
from llmops_kit.cli.platforms.local.platform import LocalPlatform
from llmops_kit.cli.runs.runs import collect, find_run, plan_run
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.documents.run import Compute, RunSpec
from llmops_kit.core.errors import KitError, RunError
from tests.support.checkout import EXAMPLES
from tests.support.tiny_models.versions import write_output
from tests.unit.cli.runs.test_runs import (
    RECIPE,
    deploy,
    folder_of,
    lines_of,
    log_of,
    start,
    wait_until,
    write_recipe,
)

MakeImage = Callable[[str], str]

TRAINER = """
import json, os, signal, sys, time
from pathlib import Path
at = {name: Path(os.environ[f"LLMOPS_FOLDER_{name.upper()}"]) for name in ("spec", "dataset", "base_model", "model")}
spec = json.loads((at["spec"] / "run.json").read_text())
assert spec["recipe"]["training"]["epochs"] == 7 and (at["dataset"] / "train.parquet").exists()
assert (at["base_model"] / "manifest.json").exists()
starts = Path(os.environ["LLMOPS_FOLDER_CHECKPOINTS"]) / "starts"
n = int(starts.read_text()) + 1 if starts.exists() else 1
starts.write_text(str(n))
print(f"trainer start={n}", *sys.argv[1:], flush=True)
"""
LEAVE = (
    "(at['model'] / 'model.safetensors').write_text('trained'); os.chmod(at['model'] / 'model.safetensors', 0o600)\n"
)
WAIT = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\nprint('step=1', flush=True)\ntime.sleep(600)\n"
EVALUATION = """
import os, time
from pathlib import Path
ml = Path(os.environ["LLMOPS_ROOT"]) / "opt/ml"
print("evaluates", (ml / "input/data/trained/model.safetensors").read_text(), flush=True)
while not (ml / "model/manifest.json").exists():
    time.sleep(0.02)
"""


def with_trainer(tmp_path: Path, code: str) -> Path:
    """A recipe whose trainer is a folder of Python files beside it, in an environment of no packages."""
    recipe = write_recipe(tmp_path)
    trainer = "trainer: {image: folder:my_trainer, command: [python, -m, my_trainer, --fast]}\n"
    recipe.write_text(RECIPE + "training: {epochs: 7}\n" + trainer)
    folder = tmp_path / "my_trainer"
    folder.mkdir(exist_ok=True)
    (folder / "requirements.txt").write_text("")
    (folder / "__main__.py").write_text(TRAINER + code)
    return recipe


def finish(platform: LocalPlatform, run: str) -> None:
    """Leaves what the second job makes."""
    write_output(folder_of(platform, run) / "root/opt/ml/model", find_run(platform, run).spec, platform.store())


def test_a_run_of_two_jobs_goes_on_whoever_follows_it(tmp_path: Path, make_image: MakeImage) -> None:
    platform = deploy(tmp_path, make_image(EVALUATION))
    recipe = with_trainer(tmp_path, LEAVE)
    run = start(platform, recipe)
    # Whoever started it is gone, and so is the exit code of its child.
    wait_until(lambda: find_run(platform, run).state.status != "running")
    state = find_run(platform, run).state
    assert (state.status, state.job) == ("pending", "evaluation")
    with pytest.raises(RunError, match="is not running"):
        platform.stop(run)
    same = plan_run(platform, recipe, lambda _: None).same
    assert same is not None
    assert same.spec.id == run
    followed = platform.follow(run)
    assert next(followed) == "trainer start=1 --fast"
    assert next(followed) == "evaluates trained"
    finish(platform, run)
    assert list(followed) == []
    found = find_run(platform, run)
    assert (found.state.status, found.state.job) == ("completed", "evaluation")
    assert found.spec.trainer is not None
    assert found.spec.trainer.image.startswith("process:own-my-trainer@sha256:")
    ref = collect(platform, found, lambda _: None)
    assert platform.store().manifest(ref).lineage.trainer == found.spec.trainer.image
    assert lines_of(platform, run) == ["trainer start=1 --fast", "evaluates trained"]


def test_a_collect_between_the_jobs_starts_the_second_one(tmp_path: Path, make_image: MakeImage) -> None:
    platform = deploy(tmp_path, make_image(EVALUATION))
    run = start(platform, with_trainer(tmp_path, LEAVE))
    wait_until(lambda: find_run(platform, run).state.status == "pending")
    with pytest.raises(RunError, match="is still running"):
        collect(platform, find_run(platform, run), lambda _: None)
    wait_until(lambda: "evaluates" in log_of(platform, run))
    os.kill(find_run(platform, run).state.pid, signal.SIGKILL)
    wait_until(lambda: find_run(platform, run).state.status == "failed")
    platform.resume(run, lambda _: None)
    finish(platform, run)
    assert lines_of(platform, run)[1::2] == ["earlier: evaluates trained", "evaluates trained"]
    assert collect(platform, find_run(platform, run), lambda _: None).alias == "chatbot@1"


def test_a_stopped_trainer_goes_on_in_its_folder(tmp_path: Path, make_image: MakeImage) -> None:
    platform = deploy(tmp_path, make_image(EVALUATION))
    run = start(platform, with_trainer(tmp_path, LEAVE + "if n == 1:\n    " + WAIT.replace("\n", "\n    ")))
    wait_until(lambda: "step=1" in log_of(platform, run))
    platform.stop(run)
    state = find_run(platform, run).state
    assert (state.status, state.job) == ("stopped", "trainer"), "though it ended with exit code 0"
    platform.resume(run, lambda _: None)
    finish(platform, run)
    assert lines_of(platform, run)[3:] == ["trainer start=2 --fast", "evaluates trained"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("sys.exit(3)", "ended without saying why"),
        ("Path(os.environ['LLMOPS_FAILURE']).write_text('no luck')", "no luck"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "ended without saying why"),
    ],
)
def test_a_trainer_that_fails_is_told(tmp_path: Path, make_image: MakeImage, code: str, words: str) -> None:
    platform = deploy(tmp_path, make_image(EVALUATION))
    run = start(platform, with_trainer(tmp_path, LEAVE + code))
    assert lines_of(platform, run)[0] == "trainer start=1 --fast"
    state = find_run(platform, run).state
    assert (state.status, state.job) == ("failed", "trainer")
    assert words in state.failure


def test_what_is_no_trainer_is_named(tmp_path: Path, make_image: MakeImage) -> None:
    platform = deploy(tmp_path, make_image(EVALUATION))
    recipe = with_trainer(tmp_path, LEAVE)
    text = recipe.read_text()
    faults = {
        "folder:my_trainer": "folder:My-Trainer",
        "image: folder:my_trainer": f"image: registry.example.com/own@sha256:{'a' * 64}",
        "[python, -m, my_trainer, --fast]": "[]",
        "--fast": "'${{inputs.spec}}'",
    }
    for old, new in faults.items():
        recipe.write_text(text.replace(old, new))
        with pytest.raises(KitError) as caught:
            plan_run(platform, recipe, lambda _: None)
        assert f"{recipe}" in caught.value.where
        assert "trainer." in caught.value.where


def test_a_check_estimates_no_trainer_of_the_users(tmp_path: Path) -> None:
    path = with_trainer(tmp_path, LEAVE)
    recipe = Recipe.parse(path.read_text(), str(path))
    with pytest.raises(KitError, match="the requirements of a trainer") as caught:
        check_training(recipe, path, None, None, None, print)
    assert caught.value.where == f"{path}: trainer"
    spec = RunSpec.load(EXAMPLES / "run-2.json").model_copy(update={"recipe": recipe})
    with pytest.raises(KitError, match="the requirements of a trainer"):
        check_run(spec, cast(Any, None), Compute(instance_type="ml.m5.xlarge"), Prices("us-east-1", {}), print)


def test_recipes_without_a_trainer_keep_their_bytes() -> None:
    assert '"trainer"' not in Recipe.parse(RECIPE, where="recipe").to_json()
