"""Finds a target by its name. Nobody else asks which target it is."""

from importlib import import_module
from typing import Any, cast

from contract.documents.validation import did_you_mean
from infra.settings import setting_error
from infra.targets.target import Target

_TARGETS = {
    "local": "infra.targets.local.target:LocalTarget",
    "aws": "infra.targets.aws.target:AwsTarget",
    "azure": "infra.targets.azure.target:AzureTarget",
}


def find_target(name: str) -> Target[Any]:
    """The target of a name; its code, and the SDKs that it needs, are imported now.

    Raises:
        SettingError: there is no such target.
    """
    if place := _TARGETS.get(name):
        module, _, attribute = place.partition(":")
        return cast(Target[Any], getattr(import_module(module), attribute)())
    fix = f"{did_you_mean(name, _TARGETS)} write one of: {', '.join(_TARGETS)}".strip()
    raise setting_error(("target",), f"there is no target {name!r}", fix)
