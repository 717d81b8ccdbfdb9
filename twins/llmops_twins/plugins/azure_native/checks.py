"""Check: fills in omitted names, locations and versions, and finds invalid inputs."""

import hashlib
import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from llmops_twins.plugins.azure_native.arm import ArmResponseError
from llmops_twins.plugins.azure_native.bodies import Properties, at
from llmops_twins.plugins.azure_native.rules import Shape, TypeRules, definition
from llmops_twins.plugins.azure_native.session import PluginSession
from llmops_twins.plugins.plugin import Failure, Naming, PluginRequest, ProviderError
from llmops_twins.plugins.values import UNKNOWN, has_unknown

CREATE_FIRST = "__createBeforeDelete"
"""The hidden input of a resource with a random name, whose replacement can therefore be created first."""
VERSION = "azureApiVersion"
GROUPS_VERSION = "2020-10-01"
_GROUP = "azure-native:resources:ResourceGroup"
_RANDOM_DIGITS = 8


def with_defaults(
    rules: TypeRules, request: PluginRequest[PluginSession], olds: Mapping[str, Any], news: Properties, naming: Naming
) -> Properties:
    """Returns the inputs with a name, a location and an API version."""
    inputs = dict(news)
    if rules.named not in inputs:
        name, at_random = _name(rules, request.name, olds, naming)
        if name:
            inputs[rules.named] = name
        if at_random:
            inputs[CREATE_FIRST] = True
    if "location" in rules.body and "location" not in inputs:
        location = _location(rules, request, olds, inputs)
        if location:
            inputs["location"] = location
    inputs.setdefault(VERSION, rules.api_version)
    return inputs


def failures(rules: TypeRules, inputs: Mapping[str, Any]) -> list[Failure]:
    """Returns the violations in inputs, with the real plugin's messages."""
    found = [_missing(name) for name in sorted(rules.required | {rules.named}) if name not in inputs]
    for name, shape in rules.inputs.items():
        if name in inputs:
            found += _judged(name, shape, inputs[name])
    for path, limits in rules.limits.items():
        found += [Failure("", f"'{path}' {told}") for told in _beyond(limits, at(inputs, tuple(path.split("."))))]
    return found


def without_nulls(value: Any) -> Any:
    """Returns a value without null members."""
    if isinstance(value, dict):
        return {name: without_nulls(item) for name, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def _name(rules: TypeRules, logical: str, olds: Mapping[str, Any], naming: Naming) -> tuple[str, bool]:
    if rules.named in olds:
        return olds[rules.named], olds.get(CREATE_FIRST) is True
    if naming.mode == "disable":
        return "", False
    if naming.mode == "enforce" or (naming.mode == "propose" and rules.autoname != "uuid"):
        return naming.proposed, True
    if rules.autoname == "copy":
        return logical, False
    digest = hashlib.sha256(naming.seed or uuid.uuid4().bytes).hexdigest()
    if rules.autoname == "uuid":
        return str(uuid.UUID(digest[:32])), True
    return logical + digest[:_RANDOM_DIGITS], True


def _location(
    rules: TypeRules, request: PluginRequest[PluginSession], olds: Mapping[str, Any], inputs: Properties
) -> str:
    session = request.session
    if olds.get("location"):
        return olds["location"]
    if session.location:
        return session.location
    group = inputs.get("resourceGroupName", "")
    if not group or rules.token == _GROUP:
        return ""
    if group == UNKNOWN or not session.known:
        return UNKNOWN
    if group not in session.group_locations:
        path = f"/subscriptions/{session.subscription}/resourceGroups/{group}"
        try:
            answer = session.reached().get(path, {"api-version": GROUPS_VERSION})
        except ArmResponseError:
            return ""
        session.group_locations[group] = answer.get("location", "")
    return session.group_locations[group]


def _beyond(limits: Mapping[str, Any], value: Any) -> Iterator[str]:
    """Yields messages for the limits that a value violates."""
    if isinstance(value, str) and value != UNKNOWN:
        length = len(value.encode())
        if length < limits.get("shortest", 0):
            yield f"is too short ({length}): at least {limits['shortest']} characters required"
        if length > limits.get("longest", length):
            yield f"is too long ({length}): at most {limits['longest']} characters allowed"
        if not re.search(limits.get("pattern", ""), value):
            yield f"does not match expression '{limits['pattern']}'"
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if value < limits.get("least", value):
            yield f"is too low ({value:f} < {limits['least']:f})"
        if value > limits.get("most", value):
            yield f"is too high ({value:f} > {limits['most']:f})"


def _missing(path: str) -> Failure:
    reason = f"missing required property '{path}'"
    if path == "location":
        way_out = "Either set it explicitly or configure it with 'pulumi config set azure-native:location <value>'."
        reason += f". {way_out}"
    return Failure("", reason)


def _judged(path: str, shape: Shape, value: Any) -> list[Failure]:
    if value == UNKNOWN or shape == "any" or value is None:
        return []
    if isinstance(value, list):
        return _judged_list(path, shape, value)
    if isinstance(value, dict):
        return _judged_object(path, shape, value)
    wanted = _kind(shape)
    if isinstance(value, bool):
        return []  # the real plugin lets any boolean pass, and leaves it to the API
    if isinstance(value, str):
        return [] if wanted == "string" else [_other_kind(path, wanted, "a string")]
    if wanted not in ("number", "integer"):
        return [_other_kind(path, wanted, "a number")]
    if wanted == "integer" and isinstance(value, float):
        return [Failure("", f"'{path}' must be an integer but got {value:f}")]
    return []


def _judged_list(path: str, shape: Shape, value: list[Any]) -> list[Failure]:
    item = shape[0] if isinstance(shape, list) else shape["set"] if isinstance(shape, dict) and "set" in shape else None
    if item is None:
        return [_other_kind(path, _kind(shape), "an array")]
    return [failure for index, each in enumerate(value) for failure in _judged(f"{path}[{index}]", item, each)]


def _judged_object(path: str, shape: Shape, value: dict[str, Any]) -> list[Failure]:
    if not isinstance(shape, dict) or "is" not in shape:
        return []  # the API decides which of several objects it is
    known = definition(shape["is"])
    found = [_missing(f"{path}.{name}") for name in sorted(known.required) if name not in value]
    for name, inner in known.properties.items():
        if name in value:
            found += _judged(f"{path}.{name}", inner, value[name])
    return found


def _kind(shape: Shape) -> str:
    if isinstance(shape, list):
        return "array"
    if isinstance(shape, dict):
        return "string" if "const" in shape else "array" if "set" in shape else "object"
    return shape


def _other_kind(path: str, wanted: str, got: str) -> Failure:
    return Failure("", f"'{path}' should be of type '{wanted}' but got {got}")


def complete(inputs: Mapping[str, Any]) -> Properties:
    """Returns the inputs of a resource, without the plugin's own.

    Raises:
        ProviderError: an input is unknown.
    """
    for name, value in inputs.items():
        if has_unknown(value):
            raise ProviderError(f"the input '{name}' is unknown, so the resource can't be created")
    return {name: value for name, value in inputs.items() if not name.startswith("__") and name != VERSION}
