"""What is no safe causal language model is refused before anything is loaded."""

import json
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.core.errors import KitError
from llmops_kit.training.models.importing import find_source

LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}


def folder(path: Path, config: dict[str, Any] | None, *names: str) -> Path:
    for name in names:
        (path / name).touch()
    if config is not None:
        (path / "config.json").write_text(json.dumps(config))
    return path


@pytest.mark.cve("pickle", "remote-code")
@pytest.mark.parametrize(
    ("config", "files", "what"),
    [
        (LLAMA, ["pytorch_model.bin"], "only pytorch_model.bin, which can run code"),
        (LLAMA, [], "no weights"),
        (LLAMA | {"auto_map": {"AutoModel": "x.Y"}}, ["model.safetensors"], "auto_map"),
        (LLAMA | {"quantization_config": {"bits": 4}}, ["model.safetensors"], "is quantised"),
        ({"architectures": ["BertForMaskedLM"]}, ["model.safetensors"], "BertForMaskedLM"),
        ({}, ["model.safetensors"], "not stated"),
        (None, ["model.safetensors"], "no config.json and 0 GGUF files"),
        (None, ["a.gguf", "b.gguf"], "2 GGUF files"),
    ],
)
def test_refusal_says_why(tmp_path: Path, config: dict[str, Any] | None, files: list[str], what: str) -> None:
    with pytest.raises(KitError) as caught:
        find_source(folder(tmp_path, config, *files))
    assert what in caught.value.what
    assert caught.value.where.startswith(str(tmp_path))
    assert caught.value.fix


@pytest.mark.parametrize(
    ("hparams", "config", "what"),
    [
        (
            "pretrained_model: xlm-roberta-large",
            None,
            "lacks config.json of xlm-roberta-large, which COMET would fetch",
        ),
        ("class_identifier: unified_metric", {"model_type": "xlm-roberta"}, "of kind unified_metric"),
        ("class_identifier: regression_metric", {"model_type": "bert"}, "of bert, not of XLM-R"),
        ("class_identifier: regression_metric", {"model_type": "xlm-roberta", "auto_map": {}}, "auto_map"),
        ("class_identifier: !!python/object/apply:os.getpid []", {}, "is not YAML"),
    ],
)
def test_of_comets_layout_nothing_is_read_but_what_the_kit_computes(
    tmp_path: Path, hparams: str, config: dict[str, Any] | None, what: str
) -> None:
    (tmp_path / "checkpoints").mkdir()
    folder(tmp_path, config, "checkpoints/model.ckpt", "tokenizer.json")
    (tmp_path / "hparams.yaml").write_text(hparams)
    with pytest.raises(KitError, match=what):
        find_source(tmp_path)


def test_missing_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(KitError, match="neither a GGUF file nor a folder"):
        find_source(tmp_path / "none")


@pytest.mark.cve("remote-code")
def test_code_of_the_tokenizer_is_refused(tmp_path: Path) -> None:
    folder(tmp_path, LLAMA, "model.safetensors")
    (tmp_path / "tokenizer_config.json").write_text('{"auto_map": {}}')
    with pytest.raises(KitError, match="auto_map"):
        find_source(tmp_path)


def test_files_and_folders_that_are_models_are_found(tmp_path: Path) -> None:
    gguf = folder(tmp_path, None, "m.gguf") / "m.gguf"
    assert find_source(gguf) == find_source(tmp_path) == gguf
    assert find_source(folder(tmp_path, LLAMA, "model.safetensors")) == tmp_path
