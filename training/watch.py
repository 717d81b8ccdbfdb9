"""What watches a training, step by step. Imports transformers: import it where it is used."""

import time
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

from training.guard import guard
from training.process import say


class ProgressCallback(TrainerCallback):
    """Progress lines, the guard, and the wish to stop, after each step; goes on from a checkpoint's history."""

    def __init__(self, total_tokens: int, stop_asked: Callable[[], bool]) -> None:
        """Watch a training of so many real tokens, asking after each step whether it shall stop."""
        self._total_tokens, self._stop_asked = total_tokens, stop_asked
        self.started = 0.0
        self.first_step = 0
        self.seconds_before = 0.0
        self.losses: list[float] = []

    def seconds(self) -> float:
        """Of training, those before the last checkpoint included."""
        return self.seconds_before + time.monotonic() - self.started

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.started, self.first_step = time.monotonic(), state.global_step
        self.losses = [float(entry["loss"]) for entry in state.log_history if "loss" in entry]

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._stop_asked():
            control.should_save = control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if not logs or "loss" not in logs:
            return
        loss = float(logs["loss"])
        grad_norm = float(logs["grad_norm"])
        guard(loss, grad_norm, self.losses, state.global_step)
        self.losses.append(loss)
        step_seconds = (time.monotonic() - self.started) / (state.global_step - self.first_step)
        say(
            step=state.global_step,
            total=state.max_steps,
            loss=f"{loss:.4f}",
            lr=f"{logs['learning_rate']:.3g}",
            grad_norm=f"{grad_norm:.3g}",
            tokens_per_s=round(self._total_tokens / state.max_steps / step_seconds),
            eta_s=round(step_seconds * (state.max_steps - state.global_step)),
        )
