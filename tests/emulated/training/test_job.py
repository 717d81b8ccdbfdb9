"""The job as a process: a complete version, and the same one after any interruption."""

import json
import random
import resource
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from llmops_kit.core.documents.dataset import FileEntry
from llmops_kit.core.documents.evaluation import EvaluationAnswers
from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.documents.recipe_evaluation import Judge, Suite
from llmops_kit.core.documents.training_metrics import parse_metrics
from llmops_kit.core.integrity.digest import check_folder, file_entries
from llmops_kit.core.layout import EVALUATION, MANIFEST, METRICS, MODEL_CARD, TrainingFolders
from tests.support.runs.training import interrupted, make_container, start_job, tiny_recipe, write_rows
from tests.support.tiny_models.models import tiny_model

STEPS = 12


def recipe() -> Recipe:
    """The tiny recipe with a second suite: the loss of the held-out answers."""
    made = tiny_recipe(openvino=True)
    loss = Suite(name="loss", split="test", metric="perplexity")
    evaluation = made.evaluation.model_copy(update={"suites": [*made.evaluation.suites, loss]})
    return made.model_copy(update={"evaluation": evaluation})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_rows(folder)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, data: Path) -> tuple[TrainingFolders, list[str]]:
    """A job that nothing interrupted, and its lines."""
    folders = make_container(tmp_path_factory.mktemp("whole"), tiny_model(), recipe(), data)
    return folders, finish(start_job(folders))


def finish(job: subprocess.Popen[str]) -> list[str]:
    output, errors = job.communicate(timeout=600)
    assert job.returncode == 0, errors[-3000:]
    return output.splitlines()


def metrics_of(folders: TrainingFolders) -> list[tuple[tuple[float | None, ...], tuple[float, float]]]:
    """For each line of metrics.jsonl what equal runs have in common; and its times."""
    path = folders.model / METRICS
    found = parse_metrics(path.read_bytes(), str(path))
    return [((s.step, s.loss, s.validation_loss, s.learning_rate, s.grad_norm), (s.time, s.seconds)) for s in found]


def _bytes_of(folders: TrainingFolders) -> dict[str, FileEntry]:
    return file_entries(folders.model, (MANIFEST, METRICS))  # which have times


def interrupt(folders: TrainingFolders, beginning: str, number: signal.Signals = signal.SIGKILL) -> list[str]:
    """Start the job, which gets a signal at a line; its lines."""
    with start_job(folders, *interrupted(beginning, number), "llmops_kit.training", "train") as job:
        output, errors = job.communicate(timeout=600)
    lines = output.splitlines()
    assert any(line.startswith(beginning) for line in lines), errors[-3000:]
    assert job.returncode == (143 if number == signal.SIGTERM else -number)
    return lines


def test_job_leaves_a_complete_version_though_its_gate_failed(finished: tuple[TrainingFolders, list[str]]) -> None:
    folders, _ = finished
    manifest = ModelManifest.load(folders.model / MANIFEST)
    check_folder(folders.model, manifest.files)
    expected = {"model.safetensors", "tokenizer.json", "chat_template.jinja", "openvino/openvino_model.bin"}
    assert expected | {"adapter/adapter_config.json", "adapter/adapter_model.safetensors"} <= set(manifest.files)
    assert str(folders.root) not in (folders.model / "adapter/adapter_config.json").read_text()
    assert manifest.engines == ["openvino", "transformers"]
    assert manifest.gate
    assert not manifest.gate.passed
    assert manifest.training
    assert manifest.training.steps == STEPS
    assert manifest.training.last_loss < manifest.training.first_loss
    assert manifest.licence == "Apache-2.0"
    assert manifest.lineage.base_model
    assert manifest.lineage.dataset
    assert manifest.serving.system_prompt == "Short."
    loss = manifest.evaluation[1]
    assert loss.gain
    assert loss.after.value < loss.before.value
    assert loss.gain.value == pytest.approx(loss.before.value - loss.after.value, abs=2e-4)
    assert "| loss | test | perplexity (nats per token; lower is better) |" in (folders.model / MODEL_CARD).read_text()
    assert not folders.failure.exists()


def test_job_reports_each_step_and_stage(finished: tuple[TrainingFolders, list[str]]) -> None:
    folders, lines = finished
    stages = [line.partition("=")[2].split()[0] for line in lines if line.startswith("stage=")]
    assert stages == ["check_inputs", "evaluate_before", "train", "package", "evaluate_after", "manifest", "done"]
    steps = [dict(pair.split("=") for pair in line.split()) for line in lines if line.startswith("step=")]
    assert [int(s["step"]) for s in steps] == list(range(1, STEPS + 1))
    metrics = metrics_of(folders)
    assert [values[0] for values, _ in metrics] == list(range(1, STEPS + 1))
    assert [f"{values[1]:.4f}" for values, _ in metrics] == [s["loss"] for s in steps]
    shown = {"step", "total", "loss", "lr", "grad_norm", "tokens_per_s", "peak_mb", "eta_s"}
    assert all(s.keys() == shown for s in steps)
    for when in ("before", "after"):
        answers = (folders.reports / f"answers-phrasings-{when}.jsonl").read_text().splitlines()
        assert [json.loads(a)["question"] for a in answers] == [f"Question {n}: code?" for n in range(30)]


