"""Endpoints on SageMaker: a model and a configuration named by content, one stable endpoint, and its scaling."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pulumi
from pulumi_aws import sagemaker

from llmops_kit.clouds.aws.job_requests import has_local_disks
from llmops_kit.clouds.aws.names import VARIANT, serving_environment
from llmops_kit.core.layout import model_key
from llmops_kit.infra import resource_names
from llmops_kit.infra.targets.aws.limits import rollout_window
from llmops_kit.infra.targets.aws.providers.live import AwsLive
from llmops_kit.infra.targets.aws.providers.preparation import AwsPreparation
from llmops_kit.infra.targets.aws.providers.quiet_alarms import QuietAlarms
from llmops_kit.infra.targets.aws.resources.alarms import EndpointAlarms, rollout_alarm_names
from llmops_kit.infra.targets.aws.resources.context import AwsContext
from llmops_kit.infra.targets.aws.resources.identity import AwsRole
from llmops_kit.infra.targets.aws.resources.network import AwsNetwork
from llmops_kit.infra.targets.aws.resources.scaling import declare_scaling
from llmops_kit.infra.targets.aws.resources.storage import AwsStorage
from llmops_kit.settings.resolved import AlarmThresholds, ResolvedEndpoint
from llmops_kit.settings.stack_settings import Endpoint as Entry

# For vLLM's image, whose lock has CUDA 13: the only one of botocore's ProductionVariantInferenceAmiVersion that is on
# Amazon Linux 2023. Which driver it has is not verified on an account.
_CUDA_13_HOST = "al2023-ami-sagemaker-inference-gpu-4-1"
# Less than SageMaker waits for an asynchronous answer, 15 minutes unless the caller sets another time:
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpointAsync.html
_ASYNC_SECONDS = 890
_ROUTING = "LEAST_OUTSTANDING_REQUESTS"  # answers differ in length: taking turns would queue behind long ones


@dataclass(frozen=True)
class EndpointContext:
    """Resources that the endpoints of a stack share."""

    storage: AwsStorage
    network: AwsNetwork
    role: AwsRole
    public_key: pulumi.Input[str]
    alarms_topic: pulumi.Input[str]
    alarms: AlarmThresholds


def declare_endpoint(
    stack: AwsContext, endpoint: ResolvedEndpoint, shared: EndpointContext, log: Sequence[pulumi.Resource]
) -> pulumi.Output[str]:
    """Declare an endpoint and what belongs to it alone, after its log. Returns its URL, known once it exists."""
    return _EndpointParts(stack, endpoint, shared).declare(log)


@dataclass(frozen=True)
class _EndpointParts:
    """An endpoint that is being declared."""

    stack: AwsContext
    resolved: ResolvedEndpoint
    shared: EndpointContext

    @property
    def name(self) -> str:
        """Its name in the settings."""
        return self.resolved.name

    @property
    def entry(self) -> Entry:
        """Its own settings."""
        return self.resolved.entry

    @property
    def physical(self) -> str:
        """Its name on SageMaker."""
        return self.stack.names.of(self.name)

    @property
    def kind(self) -> str:
        """Its instance type."""
        return self.resolved.machine.kind

    @property
    def key(self) -> pulumi.Input[str] | None:
        """The key of its disks; None where an instance brings its own."""
        return None if has_local_disks(self.kind) else self.shared.storage.key_arn

    @property
    def network(self) -> Any:
        """Return the VPC configuration of its containers; empty: SageMaker's own network."""
        network = self.shared.network
        return {"subnets": network.subnets, "security_group_ids": network.security_groups} if network else {}

    def declare(self, log: Sequence[pulumi.Resource]) -> pulumi.Output[str]:
        """See declare_endpoint."""
        stack, name, entry, shared = self.stack, self.name, self.entry, self.shared
        container, variant = self.container(), self.variant()
        model_digest = _digest({**container, "role": shared.role.arn, "network": self.network})
        waiting = entry.size.concurrent_requests if entry.mode == "async" else 0
        content = {"model": model_digest, "variant": variant, "key": self.key, "async": waiting}
        content_digest = _digest({**content, "work": shared.storage.work.name if waiting else ""})
        prepared = self.prepare(model_digest, content_digest, log)
        model = self.model(container, self.content_name("model", model_digest, prepared.model_number))
        serving: Any = {**variant, "model_name": model.name, "initial_instance_count": prepared.initial_instances}
        configuration = sagemaker.EndpointConfiguration(
            f"configuration-{name}",
            name=self.content_name("config", content_digest, prepared.number),
            kms_key_arn=self.key,
            production_variants=[serving],
            async_inference_config=self.asynchronous(),
            # The old one is deleted last: SageMaker deletes even one in use, after which UpdateEndpoint fails
            # (https://github.com/hashicorp/terraform-provider-aws/issues/40048).
            opts=stack.options(delete_before_replace=False),
        )
        watch = EndpointAlarms(stack, self.resolved, shared.alarms, shared.alarms_topic)
        watch.declare_operating()
        alarms = watch.declare_rollout(configuration.name)
        # An alarm keeps its state when it is pointed at the new configuration: in ALARM, it would roll that one back.
        quiet = QuietAlarms(
            f"quiet-{name}",
            stack.location,
            stack.after(stack.provider, *alarms),
            endpoint=self.physical,
            configuration=configuration.name,
            alarms=rollout_alarm_names(stack.names, name),
            window=rollout_window(self.resolved),
        )
        endpoint = sagemaker.Endpoint(
            resource_names.endpoint(name),
            name=self.physical,
            endpoint_config_name=configuration.name,
            deployment_config=self.deployment([alarm.name for alarm in alarms]),
            opts=stack.options(depends_on=[prepared, quiet, *shared.role.ready]),
        )
        scaling = declare_scaling(stack, name, entry, endpoint.name, self.kind) if entry.size.max_instances else []
        # Last: if SageMaker rolled the update back, this fails, and the engine does not delete what still serves.
        self.compare(configuration.name, prepared, [endpoint, *scaling])
        return endpoint.name.apply(lambda _: f"{stack.caller.runtime_url}/endpoints/{self.physical}/invocations")

    def prepare(
        self, model: pulumi.Output[str], content: pulumi.Output[str], log: Sequence[pulumi.Resource]
    ) -> AwsPreparation:
        """Declare the preparation.

        The engine deletes it after the endpoint, and then the log group, which the endpoint writes to until it is gone.
        """
        stack, size = self.stack, self.entry.size
        return AwsPreparation(
            f"preparation-{self.name}",
            stack.location,
            stack.after(stack.provider, *log),
            endpoint=self.physical,
            tags=stack.tags,
            model=model,
            content=content,
            instances=size.instances,
            max_instances=size.max_instances,
            instance_type=self.kind,
            store=self.shared.storage.store.name,
            alarms=rollout_alarm_names(stack.names, self.name),
        )

    def compare(
        self, configuration: pulumi.Output[str], prepared: AwsPreparation, after: Sequence[pulumi.Resource]
    ) -> None:
        """Declare the comparison of the live endpoint with its declaration."""
        size, version = self.entry.size, self.entry.version
        AwsLive(
            f"live-{self.name}",
            self.stack.location,
            self.stack.after(*after),
            endpoint=self.physical,
            configuration=configuration,
            model=version.alias,
            sha256=version.sha256,
            image=self.resolved.image,
            instances=prepared.initial_instances,
            min_instances=size.instances if size.max_instances else 0,
            max_instances=size.max_instances,
            weight=1,
            store=self.shared.storage.store.name,
            setting=f"{self.stack.project}:endpoints.{self.name}.model",
        )

    def container(self) -> dict[str, Any]:
        """Returns the model's container as plain values and Outputs."""
        entry, shared, version = self.entry, self.shared, self.entry.version
        environment = serving_environment(version.alias, version.sha256, shared.public_key)
        if entry.mode == "async":
            environment["LLMOPS_REQUEST_SECONDS"] = str(_ASYNC_SECONDS)
        environment |= self.resolved.variables
        uri = pulumi.Output.concat("s3://", shared.storage.store.name, "/", model_key(version.sha256), "/")
        return {"image": self.resolved.image, "uri": uri, "environment": environment}

    def model(self, container: dict[str, Any], physical: pulumi.Input[str]) -> sagemaker.Model:
        """Declare the model resource."""
        shared = self.shared
        source = {"s3_uri": container["uri"], "s3_data_type": "S3Prefix", "compression_type": "None"}
        primary: Any = {
            "image": container["image"],
            "environment": container["environment"],
            "model_data_source": {"s3_data_sources": [source]},
        }
        return sagemaker.Model(
            f"model-{self.name}",
            name=physical,
            execution_role_arn=shared.role.arn,
            enable_network_isolation=True,
            primary_container=primary,
            vpc_config=self.network or None,
            opts=self.stack.options(
                delete_before_replace=False,
                depends_on=[*shared.role.ready, *shared.storage.store.ready, *shared.network.ready],
            ),
        )

    def variant(self) -> dict[str, Any]:
        """Returns the configuration's only variant, without its model and count."""
        entry, kind = self.entry, self.kind
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
        elif self.resolved.image_field == "serving_vllm":
            variant["inference_ami_version"] = _CUDA_13_HOST
        elif self.resolved.machine.gpus:
            pulumi.log.warn(
                f"endpoint {self.name}: {kind} starts on SageMaker's default host image; with a CUDA 13 image it would "
                f"stay in Creating without a log: set `inference_ami_version: {_CUDA_13_HOST}` for that"
            )
        return variant

    def asynchronous(self) -> Any:
        """Returns buckets and limits of an asynchronous endpoint; None for another endpoint."""
        entry, storage = self.entry, self.shared.storage
        if entry.mode != "async":
            return None
        folder = pulumi.Output.concat("s3://", storage.work.name, f"/async/{self.name}")
        return {
            "client_config": {"max_concurrent_invocations_per_instance": entry.size.concurrent_requests},
            "output_config": {
                "s3_output_path": pulumi.Output.concat(folder, "/output"),
                "s3_failure_path": pulumi.Output.concat(folder, "/failure"),
                "kms_key_id": storage.key_arn,
            },
        }

    def deployment(self, alarms: Sequence[pulumi.Output[str]]) -> sagemaker.EndpointDeploymentConfigArgsDict:
        """Returns the rollout as deployment guardrails:
        https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails.html
        """
        rollout, wait = self.entry.rollout, self.resolved.bake_seconds
        strategy: str = rollout.strategy
        if strategy != "all_at_once" and self.entry.size.instances <= 1:
            pulumi.log.warn(
                f"endpoint {self.name}: a single instance can't be updated in parts, so `strategy: {strategy}` is done "
                "all at once; alarms still roll it back. Two instances or more can be updated in parts"
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

    def content_name(self, part: str, digest: pulumi.Output[str], number: pulumi.Output[int]) -> pulumi.Output[str]:
        """Returns a part's physical name, from its content: other content gives another resource."""
        name = partial(self.stack.names.of_content, f"{self.name}-{part}")
        return pulumi.Output.all(digest, number).apply(lambda both: name(both[0], int(both[1])))


def _digest(content: dict[str, Any]) -> pulumi.Output[str]:
    text = pulumi.Output.json_dumps(content, sort_keys=True)
    return text.apply(lambda t: hashlib.sha256(t.encode()).hexdigest())
