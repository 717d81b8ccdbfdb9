"""Diff: the effect of changed inputs on a resource, by the rules of its type."""

import re
from typing import Any

from llmops_twins.plugins.aws import equivalence
from llmops_twins.plugins.aws.rules import AwsTypeRules
from llmops_twins.plugins.differences import differences, general
from llmops_twins.plugins.plugin import Change, Differences
from llmops_twins.plugins.values import DEFAULTS, UNKNOWN

Properties = dict[str, Any]


def diff(rules: AwsTypeRules, account: str, old_inputs: Properties, state: Properties, news: Properties) -> Differences:
    """Returns the differences between recorded and wanted inputs; the state substitutes inputs that were not given
    before.
    """

    def same(path: str, old: Any, new: Any) -> bool:
        if new is None and path in rules.computed:
            return True  # the cloud filled it in, and keeps it
        if _void(old) and _void(new) and path not in rules.computed:
            return True
        return equivalence.same(rules, path, old, new)

    found = Differences()
    olds = {**state, **old_inputs, "account": account}
    for name in sorted({*old_inputs, *news} - {DEFAULTS}):
        old = old_inputs.get(name, state.get(name))
        for path, kind, values in differences(name, old, news.get(name), same):
            found.changes[path] = Change(kind, replaces(rules, general(path), kind, values, olds, news))
    if any(change.replaces for change in found.changes.values()):
        found.delete_before_replace = rules.delete_before_replace or _named_by_hand(rules, news)
    return found


def replaces(
    rules: AwsTypeRules, path: str, kind: str, values: tuple[Any, Any], olds: Properties, news: Properties
) -> bool:
    """Returns whether a change at `path` (with `[]` for any index) between `values` replaces the resource."""
    whole = values[1] if kind == "add" else values[0]
    for rule in rules.replace:
        if path == rule or _under(path, rule):
            return True
        if _under(rule, path) and (kind == "update" or _has(whole, rule[len(path) :])):
            return True
    when = rules.replace_when.get(path)
    if when is None:
        return False
    return all(CONDITIONS[name](told, values[0], values[1], olds, news) for name, told in when.items())


def _under(path: str, above: str) -> bool:
    return path.startswith(above) and path[len(above) : len(above) + 1] in (".", "[")


def _has(value: Any, rest: str) -> bool:
    """Returns whether a block contains a value at the rest of a path (`.a[].b`), so that adding or removing the block
    adds or removes it.
    """
    if not rest:
        return value is not None
    if rest.startswith("[]"):
        return isinstance(value, list) and any(_has(item, rest[2:]) for item in value)
    step = re.match(r"\.(\w+)", rest)
    return bool(step) and isinstance(value, dict) and _has(value.get(step[1]), rest[step.end() :])


def _named_by_hand(rules: AwsTypeRules, news: Properties) -> bool:
    """Returns whether the program set the property that can be named automatically
    (nameRequiresDeleteBeforeReplace).
    """
    name = rules.autoname and rules.autoname["property"]
    return bool(name) and name in news and name not in news.get(DEFAULTS, [])


def _void(value: Any) -> bool:
    return value is None or value in ("", [], {})


CONDITIONS = {
    "not": lambda told, old, new, olds, news: [old, new] != told,
    "presence": lambda told, old, new, olds, news: _void(old) != _void(new),
    "unless": lambda told, old, new, olds, news: all(news.get(n) not in (v, UNKNOWN) for n, v in told.items()),
    "was": lambda told, old, new, olds, news: all(olds.get(n) == v for n, v in told.items()),
    "unless_own_account": lambda told, old, new, olds, news: not (_void(old) and new == olds["account"]),
}
