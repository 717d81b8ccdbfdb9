"""Greedy tokens of a version's two forms, both in f32. Prints JSON; run in the training image.

python exactness.py VERSION TOKENS -> {"transformers": [[ids] ...], "openvino": [[ids] ...]}
"""

import json
import sys
from pathlib import Path

from llmops_kit.training.process import prepare_process

prepare_process()

import numpy as np  # noqa: E402
import openvino  # noqa: E402

from llmops_kit.training.data.chat import prompt_ids  # noqa: E402
from llmops_kit.training.evaluation.evaluate import generate  # noqa: E402
from llmops_kit.training.models.weights import load_model, load_tokenizer, stop_tokens  # noqa: E402

PROMPTS = [
    "What is the capital of France?",
    "Write a short poem about the sea.",
    "How do I undo a git commit?",
    "List three colours and say why you like them.",
]


def openvino_tokens(model, prompt: list[int], count: int, stop: list[int]) -> list[int]:
    """Greedy continuation by the stateful form: the prompt first, then a token at a time."""
    request, answer, new = model.create_infer_request(), [], prompt
    past = 0
    while len(answer) < count:
        total = past + len(new)
        result = request.infer(
            {
                "input_ids": np.array([new], dtype=np.int64),
                "attention_mask": np.ones((1, total), dtype=np.int64),
                "position_ids": np.arange(past, total, dtype=np.int64)[None],
                "beam_idx": np.zeros(1, dtype=np.int32),
            }
        )
        token = int(result["logits"][0, -1].argmax())
        if token in stop:
            break
        answer.append(token)
        past, new = total, [token]
    return answer


def main(version: Path, count: int) -> None:
    """Print both forms' tokens."""
    tokenizer, stop = load_tokenizer(version), stop_tokens(version)
    prompts = [prompt_ids(tokenizer, [{"role": "user", "content": text}]) for text in PROMPTS]
    reference = load_model(version)
    compiled = openvino.Core().compile_model(
        version / "openvino" / "openvino_model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    print(
        json.dumps(
            {
                "transformers": [generate(reference, tokenizer, [p], count, stop)[0] for p in prompts],
                "openvino": [openvino_tokens(compiled, p, count, stop) for p in prompts],
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
