"""Log-probabilities of tokens, a few places at a time. Imports torch: import it where it is used.

Torch's `cross_entropy` of bf16 logits keeps them in f32, their logarithms and two gradients: 16 bytes for each place
and word of the vocabulary, which with large vocabularies is more than all activations. Here they are 4: logits and
their gradient, in the logits' own precision.
"""

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

LOGITS_AT_A_TIME = 1 << 22
"""Number of logits that are widened to f32 together: 16 MB."""
_TRACED_PARTS = 3
"""Parts of tensors without content that are computed, to trace memory: from the third on, each part takes the same."""


class TokenLogProbabilities(torch.autograd.Function):
    """From logits [places, vocabulary] and targets [places] to the targets' log-probabilities, f32 [places]."""

    @staticmethod
    def forward(ctx: Any, logits: Any, targets: Any) -> Any:
        found = torch.empty(len(targets), dtype=torch.float32, device=logits.device)
        totals = torch.empty_like(found)
        for part in _parts(logits):
            wide = logits[part].float()
            totals[part] = wide.logsumexp(dim=-1)
            found[part] = wide.gather(1, targets[part, None])[:, 0] - totals[part]
        ctx.save_for_backward(logits, targets, totals)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        logits, targets, totals = ctx.saved_tensors
        (gradient,) = gradients
        made = torch.empty_like(logits)
        for part in _parts(logits):
            wide = torch.sub(logits[part], totals[part, None]).exp_().mul_(-gradient[part, None])  # f32
            wide.scatter_add_(1, targets[part, None], gradient[part, None])
            made[part] = wide
        return made, None


def _parts(logits: Any) -> list[slice]:
    size = max(1, LOGITS_AT_A_TIME // logits.shape[1])
    parts = [slice(start, start + size) for start in range(0, len(logits), size)]
    return parts[:_TRACED_PARTS] if isinstance(logits, FakeTensor) else parts
