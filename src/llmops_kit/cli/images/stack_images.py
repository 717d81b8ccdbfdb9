"""Images for a stack: built as processes for a twin, or by Docker; pushed to the stack's repositories."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from llmops_kit.cli import __version__
from llmops_kit.cli.interfaces.image_registry import ImageRegistry
from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.cli.platforms import registry as platforms
from llmops_kit.cli.stacks.stack import PulumiStack
from llmops_kit.core.errors import KitError

if TYPE_CHECKING:
    from llmops_kit.local_runtime.process_images import ImageSource

NAMES = ("training", "serving")
"""Images that are built and pushed by default."""
_NEED_DOCKER = "start Docker, or install it; on a twin `llmops images build --runtime process` needs none"


def build_for(stack: PulumiStack, say: Say, *, runtime: str = "", names: Iterable[str] = NAMES) -> dict[str, str]:
    """Builds images of this checkout.

    Args:
        stack: the images' stack.
        say: called with each step.
        runtime: process or docker; empty: processes on a twin, Docker on a cloud.
        names: training, serving, serving-vllm.

    Returns:
        image -> `process:NAME@sha256:…`, which the file of a stack on a twin may contain; or `docker:NAME@sha256:…`,
        which exists only on this machine until it is pushed.

    Raises:
        KitError: the stack is local, or processes are requested for a cloud, or an image can't be built.
    """
    twin = _twin_of(stack)
    runtime = runtime or ("process" if twin else "docker")
    if runtime == "docker":
        from llmops_kit.local_runtime.process_images import ImageSource

        built = {name: _build_in_docker(ImageSource.of_kit(name), say) for name in names}
        for name in built:
            write_sbom(name, say, docker=True)
        return built
    if not twin:
        raise KitError(
            "a cloud can't run images of runtime `process`",
            where=f"stack {stack.name}",
            fix="leave `--runtime process` out: Docker builds the images, `llmops images push` pushes them",
        )
    from llmops_kit.local_runtime import process_images

    built = {name: process_images.build(name, say) for name in names}
    for name in built:
        write_sbom(name, say, docker=False)
    return built


def write_sbom(name: str, say: Say, *, docker: bool) -> Path:
    """Writes the SBOM of an image of this checkout beside the built image; returns its path."""
    from llmops_kit.core.layout import cache_dir
    from llmops_kit.local_runtime import containers, process_images
    from llmops_kit.local_runtime.files import write_atomic

    source = _source(process_images.reference(name))
    if docker:
        path = cache_dir() / "images" / f"{name}-docker" / f"{containers.version_of(source)}.cdx.json"
    else:
        path = cache_dir() / "images" / name / source / "sbom.cdx.json"
    write_atomic(path, _sbom_of(name, docker=docker))
    say(f"image {name}: {path} lists its packages")
    return path


def _sbom_of(name: str, *, docker: bool) -> str:
    from llmops_kit.cli.images import sbom
    from llmops_kit.local_runtime import containers, process_images

    files = process_images.ImageSource.of_kit(name).files()
    own = sbom.base_of(files[f"app/{process_images.dockerfile_of(name, files)}"])
    base = os.environ.get(containers.BASE_VARIABLE) or own if docker else ""
    locks = [file for path, file in files.items() if "/" not in path]
    return sbom.of_image(name, locks, _source(process_images.reference(name)), base)


def _attach_sbom(name: str, url: str, digest: str, registry: ImageRegistry, say: Say) -> None:
    """Attaches the SBOM to an image that was pushed, now or earlier."""
    from llmops_kit.cli.images import sbom
    from llmops_kit.cli.images.oci import Repository

    repository = Repository(registry.login(repository_of(name)), url.partition("/")[2])
    if not repository.attached(digest, sbom.MEDIA_TYPE):
        repository.attach(digest, sbom.MEDIA_TYPE, _sbom_of(name, docker=True).encode())
        say(f"image {name}: its SBOM is attached ({sbom.MEDIA_TYPE})")


def push_for(stack: PulumiStack, say: Say, *, names: Iterable[str] = NAMES) -> dict[str, str]:
    """Pushes images of this checkout to the stack's repositories, and attaches an SBOM to those that have none yet.

    An image whose tag exists in the registry is neither pushed nor built again: a tag consists of the kit's version and
    the hash of the image's files, and never moves.

    Returns:
        image -> its reference by digest, for the stack file.

    Raises:
        KitError: the stack is local or has no repositories yet; there is no Docker; the registry refuses.
    """
    _twin_of(stack)
    from llmops_kit.cli.interfaces.docker_push import push
    from llmops_kit.local_runtime.process_images import ImageSource

    registry = platforms.image_registry(stack)
    pushed = {}
    for name in names:
        repository = repository_of(name)
        tag, url = tag_of(name), registry.url(repository)
        if digest := registry.find(repository, tag):
            say(f"image {name}: {url}:{tag} exists already")
        else:
            image = _pushable(ImageSource.of_kit(name), say)
            say(f"image {name}: pushing it to {url}:{tag}")
            push(image, url.partition("/")[2], tag, registry.login(repository), say)
            digest = registry.find(repository, tag)
        _attach_sbom(name, url, digest, registry, say)
        pushed[name] = f"{url}@{digest}"
    return pushed


def publish(stack: PulumiStack, source: "ImageSource", say: Say) -> str:
    """Pushes an image of files other than this checkout's to the stack's registry; on a twin, registers it as a
    process.

    Returns:
        Its reference, for the stack file.

    Raises:
        KitError: there is no Docker; the registry refuses.
    """
    from llmops_kit.local_runtime import process_images

    if _twin_of(stack):
        return process_images.build(source, say)
    from llmops_kit.cli.interfaces.docker_push import push

    registry = platforms.image_registry(stack)
    url, tag = registry.url(source.name), _tag_of(process_images.reference(source))
    if not registry.find(source.name, tag):
        push(_pushable(source, say), url.partition("/")[2], tag, registry.login(source.name), say)
    return f"{url}@{registry.find(source.name, tag)}"


def setting_of(name: str) -> str:
    """Returns the field of a stack file's `images` for an image."""
    return name.replace("-", "_")


