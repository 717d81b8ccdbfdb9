"""Checks of the images that a cloud stack runs."""

from typing import Literal

from llmops_kit.clouds.traits import CloudTraits
from llmops_kit.core.engines.records import ENGINES
from llmops_kit.infra.settings import setting_error
from llmops_kit.settings.resolved import ImageField, ResolvedEndpoint

PROCESS = "process:"


def require_engine(endpoint: ResolvedEndpoint, traits: CloudTraits) -> None:
    """Check that an endpoint's image runs on its machine, and uses the accelerators that the machine is billed for.

    Raises:
        SettingError: naming `engine`, or the machine's key.
    """
    engine, machine = endpoint.entry.engine, endpoint.machine
    key, kind = ("endpoints", endpoint.name, "engine"), machine.kind
    if engine != "auto" and not ENGINES[engine].in_clouds:
        raise setting_error(
            key, "the kit's images for clouds don't hold it", "remove it: vLLM serves such versions on GPUs"
        )
    if engine != "auto" and ENGINES[engine].gpus_only and not machine.gpus:
        raise setting_error(
            key,
            f"vLLM's image computes on NVIDIA GPUs, and {kind} has none",
            f"write a type with GPUs, such as {traits.gpu_type}, or remove it",
        )
    if endpoint.image_field == "serving" and endpoint.is_kits_image and machine.accelerated:
        raise setting_error(
            machine.key,
            f"the image `serving` computes on processors: the accelerators of {kind} would be paid for, and idle",
            f"write a type without them, such as {traits.plain_type}; or one with NVIDIA GPUs, such as "
            f"{traits.gpu_type}, and leave `engine` out, for the image serving-vllm; or name an image of your own in "
            "`llmops:images.serving`, from another repository",
        )


def _missing_image(field: Literal["training"] | ImageField) -> str:
    """Returns the fix for an empty field of `images`."""
    name = field.replace("_", "-")
    return (
        f"`llmops up` builds it, on a cloud once the stack has repositories; or `llmops images push {name}`, "
        f"and on a twin `llmops images build {name}`"
    )


def require_image(name: Literal["training"] | ImageField, reference: str, place: str, twin: bool) -> None:
    """Check that the stack has an image that its cloud can run.

    Args:
        name: its field of `images`.
        reference: the field's value.
        place: where `llmops images push` pushes images, in words.
        twin: whether the cloud is a twin, which also runs process images.

    Raises:
        SettingError: there is none, or it is a process image in a real account.
    """
    key = ("images", name)
    if not reference:
        raise setting_error(key, "is missing", _missing_image(name))
    if reference.startswith(PROCESS) and not twin:
        raise setting_error(
            key,
            f"{reference} runs on a twin only",
            f"`llmops images push` pushes the kit's image to the stack's {place}, and writes its digest here",
        )
