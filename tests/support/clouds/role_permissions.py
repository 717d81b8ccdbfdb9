"""Least privilege, looked at from the rehearsal: which step needs which action of which role, and what none needs."""

import copy
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

Policy = dict[str, Any]


def first_needs(report: Mapping[str, Any]) -> dict[tuple[str, str], tuple[str, str]]:
    """(role, action) -> (the step that needs it first, a resource that it was needed for), of a report.json."""
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for step in report["steps"]:
        for access in step["accesses"]:
            if access["allowed"]:
                found.setdefault((access["role"], access["action"]), (step["id"], access["resource"]))
    return found


def actions_of(policies: Iterable[Policy]) -> set[str]:
    """The actions that policies allow, as they are written."""
    allowed = (s for policy in policies for s in policy["Statement"] if s["Effect"] == "Allow")
    return {action for statement in allowed for action in _listed(statement["Action"])}


def is_needed(action: str, needed: Iterable[str]) -> bool:
    """Does anything that was needed stand for an action of a policy, which may have a `*`?"""
    return any(fnmatchcase(each.lower(), action.lower()) for each in needed)


def without(policies: Iterable[Policy], action: str) -> list[Policy]:
    """The same policies, with an action taken away; where a wider one allows it, by a denial."""
    taken = [copy.deepcopy(policy) for policy in policies]
    for policy in taken:
        named = [s for s in policy["Statement"] if "Action" in s]  # a denial may have NotAction
        for statement in named:
            statement["Action"] = [a for a in _listed(statement["Action"]) if a != action]
        policy["Statement"] = [s for s in policy["Statement"] if s.get("Action", s.get("NotAction"))]
    if is_allowed_somewhere(taken, action):
        denial = {"Effect": "Deny", "Action": action, "Resource": "*"}
        taken.append({"Version": "2012-10-17", "Statement": [denial]})
    return taken


def is_allowed_somewhere(policies: Iterable[Policy], action: str) -> bool:
    """Does any statement allow an action, on whatever resource?"""
    return any(fnmatchcase(action.lower(), written.lower()) for written in actions_of(policies))


def _listed(actions: str | list[str]) -> list[str]:
    return [actions] if isinstance(actions, str) else actions
