"""Reads a GGUF file into a transformers model and a tokenizer, without code or network."""

import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from llmops_kit.core.errors import KitError
from llmops_kit.training.models.weights import require_complete

_CONTROL = 3  # GGUF's token type of special tokens
_STRING_ARRAYS = ("tokenizer.ggml.tokens", "tokenizer.ggml.merges")


def read_fields(path: Path) -> dict[str, Any]:
    """Returns a GGUF file's metadata on its model, tokenizer and licence (`general.license`), by name. Of arrays of
    texts, it reads only the tokens and merges, and returns the lengths of others.

    Raises:
        KitError: it is not a GGUF file.
    """
    from transformers.integrations.gguf.reader import read_gguf_metadata

    try:
        fields, _ = read_gguf_metadata(str(path), string_arrays=_STRING_ARRAYS)
    except (ValueError, OverflowError, struct.error) as e:
        raise KitError(f"is not a GGUF file: {e}", where=str(path), fix="fetch it again") from e
    return fields


def read_gguf(path: Path, fields: Mapping[str, Any]) -> tuple[Any, Any]:
    """Dequantises a GGUF file whose fields were read: returns the model (f32) and its tokenizer.

    Raises:
        KitError: it is of a kind that can't be read exactly.
    """
    tokenizer = _tokenizer(fields, path)
    return _model(path, tokenizer), tokenizer


def write_outline(path: Path, target: Path) -> None:
    """Writes the configuration and the tokenizer that an import of a GGUF file writes, without reading a weight.

    Args:
        path: a GGUF file.
        target: an existing folder.

    Raises:
        KitError: it is not a GGUF file, or of a kind that can't be read exactly.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = _tokenizer(read_fields(path), path)
    try:
        with _quick_reader():
            read = AutoConfig.from_pretrained(path.parent, gguf_file=path.name, local_files_only=True)
    except ValueError as e:
        raise _unknown_architecture(path, e) from e
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(_config(read, tokenizer), dtype=torch.bfloat16)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _model(path: Path, tokenizer: Any) -> Any:
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.initialization import no_init_weights

    try:
        with _quick_reader():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                path.parent, gguf_file=path.name, dtype=torch.float32, local_files_only=True, output_loading_info=True
            )
    except ValueError as e:
        raise _unknown_architecture(path, e) from e
    read, loading = loaded
    require_complete(loading, path)
    # transformers marks the loaded model as quantised and refuses to save it; a fresh model takes its weights.
    with no_init_weights():
        fresh = AutoModelForCausalLM.from_config(_config(read.config, tokenizer), dtype=torch.float32)
    fresh.load_state_dict(read.state_dict())
    fresh.tie_weights()
    return fresh.eval()


def _config(read: Any, tokenizer: Any) -> Any:
    """Returns a configuration that was read from GGUF, without the fields that mark the weights as quantised."""
    config = read.to_dict()
    for key in ("quantization_config", "_name_or_path"):
        config.pop(key, None)
    config |= {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return type(read).from_dict(config)


def _unknown_architecture(path: Path, error: ValueError) -> KitError:
    fix = "give the Hugging Face folder instead"
    return KitError(f"its architecture can't be read from GGUF: {error}", where=str(path), fix=fix)


@contextmanager
def _quick_reader() -> Iterator[None]:
    """Caches results of the gguf library: transformers parses a file twice, for configuration and weights, and computes
    the tensors' names for each module of the model, which would take half of an import. Reads files as plain arrays:
    the tokens are sliced a million times, which takes several times as long on a memory map.
    """
    import gguf

    class PlainReader(gguf.GGUFReader):
        @property
        def data(self) -> Any:
            return self._plain

        @data.setter
        def data(self, mapped: Any) -> None:
            import numpy

            self._plain = mapped.view(numpy.ndarray)

    reader, names = gguf.GGUFReader, gguf.get_tensor_name_map
    gguf.GGUFReader, gguf.get_tensor_name_map = cache(PlainReader), cache(names)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map = reader, names


def _tokenizer(fields: Mapping[str, Any], path: Path) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    splitter = _pre_tokenizer(fields, path)  # first, as it refuses files that lack the other fields
    tokens, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    merges = [tuple(m.split(" ")) for m in fields.get("tokenizer.ggml.merges", [])]
    core = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    core.pre_tokenizer = splitter
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(
        [
            AddedToken(t, special=True, normalized=False)
            for t, kind in zip(tokens, types, strict=True)
            if kind == _CONTROL
        ]
    )

    def named(key: str) -> str | None:
        index = fields.get(f"tokenizer.ggml.{key}_token_id")
        return None if index is None else tokens[index]

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=named("bos"),
        eos_token=named("eos"),
        unk_token=named("unknown"),
        pad_token=named("padding") or named("eos"),
        model_max_length=fields.get(f"{fields['general.architecture']}.context_length"),
    )
    tokenizer.chat_template = fields.get("tokenizer.chat_template")
    return tokenizer


def _pre_tokenizer(fields: Mapping[str, Any], path: Path) -> Any:
    """Returns the pre-tokenizer named in the file; transformers guesses it from the architecture, wrongly for
    SmolLM2.
    """
    from tokenizers import pre_tokenizers as pre

    byte_level = pre.ByteLevel(add_prefix_space=False, use_regex=True)
    known = {"smollm": pre.Sequence([pre.Digits(individual_digits=True), byte_level]), "gpt-2": byte_level}
    kind = fields.get("tokenizer.ggml.model"), fields.get("tokenizer.ggml.pre")
    if kind[0] != "gpt2" or kind[1] not in known:
        raise KitError(
            f"its tokenizer ({kind[0]}, {kind[1]}) can't be rebuilt from GGUF exactly",
            where=str(path),
            fix="give the model's Hugging Face folder or hub id instead",
        )
    return known[kind[1]]
