"""Train, merge and serve a tiny model of each architecture. Prints JSON; run in the training image.

python each_family.py VERSIONS ROWS
    -> {model_type: {"losses": {way: [first, last]}, "packed": the first loss of packed rows, "merged": whether the
        merge has the bytes of peft's, "answers": {engine: [token ids of each prompt]}}}

Three trainings take every method and every adapter once; that they combine freely, the tests of one architecture show.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from llmops_kit.training.process import prepare_process

prepare_process()

import torch  # noqa: E402
from peft import PeftModel  # noqa: E402

from llmops_kit.core.documents.recipe_training import TrainingRecipe  # noqa: E402
from llmops_kit.core.hashes import sha256_file  # noqa: E402
from llmops_kit.serving.engines.engine import GenerationRequest, LoadOrder  # noqa: E402
from llmops_kit.serving.engines.openvino_backend import OpenVinoBackend  # noqa: E402
from llmops_kit.serving.engines.transformers_backend import TransformersBackend  # noqa: E402
from llmops_kit.training import checkpoints  # noqa: E402
from llmops_kit.training.checkpoint_folders import RESULT  # noqa: E402
from llmops_kit.training.models.merge import is_adapter, merge, replace_weights  # noqa: E402
from llmops_kit.training.models.weights import load_model, load_tokenizer, save_model  # noqa: E402
from llmops_kit.training.torch_trainer.finetune import finetune  # noqa: E402

WAYS: dict[str, dict[str, Any]] = {
    "sft lora": {"method": "sft", "adapter": "lora", "precision": "f32"},
    "dpo qlora": {"method": "dpo", "adapter": "qlora", "precision": "bf16"},
    "pretrain none": {"method": "pretrain", "adapter": "none", "precision": "f32"},
}
ROWS = {"sft": "rows.jsonl", "dpo": "pairs.jsonl", "pretrain": "texts.jsonl"}
PROMPTS = ["Hello", "Which way does the river run after the long rain?", "A" * 40 + "?"]  # longer than the windows
LIMIT = 24


def train(base: Path, rows: Path, folder: Path, **options: Any) -> list[float]:
    """The first and the last loss."""
    common = {"batch_size": 9, "max_steps": 4, "learning_rate": 3e-3, "max_tokens": 200, "threads": 1}
    finetune(base, rows / ROWS[options["method"]], TrainingRecipe.model_validate(common | options), "", folder)
    newest = checkpoints.newest(folder)
    assert newest
    history = json.loads((newest / "trainer_state.json").read_text())["log_history"]
    losses = [entry["loss"] for entry in history if "loss" in entry]
    return [losses[0], losses[-1]]


def package(base: Path, trained: Path, target: Path) -> None:
    """Write the version's weights, and load them: all of its tensors are there, and no others."""
    target.mkdir()
    (merge if is_adapter(trained) else replace_weights)(base, trained, target)
    load_model(target)


def merged_by_peft(base: Path, adapter: Path, target: Path) -> str:
    """The hash of the weights of peft's merge."""
    whole = PeftModel.from_pretrained(load_model(base), adapter).merge_and_unload(safe_merge=True)
    save_model(whole, load_tokenizer(base), target)
    return sha256_file(target / "model.safetensors")


def answers(backend: Any, folder: Path) -> list[list[int]]:
    """Greedy answers in f32 to the prompts, which share the batch."""
    tokenizer = load_tokenizer(folder)
    backend.load(LoadOrder("", (), precision="f32", threads=1), folder)
    for number, prompt in enumerate(PROMPTS):
        backend.add(number, GenerationRequest(tokenizer(prompt).input_ids, LIMIT, temperature=0.0))
    found: list[list[int]] = [[] for _ in PROMPTS]
    while backend.numbers():
        for number, ids, _, _ in backend.step():
            found[number] += ids
    return found


def generated(folder: Path) -> list[list[int]]:
    """The answers that transformers' own `generate` gives, one by one."""
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    found = []
    for prompt in PROMPTS:
        ids = torch.tensor([tokenizer(prompt).input_ids])
        with torch.inference_mode():
            made = model.generate(ids, max_new_tokens=LIMIT, do_sample=False, eos_token_id=None, pad_token_id=0)
        found.append(made[0, ids.shape[1] :].tolist())
    return found


def try_family(version: Path, rows: Path, work: Path) -> dict[str, Any]:
    losses = {}
    for way, options in WAYS.items():
        losses[way] = train(version, rows, work / way, **options)
        package(version, work / way / RESULT, work / f"{way} packaged")
    lora = work / "sft lora"
    packed = train(version, rows, work / "packed", **WAYS["sft lora"], packing=True)
    engines = {"generate": generated(version), "transformers": answers(TransformersBackend(), version)}
    if (version / "openvino").is_dir():
        engines["openvino"] = answers(OpenVinoBackend(), version)
    kit = sha256_file(work / "sft lora packaged" / "model.safetensors")
    return {
        "losses": losses,
        "packed": packed[0],
        "merged": kit == merged_by_peft(version, lora / RESULT, work / "peft"),
        "answers": engines,
    }


def main(versions: Path, rows: Path) -> None:
    found = {}
    for version in sorted(path for path in versions.iterdir() if path.is_dir()):
        with tempfile.TemporaryDirectory() as work:
            found[version.name] = try_family(version, rows, Path(work))
    print(json.dumps(found))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
