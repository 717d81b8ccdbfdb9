"""A training on a GPU's branch, and one that learns nothing."""

from pathlib import Path
from typing import Any

import pytest

from llmops_kit.core.documents.recipe_training import TrainingRecipe
from llmops_kit.core.errors import RunError
from llmops_kit.training import checkpoints
from llmops_kit.training.guard import require_change
from llmops_kit.training.ranks import StoppedError
from llmops_kit.training.torch_trainer.finetune import finetune
from tests.support.runs.gpu_branch import take_gpu_branch
from tests.support.runs.training import ROWS, tiny_recipe, write_rows
from tests.support.tiny_models import tiny

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated"),  # peft asks for it
    pytest.mark.filterwarnings("ignore:torch.distributed is disabled"),  # as it is for one process
]
STEPS = 2


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tiny.make(folder)
    write_rows(folder / "rows")
    return folder


def train(base: Path, folder: Path, stop: Any = lambda: False, **options: Any) -> list[float]:
    """The losses of a few steps."""
    asked = {"epochs": None, "max_steps": STEPS, "precision": "f32", "checkpoint_steps": STEPS, **options}
    training: TrainingRecipe = tiny_recipe(**asked).training
    finetune(base, base / "rows" / ROWS[training.method], training, "Short.", folder, stop)
    newest = checkpoints.newest(folder)
    assert newest
    metrics = (newest / "metrics.jsonl").read_text()
    return [float(line.partition('"loss":')[2].partition(",")[0]) for line in metrics.splitlines()]


@pytest.mark.parametrize("options", [{}, {"adapter": "none", "method": "dpo"}], ids=["sft", "dpo"])
def test_the_trials_of_a_gpu_change_no_loss(
    options: dict[str, Any], base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    expected = train(base, tmp_path / "cpu", **options)
    capsys.readouterr()
    tried = take_gpu_branch(monkeypatch.setattr)
    assert train(base, tmp_path / "gpu", **options) == pytest.approx(expected, rel=2e-6)
    assert tried == [1, 2, 3]
    assert "micro_batch=3\n" in capsys.readouterr().out


@pytest.mark.parametrize("lacks", ["forward", "backward"])
def test_without_memory_for_a_row_activations_are_computed_twice(
    lacks: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    expected = train(base, tmp_path / "cpu")
    tried = take_gpu_branch(monkeypatch.setattr, lacks)
    assert train(base, tmp_path / "gpu") == pytest.approx(expected, rel=2e-6)
    assert tried == [1, 1, 2, 3]
    assert "gradient_checkpointing=on\n" in capsys.readouterr().out


def test_a_row_that_does_not_fit_at_all_ends_the_run(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = take_gpu_branch(monkeypatch.setattr, "backward", times=2)
    with pytest.raises(RunError, match="does not fit into this GPU's memory"):
        train(base, tmp_path / "gpu")
    assert tried == [1, 1]


def test_a_gpus_run_goes_on_with_the_parts_that_it_began_with(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = take_gpu_branch(monkeypatch.setattr)
    whole = train(base, tmp_path / "whole")
    with pytest.raises(StoppedError):
        train(base, tmp_path / "resumed", lambda: True, checkpoint_steps=9)
    before = len(tried)
    assert train(base, tmp_path / "resumed", checkpoint_steps=9) == whole
    assert len(tried) == before


@pytest.mark.parametrize(
    "options",
    [{}, {"adapter": "none"}, {"adapter": "qlora"}, {"method": "dpo"}, {"precision": "bf16"}],
    ids=["lora", "full", "qlora", "dpo", "bf16"],
)
def test_a_run_that_changed_no_weight_is_an_error(options: dict[str, Any], base: Path, tmp_path: Path) -> None:
    """Its only step is the first one of the warm-up, whose rate is 0."""
    with pytest.raises(RunError, match=r"none of the trained weights changed in 1 steps") as failed:
        train(base, tmp_path, max_steps=1, warmup_steps=1, **options)
    assert "training.warmup_steps" in failed.value.fix
    assert checkpoints.newest(tmp_path)
    assert not (tmp_path / "trained").exists()


def test_a_run_that_was_killed_after_its_last_step_takes_no_other(base: Path, tmp_path: Path) -> None:
    """Nor is it one that changed no weight, as steps of the earlier process count."""
    whole = train(base, tmp_path)
    result = tmp_path / "trained" / "adapter_model.safetensors"
    written = result.read_bytes()
    (tmp_path / "trained").rename(tmp_path / "lost")
    assert train(base, tmp_path) == whole
    assert result.read_bytes() == written


@pytest.mark.parametrize(("warmup_steps", "sound"), [(0, True), (2, False)])
def test_the_first_weights_of_a_run_are_known_after_a_stop(
    warmup_steps: int, sound: bool, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second process changes nothing in both cases; in the first one, the first process has."""
    with pytest.raises(StoppedError):
        train(base, tmp_path, lambda: True, warmup_steps=warmup_steps)
    monkeypatch.setattr("torch.optim.AdamW.step", lambda *_, **__: None)
    if sound:
        assert len(train(base, tmp_path, warmup_steps=warmup_steps)) == STEPS
    else:
        with pytest.raises(RunError, match="none of the trained weights changed in 2 steps"):
            train(base, tmp_path, warmup_steps=warmup_steps)


def test_a_run_that_an_earlier_version_began_is_not_judged() -> None:
    require_change(None, "digest", 3)
