"""Values that fit the rules of a type, and values that break them."""

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

from llmops_twins.plugins.aws.judges import broken
from llmops_twins.plugins.aws.rules import AwsTypeRules, rules

ARN = "arn:aws:iam::000000000000:role/one"
POLICY = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "a:B", "Resource": "*"}]})
CANDIDATES: tuple[str, ...] = (
    "name",
    "name-two",
    ARN,
    ARN + "-two",
    "s3://bucket/key",
    "s3://bucket/key-two",
    "alias/one",
    "alias/two",
    "10.0.0.0/24",
    "10.0.1.0/24",
    "2001:db8::/64",
    "2001:db9::/64",
    "2026-01-01T00:00:00Z",
    "2026-01-02T00:00:00Z",
    "2026-01-01_00:00",
    "2026-01-02_00:00",
    "000000000000",
    "111111111111",
    POLICY,
    POLICY.replace("a:B", "a:C"),
    "dmFsdWU=",
    "dHdv",
    "1",
    "2",
    "text/csv",
    "text/plain",
    "p99",
    "p90",
    "/",
    "/two/",
)
NUMBERS: tuple[Any, ...] = (1, 2, 60, 120, 30, 7, 600, 1024, 2048, 90, 3600, 7200, 64, 128, 44, 48, 16, 20, 1200, 52)
WORDS_THAT_BREAK = {
    r"--[0-9a-z-]+--x-s3$": "models--usw2-az1--x-s3",
    r"\*.*\*.*\*": "a*b*c*",
    "^/(.*/)?$": "no-slash",
    "[\u201c\u2018\u2019\u201d]": "\u201cquoted\u201d",
    "^alias/aws/": "alias/aws/s3",
    "^sg-": "sg-1",
    "^arn:": ARN,
    "^AWS": "AWSkey",
    r"[\S]+": " ",
    r"^[\w+=,.@-]*$": "no/slash",
}


def good(kind: AwsTypeRules, path: str, shape: Any, turn: int = 0) -> Any:
    """A value for `path` that its rules allow; another one for each `turn` (0 or 1)."""
    if isinstance(shape, list):
        return [good(kind, f"{path}[]", shape[0], turn)]
    if isinstance(shape, dict) and "*" in shape:
        keys = [w for w in ("key", "two") if not list(broken(kind.rules.get(path, {}), path, {w: "v"}, {}))] or ["key"]
        return {keys[0]: good(kind, f"{path}[]", shape["*"], turn)}
    if isinstance(shape, dict):
        return _object(kind, path, shape, turn)
    return _scalar(kind, path, shape, turn)


def bad(rule: dict[str, Any], shape: Any) -> Iterator[tuple[str, Any]]:
    """(part of the rule, value that breaks it and nothing of the property's shape)."""
    for name, told in rule.items():
        for value in BREAKERS[name](told, shape) if name in BREAKERS else ():
            yield name, value


def minimal(token: str) -> dict[str, Any]:
    """Inputs of a type that are complete: what is required, and one of what is required by turns."""
    kind = rules(token)
    found = {n: good(kind, n, s) for n, s in kind.inputs.items() if n in kind.required}
    for group in (*kind.exactly_one, *kind.at_least_one):
        if not any(name in found for name in group):
            found[group[0]] = good(kind, group[0], kind.inputs[group[0]])
    completed(kind, found)
    return found


def completed(kind: AwsTypeRules, inputs: dict[str, Any], path: str = "") -> None:
    """Add what the inputs at hand need beside them, and take away what excludes what stands at `path`."""
    top = path.split(".")[0].split("[")[0]
    for _ in range(3):
        _without_excluded(kind, inputs, top)
        _with_needed(kind, inputs)
        for name in list(inputs):
            for other, values in kind.rules.get(name, {}).get("only_when", {}).items():
                if inputs[name]:
                    inputs[other] = values[0]


