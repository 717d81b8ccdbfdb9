"""The guard against divergence."""

import math
import statistics

from contract.errors import RunError

# Losses this many times the median before them, and by this much (nats), have diverged: going on would waste the run.
SPIKE_FACTOR, SPIKE_NATS, SPIKE_WINDOW = 4.0, 2.0, 20
# So many steps in a row: one alone may be a batch of few and unusual rows, such as the last one of an epoch.
SPIKE_STEPS = 3
LOSSES_BEFORE = SPIKE_WINDOW + SPIKE_STEPS - 1
"""How many losses before a step the guard looks at."""


class DivergedError(RunError):
    """The loss or the gradients are not finite, or the loss jumped."""


def guard(loss: float, grad_norm: float, before: list[float], step: int) -> None:
    """Stops a run that has diverged; the library itself would log 0 and go on.

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
