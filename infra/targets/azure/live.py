"""After an endpoint's update: is what is live what was declared?

This stands after everything of an endpoint: when it fails, the engine deletes nothing.
"""

from typing import Any

from pulumi import dynamic

from clouds.azure.endpoints import instances_of, state_of, traffic_of
from clouds.azure.session import arm_of
from contract.errors import KitError
from infra.targets.azure.located import AzureLocatedResource, LocatedProvider
from infra.targets.azure.online import find_deployment, find_endpoint, name_of, require_endpoint
from infra.targets.dynamic import Properties, gone, inputs_of

_SETTLED = "Succeeded"


class LiveProvider(LocatedProvider):
    """Compares traffic, states, instances, model version and image. Keeps nothing but what it compared."""

    KEY = "endpoint"

    def put(self, props: Properties) -> Properties:
        """Compare; also when `refresh` found something else than was declared."""
        live = require_endpoint(props, at_rest=True)
        if not (found := _differences(props, live)):
            return {}
        told = "; ".join(f"{key.replace('_', ' ')} is {value}, not {props[key]}" for key, value in found.items())
        raise KitError(
            f"is live in another way than it was declared: {told}",
            where=name_of(props),
            fix="see who changed it, in its activity log on Azure; `pulumi up --refresh` brings back what can be",
        )

    def read(self, id_: str, props: Properties) -> dynamic.ReadResult:
        """What is live, as inputs too: so the next preview shows what the next update will change."""
        live = find_endpoint(props)
        if live is None:
            return gone()
        found = inputs_of(props) | _differences(props, live)
        return dynamic.ReadResult(id_, found, found)


class AzureLive(AzureLocatedResource, module="llmops", name="Live"):
    """Stands after an endpoint.

    Inputs: endpoint, model_version, environment (resource ids), deployment (name), traffic, state, image (reference),
    instance_type, instances and max_instances (least and most).
    """

    PROVIDER = LiveProvider


def _differences(props: Properties, live: dict[str, Any]) -> Properties:
    """Properties that are live in another way than they were declared."""
    deployment = find_deployment(props, props["deployment"])
    if deployment is None:
        return {"deployment": "", "traffic": traffic_of(live)}
    properties = deployment["properties"]
    found: Properties = {
        "traffic": traffic_of(live),
        "state": next((s for s in (state_of(live), state_of(deployment)) if s != _SETTLED), _SETTLED),
        "model_version": _same(properties.get("model") or "", props["model_version"]),
        "environment": _same(properties.get("environmentId") or "", props["environment"]),
        "image": _image(props),
        "instance_type": _same(properties.get("instanceType") or "", props["instance_type"]),
    }
    count = instances_of(deployment)
    if not props["instances"] <= count <= props["max_instances"]:
        found["instances"] = count
    return {key: value for key, value in found.items() if value != props[key]}


def _same(live: str, declared: str) -> str:
    """Azure writes ids and VM sizes in its own case."""
    return declared if live.lower() == declared.lower() else live


def _image(props: Properties) -> str:
    found = arm_of(props).find(props["environment"]) or {}
    return str(found.get("properties", {}).get("image") or "")
