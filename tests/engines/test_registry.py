"""vLLM's registry has the architectures of the table of base models, as the table says."""

import re
from pathlib import Path

from llmops_kit.core.models.base_models import ARCHITECTURES


def test_architectures_are_run_by_vllms_models_or_by_those_of_transformers(vllm_python: Path) -> None:
    (registry,) = vllm_python.parents[1].glob("lib/python3*/site-packages/vllm/model_executor/models/registry.py")
    modules = dict(re.findall(r'"(\w+ForCausalLM)": \("(\w+)",', registry.read_text()))
    for model_type, each in ARCHITECTURES.items():
        assert (modules[each.architecture] == "transformers") == (each.vllm == "transformers"), model_type
