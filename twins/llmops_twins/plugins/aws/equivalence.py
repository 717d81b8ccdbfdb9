"""Different values that AWS treats as the same: policies, JSON texts, numbers as texts, sets."""

import json
from typing import Any

from llmops_twins.plugins.aws.rules import AwsTypeRules
from llmops_twins.plugins.differences import same_members
from llmops_twins.plugins.values import UNKNOWN

PROTOCOLS = {"1": "icmp", "6": "tcp", "17": "udp", "58": "icmpv6", "all": "-1"}


def same(rules: AwsTypeRules, path: str, old: Any, new: Any) -> bool:
    """Returns whether AWS treats two values as the same at `path` (with `[]` for any index). None means absent."""
    if UNKNOWN in (old if isinstance(old, list) else [old]) or UNKNOWN in (new if isinstance(new, list) else [new]):
        return False
    if isinstance(old, list) and isinstance(new, list) and rules.is_set(path, old + new):
        return same_members(old, new, lambda a, b: _alike(rules, f"{path}[]", a, b))
    if old is None or new is None:
        return False
    json_kind = rules.rules.get(path, {}).get("json")
    if json_kind and isinstance(old, str) and isinstance(new, str):
        return json_kind != "exact" and same_json(old, new, policy=json_kind == "policy")
    how = rules.same.get(path)
    return bool(how) and COMPARISONS[how](old, new)


def same_json(old: str, new: str, *, policy: bool) -> bool:
    """Returns whether two texts hold the same JSON. In policies, order doesn't matter, and a list of one equals its
    member.
    """
    try:
        left, right = json.loads(old), json.loads(new)
    except ValueError:
        return False
    return _canonical(left) == _canonical(right) if policy else left == right


def compact(text: str) -> str:
    """Returns a JSON text in the form that the plugin keeps in state: compact, keys sorted; any other text
    unchanged.
    """
    try:
        return json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    except ValueError:
        return text


def _alike(rules: AwsTypeRules, path: str, old: Any, new: Any) -> bool:
    """Returns whether two members of a set are equal, or objects whose non-empty members are equivalent."""
    if isinstance(old, dict) and isinstance(new, dict):
        names = {n for n in (*old, *new) if not (_void(old.get(n)) and _void(new.get(n)))}
        return all(
            old.get(n) == new.get(n)
            or same(rules, f"{path}.{n}", old.get(n), new.get(n))
            or _alike(rules, f"{path}.{n}", old.get(n), new.get(n))
            for n in names
        )
    return old == new or (isinstance(old, str) and isinstance(new, str) and same(rules, path, old, new))


def _void(value: Any) -> bool:
    return value in (None, "", [], {}, False, 0)


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _canonical(inner) for name, inner in sorted(value.items())}
    if isinstance(value, list):
        items = sorted((_canonical(item) for item in value), key=lambda item: json.dumps(item, sort_keys=True))
        return items[0] if len(items) == 1 else items
    return str(value).lower() if isinstance(value, bool) else value


def _decimals(old: Any, new: Any) -> bool:
    try:
        return float(old) == float(new)
    except ValueError:
        return False


def _protocols(old: Any, new: Any) -> bool:
    return PROTOCOLS.get(str(old).lower(), str(old).lower()) == PROTOCOLS.get(str(new).lower(), str(new).lower())


def _last_part(old: Any, new: Any) -> bool:
    return str(old).rpartition("/")[2] == str(new).rpartition("/")[2]


COMPARISONS = {
    "decimal": _decimals,
    "protocol": _protocols,
    "last part of an ARN": _last_part,
    "any case": lambda old, new: str(old).lower() == str(new).lower(),
    "without :*": lambda old, new: str(old).removesuffix(":*") == str(new).removesuffix(":*"),
}
