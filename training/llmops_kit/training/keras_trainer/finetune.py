"""Fine-tuning by Keras on TensorFlow, with the kit's own checkpoints: Keras's BackupAndRestore loses updates and the
position in an epoch.
"""

import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf  # pyright: ignore[reportMissingModuleSource]
from safetensors.numpy import load_file, save_file

from llmops_kit.core.documents.model import TrainingFacts
from llmops_kit.core.documents.recipe_training import TrainingRecipe
from llmops_kit.core.documents.training_metrics import StepMetrics, metrics_text, parse_metrics
from llmops_kit.core.errors import RunError
from llmops_kit.core.garbage import collect_garbage_again
from llmops_kit.core.layout import METRICS
from llmops_kit.training import checkpoints
from llmops_kit.training.checkpoint_folders import BEST, LOCAL_PREFIX, RESULT, CheckpointFolders, emptied
from llmops_kit.training.data.examples import Examples, load_splits
from llmops_kit.training.devices import Precision
from llmops_kit.training.guard import LOSSES_BEFORE, guard, require_change
from llmops_kit.training.keras_trainer.batches import BatchOrder, MicroBatch, micro_batches
from llmops_kit.training.keras_trainer.devices import compute_precision, device_names, strategy_on
from llmops_kit.training.keras_trainer.model import add_low_rank, load_causal_lm, write_folder
from llmops_kit.training.keras_trainer.optimizer_steps import KerasSteps, Taken, as_arrays, rate
from llmops_kit.training.models.weights import load_tokenizer
from llmops_kit.training.process import say
from llmops_kit.training.progress import Clock, peak_process_memory, record_step
from llmops_kit.training.ranks import Alone, StoppedError
from llmops_kit.training.torch_trainer.batch_tensors import Collator
from llmops_kit.training.torch_trainer.validation import Validation

_KEPT_CHECKPOINTS = 2
_STATE = "state.safetensors"
_PREFETCHED = 2


def finetune(
    base: Path,
    train_rows: Path,
    options: TrainingRecipe,
    system_prompt: str,
    folder: Path,
    stop_asked: Callable[[], bool] = lambda: False,
    validation_rows: Path | None = None,
) -> TrainingFacts:
    """Trains in one process. Arguments and errors are those of `llmops_kit.training.torch_trainer.finetune.finetune`.

    The result, `trained/` in `folder`, is a plain Hugging Face folder in f32. Equal inputs, threads and devices give
    equal bytes, interrupted or not.
    """
    if (facts := checkpoints.notes_of(folder / RESULT)) is not None:
        return TrainingFacts.model_validate(facts)
    with tempfile.TemporaryDirectory(prefix=LOCAL_PREFIX) as local:
        place = CheckpointFolders(folder, Path(local), Path(local))
        tokenizer = load_tokenizer(base)
        examples, held_out = load_splits(train_rows, validation_rows, tokenizer, options, system_prompt, Path(local))
        collect_garbage_again()
        run = _Run(base, examples, held_out, options, place, tokenizer.pad_token_id)
        run.resume()
        run.train(stop_asked)
        facts = run.facts()
        work = emptied(place.local / RESULT)
        run.write(work)
        checkpoints.publish(work, folder / RESULT, facts.model_dump())
        return facts


