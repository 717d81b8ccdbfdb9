"""Check: fills in names and defaults, and refuses what the real plugin refuses, with its messages."""

import copy
import hashlib
import json
import re
import secrets
from collections.abc import Iterator
from typing import Any

from llmops_twins.plugins.aws.judges import broken
from llmops_twins.plugins.aws.rules import AwsTypeRules, Shape, snake
from llmops_twins.plugins.plugin import Failure, Naming
from llmops_twins.plugins.values import DEFAULTS, UNKNOWN, has_unknown

RANDOM_DIGITS = 7


def normalised(rules: AwsTypeRules, news: dict[str, Any]) -> dict[str, Any]:
    """Returns inputs without nulls, with JSON objects as texts, and scalars in the property's own type."""
    inputs = {n: copy.deepcopy(v) for n, v in news.items() if v is not None and n != DEFAULTS}
    for name in rules.objects & set(inputs):
        if isinstance(inputs[name], dict | list):
            inputs[name] = UNKNOWN if has_unknown(inputs[name]) else json.dumps(inputs[name])
    return {n: _typed(v, rules.inputs.get(n)) for n, v in inputs.items()}


def with_defaults(
    rules: AwsTypeRules, logical: str, olds: dict[str, Any], inputs: dict[str, Any], naming: Naming
) -> tuple[dict[str, Any], list[Failure]]:
    """Returns inputs with a name and the type's defaults if missing; `__defaults` lists those filled in."""
    found, filled, failures = copy.deepcopy(inputs), [], []
    told = rules.autoname
    if told and told["property"] not in found:
        name = told["property"]
        if not any({name, other} in map(set, rules.conflicts) and other in found for other in found):
            made = _name(told, logical, olds, inputs, naming)
            if made:
                found[name] = made
                filled.append(name)
            elif naming.mode == "disable":
                failures.append(Failure(name, f"automatic naming is disabled; {name} has to be given"))
    given = set(found)
    for path, value in rules.defaults.items():
        top = path.split(".")[0].split("[")[0]
        if "." not in path and "[" not in path:
            if path not in found and not _conflicting(rules, path, given):
                found[path] = value
                filled.append(path)
        elif top in found:
            found[top] = _with_nested(found[top], path[len(top) :], value)
    return {**found, DEFAULTS: sorted(filled)}, failures


def failures(rules: AwsTypeRules, logical: str, inputs: dict[str, Any]) -> list[Failure]:
    """Returns all violations in complete inputs that the plugin would report; unknown values pass."""
    values = {n: v for n, v in inputs.items() if n != DEFAULTS}
    found = [*_shapes(rules, logical, values)]
    if found:
        return found
    found += _combinations(rules, logical, values)
    for path, rule in rules.rules.items():
        for place, value in at(values, path):
            found += [
                Failure(place, f"{reason}. Examine values at '{logical}.{place}'.")
                for reason in broken(rule, place, value, values)
            ]
    return found