def _without_excluded(kind: AwsTypeRules, inputs: dict[str, Any], top: str) -> None:
    for one, other in kind.conflicts:
        for kept, gone in ((one, other), (other, one)):
            if kept in inputs and gone in inputs and "." not in gone and gone != top and (kept == top or gone == other):
                inputs.pop(gone)
    for group in kind.exactly_one:
        given = [name for name in group if name in inputs]
        for name in given:
            if top in group and name != top:
                inputs.pop(name)
        if not any(name in inputs for name in group):
            free = [name for name in group if (name, top) not in kind.conflicts and (top, name) not in kind.conflicts]
            inputs[free[0]] = good(kind, free[0], kind.inputs[free[0]])


def _with_needed(kind: AwsTypeRules, inputs: dict[str, Any]) -> None:
    for name, others in kind.needs.items():
        if inputs.get(name):
            inputs.update({o: good(kind, o, kind.inputs[o]) for o in others if not inputs.get(o)})
    for name, other in kind.required_unless.items():
        if other not in inputs and name not in inputs:
            inputs[name] = good(kind, name, kind.inputs[name])
    for name, group in kind.exactly_one_with.items():
        if inputs.get(name) and not any(inputs.get(g) for g in group):
            inputs[group[0]] = good(kind, group[0], kind.inputs[group[0]])


def put(kind: AwsTypeRules, inputs: dict[str, Any], path: str, value: Any, *, alone: bool = True) -> str:
    """Put a value at a path into inputs, with the blocks around it; the place it has there (`a[0].b`).

    `alone`: what its block can't hold beside it is taken away.
    """
    node: Any = inputs
    shape: Any = kind.inputs
    walked, place = "", ""
    parts = path.split(".")
    for at, part in enumerate(parts):
        name, brackets, _ = part.partition("[]")
        walked = f"{walked}.{name}" if walked else name
        place = f"{place}.{name}" if place else name
        shape = shape[name]
        last = at == len(parts) - 1
        if last and not brackets:
            node[name] = value
            return place
        if name not in node or not node[name]:
            node[name] = good(kind, walked, shape)
        if alone and not last:
            _without_rivals(kind, node, walked, name, parts[at + 1].partition("[")[0])
        node = node[name]
        if brackets:
            walked, place, shape = f"{walked}[]", f"{place}[0]", shape[0]
            if last:
                node[0] = value
                return place
            node = node[0]
    return place


def _without_rivals(kind: AwsTypeRules, node: dict[str, Any], walked: str, name: str, inside: str) -> None:
    """Take from a block what excludes the member that goes into it."""
    block = node[name][0] if isinstance(node[name], list) else node[name]
    base = f"{walked}[]" if isinstance(node[name], list) else walked
    rivals = [
        [path.rpartition(".")[2] for path in pair]
        for pair in kind.conflicts
        if all(path.rpartition(".")[0] == base for path in pair)
    ]
    for group in [*kind.rules.get(base, {}).get("exactly_one_member", ()), *rivals]:
        if inside in group and isinstance(block, dict):
            for other in group:
                if other != inside:
                    block.pop(other, None)


def _object(kind: AwsTypeRules, path: str, shape: dict[str, Any], turn: int) -> dict[str, Any]:
    found = {n: good(kind, f"{path}.{n}", s, turn) for n, s in shape.items() if f"{path}.{n}" in kind.required}
    rule = kind.rules.get(path, {})
    for group in [*rule.get("exactly_one_member", ()), rule.get("any_member", ())]:
        if group and not any(name in found for name in group):
            found[group[0]] = good(kind, f"{path}.{group[0]}", shape[group[0]], turn)
    if "all_ports" in rule:
        found |= {"protocol": "tcp"}
    if not found and shape:
        name = next(iter(shape))
        found[name] = good(kind, f"{path}.{name}", shape[name], turn)
    return found


