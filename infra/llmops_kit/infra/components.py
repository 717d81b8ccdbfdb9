"""Arguments of the kit's Pulumi components, which have the same names and signatures on every target.

`llmops_kit.infra.targets.aws.components`, `llmops_kit.infra.targets.azure.components` and
`llmops_kit.infra.targets.local.components` have `ModelStore`, `Training` and `ModelEndpoint`, each with (name, args,
opts). The kit's program consists of them, and another program can use them too.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Concatenate, Generic, ParamSpec, TypeVar

import pulumi

from llmops_kit.core.errors import KitError
from llmops_kit.settings.signing import SigningSettings
from llmops_kit.settings.stack_settings import Endpoint, Images

CloudSettings = TypeVar("CloudSettings")
Store = TypeVar("Store")
Shared = TypeVar("Shared")
_Component = TypeVar("_Component")
_Given = ParamSpec("_Given")


def told_without_traceback(
    declare: Callable[Concatenate[_Component, _Given], None],
) -> Callable[Concatenate[_Component, _Given], None]:
    """Returns a component's constructor whose KitErrors end any program as Pulumi's RunError, with their text alone."""

    @wraps(declare)
    def told(component: _Component, *args: _Given.args, **kwargs: _Given.kwargs) -> None:
        try:
            declare(component, *args, **kwargs)
        except KitError as e:
            raise pulumi.RunError(str(e)) from None

    return told


@dataclass(frozen=True, kw_only=True)
class ModelStoreArgs(Generic[CloudSettings]):
    """The store of models and datasets, and the resources that all jobs and endpoints share."""

    settings: CloudSettings
    """The target's settings: AwsSettings, AzureSettings or LocalSettings."""
    expires: str = ""
    """Date or time after which `llmops down --orphans` lists everything; empty: never."""
    signing: SigningSettings = field(default_factory=SigningSettings)
    """The keys that sign versions, and those that are trusted."""


@dataclass(frozen=True, kw_only=True)
class TrainingArgs(Generic[Store]):
    """The store that runs read and write, and the images that they execute."""

    store: Store
    images: Images = field(default_factory=Images)
    """References by digest; runs execute `training`."""


@dataclass(frozen=True, kw_only=True)
class ModelEndpointArgs(Generic[Store, Shared]):
    """An endpoint, with the model version that it serves."""

    store: Store
    """Contains the version."""
    endpoint: Endpoint
    """Model version, size, rollout and limits: the settings of an entry of `endpoints`."""
    images: Images = field(default_factory=Images)
    """References by digest; the endpoint runs `serving` or `serving_vllm`."""
    shared: Shared | None = None
    """Shared by several endpoints: a role on AWS, a managed identity on Azure, a supervisor on this machine. None: the
    endpoint has its own; on Azure, it uses the store's.
    """
