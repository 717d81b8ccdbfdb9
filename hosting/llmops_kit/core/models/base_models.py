"""Families of base models and the kit's support for each: the table of docs/base-models.md.
`llmops_kit.core.models.keras_families` lists those that Keras trains.

Each cell is tested with a tiny random model of the architecture and the family's chat template
(tests/emulated/training/test_families.py). No published model but SmolLM2-135M-Instruct was tried.
"""

from typing import NamedTuple

from llmops_kit.core.models.gpu_fit import token_cache


class Architecture(NamedTuple):
    """The kit's support for models of a `model_type`. An empty reason: it works."""

    architecture: str
    """As config.json's `architectures` names it."""
    openvino: str = ""
    """Why it has no OpenVINO form, which CPUs need."""
    vllm: str = "own"
    """How vLLM 0.32 runs it: by its `own` model, or by `transformers`' (`registry.py`)."""


class ModelSizes(NamedTuple):
    """Sizes of a published model, by its config.json."""

    parameters: int
    layers: int
    hidden: int
    feed_forward: int
    heads: int
    key_value_heads: int
    head: int
    vocabulary: int
    tied: bool = False
    """Whether the head has the embeddings' weights."""

    @property
    def cache(self) -> int:
        """Bytes of a token's keys and values in bf16, if every layer keeps them."""
        return token_cache(self.layers, self.key_value_heads, self.head)


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
    sizes: ModelSizes
    """Of the example."""
    system: bool = True
    """Whether the template takes a system message."""
    tools: bool = False
    """Whether it keeps tools, calls and results, so that they are trained."""
    calls: str = ""
    """Format in which a server parses the model's calls (`llmops_kit.core.models.tool_call_stream`); empty: none."""


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

# Llama 3.1 8B and Qwen 2.5 7B: tests/data. Gemma 2, Phi 3 and SmolLM3: the defaults of transformers' configurations.
# Llama 3.2, Qwen 3, Mistral and Gemma 3: copies of the published config.json in public repositories. Phi 4 and SmolLM2:
# no copy was available, and only the number of parameters was compared.
_LLAMA_8B = ModelSizes(8_030_261_248, 32, 4096, 14336, 32, 8, 128, 128256)
_LLAMA_1B = ModelSizes(1_235_814_400, 16, 2048, 8192, 32, 8, 64, 128256, tied=True)
_QWEN_2_7B = ModelSizes(7_615_616_512, 28, 3584, 18944, 28, 4, 128, 152064)
_QWEN_3_8B = ModelSizes(8_190_735_360, 36, 4096, 12288, 32, 8, 128, 151936)
_MISTRAL_7B = ModelSizes(7_248_023_552, 32, 4096, 14336, 32, 8, 128, 32768)
_GEMMA_2_2B = ModelSizes(2_614_341_888, 26, 2304, 9216, 8, 4, 256, 256000, tied=True)
_GEMMA_3_1B = ModelSizes(999_885_952, 26, 1152, 6912, 4, 1, 256, 262144, tied=True)
_PHI_MINI = ModelSizes(3_821_079_552, 32, 3072, 8192, 32, 32, 96, 32064)
_PHI_4 = ModelSizes(14_659_507_200, 40, 5120, 17920, 40, 10, 128, 100352)
_SMOL_135M = ModelSizes(134_515_008, 30, 576, 1536, 9, 3, 64, 49152, tied=True)
_SMOL_3B = ModelSizes(3_075_098_624, 36, 2048, 11008, 16, 4, 128, 128256, tied=True)

FAMILIES = (
    Family("Llama 3", "llama", "llama3", "meta-llama/Meta-Llama-3-8B-Instruct", _LLAMA, _LLAMA_8B),
    Family(
        "Llama 3.1, 3.3",
        "llama",
        "llama3_1",
        "meta-llama/Llama-3.1-8B-Instruct",
        _LLAMA,
        _LLAMA_8B,
        tools=True,
        calls="llama",
    ),
    Family(
        "Llama 3.2",
        "llama",
        "llama3_2",
        "meta-llama/Llama-3.2-1B-Instruct",
        _LLAMA,
        _LLAMA_1B,
        tools=True,
        calls="llama",
    ),
    Family(
        "Qwen 2.5", "qwen2", "qwen2_5", "Qwen/Qwen2.5-7B-Instruct", "Apache-2.0", _QWEN_2_7B, tools=True, calls="hermes"
    ),
    Family("Qwen 3", "qwen3", "qwen3", "Qwen/Qwen3-8B", "Apache-2.0", _QWEN_3_8B, tools=True, calls="hermes"),
    Family(
        "Mistral 7B",
        "mistral",
        "published format",
        "mistralai/Mistral-7B-Instruct-v0.3",
        "Apache-2.0",
        _MISTRAL_7B,
        tools=True,
    ),
    Family("Gemma 2", "gemma2", "gemma", "google/gemma-2-2b-it", _GEMMA, _GEMMA_2_2B, system=False),
    Family("Gemma 3 1B", "gemma3_text", "gemma3", "google/gemma-3-1b-it", _GEMMA, _GEMMA_3_1B),
    Family("Phi 3", "phi3", "phi3", "microsoft/Phi-3-mini-4k-instruct", "MIT", _PHI_MINI),
    Family("Phi 3.5", "phi3", "phi3_5", "microsoft/Phi-3.5-mini-instruct", "MIT", _PHI_MINI),
    Family("Phi 4", "phi3", "published format", "microsoft/phi-4", "MIT", _PHI_4),
    Family("SmolLM2", "llama", "the model's own", "HuggingFaceTB/SmolLM2-135M-Instruct", "Apache-2.0", _SMOL_135M),
    Family("SmolLM3", "smollm3", "not tried", "HuggingFaceTB/SmolLM3-3B", "Apache-2.0", _SMOL_3B),
)
