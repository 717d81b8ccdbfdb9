"""Arguments of the kit's Pulumi components, which every target has under the same names and with the same signature.

`infra.targets.aws.components`, `infra.targets.azure.components` and `infra.targets.local.components` have `ModelStore`,
`Training` and `ModelEndpoint`, each with (name, args, opts). The kit's program is made of them, and so may be another.
"""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from infra.settings import Endpoint, Images

CloudSettings = TypeVar("CloudSettings")
Store = TypeVar("Store")
Shared = TypeVar("Shared")


@dataclass(frozen=True, kw_only=True)
class ModelStoreArgs(Generic[CloudSettings]):
    """Where versions of models and datasets are kept, and what all jobs and endpoints share."""

    settings: CloudSettings
    """The target's: AwsSettings, AzureSettings or LocalSettings."""
    expires: str = ""
    """Date or time after which `llmops sweep` lists everything; empty: never."""


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
