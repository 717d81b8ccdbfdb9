"""Records of the targets, by which the program and the command line find and import a target's code when needed."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class TargetRecord:
    """A target of stacks and the modules that implement it, each named as `module:attribute`."""

    name: str
    program: str
    """Its resources: an llmops_kit.infra.targets.target.Target."""
    operations: str
    """The command line's operations on its stacks: an llmops_kit.cli.interfaces.operations.Operations."""
    data_scheme: str = ""
    """URL scheme of data in its storage, such as s3; empty: it has none."""
    data: str = ""
    """Opens `bucket/key` there: a function to an ObjectSource (clouds/objects.py) and the key."""
    traits: str = ""
    """CloudTraits by which its stacks' settings are resolved; empty: it is not a cloud."""
    signing_key: str = ""
    """Its setting with the reference of an existing key that signs; empty: it has none."""
    is_cloud: bool = True
    """Whether stacks are in an account, not on this machine; their settings then have a key of the target's name."""


TARGETS = {
    record.name: record
    for record in (
        TargetRecord(
            "local",
            "llmops_kit.infra.targets.local.target:LocalTarget",
            "llmops_kit.cli.platforms.local.operations:OPERATIONS",
            is_cloud=False,
        ),
        TargetRecord(
            "aws",
            "llmops_kit.infra.targets.aws.target:AwsTarget",
            "llmops_kit.cli.platforms.aws.operations:OPERATIONS",
            data_scheme="s3",
            data="llmops_kit.clouds.aws.objects:open_data",
            traits="llmops_kit.clouds.aws.traits:TRAITS",
            signing_key="signing_key_arn",
        ),
        TargetRecord(
            "azure",
            "llmops_kit.infra.targets.azure.target:AzureTarget",
            "llmops_kit.cli.platforms.azure.operations:OPERATIONS",
            data_scheme="az",
            data="llmops_kit.clouds.azure.objects:open_data",
            traits="llmops_kit.clouds.azure.traits:TRAITS",
            signing_key="signing_key",
        ),
    )
}


def cloud_names() -> tuple[str, ...]:
    return tuple(name for name, record in TARGETS.items() if record.is_cloud)


def load(place: str) -> Any:
    """Imports and returns `module:attribute`, or a module."""
    module, _, attribute = place.partition(":")
    found = import_module(module)
    return getattr(found, attribute) if attribute else found


def unknown_target(name: str) -> tuple[str, str]:
    """Returns the message for an unknown target's name, and the fix."""
    from llmops_kit.core.validation import did_you_mean

    fix = f"{did_you_mean(name, TARGETS)} write one of: {', '.join(TARGETS)}".strip()
    return f"there is no target {name!r}", fix
