"""A previewed stack, judged by the kit's rules (`policies`)."""

from collections.abc import Mapping
from typing import Any

from policies.model import Resource, plain_type
from policies.rules import Verdict, accepted_rules, judge


def judge_preview(preview: Mapping[str, Any], project: str) -> Verdict:
    """Judge what `pulumi preview --json` says that a stack will be.

    Args:
        preview: with what stays as it is (`--show-sames`).
        project: the Pulumi project's name, which is the namespace of the stack's configuration.
    """
    return judge(_resources(preview), accepted_rules(preview.get("config") or {}, project))


def _resources(preview: Mapping[str, Any]) -> list[Resource]:
    found: dict[str, Resource] = {}
    for step in preview.get("steps", []):
        state = step.get("newState")
        if state and step["op"] not in ("delete", "delete-replaced"):
            _, _, types, name = step["urn"].split("::", 3)
            protect = bool(state.get("protect"))
            found[step["urn"]] = Resource(plain_type(types), name, state.get("inputs") or {}, protect, step["urn"])
    return list(found.values())
