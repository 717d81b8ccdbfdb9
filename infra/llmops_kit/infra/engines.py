"""Which image serves an endpoint in a cloud: vLLM's on machines with NVIDIA GPUs, the other on processors."""

from dataclasses import dataclass
from typing import Literal

from llmops_kit.infra.settings import KeyPath, Settings, setting_error

ImageField = Literal["serving", "serving_vllm"]


@dataclass(frozen=True)
class Machine:
    """What an endpoint runs on."""

    kind: str
    """The cloud's name for it."""
    key: KeyPath
    """The setting that says it."""
    gpus: bool
    """NVIDIA's, which vLLM computes on."""
    accelerated: bool
    """It is paid for GPUs or other accelerators."""
    plain: str
    """A type without them, to name in a refusal."""
    with_gpus: str


def serving_field(settings: Settings, name: str, gpus: bool, ours: bool) -> ImageField:
    """Return the field of `images` that names an endpoint's image.

    Args:
        settings: of the stack.
        name: of the endpoint.
        gpus: its machine has GPUs of NVIDIA's.
        ours: `images.serving` names the kit's image or none. Another one is taken as it is: it may use GPUs.
    """
    engine = settings.endpoints[name].engine
    return "serving_vllm" if engine == "vllm" or (engine == "auto" and gpus and ours) else "serving"


def serving_image(settings: Settings, field: ImageField) -> str:
    """The reference of an image; empty: it is not set."""
    return settings.images.serving_vllm if field == "serving_vllm" else settings.images.serving


def serving_engine(settings: Settings, name: str, field: ImageField) -> dict[str, str]:
    """The variables that say an endpoint's engine, where it is not for the server to choose, and its prefix cache.

    vLLM's image is told to use it: with a driver that fails it would else serve on the processors beside idle GPUs.
    """
    entry = settings.endpoints[name]
    engine = "vllm" if field == "serving_vllm" else entry.engine
    named = {} if engine == "auto" else {"LLMOPS_ENGINE": engine}
    return named | ({"LLMOPS_PREFIX_CACHE": "true"} if entry.prefix_cache else {})


def require_engine(settings: Settings, name: str, machine: Machine, ours: bool) -> None:
    """Check that an endpoint's image makes use of what its machine is paid for.

    Raises:
        SettingError: naming `engine`, or the machine's key.
    """
    engine, kind = settings.endpoints[name].engine, machine.kind
    key = ("endpoints", name, "engine")
    if engine == "transformers":
        raise setting_error(
            key, "the kit's images for clouds don't hold it", "remove it: vLLM serves such versions on GPUs"
        )
    if engine == "vllm" and not machine.gpus:
        raise setting_error(
            key,
            f"vLLM's image computes on NVIDIA GPUs, and {kind} has none",
            f"write a type with GPUs, such as {machine.with_gpus}, or remove it",
        )
    if serving_field(settings, name, machine.gpus, ours) == "serving" and ours and machine.accelerated:
        raise setting_error(
            machine.key,
            f"the image `serving` computes on processors: the accelerators of {kind} would be paid for, and idle",
            f"write a type without them, such as {machine.plain}; or one with NVIDIA GPUs, such as "
            f"{machine.with_gpus}, and leave `engine` out, for the image serving-vllm; or name an image of your own in "
            "`llmops:images.serving`, from another repository",
        )


def missing_image(field: Literal["training"] | ImageField) -> str:
    """What to do where a stack has no image of its own in a field of `images`."""
    name = field.replace("_", "-")
    return (
        f"`llmops up` builds it, on a cloud once the stack has repositories; or `llmops images push {name}`, "
        f"and on a twin `llmops images build {name}`"
    )
