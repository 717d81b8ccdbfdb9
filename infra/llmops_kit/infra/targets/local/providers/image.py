"""Images of the kit, built on this machine as processes or with Docker, and named by their content."""

from pulumi import dynamic

from llmops_kit.infra.targets.dynamic import KitProvider, Properties, gone, inputs_of, say


class ImageProvider(KitProvider):
    """Builds an image into this machine's cache. All stacks share the cache, so nothing is removed from it."""

    def create(self, props: Properties) -> dynamic.CreateResult:
        """Builds the image; idempotent: uses an existing one."""
        return dynamic.CreateResult(props["image"], _build(props))

    def read(self, id_: str, props: Properties) -> dynamic.ReadResult:
        """Reports the image as gone if the cache was emptied."""
        return dynamic.ReadResult(id_, props) if _is_built(props) else gone()

    def update(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.UpdateResult:
        return dynamic.UpdateResult(_build(_news))


def _build(props: Properties) -> Properties:
    from llmops_kit.local_runtime import process_images

    name = props["image"]
    if props["runtime"] == "process":
        return inputs_of(props) | {"reference": process_images.build(name, say)}
    from llmops_kit.local_runtime import containers

    files = process_images.ImageSource.of_kit(name).files()
    return inputs_of(props) | {"reference": containers.build(name, files, props["source"], say)}


def _is_built(props: Properties) -> bool:
    from llmops_kit.core.errors import HostingError
    from llmops_kit.local_runtime import process_images

    if props["runtime"] == "docker":
        from llmops_kit.local_runtime import containers

        return containers.exists(props["reference"])
    try:
        process_images.find(props["reference"])
    except HostingError:
        return False
    return True
