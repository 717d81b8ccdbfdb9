"""The common part of all trainers, on one machine or many. Imports transformers: import it where it is used."""

import json
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import Trainer
from transformers.trainer import TRAINER_STATE_NAME

from llmops_kit.core.errors import RunError
from llmops_kit.training.data.examples import Example
from llmops_kit.training.process import say
from llmops_kit.training.ranks import Alone, PeerError
from llmops_kit.training.torch_trainer.batch_tensors import Batch
from llmops_kit.training.torch_trainer.micro_batches import (
    MemoryUse,
    MicroBatchCollator,
    rows_on_cpu,
    rows_on_gpu,
    too_large,
)
from llmops_kit.training.torch_trainer.shard_checkpoints import load_shards, save_shards, saved_tensors
from llmops_kit.training.torch_trainer.sharding import entered, is_sharded, require_sharded, whole

SCHEDULER = "scheduler.json"
_OTHERS_SECONDS = 120.0
"""How long a rank that ran out of memory waits for the others, which began the same step with it."""
_WEIGHT = "weight"  # in a checkpoint: weight/NAME; Adam's moments of it are exp_avg/NAME and so on
CHECKPOINTING = {"use_reentrant": False}
"""torch's variant of recomputing activations: the other one needs inputs with gradients, and breaks with sharded
weights.
"""


