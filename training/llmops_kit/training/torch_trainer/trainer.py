"""The trainer. Imports transformers' trainer, which takes seconds: import it where it is used."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate.data_loader import DataLoaderShard
from safetensors.torch import load_file
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import PrinterCallback, TrainerState

from llmops_kit.core.documents.model import TrainingFacts
from llmops_kit.core.documents.training_metrics import metrics_text, parse_metrics
from llmops_kit.core.layout import METRICS
from llmops_kit.training import checkpoints
from llmops_kit.training.checkpoint_folders import BEST, CheckpointFolders
from llmops_kit.training.devices import Precision
from llmops_kit.training.progress import Clock
from llmops_kit.training.publishing import Publisher
from llmops_kit.training.torch_trainer.batch_tensors import Batch
from llmops_kit.training.torch_trainer.batches import shared_batches
from llmops_kit.training.torch_trainer.objectives import Objective
from llmops_kit.training.torch_trainer.scaled_trainer import ScaledTrainer
from llmops_kit.training.torch_trainer.sharding import trained_weights

KEPT_CHECKPOINTS = 2


class KitTrainer(ScaledTrainer):
    """Minimises an objective, with complete checkpoints that include the best weights, and batches shared by ranks."""

    training_objective: Objective
    watch: Any
    place: CheckpointFolders
    precision: Precision
    publisher: Publisher
    digest_before: str | None = None
    """Digest of the trained weights before the run's first step."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.remove_callback(PrinterCallback)
        self.model_accepts_loss_kwargs = True  # compute_loss divides by the items of the whole step

    def get_train_dataloader(self) -> Any:
        if self.ranks.size == 1:
            return super().get_train_dataloader()
        examples: Any = self.train_dataset
        batch_size = self.args.train_batch_size * self.ranks.size
        return DataLoaderShard(
            examples,
            self.args.device,
            batch_sampler=shared_batches(len(examples), batch_size, self.args.seed, self.ranks),
            collate_fn=self.data_collator,
        )

    def get_batch_samples(self, epoch_iterator: Iterator[list[Batch]], num_batches: int, device: Any) -> Any:
        """Returns the batches of the next step, and the number of their items on all ranks."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        for parts in batches:
            self.even_out(parts)
        items = sum(self.training_objective.items(part) for parts in batches for part in parts)
        return batches, self.ranks.sum(torch.tensor(float(items), dtype=torch.float64)).item()

    def compute_loss(self, model: Any, inputs: Any, *_: Any, num_items_in_batch: Any = None, **__: Any) -> Any:
        """Returns this batch's part of the step's loss, multiplied by the number of ranks because gradients are
        averaged.
        """
        return self.training_objective.total(model, inputs) * (self.ranks.size / num_items_in_batch)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Writes each rank's part to the first host's disk; the complete checkpoint is copied during the next steps."""
        name = f"checkpoint-{self.state.global_step}"
        self.publisher.wait()
        work = self.place.saved / name
        self.write_state(work)
        self.ranks.collect(work, "*-{}.safetensors")
        if self.ranks.first:
            if self.place.best.exists():
                shutil.copyfile(self.place.best, work / BEST)
            (work / METRICS).write_text(metrics_text(self.watch.steps))
            notes = {
                "seconds": self.watch.seconds(),
                "validation": list(self.watch.validation.losses),  # a copy: the next steps append to it
                "micro_batch": self.micro_batch,
                "digest_before": self.digest_before,
            }
            self.publisher.start(lambda: self._publish(work, notes))

    def _publish(self, work: Path, notes: dict[str, Any]) -> None:
        checkpoints.publish(work, self.place.kept / work.name, notes)
        checkpoints.keep(self.place.kept, KEPT_CHECKPOINTS)
        shutil.rmtree(work)

    def remember(self, checkpoint: Path) -> None:
        """Restores from a checkpoint what the library does not load itself."""
        notes = checkpoints.notes_of(checkpoint) or {}
        self.watch.seconds_before = float(notes["seconds"])
        self.micro_batch = notes["micro_batch"]
        self.digest_before = notes.get("digest_before")
        self.watch.validation.losses = [(int(step), float(loss)) for step, loss in notes.get("validation", [])]
        path = checkpoint / METRICS
        self.watch.steps = parse_metrics(path.read_bytes(), str(path))
        if self.ranks.first and (checkpoint / BEST).exists():
            shutil.copyfile(checkpoint / BEST, self.place.best)
        self.state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
        self.watch.clock = Clock(self.state.global_step, self.watch.seconds_before)
        if self.ended:
            self._load_from_checkpoint(str(checkpoint))

    @property
    def ended(self) -> bool:
        """Whether a resumed run has no step left. The library would take another one in an unfinished epoch."""
        return self.watch.validation.exhausted or 0 < self.state.max_steps <= self.state.global_step

    def result(self) -> dict[str, Any]:
        """Returns the trained weights, unsharded: those with the lowest validation loss, or the last. All ranks must
        call it; the others get none.
        """
        if self.watch.validation.best:
            return load_file(self.place.best) if self.ranks.first else {}
        return trained_weights(self.model, keep=self.ranks.first)

    def facts(self, tokens_per_step: float) -> TrainingFacts:
        """Returns the facts of a finished training."""
        losses = [entry["loss"] for entry in self.state.log_history if "loss" in entry]
        best, measured = self.watch.validation.best, self.watch.validation.losses
        validated = best or (measured[-1] if measured else None)
        return TrainingFacts(
            steps=self.state.global_step,
            tokens=round(tokens_per_step * self.state.global_step),
            seconds=round(self.watch.seconds(), 1),
            first_loss=round(losses[0], 4),
            last_loss=round(losses[-1], 4),
            precision=self.precision,
            best_step=best[0] if best else None,
            validation_loss=round(validated[1], 4) if validated else None,
        )
