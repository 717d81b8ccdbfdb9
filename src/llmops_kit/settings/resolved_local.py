"""The resolved settings of a stack on this machine, as llmops_kit.settings.resolved has those of stacks in a cloud."""

from collections.abc import Mapping
from dataclasses import dataclass

from llmops_kit.core.engines.records import ENGINES, EngineChoice, image_of
from llmops_kit.core.models.gpus import usable_gpus
from llmops_kit.settings.resolved import told_engine
from llmops_kit.settings.stack_settings import Endpoint, Settings

TRAINING_IMAGE = "training"
"""The kit's image that runs execute."""


@dataclass(frozen=True)
class ResolvedLocalEndpoint:
    """An endpoint as it is declared on this machine."""

    name: str
    entry: Endpoint
    """Its own settings. Values that depend on other settings or on the machine are beside it."""
    image: str
    """The kit's image that serves it, such as serving-vllm."""
    engine: EngineChoice
    """The one that its server is told to use; auto: the server chooses."""


@dataclass(frozen=True)
class ResolvedLocalStack:
    """All settings of a stack on this machine."""

    settings: Settings
    gpus: bool
    """Its endpoints can use NVIDIA GPUs: those of processes alone, since containers get none here."""
    endpoints: Mapping[str, ResolvedLocalEndpoint]

    @property
    def images(self) -> tuple[str, ...]:
        """The kit's images that its runs and endpoints need."""
        return (TRAINING_IMAGE, *sorted({endpoint.image for endpoint in self.endpoints.values()}))


def resolve_local_stack(settings: Settings, environ: Mapping[str, str]) -> ResolvedLocalStack:
    """Resolves the settings of a stack on this machine. Looks for GPUs if a process of an endpoint could use them.

    Args:
        settings: of the stack.
        environ: of this process, which may hide the machine's GPUs.
    """
    could_use = settings.local_runtime == "process" and bool(settings.endpoints)
    gpus = could_use and bool(usable_gpus(environ))
    endpoints = {name: _endpoint(name, entry, gpus) for name, entry in settings.endpoints.items()}
    return ResolvedLocalStack(settings, gpus, endpoints)


def _endpoint(name: str, entry: Endpoint, gpus: bool) -> ResolvedLocalEndpoint:
    image = image_of(entry.engine, gpus)
    return ResolvedLocalEndpoint(name, entry, image, told_engine(entry, image == ENGINES["vllm"].image))
