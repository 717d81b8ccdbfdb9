"""Endpoints on SageMaker: a model and a configuration named by content, one stable endpoint, and its scaling."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_aws import appautoscaling, cloudwatch, sagemaker

from contract.layout import model_key
from infra import names
from infra.settings import Endpoint as Entry
from infra.settings import setting_error
from infra.targets.aws import observe
from infra.targets.aws.here import Here
from infra.targets.aws.identity import Role
from infra.targets.aws.live import Live
from infra.targets.aws.network import Network
from infra.targets.aws.observe import VARIANT, Watch
from infra.targets.aws.preparation import DIMENSION, Preparation
from infra.targets.aws.storage import Storage

DEFAULT_BAKE_SECONDS = 300
"""CloudWatch's alarms look at minutes: 30 s, which do on one machine, would see nothing."""
_LONGEST_WAIT = 3600
_LONGEST_UPDATE = 3300  # the provider waits an hour for an update
# Families with disks of their own: SageMaker encrypts them itself, and takes neither a key nor a size for them.
_LOCAL_DISKS = re.compile(r"^ml\.(g4dn|g5|g6e?|gr6|p3dn|p4de?|p5e?n?|p6.*|trn1n?|trn2|[a-z]\d+i?[adegn]*d[a-z]*)\.")
_GPU = re.compile(r"^ml\.(g|p)\d")
_STREAMS = "LEAST_OUTSTANDING_REQUESTS"


@dataclass(frozen=True)
class Ground:
    """What endpoints stand on."""

    storage: Storage
    network: Network
    role: Role
    public_key: pulumi.Input[str]
    image: str


@dataclass(frozen=True)
class Made:
    """An endpoint that was declared."""

    name: pulumi.Input[str]
    url: pulumi.Input[str]


