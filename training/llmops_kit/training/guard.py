"""Stops runs that diverge, and refuses results of runs that learned nothing."""

import hashlib
import json
import math
import statistics
from collections.abc import Mapping

from llmops_kit.core.errors import RunError

# Losses that exceed this many times the median before them, and by this much (nats), have diverged.
SPIKE_FACTOR, SPIKE_NATS, SPIKE_WINDOW = 4.0, 2.0, 20
# Number of consecutive steps: a single one may be a batch of few and unusual rows, such as the last of an epoch.
SPIKE_STEPS = 3
LOSSES_BEFORE = SPIKE_WINDOW + SPIKE_STEPS - 1
"""Number of losses before a step that the guard examines."""

ADDED_AT_A_TIME = 1 << 22
"""Numbers of a weight that are summed at a time for its digest, which copies them."""


class DivergedError(RunError):
    """The loss or the gradients are not finite, or the loss jumped."""


def guard(loss: float, grad_norm: float, before: list[float], step: int) -> None:
    """Stops a run that has diverged; the library itself would log 0 and continue.

    Args:
        loss: of this step, mean over its loss-bearing tokens, in nats.
        grad_norm: before clipping.
        before: losses of the steps before.
        step: for the message.

    Raises:
        DivergedError: the loss or the gradient norm is not finite, or the loss jumped for `SPIKE_STEPS` in a row.
    """
    fix = "lower training.learning_rate, or add training.warmup_steps; the checkpoints before this step are sound"
    if not math.isfinite(loss) or not math.isfinite(grad_norm):
        raise DivergedError(f"loss {loss}, gradient norm {grad_norm}", where=f"training step {step}", fix=fix)
    losses = [*before[-LOSSES_BEFORE:], loss]
    if len(losses) <= LOSSES_BEFORE:
        return
    usual = statistics.median(losses[:SPIKE_WINDOW])
    if all(each > SPIKE_FACTOR * usual and each > usual + SPIKE_NATS for each in losses[SPIKE_WINDOW:]):
        raise DivergedError(
            f"the loss jumped from about {usual:.2f} to {losses[SPIKE_WINDOW]:.2f}, and stayed there",
            where=f"training step {step - SPIKE_STEPS + 1}",
            fix=fix,
        )


def weights_digest(sums: Mapping[str, int]) -> str:
    """Returns a digest of weights.

    Args:
        sums: by weight, the sum of its numbers, read as integers of the same width. Modulo 2^64, it depends neither on
            the order of addition nor on sharding.
    """
    listed = [(name, number % 2**64) for name, number in sorted(sums.items())]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def require_change(before: str | None, after: str, steps: int) -> None:
    """Refuses a training whose result has the weights that it began with.

    Args:
        before: the digest of the trained weights before the first step; None: unknown, because an earlier version of
            the kit started the run.
        after: the digest of the result's weights.
        steps: number of steps after which the result was taken.

    Raises:
        RunError: both are equal.
    """
    if before == after:
        raise RunError(
            f"none of the trained weights changed in {steps} steps: nothing was learned",
            where="training",
            fix="raise training.learning_rate, or lower training.warmup_steps below the number of steps; if neither is "
            "the cause, report it with the recipe",
        )
