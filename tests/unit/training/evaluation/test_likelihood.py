"""The likelihood of rows' own answers and texts."""

from pathlib import Path

import pytest
import torch

from llmops_kit.core.errors import DataError
from llmops_kit.training.data.rows import Row, row_of
from llmops_kit.training.evaluation.likelihood import BATCH_TOKENS, likelihoods
from llmops_kit.training.models.weights import load_model, load_tokenizer
from llmops_kit.training.ranks import Alone
from tests.support.tiny_models import tiny


def chat(question: str, answer: str) -> Row:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return row_of({"messages": turns}, "rows.jsonl:1")


def test_a_likelihood_is_the_sum_over_the_answers_tokens_whatever_shares_its_batch(tmp_path: Path) -> None:
    tiny.make(tmp_path)
    model, tokenizer = load_model(tmp_path), load_tokenizer(tmp_path)
    long = "x" * (BATCH_TOKENS // 3)
    rows = [chat("Hi?", "yes"), chat(long, "no"), chat("And now?", "b<|im_end|>c"), chat("Hi?", "a " * 40)]
    rows.append(row_of({"text": "Tea<|im_end|> is <b>."}, "rows.jsonl:2"))
    stops: list[int] = []
    found = likelihoods(model, tokenizer, rows, "Short.", "suite", lambda: stops.append(1), Alone())
    assert len(stops) > 1
    # A token is a byte, and an answer or text ends with one more.
    lengths = [3 + 1, 2 + 1, len("b<|im_end|>c") + 1, 79 + 1, len("Tea<|im_end|> is <b>.")]
    assert [each.tokens for each in found] == lengths
    prompt = "<|im_start|>system\nShort.<|im_end|>\n<|im_start|>user\nHi?<|im_end|>\n<|im_start|>assistant\n"
    ids = torch.tensor([tokenizer(prompt + "yes<|im_end|>", add_special_tokens=False).input_ids])
    with torch.inference_mode():
        logs = model(ids).logits.log_softmax(-1)
    nats = -sum(float(logs[0, at - 1, ids[0, at]]) for at in range(ids.shape[1] - 4, ids.shape[1]))
    assert found[0].nats == pytest.approx(nats, abs=1e-3)


def test_what_exceeds_the_context_is_left_out(tmp_path: Path) -> None:
    tiny.make(tmp_path)
    model, tokenizer = load_model(tmp_path), load_tokenizer(tmp_path)
    model.config.max_position_embeddings = 32
    (found,) = likelihoods(model, tokenizer, [row_of({"text": "x" * 100}, "a:1")], "", "suite", lambda: None, Alone())
    assert found.tokens == 31
    with pytest.raises(DataError, match="within the 32 tokens") as caught:
        likelihoods(model, tokenizer, [chat("Hi?", "yes"), chat("x" * 100, "yes")], "", "suite", lambda: None, Alone())
    assert caught.value.where == "suite suite, row 2"
