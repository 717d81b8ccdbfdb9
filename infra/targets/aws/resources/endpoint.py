"""Endpoints on SageMaker: a model and a configuration named by content, one stable endpoint, and its scaling."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_aws import sagemaker

from clouds.aws.jobs import has_gpus, has_local_disks
from contract.layout import model_key
from infra import names
from infra.settings import Endpoint as Entry
from infra.targets.aws.limits import bake_seconds, instance_type
from infra.targets.aws.live import Live
from infra.targets.aws.preparation import Preparation
from infra.targets.aws.quiet import Quiet
from infra.targets.aws.resources import observe
from infra.targets.aws.resources.identity import Role
from infra.targets.aws.resources.network import Network
from infra.targets.aws.resources.observe import VARIANT
from infra.targets.aws.resources.scaling import provide_scaling
from infra.targets.aws.resources.stack import Here
from infra.targets.aws.resources.storage import Storage

_CUDA_13_HOST = "al2023-ami-sagemaker-inference-gpu-4-1"
_ROUTING = "LEAST_OUTSTANDING_REQUESTS"  # answers differ in length: taking turns would queue behind long ones


@dataclass(frozen=True)
class Ground:
    """What endpoints stand on."""

    storage: Storage
    network: Network
    role: Role
    public_key: pulumi.Input[str]
    image: str
    alarms_topic: pulumi.Input[str]


@dataclass(frozen=True)
class Made:
    """An endpoint that was declared."""

    name: pulumi.Input[str]
    url: pulumi.Input[str]


def provide_endpoint(here: Here, name: str, entry: Entry, ground: Ground, log: Sequence[pulumi.Resource]) -> Made:
    """Declare an endpoint and what belongs to it alone; its log is there first."""
    physical, kind = here.names.of(name), instance_type(here.settings, entry)
    container, variant = _container(entry, ground), _variant(name, entry, kind)
    model_digest = _digest({**container, "role": ground.role.arn, "network": _vpc(ground.network)})
    waiting = entry.size.concurrent_requests if entry.mode == "async" else 0
    content = {"model": model_digest, "variant": variant, "key": _key(ground, kind), "async": waiting}
    content_digest = _digest({**content, "work": ground.storage.work.name if waiting else ""})
    prepared = _prepare(here, name, entry, model_digest, content_digest, ground, log)
    model = _model(
        here, name, container, ground, _content_name(here, f"{name}-model", model_digest, prepared.model_number)
    )
    configuration = sagemaker.EndpointConfiguration(
        f"configuration-{name}",
        name=_content_name(here, f"{name}-config", content_digest, prepared.number),
        kms_key_arn=_key(ground, kind),
        production_variants=[
            sagemaker.EndpointConfigurationProductionVariantArgs(
                **variant, model_name=model.name, initial_instance_count=prepared.initial_instances
            )
        ],
        async_inference_config=_async(name, entry, ground),
        opts=here.options(delete_before_replace=False),  # the old one serves until the endpoint has the new one
    )
    alarms, quiet = _provide_alarms(here, name, entry, ground, configuration.name)
    endpoint = sagemaker.Endpoint(
        names.endpoint(name),
        name=physical,
        endpoint_config_name=configuration.name,
        deployment_config=_deployment(name, entry, alarms),
        opts=here.options(depends_on=[prepared, quiet, *ground.role.ready]),
    )
    scaling = provide_scaling(here, name, entry, endpoint.name, physical, kind) if entry.size.max_instances else []
    _check(here, name, entry, ground, configuration.name, prepared, [endpoint, *scaling])
    return Made(physical, endpoint.name.apply(lambda _: _url(here, physical)))


def _prepare(
    here: Here,
    name: str,
    entry: Entry,
    model: pulumi.Output[str],
    content: pulumi.Output[str],
    ground: Ground,
    log: Sequence[pulumi.Resource],
) -> Preparation:
    """Its deletion waits until the endpoint is gone; the log group, written to until then, goes after it."""
    return Preparation(
        f"preparation-{name}",
        here.place,
        endpoint=here.names.of(name),
        tags=here.tags,
        model=model,
        content=content,
        instances=entry.size.instances,
        max_instances=entry.size.max_instances,
        instance_type=instance_type(here.settings, entry),
        store=ground.storage.store.name,
        alarms=observe.alarm_names(here.names, name),
        after=[here.provider, *log],
    )


def _provide_alarms(
    here: Here, name: str, entry: Entry, ground: Ground, configuration: pulumi.Output[str]
) -> tuple[list[pulumi.Output[str]], Quiet]:
    alarms = observe.provide_alarms(here, name, entry, configuration, ground.alarms_topic)
    quiet = Quiet(
        f"quiet-{name}",
        here.place,
        endpoint=here.names.of(name),
        configuration=configuration,
        alarms=observe.alarm_names(here.names, name),
        after=[here.provider, *alarms],
    )
    return [alarm.name for alarm in alarms], quiet


def _check(
    here: Here,
    name: str,
    entry: Entry,
    ground: Ground,
    configuration: pulumi.Output[str],
    prepared: Preparation,
    after: Sequence[pulumi.Resource],
) -> None:
    size, version = entry.size, entry.version
    Live(
        f"live-{name}",
        here.place,
        endpoint=here.names.of(name),
        configuration=configuration,
        model=version.alias,
        sha256=version.sha256,
        image=ground.image,
        instances=prepared.initial_instances,
        limits=(size.instances, size.max_instances) if size.max_instances else (0, 0),
        store=ground.storage.store.name,
        setting=f"{here.project}:endpoints.{name}.model",
        after=after,
    )


def _container(entry: Entry, ground: Ground) -> dict[str, Any]:
    """The model's container as plain values and Outputs."""
    version = entry.version
    environment = {
        "LLMOPS_AUTH": "platform",
        "LLMOPS_PLATFORM": "sagemaker",
        "LLMOPS_MODEL_NAME": version.alias,
        "LLMOPS_MODEL_SHA256": version.sha256,
        "LLMOPS_PRECISION": entry.precision,
        "LLMOPS_PUBLIC_KEY": ground.public_key,
    }
    if entry.gate == "waived":
        environment["LLMOPS_GOLDEN"] = "reported"  # somebody wants it all the same: the quality alarm has the last word
    uri = pulumi.Output.concat("s3://", ground.storage.store.name, "/", model_key(version.sha256), "/")
    return {"image": ground.image, "uri": uri, "environment": environment}


