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

from training.torch_trainer.batch_tensors import padded_width

_NAME = "packed_sdpa"
_PRODUCTS_UP_TO = 256
"""Longest sequence, in tokens, whose scores are computed by two plain products: in bf16, torch's fused kernel for
processors took 2.7 times as long for sequences of 60 to 300 tokens, and three quarters for 1,500. The scores of longer
ones, which are kept for the backward pass, would be much of a layer's activations.
"""


def attend_by_sequence(model: Any) -> None:
    """Makes a model on processors attend to each sequence of a packed row separately.

    A model that can't use torch's attention (Gemma 2 caps its scores) stays as it is: transformers parts its sequences
    by a mask, in the memory of a whole row's scores.

    Args:
        model: a model of transformers, bare or with an adapter.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    if not uses_torch_attention(inner):
        return
    AttentionInterface.register(_NAME, _attention)
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    inner.set_attn_implementation(_NAME)


def uses_torch_attention(model: Any) -> bool:
    """Returns whether transformers chose torch's attention for a model, and not its own, slower one."""
    return model.config._attn_implementation == "sdpa"


def _attention(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **options: Any) -> tuple[Any, Any]:
    """Computes attention like transformers' `sdpa`: query [rows, heads, tokens, size], key and value with as many heads
    or fewer, to [rows, tokens, heads, size].
    """
    rows = [] if attention_mask is None else list(attention_mask[:, 0])
    parts = [found for row in rows if (found := _sequences(row))]
    if not parts or len(parts) < len(rows):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    if torch.is_autocast_enabled(query.device.type):
        low = torch.get_autocast_dtype(query.device.type)
        query, key, value = (tensor.to(low) for tensor in (query, key, value))
    made = []
    for number, (lengths, masks) in enumerate(parts):
        each = [tensor[number : number + 1].split(lengths, dim=2) for tensor in (query, key, value)]
        made.append(torch.cat([_attend(module, *one, **options) for one in zip(*each, masks, strict=True)], dim=1))
    return torch.cat(made), None


def _attend(module: Any, query: Any, key: Any, value: Any, mask: Any, **options: Any) -> Any:
    """Computes attention within one sequence; causal without a mask."""
    if mask is not None or query.dtype != torch.bfloat16 or options.get("dropout"):
        mask = None if mask is None else mask[None, None]
        return sdpa_attention_forward(module, query, key, value, mask, **options)[0]
    length = query.shape[2]
    query, key, value = (_lengthened(tensor) for tensor in (query, key, value))
    if length > _PRODUCTS_UP_TO:
        return sdpa_attention_forward(module, query, key, value, None, **options)[0][:, :length]
    return _by_products(query, key, value, options.get("scaling"))[:, :length]


def _lengthened(tensor: Any) -> Any:
    """Returns a tensor [1, heads, tokens, size] with zeros after its last token, which causal attention does not see:
    in bf16, torch compiles kernels for each length (`padded_width`).
    """
    length = tensor.shape[2]
    return pad(tensor, (0, 0, 0, padded_width(length) - length))


def _by_products(query: Any, key: Any, value: Any, scaling: float | None) -> Any:
    """Computes causal attention [1, tokens, heads, size] by two products."""
    _, heads, tokens, size = query.shape
    groups, alike = key.shape[1], heads // key.shape[1]  # heads that share a key are rows of one product
    later = torch.full((tokens, tokens), -torch.inf, dtype=query.dtype, device=query.device).triu(1)
    scores = torch.baddbmm(
        later.repeat(alike, 1).expand(groups, -1, -1),
        query.reshape(groups, alike * tokens, size),
        key[0].transpose(1, 2),
        alpha=scaling or size**-0.5,
    )
    shares = torch.softmax(scores, dim=-1).to(value.dtype)
    return torch.bmm(shares, value[0]).view(1, heads, tokens, value.shape[-1]).transpose(1, 2)


def _sequences(mask: Any) -> tuple[list[int], list[Any]] | None:
    """Returns the lengths of a row's sequences, and their masks if these are more than causal, as with sliding windows.
    None if sequences attend to each other.

    Args:
        mask: bool [tokens, tokens]: whether a token sees another one. The first of a sequence does not see the one
            before it.
    """
    starts = [0, *((~mask.diagonal(-1)).nonzero().flatten() + 1).tolist(), len(mask)]
    lengths, masks, seen = [], [], 0
    for start, end in pairwise(starts):
        own, length = mask[start:end, start:end], end - start
        count = int(own.sum())
        lengths.append(length)
        masks.append(None if count == length * (length + 1) // 2 else own)
        seen += count
    return (lengths, masks) if seen == int(mask.sum()) else None
