"""Evaluation: a model's answers to a suite's rows. training/evaluation/scoring.py scores them."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from llmops_kit.core.documents.evaluation import Answer
from llmops_kit.core.documents.recipe_evaluation import LIKELIHOOD, Suite
from llmops_kit.training.data.chat import prompt_ids, with_system
from llmops_kit.training.data.rows import Row
from llmops_kit.training.evaluation.likelihood import likelihoods
from llmops_kit.training.evaluation.pooling import TEXTS, pooled
from llmops_kit.training.evaluation.scorers import SuiteRow, reference_of
from llmops_kit.training.process import say
from llmops_kit.training.ranks import Alone

# Prompts answered together. Larger batches gain little on a CPU, and their cache grows.
BATCH = 32


def run_suite(
    model: Any,
    tokenizer: Any,
    suite: Suite,
    rows: list[Row],
    system_prompt: str,
    stop: list[int],
    between: Callable[[], None] = lambda: None,
    ranks: Alone | None = None,
) -> list[Answer]:
    """Answers every row greedily; for a suite `perplexity`, computes the likelihood of each row's own answer.

    Args:
        system_prompt: prepended to rows without a system message, as by the server.
        stop: token ids that end an answer.
        between: called between batches; may raise to end early.
        ranks: the processes that share the batches; in the end, each has all answers.

    Returns:
        Answers in the order of `rows`.
    """
    ranks = ranks or Alone()
    if suite.metric == LIKELIHOOD:
        return [*likelihoods(model, tokenizer, rows, system_prompt, suite.name, between, ranks)]
    prompts = [
        prompt_ids(tokenizer, with_system(row.prompt, system_prompt), [tool.to_dict() for tool in row.tools])
        for row in rows
    ]
    # Longest first: a batch then holds prompts of about one length, and the first one takes the most memory.
    order = sorted(range(len(rows)), key=lambda i: (-len(prompts[i]), i))
    texts: dict[int, str] = {}
    # Ranks take whole batches, with the prompts that they have on one rank: an answer's bits depend on its batch.
    for start in range(0, len(order), BATCH)[ranks.rank :: ranks.size]:
        batch = order[start : start + BATCH]
        answers = generate(model, tokenizer, [prompts[i] for i in batch], suite.max_tokens, stop)
        # Some models mark tool calls with special tokens.
        plain = suite.metric != "tools"
        texts |= {
            i: tokenizer.decode(ids, skip_special_tokens=plain).strip() for i, ids in zip(batch, answers, strict=True)
        }
        say(suite=suite.name, answered=len(texts), of=len(rows))
        between()
    texts = pooled(texts, len(rows), ranks, TEXTS)
    return [texts[i] for i in range(len(rows))]


@contextmanager
def computing_in_f32(model: Any) -> Iterator[None]:
    """Makes a bf16 model compute in f32: each module's weights are widened while it runs.

    The results are those of the same weights loaded in f32, in half the memory; each step takes longer.
    """
    import torch

    narrow: dict[Any, dict[str, Any]] = {}

    def widen(module: Any, _: Any) -> None:
        narrow[module] = dict(module._parameters)
        for name, weight in narrow[module].items():
            if weight is not None and weight.dtype == torch.bfloat16:
                module._parameters[name] = weight.float()

    def restore(module: Any, *_: Any) -> None:
        module._parameters.update(narrow.pop(module))

    with ExitStack() as hooks:
        for module in model.modules():
            if module._parameters:
                hooks.callback(module.register_forward_pre_hook(widen).remove)
                hooks.callback(module.register_forward_hook(restore, always_call=True).remove)
        yield


def generate(model: Any, tokenizer: Any, prompts: list[list[int]], max_tokens: int, stop: list[int]) -> list[list[int]]:
    """Returns greedy continuations of a batch of prompts.

    Returns:
        The new token ids of each, without its stop token.
    """
    import torch

    width = max(map(len, prompts))
    pad = tokenizer.pad_token_id
    ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=model.device)
    with torch.inference_mode():
        output = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=max_tokens,
            do_sample=False,
            # Overrides the folder's generation settings: answers are greedy.
            temperature=None,
            top_p=None,
            top_k=None,
            repetition_penalty=1.0,
            eos_token_id=stop or None,
            pad_token_id=pad,
        )
    return [_until(row, stop) for row in output[:, width:].tolist()]


def write_answers(path: Path, rows: list[SuiteRow], answers: list[Answer], scores: list[float] | None) -> None:
    """Writes one JSON line per answer, for people to read; without scores if they are None."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps(
            {
                "question": asked.row.prompt[-1]["content"] if asked.row.prompt else "",
                "expect": asked.row.expect,
                "reference": reference_of(asked.row),
                "answer": recorded(answer),
                **({} if score is None else {"score": round(score, 4)}),
            },
            ensure_ascii=False,
        )
        for asked, answer, score in zip(rows, answers, scores or [None] * len(rows), strict=True)
    ]
    path.write_text("\n".join(lines) + "\n")


def recorded(answer: Answer) -> str | dict[str, Any]:
    """Returns an answer in its JSON form."""
    return answer if isinstance(answer, str) else answer.model_dump()


def _until(ids: list[int], stop: list[int]) -> list[int]:
    end = next((i for i, token in enumerate(ids) if token in stop), len(ids))
    return ids[:end]
