"""Endpoints on SageMaker: a model and a configuration named by content, one stable endpoint, and its scaling."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_aws import sagemaker

from clouds.aws.jobs import has_gpus, has_local_disks
from clouds.aws.names import VARIANT, serving_environment
from clouds.aws.settings import AwsAlarmSettings
from contract.layout import model_key
from infra import names
from infra.settings import Endpoint as Entry
from infra.targets.aws.limits import bake_seconds
from infra.targets.aws.live import Live
from infra.targets.aws.preparation import Preparation
from infra.targets.aws.quiet import Quiet
from infra.targets.aws.resources import observe
from infra.targets.aws.resources.context import AwsContext
from infra.targets.aws.resources.identity import AwsRole
from infra.targets.aws.resources.network import AwsNetwork
from infra.targets.aws.resources.scaling import declare_scaling
from infra.targets.aws.resources.storage import AwsStorage

_CUDA_13_HOST = "al2023-ami-sagemaker-inference-gpu-4-1"
_ROUTING = "LEAST_OUTSTANDING_REQUESTS"  # answers differ in length: taking turns would queue behind long ones


@dataclass(frozen=True)
class EndpointContext:
    """What the endpoints of a stack share."""

    storage: AwsStorage
    network: AwsNetwork
    role: AwsRole
    public_key: pulumi.Input[str]
    image: str
    alarms_topic: pulumi.Input[str]
    alarms: AwsAlarmSettings
    instance_type: str
    """Of endpoints that name none."""


def declare_endpoint(
    stack: AwsContext, name: str, entry: Entry, shared: EndpointContext, log: Sequence[pulumi.Resource]
) -> pulumi.Output[str]:
    """Declare an endpoint and what belongs to it alone; its log is there first. Returns its URL, once it is there."""
    physical, kind = stack.names.of(name), entry.size.instance_type or shared.instance_type
    container, variant = _container(entry, shared), _variant(name, entry, kind)
    model_digest = _digest({**container, "role": shared.role.arn, "network": _vpc(shared.network)})
    waiting = entry.size.concurrent_requests if entry.mode == "async" else 0
    content = {"model": model_digest, "variant": variant, "key": _key(shared, kind), "async": waiting}
    content_digest = _digest({**content, "work": shared.storage.work.name if waiting else ""})
    prepared = _prepare(stack, name, entry, kind, model_digest, content_digest, shared, log)
    model = _model(
        stack, name, container, shared, _content_name(stack, f"{name}-model", model_digest, prepared.model_number)
    )
    serving: Any = {**variant, "model_name": model.name, "initial_instance_count": prepared.initial_instances}
    configuration = sagemaker.EndpointConfiguration(
        f"configuration-{name}",
        name=_content_name(stack, f"{name}-config", content_digest, prepared.number),
        kms_key_arn=_key(shared, kind),
        production_variants=[serving],
        async_inference_config=_async(name, entry, shared),
        opts=stack.options(delete_before_replace=False),  # the old one serves until the endpoint has the new one
    )
    alarms, quiet = _declare_alarms(stack, name, entry, shared, configuration.name)
    endpoint = sagemaker.Endpoint(
        names.endpoint(name),
        name=physical,
        endpoint_config_name=configuration.name,
        deployment_config=_deployment(name, entry, alarms),
        opts=stack.options(depends_on=[prepared, quiet, *shared.role.ready]),
    )
    scaling = declare_scaling(stack, name, entry, endpoint.name, physical, kind) if entry.size.max_instances else []
    _check(stack, name, entry, shared, configuration.name, prepared, [endpoint, *scaling])
    return endpoint.name.apply(lambda _: f"{stack.caller.runtime_url}/endpoints/{physical}/invocations")


def _prepare(
    stack: AwsContext,
    name: str,
    entry: Entry,
    kind: str,
    model: pulumi.Output[str],
    content: pulumi.Output[str],
    shared: EndpointContext,
    log: Sequence[pulumi.Resource],
) -> Preparation:
    """Its deletion waits until the endpoint is gone; the log group, written to until then, goes after it."""
    return Preparation(
        f"preparation-{name}",
        stack.location,
        [stack.provider, *log],
        endpoint=stack.names.of(name),
        tags=stack.tags,
        model=model,
        content=content,
        instances=entry.size.instances,
        max_instances=entry.size.max_instances,
        instance_type=kind,
        store=shared.storage.store.name,
        alarms=observe.alarm_names(stack.names, name),
    )


def _declare_alarms(
    stack: AwsContext, name: str, entry: Entry, shared: EndpointContext, configuration: pulumi.Output[str]
) -> tuple[list[pulumi.Output[str]], Quiet]:
    alarms = observe.declare_alarms(stack, name, entry, shared.alarms, configuration, shared.alarms_topic)
    quiet = Quiet(
        f"quiet-{name}",
        stack.location,
        [stack.provider, *alarms],
        endpoint=stack.names.of(name),
        configuration=configuration,
        alarms=observe.alarm_names(stack.names, name),
    )
    return [alarm.name for alarm in alarms], quiet


def _check(
    stack: AwsContext,
    name: str,
    entry: Entry,
    shared: EndpointContext,
    configuration: pulumi.Output[str],
    prepared: Preparation,
    after: Sequence[pulumi.Resource],
) -> None:
    size, version = entry.size, entry.version
    Live(
        f"live-{name}",
        stack.location,
        after,
        endpoint=stack.names.of(name),
        configuration=configuration,
        model=version.alias,
        sha256=version.sha256,
        image=shared.image,
        instances=prepared.initial_instances,
        min_instances=size.instances if size.max_instances else 0,
        max_instances=size.max_instances,
        weight=1,
        store=shared.storage.store.name,
        setting=f"{stack.project}:endpoints.{name}.model",
    )


def _container(entry: Entry, shared: EndpointContext) -> dict[str, Any]:
    """The model's container as plain values and Outputs."""
    version = entry.version
    environment = serving_environment(version.alias, version.sha256, shared.public_key)
    environment["LLMOPS_PRECISION"] = entry.precision
    if entry.gate == "waived":
        environment["LLMOPS_GOLDEN"] = "reported"  # somebody wants it all the same: the quality alarm has the last word
    uri = pulumi.Output.concat("s3://", shared.storage.store.name, "/", model_key(version.sha256), "/")
    return {"image": shared.image, "uri": uri, "environment": environment}


