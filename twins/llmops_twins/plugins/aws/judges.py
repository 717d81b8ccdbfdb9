"""Evaluates the rules of types.json for a value, with the real plugin's messages."""

import functools
import ipaddress
import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from llmops_twins.plugins.aws.rules import snake
from llmops_twins.plugins.values import has_unknown

ARN = re.compile(r"arn:[\w-]+:[a-zA-Z0-9-]+:[\w-]*:(\d{12}|aws|third-party|aws-managed)?:.+")
Rule = Mapping[str, Any]


def broken(rule: Rule, place: str, value: Any, properties: Mapping[str, Any]) -> Iterator[str]:
    """Yields the violations of a rule by a value; `properties` are the resource's, for rules that involve several."""
    name = snake(place.rpartition(".")[2])
    if has_unknown(value):
        return
    for kind, told in rule.items():
        if kind == "only_when":
            reason = _only_when(told, name, value, properties)
        else:
            reason = JUDGES[kind](told, name, value, rule) if kind in JUDGES else ""
        if reason:
            yield reason


@functools.cache
def enumeration(service: str, shape: str) -> tuple[str, ...]:
    """Returns the values of an enumeration of a service's API."""
    from botocore.loaders import create_loader

    return tuple(create_loader().load_service_model(service, "service-2")["shapes"][shape]["enum"])


def _only_when(told: Mapping[str, list[Any]], name: str, value: Any, properties: Mapping[str, Any]) -> str:
    if not value:
        return ""
    for other, values in told.items():
        if not has_unknown(properties.get(other)) and properties.get(other) not in values:
            return f"{name} can only be set when {snake(other)} is {' or '.join(json.dumps(v) for v in values)}"
    return ""


def _enum_of(told: list[str], name: str, value: Any, rule: Rule) -> str:
    return _one_of(list(enumeration(*told)), name, value, rule)


def _any_member(told: list[str], name: str, value: Any, rule: Rule) -> str:
    given = isinstance(value, dict) and any(value.get(n) is not None for n in told)
    return "" if given else f"{name}: at least one of {', '.join(map(snake, told))} must be given"


def _exactly_one_member(told: list[list[str]], name: str, value: Any, rule: Rule) -> str:
    for group in told:
        given = [n for n in group if value.get(n) not in (None, "", {}, [])]
        if len(given) != 1:
            return f"{name}: exactly one of {', '.join(map(snake, group))} must be given"
    return ""


def _all_ports(told: Mapping[str, list[str]], name: str, value: Any, rule: Rule) -> str:
    ports = (value.get("fromPort"), value.get("toPort"))
    if ports == (0, 0) or all(value.get(other) not in values for other, values in told.items()):
        return ""
    return f"from_port ({ports[0]}) and to_port ({ports[1]}) must both be 0 to use the 'ALL' \"-1\" protocol!"


def _prefix(told: list[int], name: str, value: Any, rule: Rule) -> str:
    low, high = told
    length = value.partition("/")[2]
    if not length.isdecimal() or low <= int(length) <= high:
        return ""  # another rule refuses values that are not networks
    return f"expected {name} to contain a network Value with between {low} and {high} significant bits, got: {value}"


def _one_of(told: list[Any], name: str, value: Any, rule: Rule) -> str:
    fits = str(value).lower() in [str(t).lower() for t in told] if rule.get("any_case") else value in told
    return "" if fits else f"expected {name} to be one of [{' '.join(json.dumps(t) for t in told)}], got {value}"


def _length(told: list[int | None], name: str, value: Any, rule: Rule) -> str:
    low, high = told
    size = len(value)
    if (low is None or size >= low) and (high is None or size <= high):
        return ""
    if not isinstance(value, str):
        return f"{name}: expected {low or 0} to {high if high is not None else 'any number of'} item(s), got {size}"
    return f"expected length of {name} to be in the range ({low or 0} - {high}), got {value}"


def _range(told: list[float | None], name: str, value: Any, rule: Rule) -> str:
    low, high = told
    try:
        number = float(value)
    except ValueError:
        return f"expected {name} to be a number, got {value}"
    if number in rule.get("or", []) or ((low is None or number >= low) and (high is None or number <= high)):
        return ""
    if high is None:
        return f"expected {name} to be at least ({low}), got {value}"
    return f"expected {name} to be in the range ({low} - {high}), got {value}"


def _pattern(told: str, name: str, value: Any, rule: Rule) -> str:
    return "" if re.search(told, value) else f'invalid value for {name} (must match "{told}"): {value}'


def _not_pattern(told: str, name: str, value: Any, rule: Rule) -> str:
    return f'invalid value for {name} (must not match "{told}"): {value}' if re.search(told, value) else ""


def _multiple_of(told: int, name: str, value: Any, rule: Rule) -> str:
    fits = value in rule.get("or", []) or (value > 0 and value % told == rule.get("remainder", 0))
    return "" if fits else f"expected {name} to be {rule.get('or', [])} or a multiple of {told}, got {value}"


def _format(told: str, name: str, value: Any, rule: Rule) -> str:
    return "" if FORMATS[told](value) else f"{name}: invalid {told}: {value}"


def _json(told: str, name: str, value: Any, rule: Rule) -> str:
    if value == "":
        return ""
    try:
        json.loads(value)
    except ValueError as error:
        return f'"{name}" contains an invalid JSON: {error}'
    return ""


def _each(told: dict[str, Any], name: str, value: Any, rule: Rule) -> str:
    items = value.values() if isinstance(value, dict) else value
    return next((reason for item in items for reason in broken(told, name, item, {})), "")


def _keys(told: dict[str, Any], name: str, value: Any, rule: Rule) -> str:
    return next((reason for key in value for reason in broken(told, name, key, {})), "")


def _is_time(value: str) -> bool:
    if not re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$", value):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _is_network(version: int, value: str) -> bool:
    try:
        network = ipaddress.ip_network(value)
    except ValueError:
        return False
    return version == network.version


def _is_float(value: Any) -> bool:
    try:
        float(value)
    except ValueError:
        return value == ""
    return True


FORMATS = {
    "ARN": lambda v: v == "" or bool(ARN.fullmatch(v)),
    "account id": lambda v: bool(re.fullmatch(r"\d{12}", v)),
    "RFC 3339 time": _is_time,
    "budget time": lambda v: bool(re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d:\d\d", v)),
    "IPv4 CIDR": lambda v: _is_network(4, v),
    "IPv6 CIDR": lambda v: _is_network(6, v),
    "float": _is_float,
}

JUDGES: dict[str, Callable[[Any, str, Any, Rule], str]] = {
    "one_of": _one_of,
    "length": _length,
    "range": _range,
    "pattern": _pattern,
    "not_pattern": _not_pattern,
    "multiple_of": _multiple_of,
    "format": _format,
    "json": _json,
    "enum_of": _enum_of,
    "any_member": _any_member,
    "exactly_one_member": _exactly_one_member,
    "all_ports": _all_ports,
    "prefix": _prefix,
    "each": _each,
    "keys": _keys,
}
