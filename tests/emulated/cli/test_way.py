"""The whole way of a model, as its user walks it: two versions are trained once, for all tests of this file."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from llmops_kit.cli.platforms.local.platform import LocalPlatform
from llmops_kit.cli.runs.runs import find_run
from llmops_kit.core.hashes import sha256_file
from tests.emulated.cli.conftest import RECIPE, Kit, wait_until
from tests.support.tiny_models.versions import open_verified


@dataclass(frozen=True)
class Trained:
    """Stack `dev`, whose first run was killed, resumed and collected as chatbot@1; a second one made chatbot@2."""

    kit: Kit
    platform: LocalPlatform
    run: str
    steps: list[str]
    resumed: dict[str, Any]
    whole: dict[str, Any]


@pytest.fixture(scope="module")
def trained(shared_kit: Kit) -> Trained:
    kit = shared_kit
    recipe = kit.folder / "recipe.yaml"
    recipe.write_text(RECIPE.replace("low: 0.5, ", "low: 0.5, not_worse_than: production, margin: 0.1, "))
    platform = kit.deploy("dev")
    run = kit.run("train", "recipe.yaml", "--detach").splitlines()[-4]
    process = psutil.Process(kit.json("runs", "show", run)["process"])
    log = Path(platform.outputs.training.runs, run, "log.txt")
    wait_until(lambda: "\nstep=8 " in log.read_text())
    process.kill()
    wait_until(lambda: find_run(platform, run).state.status == "failed")

    # The one who watches is killed as well; the run ends all the same and is collected by another command.
    watching = kit.start("train", "recipe.yaml")
    wait_until(lambda: log.read_text().count("stage=train") == 2)
    watching.kill()
    wait_until(lambda: find_run(platform, run).state.status == "completed")
    steps = [line.split()[0] for line in log.read_text().splitlines() if line.startswith("step=")]
    resumed = kit.json("runs", "collect")[0]
    return Trained(kit, platform, run, steps, resumed, kit.json("train", "recipe.yaml", "--again"))


def test_a_killed_training_goes_on_and_ends_with_equal_weights(trained: Trained) -> None:
    resumed, whole = trained.resumed, trained.whole
    assert trained.steps.count("step=1") == 1, "it went on from its checkpoint"
    assert resumed == {"run": trained.run, "model": "chatbot@1", "sha256": resumed["sha256"]}
    assert whole["model"] == "chatbot@2"
    folders = [Path(trained.platform.store().model_folder(each["sha256"])) for each in (resumed, whole)]
    assert folders[1] == Path(whole["folder"])
    first, second = (sha256_file(folder / "model.safetensors") for folder in folders)
    assert first == second


def test_promote_deploy_go_back_take_down(trained: Trained) -> None:
    kit, second = trained.kit, trained.whole
    stack_file = kit.folder / "Pulumi.dev.yaml"
    assert kit.json("train", "recipe.yaml")["sha256"] == second["sha256"]  # complete: reused, not trained anew
    assert kit.run("runs", "collect") == "nothing to collect\n"

    kit.run("promote", "chatbot@1")
    assert "not deployed yet: chatbot (chatbot@1)" in kit.run("status")
    assert "chatbot: chatbot@1 is live at" in kit.run("up")
    assert kit.json("invoke", "Tell me w1?", "--max-tokens", "4")["model"] == "chatbot@1"
    pid = next(pid for pid, command in kit.processes().items() if command.endswith("serving serve"))

    (compared,) = kit.json("evaluate", "chatbot@2", "--gate")["suites"]  # against production
    assert (compared["difference"]["value"], compared["answers"]["against"]) == (0.0, "recorded")
    before = stack_file.read_text().splitlines()
    assert "-0.08 at its lower bound, at least -0.10 (against chatbot@1)" in kit.run("promote", "chatbot@latest")
    assert [line for line in stack_file.read_text().splitlines() if line not in before] == [
        f"      model: {second['promoted_as']}"
    ]
    kit.run("up")
    assert kit.endpoint("dev")["shares"] == {second["sha256"]: 1.0}
    assert pid not in kit.processes()

    kit.run("rollback")
    assert stack_file.read_text().splitlines() == before
    kit.run("up")
    assert kit.endpoint("dev")["serves"] == "chatbot@1"
    assert "ready after" in kit.run("logs")

    assert "is down" in kit.run("down")
    assert kit.processes() == {}
    assert [m["model"] for m in kit.json("models", "list")] == ["chatbot@1", "chatbot@2", "tiny@1"]
    assert kit.endpoint("dev")["ready"] is False
    assert "Traceback" not in kit.run("invoke", "hello", code=1)


def test_copy_to_another_stack_and_remove_the_data(trained: Trained) -> None:
    kit, dev, mine = trained.kit, trained.platform, trained.resumed
    prod = kit.deploy("prod")
    copied = kit.json("models", "copy", "chatbot@1", "--from", "dev", "--to", "prod")
    assert copied["sha256"] == mine["sha256"]
    open_verified(prod.store().model_folder(copied["sha256"]), prod.outputs.signing.public_key, mine["sha256"])
    assert kit.json("status")["stack"] == "prod"  # the one that `up` selected last, among two

    kit.run("promote", "chatbot@1", "--stack", "prod")
    kit.run("up", "--stack", "prod")
    assert "is not the name of the stack" in kit.run("down", "--stack", "prod", "--data", "dev", code=1)
    assert kit.endpoint("prod")["ready"] is True
    assert "removed stack prod" in kit.run("down", "--stack", "prod", "--data", "prod")
    assert kit.processes() == {}
    assert not (kit.folder / ".llmops" / "prod").exists()
    assert kit.run("models", "verify", "chatbot@1", "--stack", "dev")
    assert dev.store().find("chatbot@1").sha256 == mine["sha256"]


def test_ctrl_c_leaves_the_run_and_says_how_to_find_it(trained: Trained) -> None:
    kit = trained.kit
    (kit.folder / "longer.yaml").write_text(RECIPE.replace("epochs: 12", "epochs: 13"))
    watching = kit.start("train", "longer.yaml", "--stack", "dev")
    run = ""
    assert watching.stdout
    for line in watching.stdout:
        if line.startswith("run "):
            run = line.split()[1]
        if line.startswith("stage="):
            break
    os.killpg(watching.pid, signal.SIGINT)
    rest = watching.communicate(timeout=60)[0]
    assert watching.returncode == 130, rest
    assert f"llmops runs follow {run}" in rest
    assert kit.json("runs", "show", run, "--stack", "dev")["status"] == "running"
    kit.run("runs", "stop", run, "--stack", "dev")
    assert [r["status"] for r in kit.json("runs", "list", "--stack", "dev") if r["run"] == run] == ["stopped"]
    assert "stopped" in kit.run("runs", "collect", run, "--stack", "dev", code=1)


def test_status_imports_no_pulumi(trained: Trained) -> None:
    kit = trained.kit
    answer = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "llmops_kit.cli", "status", "--stack", "dev"],
        cwd=kit.folder,
        env=kit.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in answer.stderr.splitlines()}
    assert {name for name in imported if name.startswith("pulumi")} == set()
    assert "llmops_kit.core.documents.outputs" in answer.stderr