def tag_of(name: str) -> str:
    """Returns the tag of this checkout's image in a registry: the kit's version, and the hash of the image's files."""
    from llmops_kit.local_runtime import process_images

    return _tag_of(process_images.reference(name))


def _tag_of(reference: str) -> str:
    from llmops_kit.local_runtime import containers

    version = re.sub(r"[^A-Za-z0-9_.-]", "_", __version__)
    return f"{version}-{containers.version_of(_source(reference))}"


def repository_of(name: str) -> str:
    """Returns the repository of an image. Images of one package share it, under distinct tags: a tag contains the hash
    of an image's files.
    """
    from llmops_kit.local_runtime.process_images import package_of

    return package_of(name)


def _twin_of(stack: PulumiStack) -> str:
    """Returns the address of the twin that this shell uses; empty for a cloud."""
    target = platforms.operations_of(stack.target)
    if target.images is None:
        raise target.absent("image registry: `llmops up` builds its images", str(stack.file.path))
    return platforms.twin_of(stack)


def _build_in_docker(source: "ImageSource", say: Say) -> str:
    from llmops_kit.local_runtime import containers, process_images

    version = _source(process_images.reference(source))
    platform = containers.CLOUD_PLATFORM
    return containers.build(source.name, source.files(), version, say, on=platform, fix=_NEED_DOCKER)


def _pushable(source: "ImageSource", say: Say) -> str:
    """Returns the id of an image that clouds accept, building it if it is missing."""
    from llmops_kit.local_runtime import containers

    name, image = source.name, _build_in_docker(source, say).partition("@")[2]
    found = containers.inspect(image)
    assert found
    if found.platform != containers.CLOUD_PLATFORM:
        raise KitError(
            f"the image {name} is for {found.platform}, and clouds run only {containers.CLOUD_PLATFORM}",
            where=image,
            fix=f"`docker rmi {image}`, and build it again: with buildx, or on a machine of that kind",
        )
    if "vnd.oci." in found.media_type:
        raise KitError(
            f"the image {name} has a manifest that SageMaker's hosting refuses: {found.media_type}",
            where=image,
            fix=f"`docker rmi {image}`, install buildx, and build it again by `llmops images build`",
        )
    return image


def _source(reference: str) -> str:
    return reference.rpartition(":")[2]
