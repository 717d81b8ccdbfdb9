"""GGUF files that are cut, made up or of another kind are refused with what is wrong, not with a traceback."""

import struct
from pathlib import Path

import gguf
import numpy
import pytest

from llmops_kit.core.errors import KitError
from llmops_kit.training.models.from_gguf import _quick_reader, read_fields, read_gguf

_STRING, _ARRAY, _U32 = 8, 9, 4


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def file(*fields: bytes, version: int = 3) -> bytes:
    """A file with one tensor, up to its data: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md."""
    tensor = text("output.weight") + struct.pack("<IQIQ", 1, 32, 0, 0)
    return b"GGUF" + struct.pack("<IQQ", version, 1, len(fields)) + b"".join(fields) + tensor


ARCHITECTURE = text("general.architecture") + struct.pack("<I", _STRING) + text("llama")
LICENCE = text("general.license") + struct.pack("<I", _STRING) + text("apache-2.0")
TOKENS = text("tokenizer.ggml.tokens") + struct.pack("<IIQ", _ARRAY, _STRING, 2) + text("a") + text("b")


def test_fields_are_read_with_a_tokenizers_tokens(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(file(ARCHITECTURE, LICENCE, TOKENS))
    assert read_fields(path) == {
        "general.architecture": "llama", "general.license": "apache-2.0", "tokenizer.ggml.tokens": ["a", "b"]
    }  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 something else",
        file(ARCHITECTURE, version=99),
        file(LICENCE),
        file(ARCHITECTURE, LICENCE)[:-5],
        file(ARCHITECTURE, TOKENS)[:-1],
        file(ARCHITECTURE, text("many") + struct.pack("<IIQ", _ARRAY, _U32, 2**62)),
        file(ARCHITECTURE, text("many") + struct.pack("<IIQ", _ARRAY, _STRING, 2**62)),
        file(ARCHITECTURE, text("long") + struct.pack("<IQ", _STRING, 2**63)),
        file(ARCHITECTURE, text("other") + struct.pack("<I", 77)),
    ],
)
def test_what_is_no_gguf_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(KitError, match="is not a GGUF file") as refusal:
        read_fields(path)
    assert (refusal.value.where, refusal.value.fix) == (str(path), "fetch it again")


def test_another_tokenizer_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(file(ARCHITECTURE, text("tokenizer.ggml.model") + struct.pack("<I", _STRING) + text("llama")))
    with pytest.raises(KitError, match=r"its tokenizer \(llama, None\) can't be rebuilt"):
        read_gguf(path, read_fields(path))


def test_the_library_reads_a_file_once_as_a_plain_array_and_is_as_before_afterwards(tmp_path: Path) -> None:
    content = file(ARCHITECTURE, LICENCE, TOKENS)
    path = tmp_path / "model.gguf"
    path.write_bytes(content + bytes(-len(content) % 32) + bytes(32 * 4))
    before = gguf.get_tensor_name_map, gguf.GGUFReader
    mapped = gguf.GGUFReader(path)
    with _quick_reader():
        first, second = (gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2) for _ in range(2))
        assert first is second
        assert first is not gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 3)
        plain = gguf.GGUFReader(path)
        assert plain is gguf.GGUFReader(path)
    assert (type(mapped.data), type(plain.data)) == (numpy.memmap, numpy.ndarray)
    found = [[(name, field.contents()) for name, field in each.fields.items()] for each in (mapped, plain)]
    assert found[0] == found[1]
    assert (gguf.get_tensor_name_map, gguf.GGUFReader) == before
