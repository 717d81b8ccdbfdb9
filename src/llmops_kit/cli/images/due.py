"""Images that `llmops up` builds first: those that its stack file needs and lacks, and stale ones."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from llmops_kit.cli.images import sbom
from llmops_kit.cli.images.oci import Repository
from llmops_kit.cli.images.stack_images import build_for, push_for, repository_of, setting_of, tag_of
from llmops_kit.cli.interfaces.image_registry import ImageRegistry
from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.cli.platforms import registry as platforms
from llmops_kit.cli.stacks.stack import PulumiStack
from llmops_kit.cli.stacks.stack_file import StackFile
from llmops_kit.core.documents.outputs import StackOutputs
from llmops_kit.core.errors import KitError
from llmops_kit.settings.resolved import ResolvedStack

_PROCESS = "process:"
_NAMES = {setting_of(name): name for name in ("training", "training-tensorflow", "serving", "serving-vllm")}
"""Field of `images` -> the kit's image."""
_UNKNOWN_DIGEST = "sha256:" + "0" * 64


@dataclass(frozen=True)
class DueImage:
    """An image that the next `llmops up` builds."""

    name: str
    why: str
    pushed: bool
    """Docker builds it and it is pushed; else it becomes a process image."""

    @property
    def field(self) -> str:
        """Field of `images` that its reference is written into."""
        return setting_of(self.name)


def due_images(stack: PulumiStack) -> list[DueImage]:
    """Returns the images of a cloud stack that are due; builds nothing, and needs no Docker.

    An image is due if an endpoint or a schedule needs it and the stack file names none, or if the file names one that
    this kit built from other files. Images of other makers never are, and none is on a cloud where the stack has no
    repositories yet.

    Raises:
        KitError: a wrong setting, or the stack's registry can't be read.
    """
    if platforms.operations_of(stack.target).images is None:
        return []  # preflight builds them
    resolved = stack.resolve()
    given = {field: reference for field, reference in resolved.images.model_dump().items() if reference}
    on_twin = bool(platforms.twin_of(stack))
    missing = [
        DueImage(_NAMES[field], "missing in the stack file", pushed=not on_twin)
        for field in needed(resolved)
        if field not in given
    ]
    own = {field: reference for field, reference in given.items() if field in _NAMES}
    processes = [
        DueImage(_NAMES[field], "source changed", pushed=False)
        for field, reference in own.items()
        if on_twin and _is_stale_process(_NAMES[field], reference)
    ]
    pushed = {field: reference for field, reference in own.items() if not _is_process(reference)}
    if not (pushed or (missing and not on_twin)) or not stack.is_deployed():
        return [*missing, *processes] if on_twin else []
    registry = platforms.image_registry(stack)
    stale = [field for field, reference in pushed.items() if _is_stale(_NAMES[field], reference, registry)]
    return [*missing, *processes, *(DueImage(_NAMES[field], "source changed", pushed=True) for field in stale)]


def expected_references(stack: PulumiStack, due: Sequence[DueImage]) -> dict[str, str]:
    """Returns a reference for each field of `images` that `up` will write, for a preview of its update.

    A process image's is known before it is built, and so is the digest of a tag that the registry has. Another digest
    is known after the push only: zeros stand for it.

    Raises:
        KitError: the stack's registry can't be read.
    """
    from llmops_kit.local_runtime import process_images

    found = {each.field: process_images.reference(each.name) for each in due if not each.pushed}
    if len(found) < len(due):
        registry = platforms.image_registry(stack)
        for each in (each for each in due if each.pushed):
            repository = repository_of(each.name)
            digest = registry.find(repository, tag_of(each.name)) or _UNKNOWN_DIGEST
            found[each.field] = f"{registry.url(repository)}@{digest}"
    return found


def has_stale_training(outputs: StackOutputs) -> bool:
    """Returns whether a deployed stack's runs use an image that this kit built from other files.

    `train` can only tell: `up` deploys an image for runs, on Azure as an environment, and who may train need not be
    allowed to push or to deploy. Nor to read the registry: then this returns False.
    """
    target, image = platforms.operations_of(outputs.target), outputs.training.image
    if target.images is None or not image:
        return False
    if _is_process(image):
        return _is_stale_process("training", image)
    with suppress(KitError):
        registry = target.use(target.images, "image registry", f"stack {outputs.stack}")(outputs)
        return _is_stale("training", image, registry)
    return False


def bring_images(stack: PulumiStack, say: Say) -> None:
    """Builds a cloud stack's images that are due, pushes them on a cloud, and writes their references into its file.

    Raises:
        KitError: an image can't be built or pushed.
    """
    due = due_images(stack)
    _bring(stack, [each for each in due if not each.pushed], say)
    _bring(stack, [each for each in due if each.pushed], say)


def needed(stack: ResolvedStack) -> list[str]:
    """Returns the fields of `images` that a stack's endpoints and schedules need."""
    fields: set[str] = {each.image_field for each in stack.endpoints.values() if each.entry.endpoint}
    return sorted(fields | ({"training"} if stack.schedules else set()))


def _is_process(reference: str) -> bool:
    return reference.startswith(_PROCESS)


def _is_stale_process(name: str, reference: str) -> bool:
    from llmops_kit.local_runtime import process_images

    return reference.startswith(f"{_PROCESS}{name}@") and reference != process_images.reference(name)


def _is_stale(name: str, reference: str, registry: ImageRegistry) -> bool:
    """Returns whether a registry's image is the kit's, which an SBOM shows, and made of other files than this kit's."""
    url, _, digest = reference.partition("@")
    repository = repository_of(name)
    if url != registry.url(repository) or registry.find(repository, tag_of(name)) == digest:
        return False
    pushed = Repository(registry.login(repository), url.partition("/")[2])
    return bool(pushed.attached(digest, sbom.MEDIA_TYPE))


def _bring(stack: PulumiStack, due: Sequence[DueImage], say: Say) -> None:
    """Builds images, or pushes them: all of `due` are of one kind."""
    if not due:
        return
    for each in due:
        verb = "building and pushing" if each.pushed else "building"
        say(f"image {each.name}: {each.why}; {verb} it (--no-build: not)")
    make = push_for if due[0].pushed else build_for
    references = make(stack, say, names=[each.name for each in due])
    # The engine wrote the key of a new stack's secrets into it, and a build takes minutes in which a user may edit it.
    stack.file = StackFile(stack.file.path, stack.project.name)
    for name, reference in references.items():
        stack.file.set_field("images", setting_of(name), reference)
    say(stack.file.diff())
    stack.file.write()
