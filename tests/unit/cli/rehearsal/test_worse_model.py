"""Embeddings that are shifted by a row, in each form of a version."""

import json
import struct
from pathlib import Path

import pytest

from llmops_kit.cli.rehearsal.worse_model import copy_perturbed
from llmops_kit.core.errors import KitError

TABLE = bytes(range(24))  # three rows of eight bytes


def write_version(folder: Path, name: str = "model.embed_tokens.weight", copies: int = 1) -> Path:
    header = json.dumps(
        {name: {"dtype": "BF16", "shape": [3, 4], "data_offsets": [2, 26]}, "__metadata__": {"format": "pt"}}
    ).encode()
    (folder / "openvino").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"xx" + TABLE + b"yy")
    (folder / "openvino/openvino_model.bin").write_bytes(b"zz" + TABLE * copies)
    (folder / "config.json").write_text("{}")
    return folder


def test_each_row_takes_the_next_ones_place(tmp_path: Path) -> None:
    version = write_version(tmp_path / "version")
    before = {p: p.read_bytes() for p in version.rglob("*") if p.is_file()}
    copy_perturbed(version, tmp_path / "worse")
    shifted = TABLE[16:] + TABLE[:16]
    assert (tmp_path / "worse/model.safetensors").read_bytes().endswith(b"xx" + shifted + b"yy")
    assert (tmp_path / "worse/openvino/openvino_model.bin").read_bytes() == b"zz" + shifted
    assert (tmp_path / "worse/config.json").read_text() == "{}"
    assert {p: p.read_bytes() for p in before} == before, "the version itself stays"


def test_a_version_without_embeddings_or_with_two_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KitError, match="there is no embed_tokens"):
        copy_perturbed(write_version(tmp_path / "other", name="wte"), tmp_path / "a")
    with pytest.raises(KitError) as refused:
        copy_perturbed(write_version(tmp_path / "twice", copies=2), tmp_path / "b")
    assert refused.value.where.startswith(str(tmp_path / "b"))
