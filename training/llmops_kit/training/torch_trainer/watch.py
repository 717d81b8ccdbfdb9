"""Monitoring of a training, step by step. Imports transformers: import it where it is used."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import TrainerCallback

from llmops_kit.core.documents.training_metrics import StepMetrics
from llmops_kit.training.guard import guard
from llmops_kit.training.process import say
from llmops_kit.training.progress import Clock, peak_process_memory, record_step
from llmops_kit.training.torch_trainer.objectives import Objective
from llmops_kit.training.torch_trainer.sharding import trained_weights
from llmops_kit.training.torch_trainer.validation import Validation


class ProgressCallback(TrainerCallback):
    """Prints and keeps what each step measured, runs the guard, and checks for stop requests; continues a checkpoint's
    history.
    """

    objective: Objective

    def __init__(
        self, tokens_per_step: float, stop_asked: Callable[[], bool], validation: Validation, best: Path
    ) -> None:
        """Configures the monitoring.

        Args:
            tokens_per_step: tokens of all ranks without padding, on average.
            stop_asked: called after each step.
            validation: measured when it is due; when it is exhausted, the training ends.
            best: the file of the trained weights with the lowest validation loss.
        """
        self._tokens_per_step, self._stop_asked = tokens_per_step, stop_asked
        self.validation, self._best = validation, best
        self.clock = Clock()
        self.seconds_before = 0.0
        self.losses: list[float] = []
        self.steps: list[StepMetrics] = []

    def seconds(self) -> float:
        """Returns the seconds of training, including those before the last checkpoint."""
        return self.clock.seconds()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.clock = Clock(state.global_step, self.seconds_before)
        self.losses = [float(entry["loss"]) for entry in state.log_history if "loss" in entry]

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        step, last = state.global_step, state.max_steps
        if self.validation.is_due(step, last):
            if self.validation.measure(kwargs["model"], self.objective, step, last):
                weights = trained_weights(kwargs["model"], keep=state.is_world_process_zero)
                if state.is_world_process_zero:
                    save_file(weights, self._best)
            if self.validation.exhausted:
                say(step=step, total=last, stopped="no better validation loss")
        if self.validation.exhausted or self._stop_asked():
            control.should_save = control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if not logs or "loss" not in logs:
            return
        loss = float(logs["loss"])
        grad_norm = float(logs["grad_norm"])
        guard(loss, grad_norm, self.losses, state.global_step)
        self.losses.append(loss)
        self.steps.append(
            record_step(
                self.clock,
                state.global_step,
                state.max_steps,
                loss=loss,
                validation_loss=dict(self.validation.losses).get(state.global_step),
                learning_rate=float(logs["learning_rate"]),
                grad_norm=grad_norm,
                tokens=self._tokens_per_step,
                peak_bytes=_peak_memory(),
            )
        )


def _peak_memory() -> int:
    """Returns the peak memory in bytes of this process's GPU, or of the process without one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return peak_process_memory()
