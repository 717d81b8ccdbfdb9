"""A merge file by file gives the bytes of a merge in memory."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.runs.training import PROGRAMS, kept_script_result
from tests.support.tiny_models.models import base_model, tiny_model


@pytest.mark.parametrize(
    ("model", "shard_size", "files"),
    [
        pytest.param(
            base_model,
            "5GB",
            1,
            id="tied embeddings in one file",
            marks=pytest.mark.long(
                "tests/emulated/training/test_merge.py::test_the_merge_equals_one_of_pefts_in_f32[several files]"
            ),
        ),
        pytest.param(base_model, "100MB", 3, id="several files"),
        pytest.param(tiny_model, "5GB", 1, id="a head of its own"),
    ],
)
def test_the_merge_equals_one_of_pefts_in_f32(model: Callable[[], Path], shard_size: str, files: int) -> None:
    found = kept_script_result(PROGRAMS / "merged.py", model(), shard_size)
    assert found["kit"] == found["peft"]
    assert sum(name.endswith(".safetensors") for name in found["kit"]) == files
    assert found["adapter"][0] == found["adapter"][1]
