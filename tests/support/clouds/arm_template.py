"""A stack's state as an ARM template of the same resources, for scanners that read Azure's own form.

Format: https://learn.microsoft.com/azure/azure-resource-manager/templates/syntax
"""

import re
from collections.abc import Mapping
from typing import Any

from llmops_twins.plugins.azure_native.bodies import path_values, to_body
from llmops_twins.plugins.azure_native.rules import rules

_SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"


def template_of(state: Mapping[str, Any]) -> dict[str, Any]:
    """The template that would deploy what a state (of `pulumi stack export`) holds of Azure; all values are known.

    Raises:
        KeyError: a type that `twins/llmops_twins/plugins/azure_native/types.json` does not know.
    """
    resources = [each for each in state["deployment"]["resources"] if each["type"].startswith("azure-native:")]
    return {
        "$schema": _SCHEMA,
        "contentVersion": "1.0.0.0",
        "resources": [_resource(each) for each in resources],
    }


def logical_names(state: Mapping[str, Any]) -> dict[str, str]:
    """How checkov calls each resource -> its logical name in the program."""
    found = {}
    for each in state["deployment"]["resources"]:
        if each["type"].startswith("azure-native:"):
            made = _resource(each)
            logical = each["urn"].rpartition("::")[2].removesuffix(" (llmops down keeps it)")
            found[f"{made['type']}.{made['name']}"] = logical
    return found


def _resource(each: Mapping[str, Any]) -> dict[str, Any]:
    """One resource: its PUT's body, with the type and the name that its id holds."""
    known, id_ = rules(each["type"]), each["id"]
    inputs = {name: value for name, value in each["inputs"].items() if not name.startswith("__")}
    scope, found_one, own = id_.rpartition("/providers/")
    if not found_one:
        return _group(known.api_version, inputs, id_)
    namespace, *parts = own.split("/")
    found = {
        "type": "/".join([namespace, *parts[::2]]),
        "apiVersion": known.api_version,
        "name": "/".join(parts[1::2]),
        **to_body(known, {**inputs, **path_values(known, id_)}, id_),
    }
    extended = re.search(r"/providers/(.+)$", scope)
    return found | ({"scope": extended[1]} if extended else {})


def _group(version: str, inputs: Mapping[str, Any], id_: str) -> dict[str, Any]:
    members = {name: inputs[name] for name in ("location", "tags") if name in inputs}
    name = id_.rpartition("/")[2]
    return {"type": "Microsoft.Resources/resourceGroups", "apiVersion": version, "name": name, **members}
