"""The targets: one record each. Program and command line find a target's code by it, and import it when it is used."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class TargetRecord:
    """A target of stacks and the modules that implement it, each named as `module:attribute`."""

    name: str
    program: str
    """Its resources: an infra.targets.target.Target."""
    operations: str
    """What the command line can do with its stacks: an llmops.platforms.operations.Operations."""
    data_scheme: str = ""
    """Of addresses of data in its storage, such as s3; empty: it has none."""
    data: str = ""
    """Opens `bucket/key` there: a function to an ObjectSource (clouds/objects.py) and the key."""
    is_cloud: bool = True
    """Stacks live in an account and not on this machine; their settings have a key of the target's name."""


TARGETS = {
    record.name: record
    for record in (
        TargetRecord(
            "local",
            "infra.targets.local.target:LocalTarget",
            "llmops.platforms.local.operations:OPERATIONS",
            is_cloud=False,
        ),
        TargetRecord(
            "aws",
            "infra.targets.aws.target:AwsTarget",
            "llmops.platforms.aws.operations:OPERATIONS",
            data_scheme="s3",
            data="clouds.aws.objects:open_data",
        ),
        TargetRecord(
            "azure",
            "infra.targets.azure.target:AzureTarget",
            "llmops.platforms.azure.operations:OPERATIONS",
            data_scheme="az",
            data="clouds.azure.objects:open_data",
        ),
    )
}


def cloud_names() -> tuple[str, ...]:
    return tuple(name for name, record in TARGETS.items() if record.is_cloud)


def load(place: str) -> Any:
    """Import `module:attribute`, or a module."""
    module, _, attribute = place.partition(":")
    found = import_module(module)
    return getattr(found, attribute) if attribute else found


def unknown_target(name: str) -> tuple[str, str]:
    """Returns what is wrong with an unknown target's name, and the fix."""
    from contract.documents.validation import did_you_mean

    fix = f"{did_you_mean(name, TARGETS)} write one of: {', '.join(TARGETS)}".strip()
    return f"there is no target {name!r}", fix