def _scalar(kind: AwsTypeRules, path: str, shape: str, turn: int) -> Any:
    rule = dict(kind.rules.get(path, {}))
    parent = path.removesuffix("[]")
    if parent != path:
        rule |= kind.rules.get(parent, {}).get("each", {})
    if shape == "boolean":
        return turn == 0
    told = rule.get("one_of") or ()
    values = told or (CANDIDATES if shape == "string" else NUMBERS)
    if "enum_of" in rule:
        from llmops_twins.plugins.aws.judges import enumeration

        values = enumeration(*rule["enum_of"])
    fitting = [v for v in values if not list(broken({k: r for k, r in rule.items() if k != "only_when"}, path, v, {}))]
    assert fitting, f"{kind.token} {path}: no sample fits {rule}"
    return fitting[min(turn, len(fitting) - 1)]


def _around(told: list[Any], shape: Any) -> Iterator[Any]:
    low, high = told
    if high is not None:
        yield _sized(shape, high + 1)
    if low:
        yield _sized(shape, low - 1)


def _sized(shape: Any, size: int) -> Any:
    if isinstance(shape, list):
        return ["a"] * size if shape[0] == "string" else [_any(shape[0])] * size
    if isinstance(shape, dict):
        return {f"k{n}": "v" for n in range(size)}
    return "a" * size


def _any(shape: Any) -> Any:
    if isinstance(shape, dict):
        return {n: _any(s) for n, s in shape.items()} if "*" not in shape else {}
    if isinstance(shape, list):
        return [_any(shape[0])]
    return {"string": "a", "boolean": True}.get(shape, 1)


def _outside(told: list[Any], shape: Any) -> Iterator[Any]:
    low, high = told
    values = [low - 1] if low is not None else []
    values += [high + 1] if high is not None else []
    yield from (str(v) for v in values) if shape == "string" else values


def _each(told: dict[str, Any], shape: Any) -> Iterator[Any]:
    inner = shape["*"] if isinstance(shape, dict) else shape[0]
    for _, value in bad(told, inner):
        yield {"key": value} if isinstance(shape, dict) else [value]


def _against(told: str, shape: Any) -> Iterator[Any]:
    words = [WORDS_THAT_BREAK.get(told, "¬ no"), "¬ no", "-", "", " "]
    yield next(w for w in words if not re.search(told, w))


BREAKERS: dict[str, Any] = {
    "one_of": lambda told, shape: ["no-such-value" if shape == "string" else -12345],
    "enum_of": lambda told, shape: ["no-such-value"],
    "length": _around,
    "range": _outside,
    "multiple_of": lambda told, shape: [told * 2 + 1],
    "pattern": _against,
    "not_pattern": lambda told, shape: [WORDS_THAT_BREAK[told]],
    "format": lambda told, shape: ["¬ no"],
    "prefix": lambda told, shape: [f"10.0.0.0/{told[0] - 1}" if told[0] == 9 else "10.0.0.0/8", "10.0.0.0/30"],
    "json": lambda told, shape: ["{not json"],
    "each": _each,
    "keys": lambda told, shape: [{value: "v"} for _, value in bad(told, "string")],
    "any_member": lambda told, shape: [{}],
    "exactly_one_member": lambda told, shape: [{name: _any(shape[name]) for group in told for name in group}],
    "all_ports": lambda told, shape: [{"protocol": "-1", "fromPort": 1, "toPort": 2}],
}


def leaves(shape: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, shape) of every value that can be given; maps count as one."""
    for name, inner in shape.items():
        here = f"{path}.{name}" if path else name
        while isinstance(inner, list) and isinstance(inner[0], dict) and "*" not in inner[0]:
            here, inner = f"{here}[]", inner[0]
        if isinstance(inner, dict) and "*" not in inner:
            yield from leaves(inner, here)
        else:
            yield here, inner


def pairs(values: Any) -> Iterator[tuple[Any, Any]]:
    """Every two of some values."""
    yield from itertools.combinations(values, 2)
