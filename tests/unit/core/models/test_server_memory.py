"""What a server needs, and its limit, by its model and machine."""

import json
from pathlib import Path

import pytest

from llmops_kit.core.models.server_memory import MIB, machine_memory, server_memory

GIB = 1024 * MIB
CONFIG = {
    "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2, "hidden_size": 896,
    "max_position_embeddings": 32768,
}  # fmt: skip


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """A version in both forms, of which a server loads one."""
    (tmp_path / "openvino").mkdir()
    for name, size in (
        ("model-1.safetensors", 600),
        ("model-2.safetensors", 400),
        ("openvino/openvino_model.bin", 500),
    ):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size * MIB)  # without blocks on the disk
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path


def test_the_limit_has_room_for_a_full_batch_of_longest_requests(version: Path) -> None:
    found = server_memory(version, {}, "process:serving@sha256:0", machine=64 * GIB)
    cache = 24 * 2 * 64 * 2 * 2 * 32768
    assert found.needed == 1256 * MIB
    assert found.default == (2 * 1000 + 1536) * MIB + 32 * cache
    few = server_memory(version, {"LLMOPS_MAX_RUNNING": "4"}, "serving", machine=64 * GIB)
    assert few.default == (2 * 1000 + 1536) * MIB + 4 * cache


def test_a_small_machine_limits_it_but_never_below_what_is_needed(version: Path) -> None:
    assert server_memory(version, {}, "serving", machine=4 * GIB).default == int(4 * GIB * 0.8)
    assert server_memory(version, {}, "serving", machine=1 * GIB).default == 1256 * MIB


def test_on_gpus_the_cache_is_not_in_the_memory(version: Path) -> None:
    found = server_memory(version, {}, "process:serving-vllm@sha256:0", machine=64 * GIB)
    assert found.default == (2 * 1000 + 8192) * MIB


@pytest.mark.parametrize("config", ["", "[]", "{", '{"max_position_embeddings": "many"}'])
def test_a_configuration_that_says_nothing_adds_nothing(version: Path, config: str) -> None:
    (version / "config.json").write_text(config)
    assert server_memory(version, {}, "serving", machine=64 * GIB).default == (2 * 1000 + 1536) * MIB


def test_this_machine_has_memory() -> None:
    assert machine_memory() > 256 * MIB