def at(values: Any, path: str, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yields (place, value) for each match of a path with `[]`: `a[].b` -> `a[0].b`, `a[1].b`."""
    head, _, rest = path.partition(".")
    name, brackets, more = head.partition("[]")
    if not isinstance(values, dict) or values.get(name) is None:
        return
    value, here = values[name], f"{place}.{name}" if place else name
    if brackets and isinstance(value, list):
        spread = [(f"{here}[{i}]", item) for i, item in enumerate(value)]
        for _ in range(more.count("[]")):
            spread = [(f"{p}[{i}]", x) for p, v in spread if isinstance(v, list) for i, x in enumerate(v)]
    elif brackets:
        return
    else:
        spread = [(here, value)]
    for where, item in spread:
        if not rest:
            yield where, item
        else:
            yield from at(item, rest, where)


def _name(told: dict[str, Any], logical: str, olds: dict[str, Any], inputs: dict[str, Any], naming: Naming) -> str:
    name = told["property"]
    if olds.get(name) and name in olds.get(DEFAULTS, []):
        return olds[name]  # an update keeps the name
    suffix = told.get("suffix_when", {})
    ending = suffix.get("suffix", "") if suffix and inputs.get(suffix["property"]) is True else ""
    if naming.mode == "disable":
        return ""
    if naming.mode in ("enforce", "propose") and naming.proposed:
        made = naming.proposed
    else:
        digits = hashlib.sha256(naming.seed).hexdigest() if naming.seed else secrets.token_hex(RANDOM_DIGITS)
        made = f"{told.get('prefix', '')}{logical}-{digits[:RANDOM_DIGITS]}"
    return (made.lower() if told.get("lower") else made) + ending


def _conflicting(rules: AwsTypeRules, path: str, given: set[str]) -> bool:
    return any(path in pair and bool((set(pair) - {path}) & given) for pair in rules.conflicts)


def _with_nested(value: Any, path: str, default: Any) -> Any:
    """Returns a block with a default filled in; `path` starts with `[]` or `.`."""
    if path.startswith("[]"):
        return [_with_nested(v, path[2:], default) for v in value] if isinstance(value, list) else value
    if not path.startswith(".") or not isinstance(value, dict):
        return value
    name, rest = re.match(r"\.(\w+)(.*)", path).groups()  # type: ignore[union-attr]
    if not rest:
        return value if value.get(name) is not None else {**value, name: default}
    return {**value, name: _with_nested(value[name], rest, default)} if name in value else value


def _typed(value: Any, shape: Shape) -> Any:
    """Returns a value converted to its property's shape: numbers given as text, texts given as numbers."""
    if shape is None or value == UNKNOWN:
        return value
    if isinstance(shape, list) and isinstance(value, list):
        return [_typed(v, shape[0]) for v in value if v is not None]
    if isinstance(shape, dict) and isinstance(value, dict):
        inner = shape.get("*")
        return {n: _typed(v, inner if inner is not None else shape.get(n)) for n, v in value.items() if v is not None}
    if shape == "string" and isinstance(value, bool | int | float):
        return str(value).lower() if isinstance(value, bool) else str(value)
    if shape in ("integer", "number") and isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?", value):
        return float(value) if "." in value else int(value)
    if shape == "boolean" and value in ("true", "false"):
        return value == "true"
    return value


def _shapes(rules: AwsTypeRules, logical: str, values: dict[str, Any]) -> Iterator[Failure]:
    known = {**rules.inputs, "tagsAll": {"*": "string"}} if rules.tagged else rules.inputs
    yield from _wrong_shape(rules, logical, values, known, "", "")


def _wrong_shape(
    rules: AwsTypeRules, logical: str, value: Any, shape: Shape, path: str, place: str
) -> Iterator[Failure]:
    if value == UNKNOWN:
        return
    if isinstance(shape, list):
        if not isinstance(value, list):
            yield Failure(place, f"expected a list, got {_kind(value)}. Examine values at '{logical}.{place}'.")
            return
        for index, item in enumerate(value):
            yield from _wrong_shape(rules, logical, item, shape[0], f"{path}[]", f"{place}[{index}]")
    elif isinstance(shape, dict):
        if not isinstance(value, dict):
            yield Failure(place, f"expected an object, got {_kind(value)}. Examine values at '{logical}.{place}'.")
        elif "*" in shape:
            for name, item in value.items():
                yield from _wrong_shape(rules, logical, item, shape["*"], f"{path}[]", f"{place}.{name}")
        else:
            yield from _wrong_members(rules, logical, value, shape, path, place)
    elif not _fits(value, shape):
        yield Failure(place, f"expected a {shape}, got {_kind(value)}. Examine values at '{logical}.{place}'.")


def _wrong_members(
    rules: AwsTypeRules, logical: str, value: dict[str, Any], shape: Shape, path: str, place: str
) -> Iterator[Failure]:
    def inside(base: str, name: str) -> str:
        return f"{base}.{name}" if base else name

    for name in shape:
        if inside(path, name) in rules.required and value.get(name) is None:
            reason = f'The argument "{snake(name)}" is required, but no definition was found.'
            yield Failure(
                inside(place, name),
                f"Missing required argument. {reason}. Examine values at '{logical}.{inside(place, name)}'.",
            )
    for name, item in value.items():
        if name not in shape:
            yield Failure(
                inside(place, name), f"Invalid or unknown key. Examine values at '{logical}.{inside(place, name)}'."
            )
        elif item is not None:
            yield from _wrong_shape(rules, logical, item, shape[name], inside(path, name), inside(place, name))


def _combinations(rules: AwsTypeRules, logical: str, values: dict[str, Any]) -> Iterator[Failure]:
    for one, other in rules.conflicts:
        for place, _ in at(values, one):
            beside = other if "." not in other else place.rpartition(".")[0] + "." + other.rpartition(".")[2]
            if any(p == beside or p.startswith(f"{beside}[") for p, v in at(values, other) if _given(v)):
                reason = f'"{snake(one)}": conflicts with {snake(other)}'
                yield Failure(
                    place, f"Conflicting configuration arguments. {reason}. Examine values at '{logical}.{place}'."
                )
    for group in rules.exactly_one:
        given = [name for name in group if any(_given(v) for _, v in at(values, name))]
        if len(given) != 1 and not any(v == UNKNOWN for n in group for _, v in at(values, n)):
            names = ",".join(map(snake, group))
            what = f"one of `{names}` must be specified" if not given else f"only one of `{names}` can be specified"
            yield Failure(
                group[0], f"Invalid combination of arguments. {what}. Examine values at '{logical}.{group[0]}'."
            )
    for group in rules.at_least_one:
        if not any(_given(v) for name in group for _, v in at(values, name)):
            names = ",".join(map(snake, group))
            reason = f"one of `{names}` must be specified"
            yield Failure(group[0], f"Missing required argument. {reason}. Examine values at '{logical}.{group[0]}'.")
    yield from _by_presence(rules, logical, values)
    for name, others in rules.needs.items():
        for place, value in at(values, name):
            missing = [o for o in others if not any(True for _ in at(values, o))]
            if _given(value) and missing:
                reason = f'"{snake(name)}": all of `{",".join(map(snake, [name, *others]))}` must be specified'
                yield Failure(place, f"Missing required argument. {reason}. Examine values at '{logical}.{place}'.")


def _by_presence(rules: AwsTypeRules, logical: str, values: dict[str, Any]) -> Iterator[Failure]:
    for name, other in rules.required_unless.items():
        if not _given(values.get(other)) and values.get(name) is None:
            reason = f'The argument "{snake(name)}" is required, but no definition was found.'
            yield Failure(name, f"Missing required argument. {reason}. Examine values at '{logical}.{name}'.")
    for name, group in rules.exactly_one_with.items():
        given = [other for other in group if _given(values.get(other))]
        if _given(values.get(name)) and len(given) != 1:
            reason = f"one of `{','.join(map(snake, group))}` must be set with {snake(name)}"
            yield Failure(name, f"Invalid combination of arguments. {reason}. Examine values at '{logical}.{name}'.")


def _given(value: Any) -> bool:
    return value is not None and value not in ("", []) and value is not False


def _fits(value: Any, shape: Shape) -> bool:
    if shape == "string":
        return isinstance(value, str)
    if shape == "boolean":
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    return isinstance(value, int) if shape == "integer" else isinstance(value, int | float)


def _kind(value: Any) -> str:
    return {dict: "an object", list: "a list", bool: "a boolean", str: "a string"}.get(type(value), "a number")
