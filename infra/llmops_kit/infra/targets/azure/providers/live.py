"""Verifies after an endpoint's update that the live configuration equals the declared one.

This resource depends on all others of its endpoint: if it fails, the engine deletes nothing.
"""

from pulumi import dynamic

from llmops_kit.clouds.azure.endpoint_documents import instances_of, state_of, traffic_of
from llmops_kit.clouds.azure.session import arm_of
from llmops_kit.core.errors import KitError
from llmops_kit.infra.targets.azure.online import Document, find_deployment, find_endpoint, name_of, require_settled
from llmops_kit.infra.targets.azure.providers.located import AzureLocatedResource, LocatedProvider
from llmops_kit.infra.targets.dynamic import Properties, gone, inputs_of

_SETTLED = "Succeeded"


class AzureLiveProvider(LocatedProvider):
    """Compares traffic, states, instances, model version and image. Outputs: the compared values."""

    KEY = "endpoint"

    def put(self, props: Properties) -> Properties:
        """Compares once nothing is in progress on the endpoint or its deployment; autoscaling may be updating it."""
        live, deployment = require_settled(props, props["deployment"])
        if not (found := _differences(props, live, deployment)):
            return {}
        told = "; ".join(f"{key.replace('_', ' ')} is {value}, not {props[key]}" for key, value in found.items())
        raise KitError(
            f"differs from its declaration: {told}",
            where=name_of(props),
            fix="its activity log on Azure names who changed it; `pulumi up --refresh` restores it where possible",
        )

    def read(self, id_: str, props: Properties) -> dynamic.ReadResult:
        """Returns the live values as inputs too, so that the next preview shows what the next update changes."""
        live = find_endpoint(props)
        if live is None:
            return gone()
        found = inputs_of(props) | _differences(props, live, find_deployment(props, props["deployment"]))
        return dynamic.ReadResult(id_, found, found)


class AzureLive(AzureLocatedResource, module="llmops", name="Live"):
    """Verifies an endpoint after its update.

    Inputs: endpoint, model_version, environment (resource ids), deployment (name), traffic, state, image (reference),
    instance_type, instances and max_instances (least and most).
    """

    PROVIDER = AzureLiveProvider


def _differences(props: Properties, live: Document, deployment: Document | None) -> Properties:
    """Returns the live values of properties that differ from the declared ones."""
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
    """Return the declared spelling if only the case differs: Azure changes the case of ids and VM sizes."""
    return declared if live.lower() == declared.lower() else live


def _image(props: Properties) -> str:
    found = arm_of(props).find(props["environment"]) or {}
    return str(found.get("properties", {}).get("image") or "")
