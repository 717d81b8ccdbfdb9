"""The guard against divergence."""

import math
import statistics

from contract.errors import RunError

# A loss this many times the recent median, and by this much (nats), has diverged: going on would waste the run.
SPIKE_FACTOR, SPIKE_NATS, SPIKE_WINDOW = 4.0, 2.0, 20


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
        DivergedError: the loss or the gradient norm is not finite, or the loss jumped.
    """
    fix = "lower training.learning_rate, or add training.warmup_steps; the checkpoints before this step are sound"
    if not math.isfinite(loss) or not math.isfinite(grad_norm):
        raise DivergedError(f"loss {loss}, gradient norm {grad_norm}", where=f"training step {step}", fix=fix)
    recent = before[-SPIKE_WINDOW:]
    if len(recent) == SPIKE_WINDOW:
        usual = statistics.median(recent)
        if loss > SPIKE_FACTOR * usual and loss > usual + SPIKE_NATS:
            raise DivergedError(
                f"the loss jumped from about {usual:.2f} to {loss:.2f}", where=f"training step {step}", fix=fix
            )
