"""Attention of packed rows, one sequence at a time. Imports torch and transformers: import it where it is used.

By default, a packed row's attention scores are one square, most of which the mask discards.
"""

from itertools import pairwise
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from llmops_kit.core.models.base_models import ARCHITECTURES
from llmops_kit.training.data.layouts import padded_width
from llmops_kit.training.torch_trainer.adapters import without_adapter

_NAME = "packed_sdpa"
_PRODUCTS_UP_TO = 256
"""Longest sequence, in tokens, whose scores are computed by two plain products: in bf16, torch's fused kernel for
processors took 2.7 times as long for sequences of 60 to 300 tokens, and three quarters for 1,500. The scores of longer
ones, which are kept for the backward pass, would be much of a layer's activations.
"""


def attend_by_sequence(model: Any) -> bool:
    """Makes a model on processors attend to each sequence of a row separately, where a batch says which these are
    (`Collator(joined=True)`).

    Args:
        model: a model of transformers, bare or with an adapter.

    Returns:
        Whether it does. If not, transformers separates the sequences by a mask, which takes the memory of a whole row's
        scores.
    """
    inner = without_adapter(model)
    if not can_attend_by_sequence(inner):
        return False
    AttentionInterface.register(_NAME, _attention)
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    inner.set_attn_implementation(_NAME)
    return True


def can_attend_by_sequence(model: Any) -> bool:
    """Returns whether a model's attention can be computed by sequence: torch's, over all earlier tokens, or over a
    window that each layer names, as tested for the kit's architectures. Others may keep windows (PhiMoE) or chunks
    (Llama 4) in their masks alone, and Gemma 2 caps its scores.
    """
    return uses_torch_attention(model) and model.config.get_text_config().model_type in ARCHITECTURES


def uses_torch_attention(model: Any) -> bool:
    """Returns whether transformers chose torch's attention for a model, and not its own, slower one."""
    return model.config._attn_implementation == "sdpa"


def _attention(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **options: Any) -> tuple[Any, Any]:
    """Computes attention like transformers' `sdpa`: query [rows, heads, tokens, size], key and value with as many heads
    or fewer, to [rows, tokens, heads, size].

    Args:
        attention_mask: a collator's `attention_mask`, or a mask of transformers, which is bool.
    """
    if attention_mask is None or attention_mask.dtype == torch.bool:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    if torch.is_autocast_enabled(query.device.type):
        low = torch.get_autocast_dtype(query.device.type)
        query, key, value = (tensor.to(low) for tensor in (query, key, value))
    lengths, paths = _segments(attention_mask[0, 0])
    split = [tensor.split(lengths, dim=2) for tensor in (query, key, value)]
    made, done = [], 0
    for path in paths:
        before = sum(lengths[n] for n in path if n < done)
        joined = [torch.cat([segments[n] for n in path], dim=2) for segments in split]
        made.append(_attend(module, *joined, before=before, **options))
        done = path[-1] + 1
    return torch.cat(made, dim=1), None


def _segments(members: Any) -> tuple[list[int], list[list[int]]]:
    """Returns the lengths of a row's segments, whose tokens belong to the same sequences, and the segments of each
    sequence.

    Args:
        members: [sequences, tokens]; 1 where a token belongs to a sequence.
    """
    changes = (members[:, 1:] != members[:, :-1]).any(dim=0).nonzero().flatten() + 1
    starts = [0, *changes.tolist()]
    lengths = [end - start for start, end in pairwise([*starts, members.shape[1]])]
    return lengths, [row.nonzero().flatten().tolist() for row in members[:, starts]]


def _attend(module: Any, query: Any, key: Any, value: Any, before: int, **options: Any) -> Any:
    """Computes causal attention within one sequence [1, heads, tokens, size].

    Returns:
        [1, tokens, heads, size], without the first `before` tokens.
    """
    length, window = query.shape[2], options.get("sliding_window")
    if window and window < length:
        mask = torch.ones((length, length), dtype=torch.bool, device=query.device).tril().triu(1 - window)
        return sdpa_attention_forward(module, query, key, value, mask[None, None], **options)[0][:, before:]
    if query.dtype != torch.bfloat16 or options.get("dropout"):
        return sdpa_attention_forward(module, query, key, value, None, **options)[0][:, before:]
    if length > _PRODUCTS_UP_TO:
        query, key, value = (_lengthened(tensor) for tensor in (query, key, value))
        return sdpa_attention_forward(module, query, key, value, None, **options)[0][:, before:length]
    query, key, value = (_lengthened(tensor) for tensor in (query[:, :, before:], key, value))
    return _by_products(query, key, value, before, options.get("scaling"))[:, : length - before]


def _lengthened(tensor: Any) -> Any:
    """Returns a tensor [1, heads, tokens, size] with zeros after its last token, which causal attention does not see:
    in bf16, torch compiles kernels for each length (`padded_width`).
    """
    length = tensor.shape[2]
    return pad(tensor, (0, 0, 0, padded_width(length) - length))


def _by_products(query: Any, key: Any, value: Any, before: int, scaling: float | None) -> Any:
    """Computes causal attention [1, tokens, heads, size] by two products; `before` keys are older than all queries."""
    _, heads, tokens, size = query.shape
    groups, alike = key.shape[1], heads // key.shape[1]  # heads that share a key are rows of one product
    later = torch.full((tokens, key.shape[2]), -torch.inf, dtype=query.dtype, device=query.device).triu(before + 1)
    scores = torch.baddbmm(
        later.repeat(alike, 1).expand(groups, -1, -1),
        query.reshape(groups, alike * tokens, size),
        key.squeeze(0).transpose(1, 2),
        alpha=scaling or size**-0.5,
    )
    shares = torch.softmax(scores, dim=-1).to(value.dtype)
    return torch.bmm(shares, value.squeeze(0)).view(1, heads, tokens, value.shape[-1]).transpose(1, 2)