def _model(
    here: Here, name: str, container: dict[str, Any], ground: Ground, physical: pulumi.Input[str]
) -> sagemaker.Model:
    source = sagemaker.ModelPrimaryContainerModelDataSourceS3DataSourceArgs(
        s3_uri=container["uri"], s3_data_type="S3Prefix", compression_type="None"
    )
    return sagemaker.Model(
        f"model-{name}",
        name=physical,
        execution_role_arn=ground.role.arn,
        enable_network_isolation=True,
        primary_container=sagemaker.ModelPrimaryContainerArgs(
            image=container["image"],
            environment=container["environment"],
            model_data_source=sagemaker.ModelPrimaryContainerModelDataSourceArgs(s3_data_sources=[source]),
        ),
        vpc_config=sagemaker.ModelVpcConfigArgs(**_vpc(ground.network)) if ground.network else None,
        opts=here.options(
            delete_before_replace=False,
            depends_on=[*ground.role.ready, *ground.storage.store.ready, *ground.network.ready],
        ),
    )


def _vpc(network: Network) -> dict[str, Any]:
    return {"subnets": network.subnets, "security_group_ids": network.security_groups} if network else {}


def _variant(name: str, entry: Entry, kind: str) -> dict[str, Any]:
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


def _key(ground: Ground, kind: str) -> pulumi.Input[str] | None:
    return None if has_local_disks(kind) else ground.storage.key_arn