class _Run:
    """A training in this process: the model, its place in the run, and its history."""

    def __init__(
        self,
        base: Path,
        examples: Examples,
        held_out: Examples | None,
        options: TrainingRecipe,
        place: CheckpointFolders,
        pad: int,
    ) -> None:
        self._base, self._options, self._place, self._pad = base, options, place, pad
        devices = device_names()
        self._precision: Precision = compute_precision(options.precision)
        strategy = strategy_on(devices)
        self._order = BatchOrder(examples, options, pad, strategy.num_replicas_in_sync)
        with strategy.scope():
            self._model = load_causal_lm(base, self._precision)
            self._low_rank = add_low_rank(self._model, options.lora, options.seed) if options.adapter == "lora" else []
            trained = [v for layer in self._low_rank for v in (layer.a, layer.b)] or self._model.trainable_variables
            self._steps = KerasSteps(self._model, trained, options, strategy)
        self._digest_before: str | None = self._steps.trained_digest()
        self._validation = Validation(held_out, Collator(pad), options.checkpoint_steps, options.patience, Alone())
        self._step = 0
        self._losses: list[float] = []
        self._measured: list[StepMetrics] = []
        self._clock = Clock()
        say(batch=options.batch_size, devices=strategy.num_replicas_in_sync, micro_batch=self._order.rows)

    def resume(self) -> None:
        """Restores the newest complete checkpoint, if there is one."""
        start = checkpoints.restored(self._place.kept, self._place.local)
        if not start:
            return
        say(resume=start.name)
        notes = checkpoints.notes_of(start) or {}
        self._assign(load_file(start / _STATE), start / _STATE)
        self._digest_before = notes.get("digest_before")
        self._step, self._losses = int(notes["step"]), [float(loss) for loss in notes["losses"]]
        self._validation.losses = [(int(step), float(loss)) for step, loss in notes["validation"]]
        self._measured = parse_metrics((start / METRICS).read_bytes(), str(start / METRICS))
        if (start / BEST).exists():
            (start / BEST).rename(self._place.best)
        self._clock = Clock(self._step, float(notes["seconds"]))

    def train(self, stop_asked: Callable[[], bool]) -> None:
        """Takes the steps that are left.

        Raises:
            DivergedError: the loss or the gradients are not finite, or the loss jumped.
            StoppedError: `stop_asked` returned True; there is a checkpoint.
        """
        total = self._order.steps
        for part in self._parts():
            self._steps.add(part)
            if not part.last:
                continue
            self._finish_step(self._steps.take(rate(self._step, total, self._options)))
            stop = stop_asked() and self._step < total
            if stop or self._step % self._options.checkpoint_steps == 0 or self._step == total:
                self._save()
            if self._validation.exhausted:
                say(step=self._step, total=total, stopped="no better validation loss")
                return
            if stop:
                raise StoppedError(
                    f"stopped after step {self._step} of {total}",
                    where=str(self._place.kept),
                    fix="start the run again: it resumes from there",
                )

    def facts(self) -> TrainingFacts:
        """Returns the facts of a finished training."""
        best, measured = self._validation.best, self._validation.losses
        validated = best or (measured[-1] if measured else None)
        return TrainingFacts(
            steps=self._step,
            tokens=round(self._order.tokens_per_step * self._step),
            seconds=round(self._clock.seconds(), 1),
            first_loss=round(self._losses[0], 4),
            last_loss=round(self._losses[-1], 4),
            precision=self._precision,
            best_step=best[0] if best else None,
            validation_loss=round(validated[1], 4) if validated else None,
        )

    def write(self, folder: Path) -> None:
        """Writes the model with the best weights, or the last.

        Raises:
            RunError: they equal the initial weights.
        """
        step = self._step
        if self._validation.best:
            self._assign(load_file(self._place.best), self._place.best)
            step, _ = self._validation.best
        require_change(self._digest_before, self._steps.trained_digest(), step)
        write_folder(self._model, self._low_rank, self._base, folder)
        (folder / METRICS).write_text(metrics_text(self._measured))

    def _parts(self) -> Any:
        """Yields the remaining micro-batches, prefetching the next ones."""
        if self._validation.exhausted:
            return
        pair = (tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((None, None), tf.float32))
        step = self._step
        signature = (*pair, tf.TensorSpec((), tf.bool))
        rows: Any = tf.data.Dataset.from_generator(lambda: self._order.after(step), output_signature=signature)
        for ids, weights, last in rows.prefetch(_PREFETCHED):
            yield MicroBatch(ids, weights, bool(last))

    def _finish_step(self, taken: Taken) -> None:
        self._step += 1
        guard(taken.loss, taken.grad_norm, self._losses, self._step)
        self._losses.append(taken.loss)
        if self._validation.is_due(self._step, self._order.steps) and self._measure():
            save_file(as_arrays(self._steps.trained), self._place.best)
        self._measured.append(
            record_step(
                self._clock,
                self._step,
                self._order.steps,
                loss=taken.loss,
                validation_loss=dict(self._validation.losses).get(self._step),
                learning_rate=taken.learning_rate,
                grad_norm=taken.grad_norm,
                tokens=self._order.tokens_per_step,
                peak_bytes=peak_process_memory(),
            )
        )

    def _measure(self) -> bool:
        """Measures the validation loss; returns whether it is the best so far."""
        loss = items = 0.0
        for batch in self._validation.batches():
            bearing = sum(int(sequence.answer.sum()) for example in batch for sequence in example.sequences)
            mean = sum(self._steps.loss(part) for part in micro_batches(batch, self._order.rows, self._pad))
            loss, items = loss + mean * bearing, items + bearing
        return self._validation.record(loss, items, self._step, self._order.steps)

    def _save(self) -> None:
        name = f"checkpoint-{self._step}"
        work = emptied(self._place.saved / name)
        save_file(as_arrays(self._steps.variables), work / _STATE)
        (work / METRICS).write_text(metrics_text(self._measured))
        if self._place.best.exists():
            os.link(self._place.best, work / BEST)
        notes = {
            "step": self._step,
            "losses": [self._losses[0], *self._losses[1:][-LOSSES_BEFORE:]],
            "validation": self._validation.losses,
            "seconds": self._clock.seconds(),
            "digest_before": self._digest_before,
        }
        checkpoints.publish(work, self._place.kept / name, notes)
        checkpoints.keep(self._place.kept, _KEPT_CHECKPOINTS)
        emptied(self._place.saved)

    def _assign(self, values: dict[str, Any], source: Path) -> None:
        variables = self._steps.variables
        for name, value in values.items():
            if name not in variables or tuple(variables[name].shape) != value.shape:
                raise RunError(
                    f"has {name}, which this model's training lacks or has in another shape",
                    where=str(source),
                    fix="start a new run",
                )
            if not math.isfinite(float(value.sum(dtype="float64"))):
                raise RunError(f"has values that are not finite in {name}", where=str(source), fix="start a new run")
            variables[name].assign(value)
