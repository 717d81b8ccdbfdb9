"""The example trainer on a stack of target local, by the command line: two jobs, killed and stopped on the way."""

import os
import shutil
import signal

from llmops_kit.cli.runs.runs import find_run
from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.documents.training_metrics import parse_metrics
from llmops_kit.core.layout import MANIFEST, METRICS
from tests.emulated.cli.conftest import RECIPE, Kit, wait_until
from tests.support.checkout import CHECKOUT

# Whether it learns enough for a gate is not the question here, and the form for CPUs takes longer than all else.
OWN = RECIPE.replace("epochs: 12", "epochs: 4").partition("  gate: ")[0] + "export: {openvino: false}\n"
# Else a busy machine's trainer has ended before the test has read the line at which it kills it.
HELD = """
        if step == 12 and not (at["checkpoints"] / "held").exists():
            (at["checkpoints"] / "held").touch()
            signal.pause()
"""
SAVES = "        if stops or step %"
TRAINER = "trainer: {image: folder:own_trainer, command: [python, -m, own_trainer]}\n"


def test_the_example_trainer_goes_from_recipe_to_version(kit: Kit) -> None:
    shutil.copytree(CHECKOUT / "examples/own_trainer", kit.folder / "own_trainer")
    program = kit.folder / "own_trainer/__main__.py"
    before, _, after = program.read_text().partition(SAVES)
    program.write_text(before + HELD.lstrip("\n") + SAVES + after)
    (kit.folder / "recipe.yaml").write_text(OWN + TRAINER)
    platform = kit.deploy("dev")
    train = kit.start("train", "recipe.yaml", "--stack", "dev")
    assert train.stdout
    said: list[str] = []
    for line in train.stdout:
        said.append(line)
        if line.startswith("step=12 "):
            break
    else:
        raise AssertionError("".join(said))
    train.kill()  # the caller
    run = find_run(platform, "latest").spec.id
    os.killpg(find_run(platform, run).state.pid, signal.SIGKILL)  # and the trainer: it has a checkpoint of step 10
    wait_until(lambda: find_run(platform, run).state.status == "failed")
    kit.run("train", "--resume", run, "--detach", "--stack", "dev")
    wait_until(lambda: find_run(platform, run).state.status == "pending", 600)  # nobody starts the second job
    assert kit.json("runs", "list", "--stack", "dev")[0]["status"] == "pending"
    text = kit.run("runs", "follow", run, "--stack", "dev")
    assert "resume=step-10" in text
    assert "stage=evaluate_after" in text
    assert "stage=train" not in text
    ref = platform.store().of_run("chatbot", run)
    assert ref is not None
    version = platform.store().model_folder(ref.sha256)
    manifest = ModelManifest.load(version / MANIFEST)
    assert manifest.lineage.trainer.startswith("process:own-own-trainer@sha256:")
    assert manifest.training is not None
    assert manifest.training.steps == 24
    steps = parse_metrics((version / METRICS).read_bytes(), METRICS)
    assert [each.step for each in steps] == list(range(1, 25)), "those before the interruption too"
    assert manifest.training.last_loss < 0.1 < manifest.training.first_loss