def _async(name: str, entry: Entry, ground: Ground) -> sagemaker.EndpointConfigurationAsyncInferenceConfigArgs | None:
    if entry.mode != "async":
        return None
    folder = pulumi.Output.concat("s3://", ground.storage.work.name, f"/async/{name}")
    return sagemaker.EndpointConfigurationAsyncInferenceConfigArgs(
        client_config=sagemaker.EndpointConfigurationAsyncInferenceConfigClientConfigArgs(
            max_concurrent_invocations_per_instance=entry.size.concurrent_requests
        ),
        output_config=sagemaker.EndpointConfigurationAsyncInferenceConfigOutputConfigArgs(
            s3_output_path=pulumi.Output.concat(folder, "/output"),
            s3_failure_path=pulumi.Output.concat(folder, "/failure"),
            kms_key_id=ground.storage.key_arn,
        ),
    )


def _deployment(
    name: str, entry: Entry, alarms: Sequence[pulumi.Output[str]]
) -> sagemaker.EndpointDeploymentConfigArgs:
    """https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails.html"""
    rollback = sagemaker.EndpointDeploymentConfigAutoRollbackConfigurationArgs(
        alarms=[
            sagemaker.EndpointDeploymentConfigAutoRollbackConfigurationAlarmArgs(alarm_name=alarm) for alarm in alarms
        ]
    )
    strategy, wait = entry.rollout.strategy, bake_seconds(entry)
    if strategy != "all_at_once" and entry.size.instances <= 1:
        pulumi.log.warn(
            f"endpoint {name}: one instance has no part that could go first, so `strategy: {strategy}` is done all at "
            "once; alarms roll it back all the same. Two instances make it a real one"
        )
        strategy = "all_at_once"
    if strategy == "rolling":
        batch = sagemaker.EndpointDeploymentConfigRollingUpdatePolicyMaximumBatchSizeArgs(
            type="CAPACITY_PERCENT", value=entry.rollout.step_percent
        )
        policy = sagemaker.EndpointDeploymentConfigRollingUpdatePolicyArgs(
            maximum_batch_size=batch, wait_interval_in_seconds=wait
        )
        return sagemaker.EndpointDeploymentConfigArgs(
            auto_rollback_configuration=rollback, rolling_update_policy=policy
        )
    routing = sagemaker.EndpointDeploymentConfigBlueGreenUpdatePolicyTrafficRoutingConfigurationArgs(
        type=strategy.upper(), wait_interval_in_seconds=wait, **_share(strategy, entry)
    )
    policy = sagemaker.EndpointDeploymentConfigBlueGreenUpdatePolicyArgs(traffic_routing_configuration=routing)
    return sagemaker.EndpointDeploymentConfigArgs(auto_rollback_configuration=rollback, blue_green_update_policy=policy)


def _share(strategy: str, entry: Entry) -> dict[str, Any]:
    part = "EndpointDeploymentConfigBlueGreenUpdatePolicyTrafficRoutingConfiguration"
    if strategy == "canary":
        size = getattr(sagemaker, f"{part}CanarySizeArgs")
        return {"canary_size": size(type="CAPACITY_PERCENT", value=entry.rollout.canary_percent)}
    if strategy == "linear":
        size = getattr(sagemaker, f"{part}LinearStepSizeArgs")
        return {"linear_step_size": size(type="CAPACITY_PERCENT", value=entry.rollout.step_percent)}
    return {}


def _digest(content: dict[str, Any]) -> pulumi.Output[str]:
    text = pulumi.Output.json_dumps(content, sort_keys=True)
    return text.apply(lambda t: hashlib.sha256(t.encode()).hexdigest())


def _content_name(here: Here, thing: str, digest: pulumi.Output[str], number: pulumi.Output[int]) -> pulumi.Output[str]:
    return pulumi.Output.all(digest, number).apply(lambda both: here.names.of_content(thing, both[0], int(both[1])))


def _url(here: Here, physical: str) -> str:
    base = here.caller.twin.rstrip("/") or f"https://runtime.sagemaker.{here.region}.amazonaws.com"
    return f"{base}/endpoints/{physical}/invocations"
