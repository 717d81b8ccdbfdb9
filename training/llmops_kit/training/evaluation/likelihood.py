"""Computes the likelihood of rows' own answers and texts under a model."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from llmops_kit.core.documents.evaluation import Likelihood
from llmops_kit.core.errors import DataError
from llmops_kit.training.data.chat import Encoded, document_ids, encode, with_system
from llmops_kit.training.data.layouts import padded_width
from llmops_kit.training.data.rows import Row
from llmops_kit.training.evaluation.pooling import LOSSES, pooled
from llmops_kit.training.process import say
from llmops_kit.training.ranks import Alone

BATCH_TOKENS = 4096
"""Maximum padded tokens of a batch."""


def likelihoods(
    model: Any,
    tokenizer: Any,
    rows: Sequence[Row],
    system_prompt: str,
    suite: str,
    between: Callable[[], None],
    ranks: Alone,
) -> list[Likelihood]:
    """Returns the likelihood of the tokens that training would learn from each row: all answers with their end tokens,
    or the text with its end token.

    Tokens beyond the model's context are ignored.

    Args:
        system_prompt: prepended to conversations without a system message, as in training.
        suite: names progress lines.
        between: called between batches; may raise to end early.
        ranks: the ranks that share the batches.

    Returns:
        Likelihoods in the order of `rows`.

    Raises:
        DataError: a row's prompt alone exceeds the context.
    """
    limit = model.config.max_position_embeddings
    parts = [(index, part) for index, row in enumerate(rows) for part in _encoded(tokenizer, row, system_prompt)]
    cut = [Encoded(part.ids[:limit], part.answer[:limit]) for _, part in parts]
    found: dict[int, float] = {}
    for batch in _batches(list(enumerate(cut)))[ranks.rank :: ranks.size]:
        losses = row_losses(model, [part for _, part in batch], tokenizer.pad_token_id)
        found |= {number: loss for (number, _), loss in zip(batch, losses, strict=True)}
        say(suite=suite, read=len(found), of=len(parts))
        between()
    found = pooled(found, len(parts), ranks, LOSSES)
    nats, tokens = [0.0] * len(rows), [0] * len(rows)
    for number, (index, _) in enumerate(parts):
        nats[index] += found[number]
        tokens[index] += int(cut[number].answer[1:].sum())
    if 0 in tokens:
        raise DataError(
            f"has nothing to learn within the {limit} tokens of the model's context",
            where=f"suite {suite}, row {tokens.index(0) + 1}",
            fix="shorten the row's prompt, or leave it out with a lower data.max_characters",
        )
    return [Likelihood(nats=round(n, 4), tokens=t) for n, t in zip(nats, tokens, strict=True)]


def row_losses(model: Any, batch: Sequence[Encoded], pad: int) -> list[float]:
    """Returns the loss of each sequence, nats, summed over the tokens that bear it."""
    import torch
    from torch.nn.functional import cross_entropy

    width = padded_width(max(len(example.ids) for example in batch))
    ids = torch.full((len(batch), width), pad)
    mask, bears = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
    for row, example in enumerate(batch):
        ids[row, : len(example.ids)] = torch.from_numpy(example.ids.astype(np.int64))
        mask[row, : len(example.ids)] = 1
        bears[row, : len(example.ids)] = torch.from_numpy(example.answer)
    ids, mask, bears = (tensor.to(model.device) for tensor in (ids, mask, bears))
    bears = bears[:, 1:]
    with torch.inference_mode():
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1][bears].float()
        losses = cross_entropy(logits, ids[:, 1:][bears], reduction="none").double().cpu()
    return [float(part.sum()) for part in losses.split(bears.sum(dim=1).tolist())]


def _encoded(tokenizer: Any, row: Row, system_prompt: str) -> list[Encoded]:
    if row.turns:
        tools = [tool.to_dict() for tool in row.tools]
        return encode(tokenizer, with_system(row.turns, system_prompt), tools, row.completion)
    ids = document_ids(tokenizer, row.text)
    return [Encoded(np.array(ids, np.int32), np.ones(len(ids), np.bool_))]


def _batches(parts: list[tuple[int, Encoded]]) -> list[list[tuple[int, Encoded]]]:
    """Returns batches of sequences of similar length, longest first, of at most BATCH_TOKENS padded tokens."""
    batches: list[list[tuple[int, Encoded]]] = []
    for number, part in sorted(parts, key=lambda each: -len(each[1].ids)):
        if not batches or len(batches[-1][0][1].ids) * (len(batches[-1]) + 1) > BATCH_TOKENS:
            batches.append([])
        batches[-1].append((number, part))
    return batches
