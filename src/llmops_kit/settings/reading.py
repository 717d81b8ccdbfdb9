"""Parses a stack's settings from plain values into the models. Every error names the key, its line and the fix."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from llmops_kit.core.errors import SettingError
from llmops_kit.core.validation import bounds_of, did_you_mean, known_keys, message_of
from llmops_kit.settings.stack_settings import Settings

KeyPath = tuple[int | str, ...]
"""Path of a setting, such as ("endpoints", "chatbot", "model")."""
Value = TypeVar("Value")
_OBJECTS = {name for name, field in Settings.model_fields.items() if not isinstance(field.default, str)}


@dataclass(frozen=True)
class SettingsOrigin:
    """The stack file that settings come from, which errors name."""

    project: str
    """Name of the Pulumi project, which is the namespace of the keys."""
    file: Path
    """Pulumi.<stack>.yaml; it may be missing, as in tests of programs."""

    def error(self, path: KeyPath, what: str, fix: str) -> SettingError:
        """Returns an error about the setting at `path`."""
        return SettingError(what, where=self._place(path), fix=fix)

    def _place(self, path: KeyPath) -> str:
        """Returns `Pulumi.demo.yaml:7: llmops:endpoints.chatbot.model`, without file and line if they are unknown."""
        key = f"{self.project}:{'.'.join(str(p) for p in path)}"
        if not self.file.is_file():
            return key
        from ruamel.yaml import YAML  # only errors need it

        from llmops_kit.core.document import line_of

        tree = YAML(typ="rt", pure=True).load(self.file.read_text())
        line = line_of(tree, ("config", f"{self.project}:{path[0]}", *path[1:]))
        return f"{self.file.name}:{line}: {key}"


def own_keys(config: Mapping[str, Value], project: str) -> dict[str, Value]:
    """Returns the values of a project's own keys, without its name before each."""
    prefix = f"{project}:"
    return {str(k).removeprefix(prefix): value for k, value in config.items() if str(k).startswith(prefix)}


def parse_settings(values: Mapping[str, Any], origin: SettingsOrigin, keys: Collection[str] | None = None) -> Settings:
    """Parses settings; objects may be JSON, as Pulumi passes them to programs.

    Args:
        values: by key.
        origin: named in errors.
        keys: the settings to read, while others keep their defaults; None: all, and unknown keys are errors.

    Raises:
        SettingError: an unknown key, a wrong type or value; names each key and its line.
    """
    wanted = {key: value for key, value in values.items() if keys is None or key in keys}
    data = {key: _decode(value) if key in _OBJECTS else value for key, value in wanted.items()}
    try:
        return Settings.model_validate(data)
    except ValidationError as e:
        raise _explain(e, origin) from None


def _decode(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value  # not an object: validation says so


def joined(errors: Iterable[SettingError]) -> SettingError:
    """Returns one error that names all of them, which are one or more."""
    first, *others = errors
    more = "".join(f"\n  {e.where}: {e.what}\n    fix: {e.fix}" for e in others)
    return SettingError(first.what, where=first.where, fix=first.fix + more)


def _explain(error: ValidationError, origin: SettingsOrigin) -> SettingError:
    return joined(_finding(item, origin) for item in error.errors())


def _finding(item: Mapping[str, Any], origin: SettingsOrigin) -> SettingError:
    path: KeyPath = item["loc"]
    if path[-1] == "[key]":
        fix = "a name has 3-32 small letters, digits and single dashes"
        return origin.error(path[:-1], message_of(item), fix)
    if item["type"] == "extra_forbidden":
        known = known_keys(Settings, path)
        meant = did_you_mean(str(path[-1]), known)
        fix = f"{meant} remove it, or write one of: {', '.join(known)}".strip()
        return origin.error(path, "unknown key", fix)
    if item["type"] == "missing":
        promoted = len(path) == 3 and path[-1] == "model"
        return origin.error(path, "is missing", "`llmops promote name@number` writes it" if promoted else "write it")
    return origin.error(path, message_of(item), _in_bounds(path) or "change it in the stack file")


def _in_bounds(path: KeyPath) -> str:
    """Returns the fix for a number outside of its setting's bounds; empty if there are none."""
    low, high = bounds_of(Settings, path)
    return f"write a number from {low:g} to {high:g}" if low is not None and high is not None else ""
