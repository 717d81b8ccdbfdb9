"""From a target's name to its Platform: the one place that asks which target it is."""

import importlib
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast

from contract.documents.outputs import StackOutputs
from contract.errors import KitError, SettingError, require_packages
from contract.twins import azure_twin_address, twin_address
from llmops.platforms.platform import Platform, Say

if TYPE_CHECKING:
    from llmops.images.images import ImageRegistry
    from llmops.plan.endpoints import Rules
    from llmops.plan.policy import Recording
    from llmops.plan.quotas import Needed, QuotaNeed
    from llmops.platforms.sweep import Sweeper
    from llmops.stacks.locks import Lock
    from llmops.stacks.stack import PulumiStack

_CLASSES = {
    "local": "llmops.platforms.local.platform:LocalPlatform",
    "aws": "llmops.platforms.aws.platform:AwsPlatform",
    "azure": "llmops.platforms.azure.platform:AzurePlatform",
}
_TWINS = {"aws": twin_address, "azure": azure_twin_address}
_PREFLIGHTS = {
    "aws": "llmops.platforms.aws.preflight:preflight",
    "azure": "llmops.platforms.azure.preflight:preflight",
}
_SWEEPERS = {
    "aws": "llmops.platforms.aws.sweep.sweep:AwsSweeper",
    "azure": "llmops.platforms.azure.sweep.sweep:AzureSweeper",
}
_IMAGES = {
    "aws": "llmops.platforms.aws.image_registry:EcrImages",
    "azure": "llmops.platforms.azure.image_registry:AcrImages",
}
_USE_POLICIES = {"aws": "llmops.platforms.aws.use_policy", "azure": "llmops.platforms.azure.use_policy"}
_RECORDINGS = {
    "aws": "llmops.platforms.aws.recording.recording:AwsRecording",
    "azure": "llmops.platforms.azure.recording:AzureRecording",
}
_DOCTORS = {"aws": "llmops.platforms.aws.doctor", "azure": "llmops.platforms.azure.doctor"}
_PLANS = {"aws": "llmops.plan.aws", "azure": "llmops.plan.azure"}
_STATE_LOCKS = {
    "s3": ("aws", "llmops.platforms.aws.state_locks:locks_of_stack"),
    "azblob": ("azure", "llmops.platforms.azure.state_locks:locks_of_stack"),
}
_QUOTAS = {"aws": "llmops.platforms.aws.quotas", "azure": "llmops.platforms.azure.quotas"}
_EXTRAS = {
    "aws": ("aws", "boto3"),
    "azure": ("azure", "azure.identity", "azure.mgmt.core", "azure.storage.blob", "azure.keyvault.keys"),
}


class CloudFacts(Protocol):
    """What `llmops doctor` asks of a cloud: a module that imports no SDK."""

    PACKAGES: tuple[str, ...]
    TWIN_PACKAGE: str
    TWIN_WORDS: str
    NODE_IS_FOR: str
    PLUGIN: str
    VARIABLES: tuple[str, ...]

    def caller(self, settings: Mapping[str, Any]) -> str:
        """Who this shell is there, in words. Raises KitError: nobody."""
        ...


def clouds() -> tuple[str, ...]:
    """The targets that are clouds."""
    return tuple(_DOCTORS)


def doctor_facts(target: str) -> CloudFacts:
    """What there is to look for, of a cloud."""
    return cast(CloudFacts, importlib.import_module(_DOCTORS[target]))


def require_target(name: str, where: str) -> None:
    """See that there is a target of this name.

    Raises:
        SettingError: there is none; names those that there are.
    """
    if name not in _CLASSES:
        from contract.documents.validation import did_you_mean

        fix = f"{did_you_mean(name, _CLASSES)} write one of: {', '.join(_CLASSES)}".strip()
        raise SettingError(f"there is no target {name!r}", where=where, fix=fix)


def preflight(stack: "PulumiStack", say: Say, *, dev: bool, make: bool) -> None:
    """What a target on a cloud asks for before its stacks are touched; nothing for `local`.

    Args:
        stack: the stack.
        say: told where it lives, and what takes long.
        dev: take a state that this machine alone has.
        make: make the stack in its backend where it is new.

    Raises:
        KitError: what is missing, or would go to the wrong place.
    """
    if place := _PREFLIGHTS.get(stack.target):
        require_packages(*_EXTRAS[stack.target])
        module, _, name = place.partition(":")
        getattr(importlib.import_module(module), name)(stack, say, dev=dev, make=make)