class ScaledTrainer(Trainer):
    """A Trainer whose batches are trained in micro-batches, and whose state is saved in shards.

    The library sees whole batches: a micro-batch is not a step, so that steps, their order and resuming do
    not depend on the machine.
    """

    ranks: Alone
    micro_batch: dict[str, Any]
    """The micro-batch in the form stored in checkpoints: its rows, and the device for which they were determined. Empty
    until then.
    """
    may_checkpoint: bool
    """Whether gradient checkpointing may be enabled if a row does not fit otherwise."""
    may_quantize: bool
    """Whether the recipe could be changed to 4-bit weights."""
    sharded_models: list[Any]
    """The sharded models that compute in a step: the trained one, and DPO's reference."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.micro_batch = {}
        self.sharded_models = [self.model] if is_sharded(self.model) else []
        self._collator = MicroBatchCollator(self.data_collator, self.args.train_batch_size)
        self.data_collator: Any = self._collator

    @property
    def _on_gpu(self) -> bool:
        return self.args.device.type == "cuda"

    def write_state(self, folder: Path) -> None:
        """Writes this rank's part of the state for resuming; rank 0 writes the common part."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = self._weights()
        save_shards({**weights, **_moments(self._adam(), weights)}, folder, self.ranks.rank)
        generators = {"cpu": torch.get_rng_state()}
        if self._on_gpu:
            generators["cuda"] = torch.cuda.get_rng_state(self.args.device)
        save_file(generators, folder / random_name(self.ranks.rank))
        if self.ranks.first:
            self.state.save_to_json(str(folder / TRAINER_STATE_NAME))
            scheduler: Any = self.lr_scheduler
            (folder / SCHEDULER).write_text(json.dumps(scheduler.state_dict()))

    def _weights(self) -> dict[str, Any]:
        model: Any = self.model
        return {f"{_WEIGHT}/{n}": weight for n, weight in model.named_parameters() if weight.requires_grad}

    def _adam(self) -> Any:
        """Returns the optimizer without accelerate's wrapper."""
        return getattr(self.optimizer, "optimizer", self.optimizer)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_shards({name: weight.detach() for name, weight in self._weights().items()}, Path(resume_from_checkpoint))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        adam, folder, weights = self._adam(), Path(checkpoint), self._weights()
        for saved, (size, dtype) in saved_tensors(folder).items():
            kind, _, name = saved.partition("/")
            weight = weights.get(f"{_WEIGHT}/{name}")
            if kind != _WEIGHT and weight is not None:
                like = weight.detach() if size == weight.size() else torch.empty(size)
                adam.state[weight][kind] = torch.zeros_like(like, dtype=dtype)
        load_shards(_moments(adam, weights), folder)
        scheduler: Any = self.lr_scheduler
        scheduler.load_state_dict(json.loads((folder / SCHEDULER).read_text()))
        for group, rate in zip(adam.param_groups, scheduler.get_last_lr(), strict=True):
            group["lr"] = rate

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Restores the random number generators; a rank that the interrupted run did not have begins with the recipe's
        seed.
        """
        if checkpoint is None or not (path := Path(checkpoint, random_name(self.ranks.rank))).exists():
            return
        generators = load_file(path)
        torch.set_rng_state(generators["cpu"])
        if self._on_gpu and "cuda" in generators:
            torch.cuda.set_rng_state(generators["cuda"], self.args.device)

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """Runs forward and backward passes, a micro-batch at a time; several ranks exchange gradients after the last
        one.

        Returns:
            The batch's loss.
        """
        total = None
        for number, part in enumerate(inputs, start=1):
            with nullcontext() if number == len(inputs) else self.accelerator.no_sync(model):
                loss = super().training_step(model, part, num_items_in_batch)
            total = loss if total is None else total + loss
        return total

    def even_out(self, parts: list[Batch]) -> None:
        """Adds parts without loss for a rank whose share of a short batch has fewer parts: sharded weights are computed
        by all ranks together.
        """
        parts += [self._collator.collate([])] * (self.ranks.largest(len(parts)) - len(parts))

    def _clip_grad_norm(self, model: Any) -> Any:
        return whole(super()._clip_grad_norm(model))

    def _prepare_for_training(self, *args: Any, **kwargs: Any) -> Any:
        """Determines the micro-batch once model and optimizer are on their devices."""
        if sharded := is_sharded(self.model):
            # In its evaluation mode, accelerate only sets the precision, and does not wrap the shards in DDP.
            self.accelerator.prepare_model = partial(self.accelerator.prepare_model, evaluation_mode=True)
        prepared = super()._prepare_for_training(*args, **kwargs)
        if sharded:
            require_sharded(prepared[0])
        self._collator.rows = self._micro_batch_rows(prepared[0])
        return prepared

    def _micro_batch_rows(self, model: Any) -> int:
        batch = self.args.train_batch_size
        device = torch.cuda.get_device_name(self.args.device) if self._on_gpu else "cpu"
        if self.micro_batch.get("on") != device:  # otherwise a resumed run keeps its micro-batches
            examples: Any = self.train_dataset
            widths = examples.widths
            if self._on_gpu:
                order = sorted(range(len(widths)), key=lambda i: (-widths[i], i))
                found = self._rows_on_gpu(model, batch, [examples[i] for i in order[:batch]])
            else:
                found = rows_on_cpu(batch, max(widths))
            self.micro_batch = {"rows": found, "on": device}
        found = min(batch, self.micro_batch["rows"])
        say(batch=batch * self.ranks.size, ranks=self.ranks.size, micro_batch=found)
        return found

    def _rows_on_gpu(self, model: Any, batch: int, longest: list[Example]) -> int:
        # Reserves the optimizer's moments, which it allocates in the first step, after the trials.
        moments = [torch.empty_like(p, dtype=torch.float32) for p in model.parameters() if p.requires_grad] * 2
        memory = torch.cuda.get_device_properties(self.args.device).total_memory
        try:
            return rows_on_gpu(batch, memory, lambda rows: self._try_rows(model, longest, rows), self.ranks.any_asks)
        finally:
            del moments
            model.zero_grad()

    def _try_rows(self, model: Any, longest: list[Example], rows: int) -> MemoryUse:
        """Trains rows without a step. If not even one fits, enables recomputation of activations, if allowed."""
        torch.cuda.reset_peak_memory_stats()
        part, reason = self._collator.collate((longest * rows)[:rows]), ""
        with entered(self.sharded_models) as called:
            try:
                with torch.random.fork_rng(devices=[self.args.device]), self.accelerator.no_sync(model):
                    super().training_step(model, part, 1)
            except torch.OutOfMemoryError as e:
                if rows > 1:
                    raise
                reason = str(e)
        if rows == 1 and self._any_lacks_memory(reason):
            trained: Any = self.model
            if not self.may_checkpoint or trained.is_activation_checkpointing:
                raise self._too_large(reason or "on another rank")
            for each in called:
                each.reset_iter_state()  # otherwise FSDP2 trains nothing after an error
            model.zero_grad()
            say(gradient_checkpointing="on")
            trained.activation_checkpointing_enable(dict(CHECKPOINTING))
            return self._try_rows(model, longest, rows)
        return MemoryUse(torch.cuda.max_memory_allocated(), torch.cuda.memory_allocated())

    def _any_lacks_memory(self, reason: str) -> bool:
        """Returns whether the first trial ran out of memory on any rank.

        With sharded weights, the other ranks may block within the trial: the rank without memory waits for them only
        briefly, and then ends, which ends them too.
        """
        if not reason or not is_sharded(self.model):
            return self.ranks.any_asks(bool(reason))
        try:
            return self.ranks.any_asks_soon(True, _OTHERS_SECONDS)
        except PeerError:
            why = f"{reason.partition('. ')[0]}, on this rank alone: is another program on its GPU?"
            raise self._too_large(why) from None

    def _too_large(self, reason: str) -> RunError:
        longest = max(self.train_dataset.widths)  # pyright: ignore
        return too_large(reason, longest, self.may_quantize)


def random_name(rank: int) -> str:
    """Returns the file name of a rank's random number generators in a checkpoint."""
    return f"random-{rank}.safetensors"


def _moments(adam: Any, weights: dict[str, Any]) -> dict[str, Any]:
    """Returns the optimizer's state of each weight."""
    return {
        f"{kind}/{name.removeprefix(_WEIGHT)[1:]}": tensor
        for name, weight in weights.items()
        for kind, tensor in adam.state[weight].items()
    }
