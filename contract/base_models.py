"""Families of base models, and what the kit does with each: the table of docs/base-models.md. Which of them Keras
trains, `contract.keras_families` says.

Each cell holds of a tiny random model of the architecture, with the family's chat template, and is held by a test
(tests/emulated/training/test_families.py). No published model but SmolLM2-135M-Instruct was tried.
"""

from typing import NamedTuple


class Architecture(NamedTuple):
    """What the kit does with models of a `model_type`. A reason that is empty: it works."""

    architecture: str
    """As config.json's `architectures` names it."""
    openvino: str = ""
    """Why it has no form for CPUs."""
    vllm: str = "own"
    """How vLLM 0.32 runs it: by its `own` model, or by `transformers`' (`registry.py`)."""


class Family(NamedTuple):
    """Models of one name, which share a chat template."""

    name: str
    model_type: str
    template: str
    """Of trl's chat templates, by name; otherwise where the tested template comes from."""
    example: str
    """A published model, on the hub."""
    licence: str
    """Its licence; `gated`: the hub asks for an account that accepted it."""
    system: bool = True
    """Whether the template takes a system message."""
    tools: bool = False
    """Whether it keeps tools, calls and results, so that they are trained."""
    calls: str = ""
    """Form in which a server reads the model's calls (`contract.tool_call_stream`); empty: in none."""


_OLD_TRANSFORMERS = "optimum-intel 2.2 converts it with transformers 5.0 at most, and the others with 5.5"

ARCHITECTURES: dict[str, Architecture] = {
    "llama": Architecture("LlamaForCausalLM"),
    "qwen2": Architecture("Qwen2ForCausalLM"),
    "qwen3": Architecture("Qwen3ForCausalLM"),
    "mistral": Architecture("MistralForCausalLM"),
    "gemma2": Architecture(
        "Gemma2ForCausalLM",
        openvino=_OLD_TRANSFORMERS,
    ),
    "gemma3_text": Architecture("Gemma3ForCausalLM", openvino=_OLD_TRANSFORMERS),
    "phi3": Architecture("Phi3ForCausalLM"),
    "smollm3": Architecture("SmolLM3ForCausalLM", vllm="transformers"),
}
"""By config.json's `model_type`."""

_LLAMA, _GEMMA = "Llama Community License, gated", "Gemma Terms of Use, gated"

FAMILIES = (
    Family("Llama 3", "llama", "llama3", "meta-llama/Meta-Llama-3-8B-Instruct", _LLAMA),
    Family(
        "Llama 3.1, 3.3", "llama", "llama3_1", "meta-llama/Llama-3.1-8B-Instruct", _LLAMA, tools=True, calls="llama"
    ),
    Family("Llama 3.2", "llama", "llama3_2", "meta-llama/Llama-3.2-1B-Instruct", _LLAMA, tools=True, calls="llama"),
    Family("Qwen 2.5", "qwen2", "qwen2_5", "Qwen/Qwen2.5-7B-Instruct", "Apache-2.0", tools=True, calls="hermes"),
    Family("Qwen 3", "qwen3", "qwen3", "Qwen/Qwen3-8B", "Apache-2.0", tools=True, calls="hermes"),
    Family("Mistral 7B", "mistral", "published format", "mistralai/Mistral-7B-Instruct-v0.3", "Apache-2.0", tools=True),
    Family("Gemma 2", "gemma2", "gemma", "google/gemma-2-2b-it", _GEMMA, system=False),
    Family("Gemma 3 1B", "gemma3_text", "gemma3", "google/gemma-3-1b-it", _GEMMA),
    Family("Phi 3", "phi3", "phi3", "microsoft/Phi-3-mini-4k-instruct", "MIT"),
    Family("Phi 3.5", "phi3", "phi3_5", "microsoft/Phi-3.5-mini-instruct", "MIT"),
    Family("Phi 4", "phi3", "published format", "microsoft/phi-4", "MIT"),
    Family("SmolLM2", "llama", "the model's own", "HuggingFaceTB/SmolLM2-135M-Instruct", "Apache-2.0"),
    Family("SmolLM3", "smollm3", "not tried", "HuggingFaceTB/SmolLM3-3B", "Apache-2.0"),
)
