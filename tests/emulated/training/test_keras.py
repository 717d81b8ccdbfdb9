"""The TensorFlow trainer: PyTorch's losses, logits and masks, and the same bytes after any interruption."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from safetensors.numpy import load_file

from llmops_kit.core.documents.training_metrics import parse_metrics
from llmops_kit.core.layout import METRICS, TrainingFolders
from tests.support.kept import content_key, kept_results
from tests.support.runs.training import (
    PROGRAMS,
    interrupted,
    make_container,
    script_result,
    start_job,
    tiny_recipe,
    write_rows,
)
from tests.support.tiny_models.models import tensorflow_python, tiny_model

TRAINER = "llmops_kit.training.keras_trainer"
_TORCH, _KERAS = PROGRAMS / "families.py", PROGRAMS / "keras_trained.py"
FAMILIES = ("llama", "llama-tied", "mistral", "qwen2", "qwen2-tied")
UPDATES = {"precision": "f32", "weight_decay": 0.1, "framework": "tensorflow"}
CASES: list[dict[str, Any]] = [
    {"adapter": "none", "learning_rate": 1e-3, "warmup_steps": 3, "schedule": "cosine", **UPDATES},
    UPDATES,
]


class Found(NamedTuple):
    """What the scripts made and measured, and where."""

    folder: Path
    keras: dict[str, Any]
    distances: dict[str, float]
    oracle: list[list[float]]


@pytest.fixture(scope="module")
def found() -> Found:
    """Two processes of PyTorch, and one of TensorFlow between them."""
    recipes = json.dumps([tiny_recipe(**case).to_json() for case in CASES])
    key = content_key(Path(__file__), _TORCH, _KERAS, arguments=(tiny_model(), recipes))
    folder = kept_results("keras", key, lambda folder: _compute(folder, recipes))
    return Found(folder, *json.loads((folder / "found.json").read_text()))


def _compute(folder: Path, recipes: str) -> None:
    models, rows, listed, out = (folder / name for name in ("models", "rows.jsonl", "recipes.json", "out"))
    write_rows(folder)
    out.mkdir()
    listed.write_text(recipes)
    script_result(_TORCH, "make", models)
    inputs = (models, tiny_model(), rows, folder / "held-out.jsonl", listed, out)
    found = [
        script_result(_KERAS, *inputs, python=tensorflow_python()),
        script_result(_TORCH, "compare", models),
        script_result(_TORCH, "losses", tiny_model(), rows, listed, out),
    ]
    (folder / "found.json").write_text(json.dumps(found))


@pytest.mark.parametrize("case", range(len(CASES)))
def test_losses_equal_a_loop_on_pytorch(found: Found, case: int) -> None:
    for way in ("whole", "in parts", "on two devices"):
        losses = found.keras["losses"][case][way]
        assert losses == pytest.approx(found.oracle[case], rel=1e-3), way
    assert losses[-1] < 0.7 * losses[0]


def test_logits_equal_pytorchs_before_and_after_training(found: Found) -> None:
    trained = {f"{name} {kind}" for name in ("llama-tied", "qwen2") for kind in ("lora", "full")}
    assert set(found.distances) == {f"{name} read" for name in FAMILIES} | trained
    assert max(found.distances.values()) < 1e-4


def test_the_weights_with_the_least_validation_loss_are_the_result(found: Found) -> None:
    facts = found.keras["facts"]
    assert 0 < facts["best_step"] < facts["steps"] < 24
    assert found.keras["result_loss"] == pytest.approx(facts["validation_loss"], rel=1e-4)


def test_a_run_that_changed_no_weight_is_an_error(found: Found) -> None:
    assert found.keras["unchanged"] == "none of the trained weights changed in 1 steps: nothing was learned"


def test_our_layer_shares_only_one_name_with_keras_own(found: Found) -> None:
    """`built`, which is Keras's: as the layer is made with its weights."""
    assert found.keras["shared"] == {
        "llmops_kit.training.keras_trainer.model.LowRankDense.built": "assigned on self; in the base assigned on self"
    }


def test_interrupted_jobs_end_with_the_same_bytes(found: Found, tmp_path: Path) -> None:
    folders = make_container(tmp_path / "job", tiny_model(), tiny_recipe(**UPDATES), found.folder)
    _interrupt(folders, "step=5 ", signal.SIGKILL)
    newest = max(folders.checkpoints.glob("*/checkpoint-*"), key=_number)
    state = newest / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-1])  # cut by the kill, as it might have been
    lines, code = _interrupt(folders, "step=7 ", signal.SIGTERM)
    assert code == 143
    assert any(line.startswith("checkpoint skipped: ") for line in lines)
    assert f"resume=checkpoint-{_number(newest) - 2}\n" in lines
    stopped = max(int(line.split()[0].removeprefix("step=")) for line in lines if line.startswith("step="))
    assert stopped == 7
    with _start(folders) as job:
        output, errors = job.communicate(timeout=900)
    assert job.returncode == 0, errors[-3000:]
    assert f"resume=checkpoint-{stopped}\nstep={stopped + 1} " in output
    whole = found.folder / "out" / "1-whole"
    [last] = folders.checkpoints.glob("*/checkpoint-12")
    assert (last / state.name).read_bytes() == (whole / last.name / state.name).read_bytes()
    # The other process, with two devices, may have added the products of a merge in another order.
    merged, others = (load_file(f / "model.safetensors") for f in (folders.model, whole / "trained"))
    assert merged.keys() == others.keys()
    for name, weight in merged.items():
        assert np.abs(weight - others[name]).max() <= 16 * np.finfo(np.float32).eps * np.abs(weight).max(), name
    measured, expected = (
        parse_metrics((f / METRICS).read_bytes(), METRICS) for f in (folders.model, whole / "trained")
    )
    assert [(each.step, each.loss) for each in measured] == [(each.step, each.loss) for each in expected]
    assert [each.step for each in measured] == list(range(1, 13))
    for name in ("tokenizer.json", "chat_template.jinja", "generation_config.json"):
        assert (folders.model / name).read_bytes() == (tiny_model() / name).read_bytes()


def _number(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _start(folders: TrainingFolders) -> subprocess.Popen[str]:
    return start_job(folders, tensorflow_python(), "-m", TRAINER)


def _interrupt(folders: TrainingFolders, beginning: str, number: signal.Signals) -> tuple[list[str], int]:
    """Start the job, which gets a signal at a line; its lines and exit code."""
    with start_job(folders, *interrupted(beginning, number, tensorflow_python()), TRAINER) as job:
        output, errors = job.communicate(timeout=900)
    lines = output.splitlines(keepends=True)
    assert any(line.startswith(beginning) for line in lines), (lines, errors[-3000:])
    return lines, job.returncode
