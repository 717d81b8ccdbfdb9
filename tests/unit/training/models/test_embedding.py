"""Folders of embedding models: what is read of them, and what is refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.core.errors import KitError
from llmops_kit.training.models.embedding import embedding_of

KINDS = ["Transformer", "Pooling", "Normalize"]


def written(folder: Path, kinds: list[str], pooling: dict[str, Any], path: str = "1_Pooling") -> Path:
    """Writes a folder of sentence-transformers' without weights."""
    modules = [{"path": path if kind == "Pooling" else "", "type": f"sentence_transformers.models.{kind}"}
               for kind in kinds]  # fmt: skip
    (folder / "1_Pooling").mkdir()
    for name, content in {"modules.json": modules, "1_Pooling/config.json": pooling,
                          "config.json": {"hidden_size": 8, "max_position_embeddings": 514},
                          "tokenizer_config.json": {"model_max_length": 512},
                          "sentence_bert_config.json": {"max_seq_length": 256}}.items():  # fmt: skip
        (folder / name).write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("kinds", "pooling", "told"),
    [
        (KINDS, {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, ("mean", True)),
        (KINDS[:2], {"pooling_mode_cls_token": True}, ("cls", False)),
        (KINDS, {"pooling_mode": "mean"}, ("mean", True)),
        (KINDS, {"pooling_mode_lasttoken": True}, ("last", True)),
    ],
)
def test_pooling_scaling_and_limits_are_read(
    tmp_path: Path, kinds: list[str], pooling: dict[str, Any], told: tuple[str, bool]
) -> None:
    form = embedding_of(written(tmp_path, kinds, pooling))
    assert form
    assert (form.pooling, form.normalize, form.dimensions, form.max_tokens) == (*told, 8, 256)


@pytest.mark.parametrize(
    ("kinds", "pooling", "path", "where"),
    [
        ([*KINDS[:2], "Dense"], {"pooling_mode_mean_tokens": True}, "1_Pooling", "modules.json"),
        (KINDS, {"pooling_mode_max_tokens": True}, "1_Pooling", "config.json"),
        (KINDS, {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, "1_Pooling", "config.json"),
        (KINDS, {"pooling_mode": "weightedmean"}, "1_Pooling", "config.json"),
        (KINDS, {}, "../1_Pooling", "modules.json"),
    ],
)
def test_what_is_not_computed_is_refused(
    tmp_path: Path, kinds: list[str], pooling: dict[str, Any], path: str, where: str
) -> None:
    with pytest.raises(KitError) as caught:
        embedding_of(written(tmp_path, kinds, pooling, path))
    assert caught.value.where.endswith(where)


def test_a_folder_without_modules_embeds_nothing(tmp_path: Path) -> None:
    assert embedding_of(tmp_path) is None
