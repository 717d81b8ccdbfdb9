"""The objective of each method. Logits are computed only for tokens that bear loss.

The projection to the vocabulary is a fifth of SmolLM2-135M's multiplications, and most tokens of a conversation bear no
loss.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from llmops_kit.training.torch_trainer.batch_tensors import Batch

_INPUTS = ("input_ids", "position_ids", "attention_mask")


class Objective(Protocol):
    """A sum over a batch's items, whose mean over the items of all ranks is the loss of a step."""

    def items(self, batch: Batch) -> int:
        """Returns the number of items of a batch."""
        ...

    def total(self, model: Any, batch: Batch) -> Any:
        """Returns the sum over the items, in nats: a scalar tensor, f32."""
        ...


class TokenLoss:
    """The objective of `sft` and `pretrain`: minus the log-probability of each token that bears loss."""

    def items(self, batch: Batch) -> int:
        return len(batch["targets"])

    def total(self, model: Any, batch: Batch) -> Any:
        return -log_probabilities(model, batch).sum()


class PreferenceLoss:
    """The objective of `dpo`: equation 7 of Rafailov et al. 2023 (arXiv:2305.18290), for each pair of answers."""

    def __init__(self, beta: float, reference: Callable[[Batch], Any]) -> None:
        """Compares with a reference.

        Args:
            beta: the recipe's.
            reference: the base model's log-probabilities of a batch's targets, without gradients.
        """
        self._beta, self._reference = beta, reference

    def items(self, batch: Batch) -> int:
        return len(batch["sides"]) // 2

    def total(self, model: Any, batch: Batch) -> Any:
        from torch.nn.functional import logsigmoid

        gained = log_probabilities(model, batch) - self._reference(batch)
        if not batch["sides"]:
            return gained.sum()  # 0, with a graph: a rank without pairs takes part in the step
        sums = [answer.sum() for answer in gained.split(batch["sides"])]
        return sum(-logsigmoid(self._beta * (c - r)) for c, r in zip(sums[::2], sums[1::2], strict=True))


def log_probabilities(model: Any, batch: Batch) -> Any:
    """Returns the log-probability of each of a batch's targets, f32 [targets].

    Args:
        model: a causal language model, bare, with an adapter, or wrapped for several ranks.
    """
    from llmops_kit.training.torch_trainer.token_losses import TokenLogProbabilities

    inputs = {name: batch[name] for name in _INPUTS if name in batch}
    with _head_only_at(model, batch["predicts"]):
        # Without a cache and, except for a joined row, without a mask: only then does transformers separate sequences
        # by their positions.
        logits = model(**inputs, use_cache=False).logits.squeeze(0)  # whose gradient is not copied, unlike that of [0]
    return TokenLogProbabilities.apply(logits, batch["targets"])


def adapter_off(model: Any, autocast: Callable[[], AbstractContextManager[Any]]) -> Callable[[Batch], Any]:
    """Returns the reference of a model with an adapter: the model itself without it."""
    import torch

    def reference(batch: Batch) -> Any:
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad(), autocast(), model.disable_adapter():
                return log_probabilities(model, batch)
        finally:
            model.train(was_training)

    return reference


def frozen(model: Any, autocast: Callable[[], AbstractContextManager[Any]]) -> Callable[[Batch], Any]:
    """Returns the reference of a model whose weights are all trained: another, unchanging model."""
    import torch

    model.requires_grad_(False).eval()

    def reference(batch: Batch) -> Any:
        with torch.no_grad(), autocast():
            return log_probabilities(model, batch)

    return reference


@contextmanager
def _head_only_at(model: Any, places: Any) -> Iterator[None]:
    """Makes a model project only some positions of its flattened rows to the vocabulary: logits [1, places,
    vocabulary].

    Models transform logits, for example scale them, one by one, so the results are equal.
    """

    def select(_: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden, *rest = args
        return (hidden.flatten(0, 1).index_select(0, places)[None], *rest)

    head = getattr(model, "module", model).get_output_embeddings()
    hook = head.register_forward_pre_hook(select)
    try:
        yield
    finally:
        hook.remove()
