"""The output of `pulumi preview --json`, as changes in words."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmops_kit.cli.pulumi_engine import provider_guard
from llmops_kit.core.network.api_key import issued_keys_file
from llmops_kit.policies.model import UNKNOWN, Resource, plain_type

_ENDPOINT = "local/endpoint"
_FILES = {
    "local/store": ("folder",),
    "local/signing-key": ("private_key", "public_key_file", "older_keys"),
    _ENDPOINT: ("key_file",),
}
"""Provider of this machine -> its properties with files that it deletes."""
_STAYS = ("same", "read", "refresh")
_REPLACE = ("replace", "create-replacement")


@dataclass(frozen=True)
class ResourceChange:
    """One change: the operation and its resource, the properties that differ, and those of them that force a
    replacement.
    """

    action: str  # create, update, replace, delete
    kind: str  # such as "endpoint configuration"
    name: str
    properties: list[str] = field(default_factory=list)
    because: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    """Files and folders of this machine that its deletion removes."""


def changes_of(preview: Mapping[str, Any]) -> list[ResourceChange]:
    """Returns the changes of a preview, in its order, without unchanged resources."""
    found = []
    for step in preview.get("steps", []):
        action = "replace" if step["op"] in _REPLACE else step["op"]
        if action in _STAYS or action == "delete-replaced" or _is_inner(step):
            continue
        name = step["urn"].rpartition("::")[2].partition(" (")[0]  # without the note on what is kept
        kind = kind_of(_type(step["urn"]))
        because = sorted(set(step.get("replaceReasons") or [])) if action == "replace" else []
        change = ResourceChange(
            action,
            kind,
            name,
            _differing(step) if action in ("update", "replace") else [],
            because,
            _removed(step) if action == "delete" else [],
        )
        if change not in found and not any(_same_replacement(change, c) for c in found):
            found.append(change)
    return found


def resources_of(preview: Mapping[str, Any]) -> list[Resource]:
    """Returns every resource of the stack as it will be after `up`."""
    found: dict[str, Resource] = {}
    for step in preview.get("steps", []):
        state = step.get("newState")
        if state and step["op"] not in ("delete", "delete-replaced") and not _is_inner(step):
            name, inputs, protect = step["urn"].rpartition("::")[2], state.get("inputs") or {}, state.get("protect")
            found[step["urn"]] = Resource(_type(step["urn"]), name, inputs, bool(protect), step["urn"])
    return list(found.values())


def of_type(resources: Iterable[Resource], kind: str) -> list[Resource]:
    """Returns the resources of a type, such as `aws:kms/key:Key`."""
    return [r for r in resources if r.type == kind]


def known(value: Any, default: Any = None) -> Any:
    """Returns a property's value; the default if it is only known after `up`, or not given."""
    return default if value in (None, UNKNOWN) else value


def kind_of(type_: str) -> str:
    """Returns a type in words: `aws:sagemaker/endpointConfiguration:EndpointConfiguration` -> `endpoint
    configuration`.
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", type_.rpartition(":")[2]).lower()


def _type(urn: str) -> str:
    return plain_type(urn.split("::")[2])


def _is_inner(step: Mapping[str, Any]) -> bool:
    """Returns whether a resource is the stack itself, a provider or a component, which do not exist in a cloud."""
    state = step.get("newState") or step.get("oldState") or {}
    return not state.get("custom", True) or _type(step["urn"]).startswith(("pulumi:pulumi:Stack", "pulumi:providers:"))


def _same_replacement(one: ResourceChange, other: ResourceChange) -> bool:
    return one.action == other.action == "replace" and (one.kind, one.name) == (other.kind, other.name)


def _removed(step: Mapping[str, Any]) -> list[str]:
    """Returns the paths that the deletion of a resource removes, as the state has them."""
    inputs = (step.get("oldState") or {}).get("inputs") or {}
    try:
        provider = provider_guard.released_name(str(inputs.get(provider_guard.PROPERTY, "")))
    except provider_guard.RefusedProviderError:  # `up` refuses it
        return []
    named = [inputs[name] for name in _FILES.get(provider, ()) if inputs.get(name)]
    found = [str(path) for each in named for path in (each if isinstance(each, list) else [each])]
    if provider == _ENDPOINT:
        found += [str(issued_keys_file(Path(path))) for path in found]
    return found


def _differing(step: Mapping[str, Any]) -> list[str]:
    """Returns the top-level properties that differ, except the provider's own bookkeeping."""
    paths = list(step.get("detailedDiff") or {}) or list(step.get("diffReasons") or [])
    names = {re.split(r"[.\[]", path)[0] for path in paths}
    return sorted(n for n in names if not n.startswith("__"))
