"""What another trainer left: everything that must not become a version is named before anything of it is loaded."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from llmops_kit.core.errors import KitError
from llmops_kit.training.models.own_trainer import check_trained, tensor_files

CONFIG = {"architectures": ["LlamaForCausalLM"], "num_attention_heads": 4, "vocab_size": 3, "eos_token_id": 1}
TOKENS = {"model": {"vocab": {"a": 0, "b": 1}, "merges": ["a b"]}, "added_tokens": [{"id": 2, "content": "<s>"}]}
WEIGHTS = {"embed.weight": np.ones((3, 2), np.float32), "head.weight": np.zeros((3, 2), np.float16)}
FACTS = {"steps": 2, "tokens": 9, "seconds": 1.0, "first_loss": 2.0, "last_loss": 1.0, "precision": "f32"}
STEP = {"step": 1, "time": 1764403200, "seconds": 7.5, "loss": 0.71}


def write_folder(folder: Path, **config: Any) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    (folder / "tokenizer.json").write_text(json.dumps(TOKENS))
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    save_file(WEIGHTS, folder / "model.safetensors")
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "base")


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "trained")


def test_a_folder_as_trainers_write_it_passes(base: Path, trained: Path) -> None:
    other_form = TOKENS | {"version": "2", "truncation": {"max_length": 3}}
    other_form["model"] = {"vocab": {"a": 0, "b": 1, "<s>": 2}, "merges": [["a", "b"]]}
    (trained / "tokenizer.json").write_text(json.dumps(other_form))
    (trained / "chat_template.jinja").unlink()
    config = {"chat_template": "{{ messages }}\n"}
    (trained / "tokenizer_config.json").write_text(json.dumps(config))
    (trained / "config.json").write_text(json.dumps(CONFIG | {"dtype": "float32", "eos_token_id": 2, "new": 1}))
    (trained / "training_args.bin").write_bytes(b"a pickle that nothing opens")
    (trained / "checkpoint-1").mkdir()
    assert check_trained(trained, base) is None
    (trained / "training.json").write_text(json.dumps(FACTS))
    _metrics(STEP, STEP | {"step": 3})(trained)
    facts = check_trained(trained, base)
    assert facts is not None
    assert facts.steps == 2
    # Weights in several files, without the index, which could name files elsewhere.
    for number, (name, weight) in enumerate(WEIGHTS.items(), 1):
        save_file({name: weight}, trained / f"model-0000{number}-of-00002.safetensors")
    (trained / "model.safetensors").unlink()
    (trained / "model.safetensors.index.json").write_text('{"weight_map": {"embed.weight": "../../../key"}}')
    check_trained(trained, base)
    assert {name: path.name for name, path in tensor_files(trained).items()} == {
        "embed.weight": "model-00001-of-00002.safetensors",
        "head.weight": "model-00002-of-00002.safetensors",
    }


def _weights(**changed: Any) -> Callable[[Path], None]:
    weights = {name: weight for name, weight in (WEIGHTS | changed).items() if weight is not None}
    return lambda folder: save_file(weights, folder / "model.safetensors")


def _text(name: str, text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_text(text)

    return write


def _json(name: str, content: Any) -> Callable[[Path], None]:
    return _text(name, json.dumps(content))


def _metrics(*steps: Any) -> Callable[[Path], None]:
    return _text("metrics.jsonl", "".join(json.dumps(step) + "\n" for step in steps))


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def _linked(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "elsewhere")
    (folder / "model.safetensors").symlink_to(folder.parent / "elsewhere")


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _adapter(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text("{}")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (_empty, "is empty: the trainer succeeded, and wrote nothing"),
        (_linked, "model.safetensors: is a link"),
        (lambda folder: os.mkfifo(folder / "config"), "config: is no file"),
        (_pickled, r"pytorch_model\.bin: is a pickle"),
        (lambda folder: (folder / "modeling_x.py").write_text(""), r"modeling_x\.py: is code"),
        (_json("config.json", CONFIG | {"auto_map": {"AutoModel": "x.Y"}}), "asks to run code"),
        (_json("tokenizer_config.json", {"auto_map": {"AutoTokenizer": "x.Y"}}), "asks to run code"),
        (_adapter, "has an adapter and not the weights"),
        (lambda folder: (folder / "model.safetensors").unlink(), "has no weights"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 99), "is not a safetensors file"),
        (lambda folder: (folder / "config.json").unlink(), r"has no config\.json"),
        (lambda folder: (folder / "config.json").write_text("[" * 100_000), r"config\.json: is not JSON"),
        (lambda folder: (folder / "config.json").write_text("[]"), r"config\.json: is not a JSON object"),
        (_json("config.json", CONFIG | {"architectures": ["Other"]}), r"config\.json: architectures: is \['Other'\]"),
        (_json("config.json", CONFIG | {"num_attention_heads": 2}), "num_attention_heads: is 2"),
        (_weights(**{"head.weight": None}), r"lacks head\.weight"),
        (_weights(extra=np.ones(1)), "has unknown extra"),
        (
            _weights(**{"head.weight": np.ones((4, 2), np.float32)}),
            r"another shape head\.weight \[4, 2\], not \[3, 2\]",
        ),
        (_weights(**{"head.weight": np.ones((3, 2), np.int8)}), r"head\.weight \(I8\)"),
        (lambda folder: save_file(WEIGHTS, folder / "model-2.safetensors"), r"is in model-2\.safetensors and in model"),
        (_json("tokenizer.json", TOKENS | {"added_tokens": []}), "has other tokens"),
        (_json("tokenizer.json", TOKENS | {"model": {"vocab": {"a": 0, "b": 1}, "merges": []}}), "has other merges"),
        (lambda folder: (folder / "chat_template.jinja").write_text("other"), "is another chat template"),
        (_metrics(STEP, STEP), r"metrics\.jsonl:2: step 1 comes after step 1"),
        (_metrics(STEP, STEP | {"step": 2, "loss": "low"}), r"metrics\.jsonl:2: loss: "),
        (_json("training.json", FACTS | {"precision": "int4"}), r"training\.json: precision: "),
        (_json("training.json", FACTS | {"last_loss": float("nan")}), r"training\.json: last_loss: is nan"),
    ],
)
def test_what_must_not_become_a_version_is_named(
    base: Path, trained: Path, harm: Callable[[Path], None], words: str
) -> None:
    harm(trained)
    with pytest.raises(KitError, match=words) as caught:
        check_trained(trained, base)
    assert caught.value.where.startswith(str(trained))
    assert caught.value.fix
