"""ModelStore, Training and ModelEndpoint on this machine; llmops_kit.infra.components has their arguments."""

from dataclasses import dataclass
from typing import Any, Literal

import pulumi

from llmops_kit.infra.components import ModelEndpointArgs, ModelStoreArgs, TrainingArgs, told_without_traceback
from llmops_kit.infra.targets.local.resolve import LocalResolved, resolve
from llmops_kit.infra.targets.local.resources.endpoint import Hosting, LocalEndpoint
from llmops_kit.infra.targets.local.resources.identity import LocalSigningKey
from llmops_kit.infra.targets.local.resources.images import Image
from llmops_kit.infra.targets.local.resources.storage import LocalStore
from llmops_kit.infra.targets.local.resources.training import TrainingPlace
from llmops_kit.infra.targets.local.values import LocalImage
from llmops_kit.settings.stack_settings import Endpoint, Settings

__all__ = [
    "Endpoint",
    "LocalSettings",
    "ModelEndpoint",
    "ModelEndpointArgs",
    "ModelStore",
    "ModelStoreArgs",
    "Training",
    "TrainingArgs",
]


@dataclass(frozen=True)
class LocalSettings:
    """Folder of a stack on this machine, and the runtime of its servers."""

    home: str = ".llmops"
    """Folder of all stacks, relative to Pulumi.yaml."""
    runtime: Literal["process", "docker"] = "process"


class ModelStore(pulumi.ComponentResource):
    """The folder of versions, and the pair of keys that signs them. Both are protected: they outlive the stack."""

    url: pulumi.Output[str]
    """URL of dataset and model versions: file://FOLDER."""
    runs: pulumi.Output[str]
    """Folder of runs."""
    signing_key: pulumi.Output[str]
    """Path of the private key."""
    public_key: pulumi.Output[str]
    """Public key that verifies signatures, in PEM; several one after another."""

    @told_without_traceback
    def __init__(
        self,
        name: str,
        args: ModelStoreArgs[LocalSettings],
        opts: pulumi.ResourceOptions | None = None,
        *,
        resolved: LocalResolved | None = None,
    ) -> None:
        """Declare it. Without `resolved`, its folders are below a folder of its name in the stack's home."""
        super().__init__("llmops:local:ModelStore", name, None, opts)
        self.settings, self.folder = args.settings, "" if resolved else name
        found = resolved or resolve(_settings(self), self.folder)
        self.home, prefix = found.home, f"{self.folder}-" if self.folder else ""
        self.store = LocalStore(found.home, found.name, found.project, prefix, self)
        self.signing = LocalSigningKey(found.home, prefix, args.signing, self)
        self.prefix, self.url, self.public_key = prefix, self.store.url, self.signing.public_key
        self.runs = pulumi.Output.from_input(str(found.home.runs))
        self.signing_key = self.signing.private_key
        self._images: dict[str, Image] = {}
        self.register_outputs({"url": self.url, "runs": self.runs, "signing_key": self.signing_key})

    def image(self, image: LocalImage) -> Image:
        """Returns the resource of an image of the kit; built once, whoever runs it."""
        if image.name not in self._images:
            self._images[image.name] = Image(image, self.prefix, self)
        return self._images[image.name]


class Training(pulumi.ComponentResource):
    """The folder and image of runs. A run itself is an event, never a resource: `llmops train` starts it."""

    image: pulumi.Output[str]
    """Image of runs."""

    @told_without_traceback
    def __init__(
        self,
        name: str,
        args: TrainingArgs[ModelStore],
        opts: pulumi.ResourceOptions | None = None,
        *,
        resolved: LocalResolved | None = None,
    ) -> None:
        """Declare it.

        Raises:
            pulumi.RunError: `images` are given, which only clouds use.
        """
        super().__init__("llmops:local:Training", name, None, opts)
        store = args.store
        found = resolved or resolve(_settings(store, images=args.images), store.folder)
        place = TrainingPlace(found.home, store.image(found.training_image), store.prefix, self)
        self.image = place.image
        self.register_outputs({"image": self.image})


class ModelEndpoint(pulumi.ComponentResource):
    """An endpoint behind this machine's router, which serves one signed model version."""

    url: pulumi.Output[str]
    """Base URL; empty while `endpoint: off`."""
    image: pulumi.Output[str]
    """Image of the server."""

    @told_without_traceback
    def __init__(
        self,
        name: str,
        args: ModelEndpointArgs[ModelStore, Hosting],
        opts: pulumi.ResourceOptions | None = None,
        *,
        resolved: LocalResolved | None = None,
    ) -> None:
        """Declare it.

        Raises:
            pulumi.RunError: this machine can't honour a setting, the store lacks the version, or it has not passed its
                gate.
        """
        super().__init__("llmops:local:ModelEndpoint", name, None, opts)
        store, entry = args.store, args.endpoint
        found = resolved or resolve(_settings(store, endpoints={name: entry}, images=args.images), store.folder)
        home, values, hosting = found.home, found.endpoints[name], args.shared
        if hosting is None:
            home = home.of_endpoint(name)
            hosting = Hosting(home, [name], f"{store.prefix}{name}-", self)
        image = store.image(values.image)
        after = [store.store, store.signing, hosting]
        made = LocalEndpoint(values, home, image=image, after=after, parent=self)
        self.url, self.image = made.url, image.reference
        self.register_outputs({"url": self.url, "model": entry.model, "image": self.image})


def _settings(store: ModelStore, **own: Any) -> Settings:
    """Returns the settings of a stack that has one component."""
    return Settings(target="local", local_home=store.settings.home, local_runtime=store.settings.runtime, **own)
