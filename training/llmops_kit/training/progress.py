"""Records each step of a training: the line that `runs follow` and the platforms' metrics read, and metrics.jsonl."""

import resource
import time

from llmops_kit.core.documents.training_metrics import StepMetrics
from llmops_kit.training.process import say

_MB = 1 << 20


class Clock:
    """Measures a training that may be the continuation of an earlier one."""

    def __init__(self, first_step: int = 0, seconds_before: float = 0.0) -> None:
        """Starts now.

        Args:
            first_step: steps taken before.
            seconds_before: seconds that they took.
        """
        self._started, self._first, self._before = time.monotonic(), first_step, seconds_before

    def seconds(self) -> float:
        """Returns the seconds of training, including those before."""
        return self._before + time.monotonic() - self._started

    def step_seconds(self, step: int) -> float:
        """Returns the seconds of a step on average, after step number `step`."""
        return (time.monotonic() - self._started) / (step - self._first)


def record_step(
    clock: Clock,
    step: int,
    total: int,
    *,
    loss: float,
    validation_loss: float | None,
    learning_rate: float,
    grad_norm: float,
    tokens: float,
    peak_bytes: int,
) -> StepMetrics:
    """Prints the line of a step, and returns its entry in metrics.jsonl.

    Args:
        clock: of the training.
        step: its number, from 1, of `total`.
        total: the training's steps.
        loss: mean over its loss-bearing tokens, in nats.
        validation_loss: the same on the validation split, where it was measured.
        learning_rate: of the step.
        grad_norm: before clipping.
        tokens: of a step, on average.
        peak_bytes: the most memory that was in use.
    """
    seconds = clock.step_seconds(step)
    measured = StepMetrics.of(
        step=step,
        time=round(time.time(), 3),
        seconds=round(clock.seconds(), 3),
        loss=loss,
        validation_loss=validation_loss,
        learning_rate=learning_rate,
        grad_norm=grad_norm,
        tokens_per_s=round(tokens / seconds),
        peak_mb=peak_bytes // _MB,
    )
    say(
        step=step,
        total=total,
        loss=f"{loss:.4f}",
        lr=f"{learning_rate:.3g}",
        grad_norm=f"{grad_norm:.3g}",
        tokens_per_s=round(tokens / seconds),
        peak_mb=peak_bytes // _MB,
        eta_s=round(seconds * (total - step)),
    )
    return measured


def peak_process_memory() -> int:
    """Returns the most memory in bytes that this process had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
