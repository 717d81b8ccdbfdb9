"""A stack's state as the plan that Terraform would show of the same resources, for scanners that read Terraform only.

Format: "JSON Output Format" in the documentation of Terraform
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from tests.support.checkout import CHECKOUT

TYPES = CHECKOUT / "twins/llmops_twins/plugins/aws/types.json"
# Pulumi writes a block that may be repeated in the plural; these are Terraform's names for them.
_SINGULAR = {
    "encryptionConfigurations": "encryption_configuration",
    "metricQueries": "metric_query",
    "notifications": "notification",
    "rules": "rule",
    "s3DataSources": "s3_data_source",
    "transitions": "transition",
    "noncurrentVersionTransitions": "noncurrent_version_transition",
}
# Maps of the user's own keys; any other object is a block, which Terraform shows as a list of one.
_MAPS = {"tags", "tagsAll", "environment", "dimensions", "attributes"}


def plan_of(state: Mapping[str, Any]) -> dict[str, Any]:
    """Terraform's plan to create what a state (of `pulumi stack export`) holds of AWS; all values are known.

    Raises:
        KeyError: a type that `twins/llmops_twins/plugins/aws/types.json` does not know.
    """
    types = json.loads(TYPES.read_text())
    found = [each for each in state["deployment"]["resources"] if each["type"].startswith("aws:")]
    addresses = {each["urn"]: _address(types[each["type"]]["terraform"], each["urn"]) for each in found}
    resources = [_resource(each, addresses[each["urn"]]) for each in found]
    return {
        "format_version": "1.2",
        "terraform_version": "1.9.0",
        "planned_values": {"root_module": {"resources": resources}},
        "resource_changes": [_change(each) for each in resources],
        "configuration": {"root_module": {"resources": [_configured(each, addresses) for each in found]}},
    }


def _address(kind: str, urn: str) -> str:
    name = urn.rpartition("::")[2]
    return f"{kind}.{re.sub(r'[^a-zA-Z0-9]+', '_', name).strip('_')}"


def _resource(each: Mapping[str, Any], address: str) -> dict[str, Any]:
    kind, _, name = address.partition(".")
    inputs = {key: value for key, value in each["inputs"].items() if not key.startswith("__")}
    return {
        "address": address,
        "mode": "managed",
        "type": kind,
        "name": name,
        "provider_name": "hashicorp/aws",
        "schema_version": 0,
        "values": _block(inputs),
    }


def _change(resource: Mapping[str, Any]) -> dict[str, Any]:
    change = {"actions": ["create"], "before": None, "after": resource["values"], "after_unknown": {}}
    return {key: resource[key] for key in ("address", "mode", "type", "name", "provider_name")} | {"change": change}


def _configured(each: Mapping[str, Any], addresses: Mapping[str, str]) -> dict[str, Any]:
    """What a resource refers to, by which scanners connect a bucket with its policy."""
    address = addresses[each["urn"]]
    kind, _, name = address.partition(".")
    expressions = {}
    for key, urns in (each.get("propertyDependencies") or {}).items():
        if referred := [addresses[urn] for urn in urns if urn in addresses]:
            expressions[_snake(key)] = {"references": [part for to in referred for part in (f"{to}.id", to)]}
    return {"address": address, "mode": "managed", "type": kind, "name": name, "expressions": expressions}


def _block(values: Mapping[str, Any]) -> dict[str, Any]:
    return {_name(key, value): _value(key, value) for key, value in values.items()}


def _name(key: str, value: Any) -> str:
    return _SINGULAR.get(key, _snake(key)) if isinstance(value, list) else _snake(key)


def _value(key: str, value: Any) -> Any:
    if isinstance(value, dict):
        return dict(value) if key in _MAPS else [_block(value)]
    if isinstance(value, list):
        return [_block(each) if isinstance(each, dict) else each for each in value]
    return value


def _snake(key: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).lower()