def require_supported(name: str, entry: Entry) -> None:
    """Refuse what SageMaker can't do.

    Raises:
        SettingError: naming the key.
    """
    size, rollout = entry.size, entry.rollout
    bake = bake_seconds(entry)
    steps = -(-100 // rollout.step_percent)
    refusals = [
        (entry.port, ("port",), "SageMaker chooses where an endpoint listens", "remove it"),
        (
            entry.mode == "serverless",
            ("mode",),
            "a serverless endpoint has no network isolation, no GPU and no time to load a language model",
            "write `mode: async`, which scales to zero, or leave it out",
        ),
        (
            size.instances == 0 and entry.mode == "realtime",
            ("size", "instances"),
            "a real-time endpoint scales to zero with inference components alone, which pulumi-aws has not",
            "write `mode: async`, or 1",
        ),
        (
            size.instances == 0 and not size.max_instances,
            ("size", "max_instances"),
            "0 instances need scaling",
            "write how many it may have",
        ),
        (
            rollout.strategy == "canary" and rollout.canary_percent > 50,
            ("rollout", "canary_percent"),
            "SageMaker's canary takes 50 % at most",
            "write 50 or less",
        ),
        (
            bake > _LONGEST_WAIT,
            ("rollout", "bake_seconds"),
            f"SageMaker waits {_LONGEST_WAIT} s at most",
            "write less",
        ),
        (
            rollout.strategy in ("linear", "rolling") and steps * bake > _LONGEST_UPDATE,
            ("rollout", "bake_seconds"),
            f"{steps} steps of {bake} s take longer than Pulumi's provider waits, {_LONGEST_UPDATE} s",
            "write a larger step_percent or a smaller bake_seconds",
        ),
        (
            entry.volume_gb and has_local_disks(size.instance_type),
            ("volume_gb",),
            f"{size.instance_type} has disks of its own, whose size can't be chosen",
            "remove it",
        ),
    ]
    for wrong, path, what, fix in refusals:
        if wrong:
            raise setting_error(("endpoints", name, *path), what, fix)


def bake_seconds(entry: Entry) -> int:
    """How long a new version must do well."""
    rollout = entry.rollout
    return rollout.bake_seconds if "bake_seconds" in rollout.model_fields_set else DEFAULT_BAKE_SECONDS


def has_local_disks(instance_type: str) -> bool:
    """Does an instance type bring disks?"""
    return bool(_LOCAL_DISKS.match(instance_type))


def provide_endpoint(here: Here, name: str, entry: Entry, ground: Ground, watch: Watch) -> Made:
    """Declare an endpoint and what belongs to it alone."""
    physical = here.names.of(name)
    kind = entry.size.instance_type or here.settings.aws.instance_type
    container = _container(entry, ground)
    model_digest = _digest({**container, "role": ground.role.arn, "network": _vpc(ground.network)})
    variant = _variant(entry, kind)
    content = _digest({"model": model_digest, "variant": variant, "kms": _key(ground, kind), "async": entry.mode})
    prepared = Preparation(
        f"preparation-{name}",
        here.place,
        endpoint=physical,
        tags=here.tags,
        model=model_digest,
        content=content,
        instances=entry.size.instances,
        max_instances=entry.size.max_instances,
        instance_type=kind,
        alarms=observe.alarm_names(here.names, name),
        after=[here.provider],
    )
    model = _model(
        here, name, container, ground, _content_name(here, f"{name}-model", model_digest, prepared.model_number)
    )
    configuration = sagemaker.EndpointConfiguration(
        f"configuration-{name}",
        name=_content_name(here, f"{name}-config", content, prepared.number),
        kms_key_arn=_key(ground, kind),
        production_variants=[
            sagemaker.EndpointConfigurationProductionVariantArgs(
                **variant, model_name=model.name, initial_instance_count=prepared.initial_instances
            )
        ],
        async_inference_config=_async(name, entry, ground),
        opts=here.options(delete_before_replace=False),  # the old one serves until the endpoint has the new one
    )
    endpoint = sagemaker.Endpoint(
        names.endpoint(name),
        name=physical,
        endpoint_config_name=configuration.name,
        deployment_config=_deployment(name, entry, watch),
        opts=here.options(depends_on=[prepared, *watch.ready, *ground.role.ready]),
    )
    scaling = _scaling(here, name, entry, endpoint.name, physical, kind) if entry.size.max_instances else []
    version = entry.version
    Live(
        f"live-{name}",
        here.place,
        endpoint=physical,
        configuration=configuration.name,
        model=version.alias,
        sha256=version.sha256,
        image=ground.image,
        instances=prepared.initial_instances,
        limits=(entry.size.instances, entry.size.max_instances) if scaling else (0, 0),
        store=ground.storage.store.name,
        setting=f"{here.project}:endpoints.{name}.model",
        after=[endpoint, *scaling],
    )
    return Made(physical, endpoint.name.apply(lambda _: _url(here, physical)))


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


def _variant(entry: Entry, kind: str) -> dict[str, Any]:
    variant: dict[str, Any] = {
        "variant_name": VARIANT,
        "instance_type": kind,
        "initial_variant_weight": 1.0,
        "container_startup_health_check_timeout_in_seconds": entry.start_seconds,
        "model_data_download_timeout_in_seconds": entry.download_seconds,
        "routing_configs": [{"routing_strategy": _STREAMS}],
    }
    if entry.volume_gb:
        variant["volume_size_in_gb"] = entry.volume_gb
    if entry.inference_ami_version:
        variant["inference_ami_version"] = entry.inference_ami_version
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


def _deployment(name: str, entry: Entry, watch: Watch) -> sagemaker.EndpointDeploymentConfigArgs:
    """https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails.html"""
    rollback = sagemaker.EndpointDeploymentConfigAutoRollbackConfigurationArgs(
        alarms=[
            sagemaker.EndpointDeploymentConfigAutoRollbackConfigurationAlarmArgs(alarm_name=alarm)
            for alarm in watch.alarms
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


def _scaling(
    here: Here, name: str, entry: Entry, endpoint: pulumi.Output[str], physical: str, kind: str
) -> Sequence[pulumi.Resource]:
    """Scaling between two counts of instances.

    The tag makes the target anew when the instance type changes: see infra.targets.aws.preparation.
    """
    target = appautoscaling.Target(
        f"scaling-{name}",
        service_namespace="sagemaker",
        resource_id=pulumi.Output.concat("endpoint/", endpoint, f"/variant/{VARIANT}"),
        scalable_dimension=DIMENSION,
        min_capacity=entry.size.instances,
        max_capacity=entry.size.max_instances,
        tags={"llmops:instance-type": kind},
        opts=here.options(replace_on_changes=["tags"], delete_before_replace=True),
    )
    policy = appautoscaling.Policy(
        f"scaling-{name}-load",
        name=here.names.of(f"{name}-load"),
        service_namespace=target.service_namespace,
        resource_id=target.resource_id,
        scalable_dimension=target.scalable_dimension,
        policy_type="TargetTrackingScaling",
        target_tracking_scaling_policy_configuration=_tracking(entry, physical),
        opts=here.options(),
    )
    if entry.mode == "async" and entry.size.instances == 0:
        return [target, policy, *_wake(here, name, target, physical)]
    return [target, policy]


def _tracking(entry: Entry, physical: str) -> appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationArgs:
    """Real-time: requests at once on an instance; async: those that wait for one.

    https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-auto-scaling-prerequisites.html
    https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-autoscale.html
    """
    part = "PolicyTargetTrackingScalingPolicyConfiguration"
    if entry.mode == "async":
        dimension = getattr(appautoscaling, f"{part}CustomizedMetricSpecificationDimensionArgs")
        metric = getattr(appautoscaling, f"{part}CustomizedMetricSpecificationArgs")(
            namespace="AWS/SageMaker",
            metric_name="ApproximateBacklogSizePerInstance",
            statistic="Average",
            dimensions=[dimension(name="EndpointName", value=physical)],
        )
        which = {"customized_metric_specification": metric}
    else:
        metric = getattr(appautoscaling, f"{part}PredefinedMetricSpecificationArgs")(
            predefined_metric_type="SageMakerVariantConcurrentRequestsPerModelHighResolution"
        )
        which = {"predefined_metric_specification": metric}
    return appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationArgs(
        target_value=float(entry.size.concurrent_requests), scale_in_cooldown=300, scale_out_cooldown=60, **which
    )


def _wake(here: Here, name: str, target: appautoscaling.Target, physical: str) -> Sequence[pulumi.Resource]:
    """From zero: a backlog per instance is not defined without one, so a step brings the first."""
    step = appautoscaling.PolicyStepScalingPolicyConfigurationStepAdjustmentArgs(
        metric_interval_lower_bound="0", scaling_adjustment=1
    )
    policy = appautoscaling.Policy(
        f"scaling-{name}-wake",
        name=here.names.of(f"{name}-wake"),
        service_namespace=target.service_namespace,
        resource_id=target.resource_id,
        scalable_dimension=target.scalable_dimension,
        policy_type="StepScaling",
        step_scaling_policy_configuration=appautoscaling.PolicyStepScalingPolicyConfigurationArgs(
            adjustment_type="ChangeInCapacity", metric_aggregation_type="Average", cooldown=300, step_adjustments=[step]
        ),
        opts=here.options(),
    )
    alarm = cloudwatch.MetricAlarm(
        f"scaling-{name}-backlog",
        name=here.names.of(f"{name}-backlog"),
        alarm_description=f"endpoint {name} has requests and no instance",
        namespace="AWS/SageMaker",
        metric_name="HasBacklogWithoutCapacity",
        dimensions={"EndpointName": physical},
        statistic="Average",
        period=60,
        evaluation_periods=2,
        datapoints_to_alarm=2,
        comparison_operator="GreaterThanOrEqualToThreshold",
        threshold=1,
        treat_missing_data="missing",
        alarm_actions=[policy.arn],
        opts=here.options(),
    )
    return [policy, alarm]


def _digest(content: dict[str, Any]) -> pulumi.Output[str]:
    text = pulumi.Output.json_dumps(content, sort_keys=True)
    return text.apply(lambda t: hashlib.sha256(t.encode()).hexdigest())


def _content_name(here: Here, thing: str, digest: pulumi.Output[str], number: pulumi.Output[int]) -> pulumi.Output[str]:
    return pulumi.Output.all(digest, number).apply(lambda both: here.names.of_content(thing, both[0], int(both[1])))


def _url(here: Here, physical: str) -> str:
    base = here.caller.twin.rstrip("/") or f"https://runtime.sagemaker.{here.region}.amazonaws.com"
    return f"{base}/endpoints/{physical}/invocations"
