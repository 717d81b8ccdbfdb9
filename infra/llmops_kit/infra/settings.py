"""Settings from Pulumi's config, and a target's refusals of them."""

from collections.abc import Iterable
from pathlib import Path

import pulumi
from pulumi.runtime.config import CONFIG, get_config_env

from llmops_kit.core.document import Part
from llmops_kit.core.errors import SettingError
from llmops_kit.core.integrity.stack_homes import project_around
from llmops_kit.settings.reading import KeyPath, SettingsOrigin, own_keys, parse_settings
from llmops_kit.settings.stack_settings import Settings


def read_settings() -> Settings:
    """Returns the current stack's settings.

    Raises:
        SettingError: an unknown key, a wrong type or value; names each key and its line.
    """
    return parse_settings(own_keys({**get_config_env(), **CONFIG.get()}, pulumi.get_project()), settings_origin())


def settings_origin() -> SettingsOrigin:
    """Returns the current stack's file."""
    return SettingsOrigin(pulumi.get_project(), project_folder() / f"Pulumi.{pulumi.get_stack()}.yaml")


def setting_error(path: KeyPath, what: str, fix: str) -> SettingError:
    """Returns an error about the setting at `path`, such as ("endpoints", "chatbot", "model")."""
    return settings_origin().error(path, what, fix)


def refuse_set(path: KeyPath, part: Part, fields: Iterable[str], what: str, fix: str) -> None:
    """Refuse fields that a target can't honour, where they are not as they are by default.

    Args:
        path: of the part, such as ("endpoints", "chatbot", "size").
        part: settings, or a part of them.
        fields: names in it; a field that is a part itself is looked into.
        what: why, after the key.
        fix: the fix.

    Raises:
        SettingError: naming the first.
    """
    for name in fields:
        value, default = getattr(part, name), type(part).model_fields[name].default
        if isinstance(value, Part):
            refuse_set((*path, name), value, type(value).model_fields, what, fix)
        elif value != default:
            raise setting_error((*path, name), what, fix)


def project_folder() -> Path:
    """The folder of Pulumi.yaml: the engine starts a program there, or below it where Pulumi.yaml has a `main`."""
    return project_around(Path.cwd())
