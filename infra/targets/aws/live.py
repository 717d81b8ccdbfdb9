"""After an endpoint's update: is what is live what was declared?

SageMaker can roll an update back while the provider reports success; the configuration that still serves would then be
deleted. So this stands after the endpoint: when it fails, the engine deletes nothing.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pulumi
from pulumi import dynamic

from contract.errors import KitError
from contract.layout import endpoint_mark, rejection_log
from infra.targets.aws.preparation import IN_STATE, find_endpoint, is_missing, wait_while
from infra.targets.aws.session import Place, client, error_code, explained
from infra.targets.dynamic import KitProvider, Properties, gone, inputs_of

_SHA256, _NAME = "LLMOPS_MODEL_SHA256", "LLMOPS_MODEL_NAME"


class LiveProvider(KitProvider):
    """Compares configuration, weight, instances and image. Keeps nothing but what it compared."""

    def create(self, props: Properties) -> dynamic.CreateResult:
        """For a new endpoint."""
        _compare(props)
        return dynamic.CreateResult(props["endpoint"], inputs_of(props))

    def update(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.UpdateResult:
        """After an update, or when `refresh` found something else than was declared."""
        _compare(_news)
        return dynamic.UpdateResult(inputs_of(_news))

    def delete(self, _id: str, _props: Properties) -> None:
        """The state knows the endpoint no longer."""
        key = endpoint_mark(_props["endpoint"])
        with explained(f"s3://{_props['store']}/{key}"):
            client("s3", Place.of(_props)).delete_object(Bucket=_props["store"], Key=key)

    def read(self, id_: str, props: Properties) -> dynamic.ReadResult:
        """What is live, as inputs too: so the next preview shows what the next update will change."""
        live = find_endpoint(props)
        if live is None:
            return gone()
        found = inputs_of(props) | _differences(props, live)
        return dynamic.ReadResult(id_, found, found)


class Live(dynamic.Resource, module="llmops", name="Live"):
    """Stands after an endpoint."""

    def __init__(
        self,
        name: str,
        place: Place,
        *,
        endpoint: str,
        configuration: pulumi.Input[str],
        model: str,
        sha256: str,
        image: str,
        instances: pulumi.Input[int],
        limits: tuple[int, int],
        store: pulumi.Input[str],
        setting: str,
        after: Sequence[pulumi.Resource],
    ) -> None:
        """Declare it.

        Args:
            name: logical name.
            place: where.
            endpoint: its name on SageMaker.
            configuration: the declared one's name.
            model: the version's alias.
            sha256: the version's identity.
            image: the container image's reference.
            instances: with which the configuration starts.
            limits: least and most instances, when scaled; 0, 0: not scaled.
            store: bucket that a rejection is written to.
            setting: key of the line that says which version serves.
            after: the endpoint and its scaling.
        """
        props: dict[str, Any] = {
            **place._asdict(),
            "endpoint": endpoint,
            "configuration": configuration,
            "model": model,
            "sha256": sha256,
            "image": image,
            "instances": instances,
            "min_instances": limits[0],
            "max_instances": limits[1],
            "weight": 1,
            "store": store,
            "setting": setting,
        }
        super().__init__(LiveProvider(), name, props, pulumi.ResourceOptions(depends_on=list(after)))


def _compare(props: Properties) -> None:
    live = wait_while(props, "Updating", "SystemUpdating", "RollingBack")
    if live is None:
        raise KitError(
            "is in the stack's state, but not on SageMaker",
            where=f"endpoint {props['endpoint']}",
            fix="`pulumi refresh` takes note of that, then `pulumi up` makes it",
        )
    _mark(props, live)
    if live["EndpointConfigName"] != props["configuration"]:
        _refuse_rollback(props, live)
    found = _differences(props, live)
    if "image" in found:
        raise KitError(
            f"runs {found['image']} instead of {props['image']}",
            where=f"endpoint {props['endpoint']}",
            fix="see who pushed another image under that reference; a digest names one alone",
        )
    if found.keys() & {"instances", "weight"}:
        _restore(props, live)


def _mark(props: Properties, live: dict[str, Any]) -> None:
    """From here on the state knows the endpoint: see infra.targets.aws.preparation."""
    key = endpoint_mark(props["endpoint"])
    with explained(f"s3://{props['store']}/{key}"):
        client("s3", Place.of(props)).put_object(Bucket=props["store"], Key=key, Body=b"")
    with explained(f"endpoint {props['endpoint']}"):
        client("sagemaker", Place.of(props)).add_tags(
            ResourceArn=live["EndpointArn"], Tags=[{"Key": IN_STATE, "Value": "yes"}]
        )


def _differences(props: Properties, live: dict[str, Any]) -> Properties:
    """Properties that are live in another way than they were declared."""
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
    """https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_UpdateEndpointWeightsAndCapacities.html"""
    wanted = {
        "VariantName": live["ProductionVariants"][0]["VariantName"],
        "DesiredWeight": float(props["weight"]),
        "DesiredInstanceCount": int(props["instances"]),
    }
    with explained(f"endpoint {props['endpoint']}"):
        client("sagemaker", Place.of(props)).update_endpoint_weights_and_capacities(
            EndpointName=props["endpoint"], DesiredWeightsAndCapacities=[wanted]
        )
    wait_while(props, "Updating")


def _refuse_rollback(props: Properties, live: dict[str, Any]) -> None:
    serves = live["EndpointConfigName"]
    model, sha256 = _version_of(props, serves)
    why = f"SageMaker rolled the update back: {live.get('FailureReason') or 'an alarm went off, or it did not start'}"
    what = f"{why}; {serves} serves, and {props['configuration']} was declared"
    if not sha256 or sha256 == props["sha256"]:
        raise KitError(
            what,
            where=f"endpoint {props['endpoint']}",
            fix="take the setting that was changed back, then `pulumi up`; or mend what the endpoint's log shows, then "
            "`pulumi up --refresh`: the state takes the update for done",
        )
    line = f"{props['setting']}: {model}@sha256:{sha256}"
    _reject(props, why, line)
    raise KitError(
        f"{what}; {props['model']} is marked rejected",
        where=f"endpoint {props['endpoint']}",
        fix=f"go back with `{line}` in the stack file, then `pulumi up`",
    )


def _version_of(props: Properties, configuration: str) -> tuple[str, str]:
    """Alias and identity of the version that a configuration serves; empty where its parts are gone."""
    from botocore.exceptions import ClientError

    sagemaker = client("sagemaker", Place.of(props))
    with explained(f"endpoint configuration {configuration}"):
        try:
            variants = sagemaker.describe_endpoint_config(EndpointConfigName=configuration)["ProductionVariants"]
            found = sagemaker.describe_model(ModelName=variants[0]["ModelName"])
        except ClientError as e:
            if is_missing(e):
                return "", ""
            raise
    environment = found.get("PrimaryContainer", {}).get("Environment", {})
    return environment.get(_NAME, ""), environment.get(_SHA256, "")


def _reject(props: Properties, why: str, line: str) -> None:
    """Append to the version's log in the store, by conditional writes: who comes second takes the next number.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
    """
    from botocore.exceptions import ClientError

    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    entry = {"action": "rejected", "why": why, "when": now, "endpoint": props["endpoint"], "instead": line}
    body = (json.dumps(entry, indent=2) + "\n").encode()
    log = rejection_log(props["sha256"])
    s3 = client("s3", Place.of(props))
    with explained(f"s3://{props['store']}/{log}"):
        number = s3.list_objects_v2(Bucket=props["store"], Prefix=f"{log}/")["KeyCount"]
        while True:
            number += 1
            try:
                s3.put_object(Bucket=props["store"], Key=f"{log}/{number:06d}.json", Body=body, IfNoneMatch="*")
            except ClientError as e:
                if error_code(e) != "PreconditionFailed":
                    raise
            else:
                return
