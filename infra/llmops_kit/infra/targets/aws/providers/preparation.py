"""Prepares the creation or update of an endpoint from its live state.

SageMaker and pulumi-aws leave these cases to their callers: an endpoint whose creation failed exists, but is not in the
state; each new configuration sets the number of instances that it starts with, overriding autoscaling; and while a
scalable target is registered, the instance type can't change, and a fixed instance count doesn't last.
"""

import time
from typing import Any, TypedDict, Unpack

import pulumi
from pulumi import dynamic

from llmops_kit.clouds.aws.errors import explained, find
from llmops_kit.clouds.aws.location import AwsLocation
from llmops_kit.clouds.aws.names import scalable_target
from llmops_kit.clouds.aws.objects import S3Bucket
from llmops_kit.clouds.aws.session import client
from llmops_kit.core.errors import KitError
from llmops_kit.core.layout import endpoint_mark
from llmops_kit.infra.targets.aws.providers.located import AwsLocatedResource
from llmops_kit.infra.targets.dynamic import KitProvider, Properties, differ, inputs_of, say

IN_STATE = "llmops:in-state"
"""Tag of an endpoint that is in the stack's state. One of ours without it was left by an interrupted update, unless the
store has its mark: a company's tools may remove tags, and that must not delete an endpoint that serves.
"""
_WAIT_SECONDS = 75 * 60  # start-up and download may take an hour each at most, and mostly overlap
_POLL_SECONDS = 2.0


