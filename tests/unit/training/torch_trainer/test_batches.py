"""A batch that can't be split evenly is refused, with sizes that can be."""

from pathlib import Path

import pytest

from llmops_kit.core.documents.run import RunSpec, TrainerJob
from llmops_kit.core.errors import KitError, RunError
from llmops_kit.core.layout import TrainingFolders
from llmops_kit.training.job import TrainingJob
from llmops_kit.training.ranks import Alone
from llmops_kit.training.stopping import StopRequest
from llmops_kit.training.torch_trainer.batches import check_batch_size
from tests.support.checkout import EXAMPLES


@pytest.mark.parametrize(("size", "ranks"), [(1, 1), (7, 1), (8, 2), (8, 8)])
def test_even_batches_pass(size: int, ranks: int) -> None:
    check_batch_size(size, ranks)


@pytest.mark.parametrize(("size", "ranks", "sizes"), [(7, 2, "6 or 8"), (3, 4, "4"), (16, 3, "15 or 18")])
def test_uneven_batches_are_refused(size: int, ranks: int, sizes: str) -> None:
    with pytest.raises(RunError) as caught:
        check_batch_size(size, ranks)
    assert caught.value.where == "training.batch_size"
    assert f"set it to {sizes} in the recipe" in caught.value.fix


class _OneOfMany(Alone):
    size = 63  # no batch of the example is a multiple of it


@pytest.mark.parametrize("trained", [False, True])
def test_a_job_that_evaluates_what_another_one_trained_takes_any_batch(tmp_path: Path, trained: bool) -> None:
    folders = TrainingFolders(tmp_path)
    folders.spec.parent.mkdir(parents=True)
    trainer = TrainerJob(image="registry.example.com/own", command=["train"]) if trained else None
    RunSpec.load(EXAMPLES / "run-2.json").model_copy(update={"trainer": trainer}).write(folders.spec)
    with pytest.raises((KitError, FileNotFoundError)) as caught:
        TrainingJob(folders, _OneOfMany(), StopRequest()).run()
    assert ("can't be split" in str(caught.value)) != trained, "else the next check refuses folders that are empty"
