"""The engines that serve model versions: one record each, which the stack, the images and the server share."""

from typing import Literal, NamedTuple

EngineName = Literal["vllm", "openvino", "transformers"]

EngineChoice = Literal["auto", EngineName]
"""Of a stack or a user; auto: the engine that suits the machine."""


class EngineRecord(NamedTuple):
    """An engine. Its code is named as `module:class` below llmops_kit.serving.engines, and imported when it is used."""

    packages: tuple[str, ...]
    """Python packages that it needs, its own first; an image that has them can run it."""
    form: str
    """Name in a version's manifest of the files that it reads."""
    image: str
    """The kit's image that has it."""
    grammars: str
    """Compiles the grammars that its answers are held to: a GrammarTrial."""
    backend: str = ""
    """Generates in the server's worker process: an EngineBackend; empty: the engine runs as a separate server."""
    gpus_only: bool = False
    """It computes on NVIDIA GPUs alone."""
    in_clouds: bool = True
    """The kit's images for clouds have it."""
    keeps_prefixes: bool = True
    """It has a cache of the computed prefixes of prompts."""


ENGINES: dict[EngineName, EngineRecord] = {
    "vllm": EngineRecord(
        ("vllm",), "transformers", "serving-vllm", "transformers_grammars:GrammarMasks", gpus_only=True
    ),
    "transformers": EngineRecord(
        ("torch", "transformers"),
        "transformers",
        "serving-torch",
        "transformers_grammars:GrammarMasks",
        "transformers_backend:TransformersBackend",
        in_clouds=False,
        keeps_prefixes=False,
    ),
    "openvino": EngineRecord(
        ("openvino_genai",),
        "openvino",
        "serving",
        "openvino_grammars:OpenVinoTrial",
        "openvino_backend:OpenVinoBackend",
    ),
}
"""In the order of preference on a machine with a GPU; without one the order is reversed."""


def engines_by_preference(gpu: bool) -> tuple[EngineName, ...]:
    """Returns the engines that a machine can run, the preferred one first. With a GPU vLLM comes first, and OpenVINO,
    which would only use the processors, last.
    """
    return tuple(ENGINES) if gpu else tuple(name for name in reversed(ENGINES) if not ENGINES[name].gpus_only)


def image_of(engine: EngineChoice, gpu: bool) -> str:
    """Returns the kit's image that runs an engine on this machine; auto: the preferred one, with a GPU or without."""
    return ENGINES[engines_by_preference(gpu)[0] if engine == "auto" else engine].image
