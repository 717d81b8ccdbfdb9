"""Write a tiny random COMET model in its published layout: `python tiny_comet.py FOLDER`, in the training image.

Each weight follows from its name, so that unbabel-comet loads the same model (comet_oracle.py).
"""

import json
import sys
from itertools import pairwise
from pathlib import Path

HIDDEN, LAYERS, HEAD = 16, 3, [12, 8]
WORDS = ["der", "hund", "bellt", "katze", "schläft", "im", "garten", "the", "dog", "barks", "cat", "sleeps", "in", "a"]


def make(folder: Path) -> None:
    """Write encoder's configuration, tokenizer, hparams.yaml and a checkpoint as Lightning writes it."""
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaModel

    (folder / "checkpoints").mkdir(parents=True)
    size = write_tokenizer(folder)
    config = XLMRobertaConfig(
        vocab_size=size, hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=20, type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2,
    )  # fmt: skip
    config.save_pretrained(folder)
    shapes = {f"encoder.model.{k}": v.shape for k, v in XLMRobertaModel(config).state_dict().items()}
    shapes |= {"layerwise_attention.gamma": (1,)}
    shapes |= {f"layerwise_attention.scalar_parameters.{i}": (1,) for i in range(LAYERS + 1)}
    widths = [6 * HIDDEN, *HEAD, 1]
    for i, (wide, narrow) in enumerate(pairwise(widths)):
        shapes |= {f"estimator.ff.{3 * i}.weight": (narrow, wide), f"estimator.ff.{3 * i}.bias": (narrow,)}
    weights = {name: _weight(number, name, shape) for number, (name, shape) in enumerate(sorted(shapes.items()))}
    # What Lightning keeps beside them, and no score needs.
    dropout = {f"layerwise_attention.dropout_{kind}": torch.zeros(LAYERS + 1) for kind in ("mask", "fill")}
    old = {"encoder.model.embeddings.position_ids": torch.arange(20)[None]}
    hparams = {
        "encoder_model": "XLM-RoBERTa", "pretrained_model": ".", "pool": "avg", "layer": "mix",
        "layer_transformation": "sparsemax", "layer_norm": False, "hidden_sizes": HEAD, "activations": "Tanh",
        "final_activation": None, "dropout": 0.1, "train_data": [], "validation_data": [],
    }  # fmt: skip
    kept = {"state_dict": weights | dropout | old, "hyper_parameters": hparams, "pytorch-lightning_version": "2.5.0"}
    torch.save(kept | {"epoch": 1, "callbacks": {}, "optimizer_states": []}, folder / "checkpoints" / "model.ckpt")
    of_kind = {"class_identifier": "regression_metric", **hparams, "pretrained_model": "xlm-roberta-large"}
    (folder / "hparams.yaml").write_text(json.dumps(of_kind))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")


def write_tokenizer(folder: Path) -> int:
    """Write a tokenizer of XLM-R's form, of pieces with scores; returns the number of its tokens."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    letters = sorted({letter for word in WORDS for letter in word})
    pieces = [*(f"▁{word}" for word in WORDS), "▁", *letters, "er", "ar", ".", ","]
    special = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocabulary = [*special, *((piece, -1.0 - i / 8) for i, piece in enumerate(pieces)), ("<mask>", 0.0)]
    core = Tokenizer(models.Unigram(vocabulary, unk_id=3))
    core.normalizer = normalizers.NFKC()
    core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    core.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    core.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    core.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 512}')
    return len(vocabulary)


def _weight(number: int, name: str, shape: tuple[int, ...]):
    import torch

    values = torch.randn(tuple(shape), generator=torch.Generator().manual_seed(number))
    if "LayerNorm.weight" in name or name.endswith("gamma"):
        return 1 + 0.1 * values
    if name.endswith(f"ff.{3 * len(HEAD)}.bias"):
        return torch.full(tuple(shape), 0.5)
    return 0.3 * values if not name.endswith(f"ff.{3 * len(HEAD)}.weight") else 0.08 * values


if __name__ == "__main__":
    make(Path(sys.argv[1]))
