"""Arguments of the kit's Pulumi components, which every target has under the same names and with the same signature.

`llmops_kit.infra.targets.aws.components`, `llmops_kit.infra.targets.azure.components` and
`llmops_kit.infra.targets.local.components` have `ModelStore`, `Training` and `ModelEndpoint`, each with (name, args,
opts). The kit's program is made of them, and so may be another.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Concatenate, Generic, ParamSpec, TypeVar

import pulumi

from llmops_kit.core.errors import KitError
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
    """Where versions of models and datasets are kept, and what all jobs and endpoints share."""

    settings: CloudSettings
    """The target's: AwsSettings, AzureSettings or LocalSettings."""
    expires: str = ""
    """Date or time after which `llmops down --orphans` lists everything; empty: never."""


@dataclass(frozen=True, kw_only=True)
class TrainingArgs(Generic[Store]):
    """What runs execute and may do."""

    store: Store
    images: Images = field(default_factory=Images)
    """By digest; runs execute `training`."""


@dataclass(frozen=True, kw_only=True)
class ModelEndpointArgs(Generic[Store, Shared]):
    """An endpoint, with the model version that it serves."""

    store: Store
    """Holds the version."""
    endpoint: Endpoint
    """Model version, size, rollout and limits: the settings of an entry of `endpoints`."""
    images: Images = field(default_factory=Images)
    """By digest; `serving` or `serving_vllm` serves."""
    shared: Shared | None = None
    """Of several endpoints: a role on AWS, a managed identity on Azure, a supervisor on this machine. None: one of the
    endpoint's own; on Azure, the store's.
    """
