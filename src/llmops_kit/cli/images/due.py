"""Images that `llmops up` builds first: those that its stack file needs and lacks, and stale ones."""

from collections.abc import Mapping

from llmops_kit.cli.images import sbom
from llmops_kit.cli.images.oci import Repository
from llmops_kit.cli.images.stack_images import build_for, push_for, repository_of, setting_of, tag_of
from llmops_kit.cli.interfaces.image_registry import ImageRegistry
from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.cli.platforms import registry as platforms
from llmops_kit.cli.stacks.stack import PulumiStack
from llmops_kit.cli.stacks.stack_file import StackFile
from llmops_kit.settings.resolved import ResolvedStack

_PROCESS = "process:"
_NAMES = {setting_of(name): name for name in ("training", "training-tensorflow", "serving", "serving-vllm")}
"""Field of `images` -> the kit's image."""


def bring_images(stack: PulumiStack, say: Say) -> None:
    """Builds a cloud stack's images that are due, pushes them on a cloud, and writes their references into its file.

    An image is due if an endpoint or a schedule needs it and the stack file names none, or if the file names one that
    this kit built from other files. Other images are left unchanged, and so is everything on a cloud where the stack
    has no repositories yet.

    Raises:
        KitError: an image can't be built or pushed.
    """
    if platforms.operations_of(stack.target).images is None:
        return  # the preflight checks built them
    resolved = stack.resolve()
    given = {field: reference for field, reference in resolved.images.model_dump().items() if reference}
    missing = {field: "is missing" for field in needed(resolved) if field not in given}
    on_twin = bool(platforms.twin_of(stack))
    stale = {f: "is stale" for f, ref in given.items() if f in _NAMES and _is_stale_process(f, ref, on_twin)}
    _bring(stack, missing | stale if on_twin else {}, say, build=True)
    pushed = {f: ref for f, ref in given.items() if f in _NAMES and not _is_process(ref)}
    if (pushed or (missing and not on_twin)) and stack.is_deployed():
        registry = platforms.image_registry(stack)
        stale = {field: "is stale" for field, ref in pushed.items() if _is_stale(_NAMES[field], ref, registry)}
        _bring(stack, stale if on_twin else missing | stale, say, build=False)


def needed(stack: ResolvedStack) -> list[str]:
    """Returns the fields of `images` that a stack's endpoints and schedules need."""
    fields: set[str] = {each.image_field for each in stack.endpoints.values() if each.entry.endpoint}
    return sorted(fields | ({"training"} if stack.schedules else set()))


def _is_process(reference: str) -> bool:
    return reference.startswith(_PROCESS)


def _is_stale_process(field: str, reference: str, on_twin: bool) -> bool:
    from llmops_kit.local_runtime import process_images

    name = _NAMES[field]
    return on_twin and reference.startswith(f"{_PROCESS}{name}@") and reference != process_images.reference(name)


def _is_stale(name: str, reference: str, registry: ImageRegistry) -> bool:
    """Returns whether a registry's image is the kit's, which an SBOM shows, and made of other files than this kit's."""
    url, _, digest = reference.partition("@")
    repository = repository_of(name)
    if url != registry.url(repository) or registry.find(repository, tag_of(name)) == digest:
        return False
    pushed = Repository(registry.login(repository), url.partition("/")[2])
    return bool(pushed.attached(digest, sbom.MEDIA_TYPE))


def _bring(stack: PulumiStack, due: Mapping[str, str], say: Say, *, build: bool) -> None:
    if not due:
        return
    for field, why in due.items():
        say(f"image {_NAMES[field]} {why}: {'building' if build else 'building and pushing'} it (--no-build: not)")
    make = build_for if build else push_for
    references = make(stack, say, names=[_NAMES[field] for field in due])
    # The engine wrote the key of a new stack's secrets into it, and a build takes minutes in which a user may edit it.
    stack.file = StackFile(stack.file.path, stack.project.name)
    for name, reference in references.items():
        stack.file.set_field("images", setting_of(name), reference)
    say(stack.file.diff())
    stack.file.write()