@pytest.mark.scorecard("determinism")
def test_interrupted_job_ends_with_the_same_bytes(
    finished: tuple[TrainingFolders, list[str]], data: Path, tmp_path: Path
) -> None:
    folders = make_container(tmp_path, tiny_model(), recipe(), data)
    first, second = random.randint(1, 5), random.randint(6, 8)
    print(f"killed at steps {first} and {second}")
    interrupt(folders, f"step={first} ")
    interrupt(folders, f"step={second} ")
    _damage_newest_checkpoint(folders)
    lines = interrupt(folders, "step=9 ", signal.SIGTERM)
    assert sum(line.startswith("resume=checkpoint-") for line in lines) == 1
    stopped_at = max(int(line.split()[0].partition("=")[2]) for line in lines if line.startswith("step="))
    assert f"resume=checkpoint-{stopped_at}" in interrupt(folders, "package=openvino")
    lines = interrupt(folders, "stage=evaluate_after")
    assert not [line for line in lines if line.startswith("step=")]
    lines = finish(start_job(folders))
    assert not [line for line in lines if line.startswith(("step=", "package="))]
    assert _bytes_of(folders) == _bytes_of(finished[0])
    assert [values for values, _ in metrics_of(folders)] == [values for values, _ in metrics_of(finished[0])]
    assert sorted(times := [times for _, times in metrics_of(folders)]) == times
    manifests = [ModelManifest.load(f.model / MANIFEST) for f in (folders, finished[0])]
    assert manifests[0].evaluation == manifests[1].evaluation


def test_replaced_container_packages_again_from_its_checkpoints(
    finished: tuple[TrainingFolders, list[str]], data: Path, tmp_path: Path
) -> None:
    folders = make_container(tmp_path, tiny_model(), recipe(), data)
    shutil.copytree(finished[0].checkpoints, folders.checkpoints)
    lines = finish(start_job(folders))
    assert not [line for line in lines if line.startswith("step=")]
    assert file_entries(folders.model) == file_entries(finished[0].model)


def test_job_that_trains_all_weights_on_texts_leaves_a_complete_version(data: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(method="pretrain", adapter="none", packing=True, schedule="cosine", weight_decay=0.1)
    judge = Judge(url="https://judge.example.com/v1", model="big")
    judged = Suite(name="judged", split="test", metric="judge", judge=judge, max_tokens=8)
    evaluation = recipe.evaluation.model_copy(update={"suites": [*recipe.evaluation.suites, judged]})
    recipe = recipe.model_copy(update={"evaluation": evaluation})
    folders = make_container(tmp_path, tiny_model(), recipe, data)
    lines = finish(start_job(folders))
    assert "gate=waits for its judge" in lines[-2]
    manifest = ModelManifest.load(folders.model / MANIFEST)
    answers = EvaluationAnswers.load(folders.model / EVALUATION)
    assert [each.suite for each in manifest.evaluation] == ["phrasings"]  # a job has no network to ask a judge
    assert [(each.suite, len(each.rows)) for each in answers.suites] == [("phrasings", 30), ("judged", 30)]
    check_folder(folders.model, manifest.files)
    assert manifest.training
    assert manifest.training.last_loss < manifest.training.first_loss - 1
    assert not [name for name in manifest.files if name.startswith(("adapter/", "openvino/"))]
    assert manifest.engines == ["transformers"]
    base = tiny_model()
    for name, same in (("model.safetensors", False), ("tokenizer.json", True), ("config.json", True)):
        assert ((folders.model / name).read_bytes() == (base / name).read_bytes()) is same
    assert "Training on plain text; all weights." in (folders.model / "README.md").read_text()


@pytest.mark.parametrize(
    ("spoil", "where", "what"),
    [
        ("base", "model.safetensors", "was changed"),
        ("dataset", "dataset", "the run was made for"),
        ("long row", "train.parquet:", "tokens long"),
    ],
)
def test_bad_input_is_one_clear_failure(data: Path, tmp_path: Path, spoil: str, where: str, what: str) -> None:
    folders = make_container(tmp_path, tiny_model(), tiny_recipe(max_tokens=60 if spoil == "long row" else 200), data)
    if spoil == "base":
        weights = folders.channel("base_model") / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"\xff")
    if spoil == "dataset":
        manifest = folders.channel("dataset") / MANIFEST
        manifest.write_text(manifest.read_text().replace("Apache-2.0", "MIT"))
    job = start_job(folders)
    _, errors = job.communicate(timeout=600)
    failure = folders.failure.read_text()
    assert job.returncode == 1
    assert where in failure
    assert what in failure
    assert "fix: " in failure
    assert "Traceback" not in errors
    assert not list(folders.model.glob("*"))


@pytest.mark.scorecard("disk-full")
def test_full_disk_says_so(data: Path, tmp_path: Path) -> None:
    folders = make_container(tmp_path, tiny_model(), tiny_recipe(), data)
    # A limit on the size of files fails the same writes, and needs no disk of its own.
    job = start_job(folders, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)))
    _, errors = job.communicate(timeout=600)
    assert job.returncode == 1
    assert "free space" in folders.failure.read_text()
    assert "Traceback" not in errors


@pytest.mark.scorecard("nan")
def test_diverging_run_ends_with_its_own_code(data: Path, tmp_path: Path) -> None:
    folders = make_container(tmp_path, tiny_model(), tiny_recipe(learning_rate=1e30), data)
    job = start_job(folders)
    job.communicate(timeout=600)
    assert job.returncode == 3
    assert "training step" in folders.failure.read_text()


def _damage_newest_checkpoint(folders: TrainingFolders) -> None:
    """As an interrupted upload would: without its weights and optimizer, which a kill may have left out already."""
    found = sorted(folders.checkpoints.glob("*/checkpoint-*"), key=lambda p: int(p.name.partition("-")[2]))
    (found[-1] / "shards" / "rank-0.safetensors").unlink(missing_ok=True)