class AwsPreparationProvider(KitProvider):
    """Adds inputs: model_number and number, which count changes of content, so that no name is used twice.

    Outputs: initial_instances.
    """

    def check(self, _olds: Properties, news: Properties) -> dynamic.CheckResult:
        """Count the changes of content; here, so that a preview shows which names change."""
        counted = {"model_number": _olds.get("model_number", 1), "number": _olds.get("number", 1)}
        if _olds:
            counted["model_number"] += _olds["model"] != news["model"]
            counted["number"] += _olds["content"] != news["content"] or _is_resized(_olds, news)
        return dynamic.CheckResult(news | counted, [])

    def diff(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.DiffResult:
        """Reports a change of inputs, and an endpoint of the stack that is not in the state.

        Raises:
            KitError: the list of alarms differs, so that the endpoint would be replaced.
        """
        _require_same_alarms(_olds, _news)
        return dynamic.DiffResult(changes=differ(_olds, _news) or _is_left_over(_news, find_endpoint(_news)))

    def create(self, props: Properties) -> dynamic.CreateResult:
        """Removes a leftover endpoint, and records the instance count for the first configuration."""
        _remove_left_over(props)
        count = _live_count(find_endpoint(props), props) or _least(props)
        return dynamic.CreateResult(props["endpoint"], inputs_of(props) | {"initial_instances": count})

    def update(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.UpdateResult:
        """Removes a leftover endpoint, and records the next configuration's instance count: the settings' if they
        change it, and the live one if the content changes.
        """
        _remove_left_over(_news)
        live = find_endpoint(_news)
        _require_usable(live, _news)
        count = _olds["initial_instances"]
        if _is_resized(_olds, _news):
            count = _least(_news)
        elif _olds["content"] != _news["content"]:
            count = _live_count(live, _news) or _least(_news)
        # The engine deletes scaling that is no longer declared only after the endpoint's update: it would undo the
        # count until then.
        no_longer_scaled = _olds["max_instances"] and not _news["max_instances"]
        if live and (no_longer_scaled or _olds["instance_type"] != _news["instance_type"]):
            _deregister(_news)
        return dynamic.UpdateResult(inputs_of(_news) | {"initial_instances": count})

    def delete(self, _id: str, _props: Properties) -> None:
        """Removes what an interrupted update may have left, because the state no longer has the endpoint."""
        live = find_endpoint(_props)
        if live and _is_ours(_props, live):
            remove_endpoint(_props)


class PreparationInputs(TypedDict):
    """Declared values."""

    endpoint: str  # its name on SageMaker
    tags: dict[str, str]  # that mark the stack's endpoints
    model: pulumi.Input[str]  # digest of the SageMaker model's content
    content: pulumi.Input[str]  # digest of the configuration's content, without its instance count
    instances: int
    max_instances: int  # 0: not scaled
    instance_type: str
    store: pulumi.Input[str]  # bucket with marks of the endpoints that are in the state
    alarms: list[str]  # their names


class AwsPreparation(AwsLocatedResource, module="llmops", name="Preparation"):
    """Precedes an endpoint."""

    initial_instances: pulumi.Output[int]
    model_number: pulumi.Output[int]
    number: pulumi.Output[int]

    def __init__(
        self, name: str, location: AwsLocation, opts: pulumi.ResourceOptions, **inputs: Unpack[PreparationInputs]
    ) -> None:
        outputs = dict.fromkeys(("initial_instances", "model_number", "number"))
        super().__init__(AwsPreparationProvider(), name, location, opts, {**inputs, **outputs})


def find_endpoint(props: Properties) -> dict[str, Any] | None:
    """Returns the answer of DescribeEndpoint; None if there is no such endpoint.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeEndpoint.html
    """
    with explained(f"endpoint {props['endpoint']}"):
        return find(_sagemaker(props).describe_endpoint, EndpointName=props["endpoint"])


def tags_of(props: Properties, live: dict[str, Any]) -> dict[str, str]:
    """Returns an endpoint's tags; {} if its deletion has finished since it was described."""
    with explained(f"endpoint {props['endpoint']}"):
        pages = _sagemaker(props).get_paginator("list_tags").paginate(ResourceArn=live["EndpointArn"])
        found = find(pages.build_full_result) or {"Tags": []}
    return {tag["Key"]: tag["Value"] for tag in found["Tags"]}


def store_of(props: Properties) -> S3Bucket:
    """Returns the bucket of the stack's versions, with the credentials of the provider's process."""
    return S3Bucket(client("s3", AwsLocation.of(props)), props["store"])


def _sagemaker(props: Properties) -> Any:
    return client("sagemaker", AwsLocation.of(props))


def remove_endpoint(props: Properties) -> None:
    """Delete an endpoint, and wait until it is gone. SageMaker can't delete one that is being created or updated, so
    this waits until that has ended.

    Raises:
        KitError: an operation takes too long, or AWS refuses.
    """
    live = wait_while(props, "Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")
    if live is None:
        return
    with explained(f"endpoint {props['endpoint']}"):
        _sagemaker(props).delete_endpoint(EndpointName=props["endpoint"])
    wait_while(props, "Deleting")


def wait_while(props: Properties, *statuses: str) -> dict[str, Any] | None:
    """Wait while an endpoint has one of these statuses; return the endpoint then, or None if it is gone.

    Raises:
        KitError: it takes longer than SageMaker's own time-outs allow.
    """
    deadline = time.monotonic() + _WAIT_SECONDS
    told = ""
    while (live := find_endpoint(props)) and live["EndpointStatus"] in statuses:
        if told != live["EndpointStatus"]:
            told = live["EndpointStatus"]
            say(f"endpoint {props['endpoint']} is {told}: waiting")
        if time.monotonic() > deadline:
            raise KitError(
                f"has been {told} for {_WAIT_SECONDS // 60} minutes",
                where=f"endpoint {props['endpoint']}",
                fix="see its log group; repeat `pulumi up` once the operation has ended",
            )
        time.sleep(_POLL_SECONDS)
    return live


def _remove_left_over(props: Properties) -> None:
    live = find_endpoint(props)
    if live and _is_left_over(props, live):
        why = f": {live['FailureReason']}" if live.get("FailureReason") else ""
        say(f"removing endpoint {props['endpoint']}, {live['EndpointStatus']}{why}: an interrupted update left it")
        remove_endpoint(props)


def _is_left_over(props: Properties, live: dict[str, Any] | None) -> bool:
    if not live or live["EndpointStatus"] == "Deleting":
        return bool(live)
    tags = tags_of(props, live)
    known = IN_STATE in tags or store_of(props).exists(endpoint_mark(props["endpoint"]))
    return props["tags"].items() <= tags.items() and not known


def _is_ours(props: Properties, live: dict[str, Any]) -> bool:
    return props["tags"].items() <= tags_of(props, live).items()


def _require_usable(live: dict[str, Any] | None, props: Properties) -> None:
    if live and live["EndpointStatus"] == "Failed":
        raise KitError(
            f"has failed ({live.get('FailureReason', 'no reason given')}), and SageMaker can't update it in that state",
            where=f"endpoint {props['endpoint']}",
            fix="set `endpoint: off` for it and run `pulumi up`, then set it to `on` again",
        )


def _require_same_alarms(olds: Properties, news: Properties) -> None:
    if olds["alarms"] != news["alarms"]:
        raise KitError(
            "its list of alarms would change, and SageMaker's provider would replace the endpoint, with an outage",
            where=f"endpoint {news['endpoint']}",
            fix="give this version a new endpoint name beside the old one, move callers there, then remove the old one",
        )


def _is_resized(olds: Properties, news: Properties) -> bool:
    """Returns whether the settings ask for another instance count, unless the endpoint is scaled automatically."""
    return olds["instances"] != news["instances"] and not news["max_instances"]


def _least(props: Properties) -> int:
    """Returns the instances that a configuration starts with, at least one; scaling to zero follows."""
    return max(1, props["instances"])


def _live_count(live: dict[str, Any] | None, props: Properties) -> int:
    """Returns the endpoint's current instance count within the limits of its scaling; 0 if it has none."""
    variants = (live or {}).get("ProductionVariants", [])
    count = sum(int(v.get("DesiredInstanceCount", 0)) for v in variants)
    if count and props["max_instances"]:
        return min(max(count, _least(props)), props["max_instances"])
    return count


def _deregister(props: Properties) -> None:
    """Deregister the scalable target; one that is still declared is registered again after the endpoint's update.

    https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-scaling-update.html
    """
    scaling = client("application-autoscaling", AwsLocation.of(props))
    with explained(f"scaling of endpoint {props['endpoint']}"):
        find(scaling.deregister_scalable_target, **scalable_target(props["endpoint"]))
