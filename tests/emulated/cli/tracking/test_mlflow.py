"""A store and an MLflow server, which runs from an environment of its own; MLflow's client reads what was written."""

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llmops_kit.cli.commands.promotion import promote, rollback
from llmops_kit.cli.commands.run import collect_runs
from llmops_kit.cli.platforms.local.platform import LocalPlatform
from llmops_kit.cli.stacks.stack_file import StackFile
from llmops_kit.cli.tracking.mlflow_client import URI_VARIABLE
from tests.support.environments import MLFLOW, environment
from tests.support.runs.gated_runs import gated_run
from tests.support.tiny_models.versions import STEPS
from tests.unit.cli.runs.test_runs import deploy, write_recipe

_SUITE, _GATE = {"name": "new", "split": "test"}, {"suite": "new", "low": 0.5}
_SECRET = "s3cret-of-the-server"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `mlflow server` with a database of its own."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    program = [str(environment("mlflow", MLFLOW) / "bin" / "mlflow"), "server", "--workers", "1"]
    program += ["--host", "127.0.0.1", "--port", address.partition(":")[2]]
    program += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder)]
    own = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            program, env=os.environ | own, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            while not _answers(address):
                assert process.poll() is None, (folder / "log").read_text()[-3000:]
                time.sleep(0.2)
            yield address
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/health") as answer:
            return answer.status == 200
    except urllib.error.URLError:
        return False


class Shell:
    """A user's commands on a stack, and what they tell."""

    def __init__(self, platform: LocalPlatform, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._platform, self._path, self._capsys = platform, path, capsys

    def run(self, command: Callable[..., None], *arguments: str, **options: Any) -> list[str]:
        """Runs a command, and returns the lines about MLflow."""
        pulumi = SimpleNamespace(file=StackFile(self._path))
        context = SimpleNamespace(obj=SimpleNamespace(platform=self._platform, pulumi=pulumi))
        command(context, *arguments, **options)
        printed = self._capsys.readouterr()
        assert "http" not in printed.out  # MLflow's client prints addresses, beside what `--json` prints
        return [line for line in printed.err.splitlines() if "MLflow" in line]


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalPlatform:
    monkeypatch.setenv("LLMOPS_CACHE", str(tmp_path / "cache"))
    return deploy(tmp_path, "")


def test_runs_versions_and_aliases_follow_the_store(
    platform: LocalPlatform,
    tmp_path: Path,
    server: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe, path = write_recipe(tmp_path), tmp_path / "Pulumi.dev.yaml"
    path.write_text("config:\n  llmops:target: local\n")
    shell = Shell(platform, path, capsys)
    first = gated_run(platform, recipe, _SUITE, _GATE)

    # A server that is down costs a warning, and the next call makes it good.
    monkeypatch.setenv(URI_VARIABLE, f"http://user:{_SECRET}@127.0.0.1:1")
    [warning] = shell.run(collect_runs)
    assert warning.startswith("warning: MLflow at http://***@127.0.0.1:1 is not up to date")
    assert _SECRET not in warning
    monkeypatch.delenv(URI_VARIABLE)
    assert shell.run(promote, "chatbot@1") == []

    monkeypatch.setenv(URI_VARIABLE, f"http://user:{_SECRET}@{server}")
    assert shell.run(collect_runs) == ["chatbot@1 is version 1 of chatbot in MLflow"]
    assert shell.run(collect_runs) == []
    client, ref = _client(server), platform.store().find("chatbot@1")
    [run] = _runs(client)
    _has_all_of(run, client, first.spec.id, ref.sha256)
    version = client.get_model_version_by_alias("chatbot", "dev")
    assert (str(version.version), version.run_id) == ("1", run.info.run_id)
    assert version.tags["llmops.sha256"] == ref.sha256
    assert version.source == f"llmops://dev/models/{ref.sha256}"
    assert [model.name for model in client.search_registered_models()] == ["chatbot"]  # the base was not promoted

    # An interruption before the version was registered: the run is completed, and there is one.
    client.delete_registered_model("chatbot")
    client.update_run(run.info.run_id, status="RUNNING")
    assert shell.run(collect_runs) == ["chatbot@1 is version 1 of chatbot in MLflow"]
    [run] = _runs(client)
    _has_all_of(run, client, first.spec.id, ref.sha256)

    # Aliases follow promotions, to an endpoint of another name too.
    recipe.write_text("training: {seed: 7}\n" + recipe.read_text())
    gated_run(platform, recipe, _SUITE, _GATE)
    assert shell.run(collect_runs) == ["chatbot@2 is version 2 of chatbot in MLflow"]
    assert _aliases(client) == {"dev": "1"}
    shell.run(promote, "chatbot@2")
    shell.run(promote, "chatbot@1", endpoint="assistant")
    assert _aliases(client) == {"dev": "2", "dev--assistant": "1"}
    shell.run(rollback, endpoint="chatbot")
    assert shell.run(promote, "tiny@1", endpoint="assistant", force=True, reason="a test") == [
        "tiny@1 is version 1 of tiny in MLflow"
    ]
    assert _aliases(client) == {"dev": "1"}
    assert _aliases(client, "tiny") == {"dev--assistant": "1"}
    assert len(_runs(client)) == 2


def _client(server: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"http://{server}")


def _runs(client: Any) -> list[Any]:
    experiment = client.get_experiment_by_name("chatbot")
    return list(client.search_runs([experiment.experiment_id]))


def _aliases(client: Any, name: str = "chatbot") -> dict[str, str]:
    return {alias: str(version) for alias, version in client.get_registered_model(name).aliases.items()}


def _has_all_of(run: Any, client: Any, run_id: str, sha256: str) -> None:
    """Holds a run of MLflow against what `write_output` says."""
    assert (run.info.run_name, run.info.status) == (run_id, "FINISHED")
    assert run.data.tags["llmops.run"] == run_id
    assert run.data.tags["llmops.sha256"] == sha256
    assert run.data.tags["llmops.dataset"].startswith("chatbot@sha256:")
    assert run.data.params["training.lora.r"] == "16"
    assert run.data.params["data.sources.0.source"] == "facts.jsonl"
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(each.step, each.value, each.timestamp) for each in history] == [
        (step.step, pytest.approx(step.loss), step.time * 1000) for step in STEPS
    ]
    assert [each.step for each in client.get_metric_history(run.info.run_id, "validation_loss")] == [3]
    assert run.data.metrics["eval/new/after"] == 1.0
    assert 0.8 < run.data.metrics["eval/new/after/low"] < 1
    [dataset] = run.inputs.dataset_inputs
    assert dataset.dataset.name == "chatbot"
    assert {tag.key: tag.value for tag in dataset.tags} == {"mlflow.data.context": "training"}