def twin_of(target: str) -> str:
    """The address of the twin of a cloud that this shell talks to; empty: it talks to the cloud."""
    return _TWINS[target](os.environ)


def region_of(stack: "PulumiStack") -> str:
    """The region of a stack on a cloud."""
    module, _, _ = _PREFLIGHTS[stack.target].partition(":")
    return importlib.import_module(module).region_of(stack)


def plan_rules(stack: "PulumiStack") -> "Rules":
    """What a stack's cloud makes of a plan."""
    return cast("Rules", importlib.import_module(_PLANS[stack.target]))


def state_locks(stack: "PulumiStack", name: str) -> "Callable[[], list[Lock]] | None":
    """Looks for the locks on a stack of the same backend, where that is a cloud's storage; None where it is none."""
    scheme, _, _ = stack.backend.partition("://")
    if scheme not in _STATE_LOCKS:
        return None
    target, place = _STATE_LOCKS[scheme]
    require_packages(*_EXTRAS[target])
    module, _, function = place.partition(":")
    return getattr(importlib.import_module(module), function)(stack, name)


def quotas(stack: "PulumiStack", needed: "Needed") -> "list[QuotaNeed]":
    """What the account allows of what a stack needs."""
    if not needed:
        return []
    return importlib.import_module(_QUOTAS[stack.target]).quotas_of(stack, needed)


def use_policy(outputs: StackOutputs) -> dict[str, Any]:
    """What those must be allowed who use a deployed stack, but for its state's place.

    Raises:
        KitError: its target has no policies.
    """
    if outputs.target not in _USE_POLICIES:
        raise KitError(
            f"target {outputs.target} has no policies",
            where=f"stack {outputs.stack}",
            fix="--stack names one on a cloud",
        )
    return importlib.import_module(_USE_POLICIES[outputs.target]).use_policy(outputs)


def recording(stack: "PulumiStack") -> "Recording":
    """What a stack's cloud brings to recording what its deployer must be allowed.

    Raises:
        KitError: its target has no policies.
    """
    if stack.target not in _RECORDINGS:
        raise KitError(
            "only a stack on a cloud has a deployer with a policy", where=str(stack.file.path), fix="--stack"
        )
    require_packages(*_EXTRAS[stack.target])
    module, _, name = _RECORDINGS[stack.target].partition(":")
    return getattr(importlib.import_module(module), name)(stack)


def sweeper(stack: "PulumiStack") -> "Sweeper":
    """What looks through the account and region of a stack for what nobody's state knows.

    Raises:
        KitError: its target has no account to look through.
    """
    if stack.target not in _SWEEPERS:
        raise KitError(
            f"a stack of target {stack.target} has no account to sweep",
            where=str(stack.file.path),
            fix=f"choose a stack of target {' or '.join(_SWEEPERS)} with --stack",
        )
    require_packages(*_EXTRAS[stack.target])
    module, _, name = _SWEEPERS[stack.target].partition(":")
    return getattr(importlib.import_module(module), name)(_clients_of(stack))


def image_registry(stack: "PulumiStack") -> "ImageRegistry":
    """Where a deployed stack's images are pushed to.

    Raises:
        KitError: it is not deployed yet, or this shell talks to another account.
    """
    outputs = stack.outputs()
    require_packages(*_EXTRAS[outputs.target])
    module, _, name = _IMAGES[outputs.target].partition(":")
    return getattr(importlib.import_module(module), name)(outputs)


def _clients_of(stack: "PulumiStack") -> Any:
    module, _, _ = _PREFLIGHTS[stack.target].partition(":")
    return importlib.import_module(module).clients_of(stack)


def open_platform(outputs: StackOutputs) -> Platform:
    """The platform of a deployed stack; imports that target's code alone.

    Raises:
        KitError: this kit can't operate the target.
    """
    if outputs.target not in _CLASSES:
        raise KitError(
            f"target {outputs.target} can't be operated by this version",
            where=f"stack {outputs.stack}",
            fix=f"targets: {', '.join(_CLASSES)}",
        )
    if extra := _EXTRAS.get(outputs.target):
        require_packages(*extra)
    module, _, name = _CLASSES[outputs.target].partition(":")
    return getattr(importlib.import_module(module), name)(outputs)