def _model(
    stack: AwsContext, name: str, container: dict[str, Any], shared: EndpointContext, physical: pulumi.Input[str]
) -> sagemaker.Model:
    source = {"s3_uri": container["uri"], "s3_data_type": "S3Prefix", "compression_type": "None"}
    primary: Any = {
        "image": container["image"],
        "environment": container["environment"],
        "model_data_source": {"s3_data_sources": [source]},
    }
    return sagemaker.Model(
        f"model-{name}",
        name=physical,
        execution_role_arn=shared.role.arn,
        enable_network_isolation=True,
        primary_container=primary,
        vpc_config=_vpc(shared.network) or None,
        opts=stack.options(
            delete_before_replace=False,
            depends_on=[*shared.role.ready, *shared.storage.store.ready, *shared.network.ready],
        ),
    )


def _vpc(network: AwsNetwork) -> Any:
    return {"subnets": network.subnets, "security_group_ids": network.security_groups} if network else {}


def _variant(name: str, entry: Entry, kind: str) -> Any:
    variant: dict[str, Any] = {
        "variant_name": VARIANT,
        "instance_type": kind,
        "initial_variant_weight": 1.0,
        "container_startup_health_check_timeout_in_seconds": entry.start_seconds,
        "model_data_download_timeout_in_seconds": entry.download_seconds,
        "routing_configs": [{"routing_strategy": _ROUTING}],
    }
    if entry.volume_gb:
        variant["volume_size_in_gb"] = entry.volume_gb
    if entry.inference_ami_version:
        variant["inference_ami_version"] = entry.inference_ami_version
    elif has_gpus(kind):
        pulumi.log.warn(
            f"endpoint {name}: {kind} starts on SageMaker's default host image; with a CUDA 13 image it would stay in "
            f"Creating without a log: set `inference_ami_version: {_CUDA_13_HOST}` for that"
        )
    return variant


def _key(shared: EndpointContext, kind: str) -> pulumi.Input[str] | None:
    return None if has_local_disks(kind) else shared.storage.key_arn


def _async(name: str, entry: Entry, shared: EndpointContext) -> Any:
    if entry.mode != "async":
        return None
    folder = pulumi.Output.concat("s3://", shared.storage.work.name, f"/async/{name}")
    return {
        "client_config": {"max_concurrent_invocations_per_instance": entry.size.concurrent_requests},
        "output_config": {
            "s3_output_path": pulumi.Output.concat(folder, "/output"),
            "s3_failure_path": pulumi.Output.concat(folder, "/failure"),
            "kms_key_id": shared.storage.key_arn,
        },
    }


def _deployment(
    name: str, entry: Entry, alarms: Sequence[pulumi.Output[str]]
) -> sagemaker.EndpointDeploymentConfigArgsDict:
    """https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails.html"""
    rollout, wait = entry.rollout, bake_seconds(entry)
    strategy: str = rollout.strategy
    if strategy != "all_at_once" and entry.size.instances <= 1:
        pulumi.log.warn(
            f"endpoint {name}: one instance has no part that could go first, so `strategy: {strategy}` is done all at "
            "once; alarms roll it back all the same. Two instances make it a real one"
        )
        strategy = "all_at_once"
    share = {"canary": rollout.canary_percent, "all_at_once": 0}.get(strategy, rollout.step_percent)
    size: Any = {"type": "CAPACITY_PERCENT", "value": share}
    found: sagemaker.EndpointDeploymentConfigArgsDict = {
        "auto_rollback_configuration": {"alarms": [{"alarm_name": alarm} for alarm in alarms]}
    }
    if strategy == "rolling":
        found["rolling_update_policy"] = {"maximum_batch_size": size, "wait_interval_in_seconds": wait}
        return found
    routing: Any = {"type": strategy.upper(), "wait_interval_in_seconds": wait}
    if strategy != "all_at_once":
        routing[{"canary": "canary_size", "linear": "linear_step_size"}[strategy]] = size
    found["blue_green_update_policy"] = {"traffic_routing_configuration": routing}
    return found


def _digest(content: dict[str, Any]) -> pulumi.Output[str]:
    text = pulumi.Output.json_dumps(content, sort_keys=True)
    return text.apply(lambda t: hashlib.sha256(t.encode()).hexdigest())


def _content_name(
    stack: AwsContext, thing: str, digest: pulumi.Output[str], number: pulumi.Output[int]
) -> pulumi.Output[str]:
    return pulumi.Output.all(digest, number).apply(lambda both: stack.names.of_content(thing, both[0], int(both[1])))
