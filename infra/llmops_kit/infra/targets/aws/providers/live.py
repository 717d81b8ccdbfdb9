"""Compares the live endpoint with its declaration after an update.

SageMaker can roll an update back while the provider reports success; the engine would then delete the configuration
that still serves. So this resource follows the endpoint: if it fails, the engine deletes nothing.
"""

from datetime import timedelta
from typing import Any, TypedDict, Unpack

import pulumi
from pulumi import dynamic

from llmops_kit.clouds.aws.errors import explained, find
from llmops_kit.clouds.aws.location import AwsLocation
from llmops_kit.clouds.aws.names import MODEL_NAME, MODEL_SHA256
from llmops_kit.clouds.aws.rollbacks import version_fault
from llmops_kit.clouds.aws.session import client
from llmops_kit.core.errors import KitError
from llmops_kit.core.layout import endpoint_mark
from llmops_kit.core.rejections import NOT_TO_BLAME, reject
from llmops_kit.infra.targets.aws.providers.located import AwsLocatedResource
from llmops_kit.infra.targets.aws.providers.preparation import IN_STATE, find_endpoint, store_of, wait_while
from llmops_kit.infra.targets.dynamic import KitProvider, Properties, gone, inputs_of

_LONGEST_UPDATE = timedelta(hours=2)  # including its rollback; Pulumi's provider gives up on an update after one hour


