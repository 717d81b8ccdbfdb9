"""What the trainers share with the library classes that they extend is meant: transformers' Trainer sets many names."""

from pathlib import Path

from tests.support.collisions import Rooms

_CHECKPOINTS = "checkpoints are in shards, complete or absent, and hold no pickle"
DELIBERATE = {
    "llmops_kit.training.agent._HostRendezvous._store": "is the base's: the rendezvous' store",
    "llmops_kit.training.models.from_gguf.PlainReader.data": "the file, as an array that is no memory map",
    "llmops_kit.training.torch_trainer.scaled_trainer.ScaledTrainer._clip_grad_norm": (
        "the norm of shards is put together"
    ),
    "llmops_kit.training.torch_trainer.scaled_trainer.ScaledTrainer._load_from_checkpoint": _CHECKPOINTS,
    "llmops_kit.training.torch_trainer.scaled_trainer.ScaledTrainer._load_optimizer_and_scheduler": _CHECKPOINTS,
    "llmops_kit.training.torch_trainer.scaled_trainer.ScaledTrainer._load_rng_state": _CHECKPOINTS,
    "llmops_kit.training.torch_trainer.scaled_trainer.ScaledTrainer._prepare_for_training": (
        "the micro-batch is found where model and optimizer are on their devices"
    ),
    "llmops_kit.training.torch_trainer.scaled_trainer.ScaledTrainer.data_collator": (
        "is the base's: its own, in micro-batches"
    ),
    "llmops_kit.training.torch_trainer.trainer.KitTrainer._save_checkpoint": _CHECKPOINTS,
    "llmops_kit.training.torch_trainer.trainer.KitTrainer.model_accepts_loss_kwargs": (
        "is the base's: the loss is divided here"
    ),
    "llmops_kit.training.torch_trainer.trainer.KitTrainer.state": "is the base's: a checkpoint's",
}
IN_KERAS = "llmops_kit.training.keras_trainer.model"
"""Its libraries are in an image of their own: tests/emulated/training/test_keras.py looks at it."""
_OLD = """
import transformers

class Mixed:
    def save_state(self, folder): ...

class Scaled(transformers.Trainer):
    state: int

    def _trial(self, model, longest, rows): ...

class Kit(Mixed, Scaled):
    def __init__(self):
        self.objective = self.own = None
        self.train = print

    def log(self, *values): ...
"""


def test_only_deliberate_names_are_shared() -> None:
    rooms = Rooms("llmops_kit.training", "llmops_kit.core")
    found = rooms.collisions(rooms.modules() - {IN_KERAS})
    assert {name: found[name] for name in found.keys() - DELIBERATE.keys()} == {}
    assert DELIBERATE.keys() - found.keys() == set()


def test_the_name_that_ended_every_run_on_a_gpu_is_found(tmp_path: Path) -> None:
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "old.py").write_text(_OLD)
    assert Rooms("room", root=tmp_path).collisions(["room.old"]) == {
        "room.old.Mixed.save_state": "a method; in the base a method",  # it takes other arguments
        "room.old.Scaled._trial": "a method; in the base assigned on self",
        "room.old.Scaled.state": "declared; in the base assigned on self",
        "room.old.Kit.objective": "assigned on self; in the base assigned on self",
        "room.old.Kit.train": "assigned on self; in the base a method",
    }
