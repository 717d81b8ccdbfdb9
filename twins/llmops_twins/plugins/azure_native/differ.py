"""Diff and refresh: the effect of changed inputs, and of changes in the cloud on recorded inputs."""

from collections.abc import Mapping
from typing import Any

from llmops_twins.plugins.azure_native.bodies import Properties
from llmops_twins.plugins.azure_native.checks import CREATE_FIRST, VERSION
from llmops_twins.plugins.azure_native.rules import TypeRules
from llmops_twins.plugins.differences import differences, general
from llmops_twins.plugins.plugin import Change, Differences


def diff(
    rules: TypeRules, old_inputs: Mapping[str, Any], state: Mapping[str, Any], news: Mapping[str, Any]
) -> Differences:
    """Returns the differences between recorded and wanted inputs, regardless of the live state."""
    old = {VERSION: state[VERSION]} if VERSION in state else {}
    old |= old_inputs
    found = Differences()
    for name in sorted({*old, *news}):
        if name.startswith("__") or _by_default(rules, name, old, news):
            continue
        for path, kind, values in differences(name, old.get(name), news.get(name), _same):
            known_already = kind == "add" and state.get(path) == values[1]
            found.changes[path] = Change(kind, _replaces(rules, general(path)) and not known_already)
    if any(change.replaces for change in found.changes.values()):
        found.delete_before_replace = old_inputs.get(CREATE_FIRST) is not True
    return found


def refreshed(inputs: Mapping[str, Any], before: Mapping[str, Any], now: Mapping[str, Any]) -> Properties:
    """Returns recorded inputs, changed where two projections of outputs to inputs differ."""
    found = {name: value for name, value in inputs.items() if name in now or name not in before}
    for name, value in now.items():
        if name not in before:
            found[name] = value
        elif before[name] != value:
            found[name] = _changed(inputs[name], before[name], value) if name in inputs else value
    return found


def _changed(given: Any, before: Any, now: Any) -> Any:
    if isinstance(given, dict) and isinstance(before, dict) and isinstance(now, dict):
        return refreshed(given, before, now)
    if isinstance(given, list) and isinstance(before, list) and isinstance(now, list):
        known = min(len(given), len(before))
        return [_changed(given[at], before[at], item) if at < known else item for at, item in enumerate(now)]
    return given if before == now else now


def _replaces(rules: TypeRules, path: str) -> bool:
    """Returns whether a change at this path replaces the resource: a part of the URL, or inside an input of the type's
    `replace` rules.
    """
    replacing = {*rules.replace, *rules.parameters.values()}
    return path in replacing or any(path.startswith((f"{each}.", f"{each}[")) for each in rules.replace)


def _by_default(rules: TypeRules, name: str, old: Mapping[str, Any], news: Mapping[str, Any]) -> bool:
    """Returns whether an input is added with the API's default value."""
    return name not in old and name in rules.defaults and news.get(name) == rules.defaults[name]


def _same(path: str, old: Any, new: Any) -> bool:
    if not isinstance(old, str) or not isinstance(new, str):
        return False
    if path == "location":
        return old.replace(" ", "").lower() == new.replace(" ", "").lower()
    return path == "resourceGroupName" and old.lower() == new.lower()