class AwsLiveProvider(KitProvider):
    """Compares configuration, weight, instances and image. Outputs: the compared values."""

    def create(self, props: Properties) -> dynamic.CreateResult:
        """Compares a new endpoint with its declaration."""
        _compare(props)
        return dynamic.CreateResult(props["endpoint"], inputs_of(props))

    def update(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.UpdateResult:
        """Compares the endpoint after an update, or after `refresh` found a difference from its declaration."""
        _compare(_news)
        return dynamic.UpdateResult(inputs_of(_news))

    def delete(self, _id: str, _props: Properties) -> None:
        """Removes the endpoint's mark from the store, because the state no longer has the endpoint."""
        store_of(_props).remove(endpoint_mark(_props["endpoint"]))

    def read(self, id_: str, props: Properties) -> dynamic.ReadResult:
        """Returns the live values as inputs too, so that the next preview shows the next update's changes."""
        live = find_endpoint(props)
        if live is None:
            return gone()
        found = inputs_of(props) | _differences(props, live)
        return dynamic.ReadResult(id_, found, found)


class LiveInputs(TypedDict):
    """Declared values."""

    endpoint: str  # its name on SageMaker
    configuration: pulumi.Input[str]  # name of the declared configuration
    model: str  # the version's alias
    sha256: str  # the version's identity
    image: str  # the container image's reference
    instances: pulumi.Input[int]  # count that the configuration starts with
    min_instances: int  # limits of scaling; 0 and 0: not scaled
    max_instances: int
    weight: int
    store: pulumi.Input[str]  # bucket that a rejection is written to
    setting: str  # key of the stack file's line that names the version


class AwsLive(AwsLocatedResource, module="llmops", name="Live"):
    """Verifies an endpoint after its update and its scaling."""

    def __init__(
        self, name: str, location: AwsLocation, opts: pulumi.ResourceOptions, **inputs: Unpack[LiveInputs]
    ) -> None:
        super().__init__(AwsLiveProvider(), name, location, opts, inputs)


def _compare(props: Properties) -> None:
    live = wait_while(props, "Updating", "SystemUpdating", "RollingBack")
    if live is None:
        raise KitError(
            "is in the stack's state, but not on SageMaker",
            where=f"endpoint {props['endpoint']}",
            fix="`pulumi refresh` removes it from the state, then `pulumi up` creates it again",
        )
    _mark(props, live)
    if live["EndpointConfigName"] != props["configuration"]:
        _refuse_rollback(props, live)
    found = _differences(props, live)
    if "image" in found:
        raise KitError(
            f"runs {found['image']} instead of {props['image']}",
            where=f"endpoint {props['endpoint']}",
            fix="find out who pushed another image under that reference; use a digest, which is immutable",
        )
    if found.keys() & {"instances", "weight"}:
        _restore(props, live)


def _mark(props: Properties, live: dict[str, Any]) -> None:
    """Tag the endpoint as known to the state: see llmops_kit.infra.targets.aws.providers.preparation."""
    store_of(props).write(endpoint_mark(props["endpoint"]), b"")
    with explained(f"endpoint {props['endpoint']}"):
        client("sagemaker", AwsLocation.of(props)).add_tags(
            ResourceArn=live["EndpointArn"], Tags=[{"Key": IN_STATE, "Value": "yes"}]
        )


def _differences(props: Properties, live: dict[str, Any]) -> Properties:
    """Return the live values of properties that differ from the declared ones."""
    found: Properties = {}
    if live["EndpointConfigName"] != props["configuration"]:
        found["configuration"] = live["EndpointConfigName"]
    for variant in live.get("ProductionVariants", [])[:1]:
        count = int(variant.get("DesiredInstanceCount", props["instances"]))
        scaled = props["max_instances"] > 0
        inside = props["min_instances"] <= count <= props["max_instances"] if scaled else count == props["instances"]
        if not inside:
            found["instances"] = count
        if (weight := float(variant.get("DesiredWeight", 1.0))) != props["weight"]:
            found["weight"] = weight
        images = [i.get("SpecifiedImage", "") for i in variant.get("DeployedImages", [])]
        if images and props["image"] not in images and "configuration" not in found:
            found["image"] = images[0]
    return found


def _restore(props: Properties, live: dict[str, Any]) -> None:
    """Restores weight and instance count by UpdateEndpointWeightsAndCapacities:
    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_UpdateEndpointWeightsAndCapacities.html
    """
    wanted = {
        "VariantName": live["ProductionVariants"][0]["VariantName"],
        "DesiredWeight": float(props["weight"]),
        "DesiredInstanceCount": int(props["instances"]),
    }
    with explained(f"endpoint {props['endpoint']}"):
        client("sagemaker", AwsLocation.of(props)).update_endpoint_weights_and_capacities(
            EndpointName=props["endpoint"], DesiredWeightsAndCapacities=[wanted]
        )
    wait_while(props, "Updating")


def _refuse_rollback(props: Properties, live: dict[str, Any]) -> None:
    """Raises an error for a rollback; rejects the version only if it caused the rollback and another one serves."""
    serves, where = live["EndpointConfigName"], f"endpoint {props['endpoint']}"
    model, sha256 = _version_of(props, serves)
    with explained(f"alarms of {where}"):
        since = live["LastModifiedTime"] - _LONGEST_UPDATE
        fault = version_fault(live, client("cloudwatch", AwsLocation.of(props)), since)
    why = f"SageMaker rolled the update back: {fault or live.get('FailureReason') or 'it gives no reason'}"
    what = f"{why}; {serves} serves, and {props['configuration']} was declared"
    if not sha256 or sha256 == props["sha256"]:
        raise KitError(
            what,
            where=where,
            fix="revert the changed setting, then `pulumi up`; or fix the error in the endpoint's log, then "
            "`pulumi up --refresh`: the state records the update as done",
        )
    line = f"{props['setting']}: {model}@sha256:{sha256}"
    if not fault:
        raise KitError(
            f"{what}; {props['model']} {NOT_TO_BLAME}",
            where=where,
            fix="fix the cause, then `pulumi up --refresh` tries again: the state records the update as done; or go "
            f"back with `{line}` in the stack file, then `pulumi up`",
        )
    store = store_of(props)
    reject(props["sha256"], why, props["endpoint"], lambda log: len(store.listed(f"{log}/")), store.create, line)
    raise KitError(
        f"{what}; {props['model']} is marked rejected",
        where=where,
        fix=f"go back with `{line}` in the stack file, then `pulumi up`",
    )


def _version_of(props: Properties, configuration: str) -> tuple[str, str]:
    """Returns alias and identity of a configuration's version; empty if the configuration or its model is gone."""
    sagemaker = client("sagemaker", AwsLocation.of(props))
    with explained(f"endpoint configuration {configuration}"):
        found = find(sagemaker.describe_endpoint_config, EndpointConfigName=configuration)
        model = found and find(sagemaker.describe_model, ModelName=found["ProductionVariants"][0]["ModelName"])
    environment = (model or {}).get("PrimaryContainer", {}).get("Environment", {})
    return environment.get(MODEL_NAME, ""), environment.get(MODEL_SHA256, "")
