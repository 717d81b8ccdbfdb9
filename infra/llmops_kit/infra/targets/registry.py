"""Finds a target by its name. No other shared module depends on the target."""

from typing import Any

from llmops_kit.clouds.targets import TARGETS, load, unknown_target
from llmops_kit.infra.settings import setting_error
from llmops_kit.infra.targets.target import Target


def find_target(name: str) -> Target[Any]:
    """Import a target's code, and the SDKs that it needs.

    Raises:
        SettingError: there is no such target.
    """
    if name not in TARGETS:
        raise setting_error(("target",), *unknown_target(name))
    return load(TARGETS[name].program)()
