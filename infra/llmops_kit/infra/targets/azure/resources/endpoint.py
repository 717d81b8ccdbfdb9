"""Online endpoints on Azure ML: one stable endpoint, a deployment named by content, then its traffic and its scaling.

A deployment's name and logical name contain a digest of its content. So if something changes that Azure can't change in
place, a new deployment is created beside the old one, which the engine deletes at the end, when the traffic has moved.
A failed update deletes nothing: the old deployment still serves and is still in the state.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import pulumi
from pulumi_azure_native import machinelearningservices as ml

from llmops_kit.core.layout import model_key
from llmops_kit.core.names import ModelRef
from llmops_kit.infra.targets.azure.online import remove_broken
from llmops_kit.infra.targets.azure.providers.asset import Asset
from llmops_kit.infra.targets.azure.providers.live import AzureLive
from llmops_kit.infra.targets.azure.providers.preparation import AzurePreparation
from llmops_kit.infra.targets.azure.providers.traffic import Traffic
from llmops_kit.infra.targets.azure.resources.alerts import declare_alerts
from llmops_kit.infra.targets.azure.resources.context import AzureStack, SharedResources
from llmops_kit.infra.targets.azure.resources.scaling import declare_scaling
from llmops_kit.infra.targets.azure.resources.training import AzureEnvironment
from llmops_kit.settings.resolved import ResolvedEndpoint
from llmops_kit.settings.stack_settings import Endpoint as Entry

_PROBE_SECONDS = 10
_LONGEST_SECONDS = 180  # Azure's maximum: its default of 5 s would cut the answers of a language model


def declare_endpoint(
    stack: AzureStack, resolved: ResolvedEndpoint, shared: SharedResources, environment: AzureEnvironment, model: Asset
) -> pulumi.Output[str]:
    """Declare an endpoint and what belongs to it alone.

    Args:
        stack: that is declared.
        resolved: the endpoint and its settings.
        shared: the resources that it depends on.
        environment: the environment of its deployment.
        model: its version in the workspace, from `declare_version`.

    Returns:
        Its URL.
    """
    name, entry = resolved.name, resolved.entry
    ids, own = stack.inventory, stack.inventory.deployment(name)
    prepared = _prepare(stack, name, entry, shared)
    endpoint = _endpoint(stack, name, shared, prepared)
    remove = partial(remove_broken, stack.location, ids.endpoint(name).id, own.name)
    declared = ml.OnlineDeployment(
        own.logical,
        deployment_name=own.name,
        endpoint_name=endpoint.name,
        location=stack.location.location,
        sku=ml.SkuArgs(name="Default", capacity=prepared.capacity),
        properties=_deployment(stack, resolved, shared, environment, model),
        tags=prepared.tags("deployment").apply(lambda repairs: {**ids.all_tags, **repairs}),
        **shared.workspace.arguments,
        opts=stack.options(
            own,
            depends_on=[endpoint, model, environment.resource, *shared.ready],
            hooks=stack.retries(own, shared.endpoint, remove),
        ),
    )
    traffic = _traffic(stack, resolved, shared, [endpoint, declared])
    scaling = declare_scaling(stack, name, entry, endpoint.id, declared.id, prepared.tags("scaling"), [traffic])
    alerts = declare_alerts(stack, name, shared, endpoint.id)
    _check(stack, resolved, environment, [traffic, *scaling, *alerts])
    return endpoint.properties.apply(lambda p: _base(p.scoring_uri))


def declare_version(stack: AzureStack, shared: SharedResources, ref: ModelRef) -> Asset:
    """Declare a promoted version in the workspace, once for all endpoints that serve it."""
    ids, workspace = stack.inventory, shared.workspace
    folder = pulumi.Output.concat(
        f"azureml://subscriptions/{stack.location.subscription}/resourcegroups/",
        workspace.group,
        "/workspaces/",
        workspace.name,
        "/datastores/",
        workspace.datastores["store"],
        f"/paths/{model_key(ref.sha256)}",
    )
    return Asset(
        ids.names.logical(f"model-{ref.name}-{ref.number}-{ref.sha256[:8]}"),
        stack.location,
        stack.after(*workspace.ready, *shared.storage.ready),
        asset=_version_id(stack, ref),
        properties={
            "modelType": "custom_model",
            "modelUri": folder,
            "description": f"{ref.alias} of {ids.project}, stack {ids.stack}",
            "tags": {**ids.all_tags, "llmops:sha256": ref.sha256},
        },
    )


def _version_id(stack: AzureStack, ref: ModelRef) -> str:
    """Returns the resource id of a promoted version in the workspace. Its name contains its digest, because the path of
    a registered version can't change, and Azure accepts only integers as versions.

    https://github.com/Azure/azureml-examples/issues/2725
    """
    ids = stack.inventory
    return f"{ids.id_of('workspace')}/models/{ids.names.of(ref.name)}-{ref.sha256[:8]}/versions/{ref.number}"


def _prepare(stack: AzureStack, name: str, entry: Entry, shared: SharedResources) -> AzurePreparation:
    ids = stack.inventory
    both = {"tags": ids.all_tags, "provider": version("pulumi-azure-native")}  # which may put all with a newer API
    content = {**both, "access": _public_access(stack), "identity": shared.endpoint.id}
    settings = {**both, "start": entry.start_seconds, "key": shared.signing.public_keys}
    return AzurePreparation(
        f"preparation-{name}",
        stack.location,
        stack.after(*shared.ready),
        endpoint=ids.endpoint(name).id,
        deployment=ids.deployment(name).name,
        scaling=ids.scaling(name).id,
        content=_digest(content),
        settings=_digest(settings),
        instances=entry.size.instances,
        max_instances=entry.size.max_instances,
    )


def _endpoint(stack: AzureStack, name: str, shared: SharedResources, prepared: AzurePreparation) -> ml.OnlineEndpoint:
    """Declares an endpoint with its live traffic, so that traffic is never a change of it: see
    llmops_kit.infra.targets.azure.providers.preparation.
    """
    own = stack.inventory.endpoint(name)
    return ml.OnlineEndpoint(
        own.logical,
        endpoint_name=own.name,
        kind="Managed",
        location=stack.location.location,
        identity=ml.ManagedServiceIdentityArgs(type="UserAssigned", user_assigned_identities=[shared.endpoint.id]),
        properties=ml.OnlineEndpointPropertiesArgs(
            auth_mode="AADToken",
            public_network_access=_public_access(stack),
            traffic=prepared.traffic,
            mirror_traffic=prepared.mirror,
        ),
        tags=prepared.tags("endpoint").apply(lambda repairs: {**stack.inventory.all_tags, **repairs}),
        **shared.workspace.arguments,
        opts=stack.options(own, depends_on=[prepared, *shared.ready]),
    )


def _public_access(stack: AzureStack) -> str:
    return "Disabled" if stack.inventory.private else "Enabled"


def _deployment(
    stack: AzureStack,
    resolved: ResolvedEndpoint,
    shared: SharedResources,
    environment: AzureEnvironment,
    model: Asset,
) -> ml.ManagedOnlineDeploymentArgs:
    entry = resolved.entry
    # The image does not collect requests, so `data_collector` would have nothing to write.
    return ml.ManagedOnlineDeploymentArgs(
        endpoint_compute_type="Managed",
        instance_type=resolved.machine.kind,
        model=model.id,
        environment_id=environment.id,
        environment_variables={
            **stack.inventory.serving_environment(resolved.name),
            "LLMOPS_PUBLIC_KEY": shared.signing.public_keys,
        },
        app_insights_enabled=True,
        request_settings=ml.OnlineRequestSettingsArgs(
            # Azure answers 429 by itself beyond these, and its default of 1 would leave the server's batch empty. One
            # more than batch and queue hold is refused by the server, with a Retry-After.
            max_concurrent_requests_per_instance=entry.limits.max_running + entry.limits.max_queue,
            request_timeout=f"PT{_LONGEST_SECONDS}S",
        ),
        scale_settings=ml.DefaultScaleSettingsArgs(scale_type="Default"),
        startup_probe=_probe(-(-entry.start_seconds // _PROBE_SECONDS)),
        readiness_probe=_probe(3),
        liveness_probe=_probe(30),  # /ping fails too while a crashed engine restarts
    )


def _probe(failures: int) -> ml.ProbeSettingsArgs:
    return ml.ProbeSettingsArgs(
        initial_delay=f"PT{_PROBE_SECONDS}S",
        period=f"PT{_PROBE_SECONDS}S",
        timeout="PT5S",
        success_threshold=1,
        failure_threshold=failures,
    )


def _traffic(
    stack: AzureStack, resolved: ResolvedEndpoint, shared: SharedResources, after: Sequence[pulumi.Resource]
) -> Traffic:
    ids, name, entry = stack.inventory, resolved.name, resolved.entry
    return Traffic(
        f"traffic-{name}",
        stack.location,
        stack.after(*after),
        endpoint=ids.endpoint(name).id,
        deployment=ids.deployment(name).name,
        share=100,
        model=entry.version.alias,
        sha256=entry.version.sha256,
        rollout={**entry.rollout.model_dump(), "bake_seconds": resolved.bake_seconds},
        limits=asdict(stack.resolved.alarms),
        store=shared.storage.store_url,
        setting=f"{ids.project}:endpoints.{name}.model",
    )


def _check(
    stack: AzureStack, resolved: ResolvedEndpoint, environment: AzureEnvironment, after: Sequence[pulumi.Resource]
) -> None:
    ids, name, entry = stack.inventory, resolved.name, resolved.entry
    size = entry.size
    AzureLive(
        f"live-{name}",
        stack.location,
        stack.after(*after),
        endpoint=ids.endpoint(name).id,
        deployment=ids.deployment(name).name,
        model_version=_version_id(stack, entry.version),
        environment=environment.plain_id,
        image=environment.image,
        instance_type=resolved.machine.kind,
        traffic={ids.deployment(name).name: 100},
        state="Succeeded",
        instances=size.instances,
        max_instances=size.max_instances or size.instances,
    )


def _digest(content: dict[str, Any]) -> pulumi.Output[str]:
    text = pulumi.Output.json_dumps(content, sort_keys=True)
    return text.apply(lambda t: hashlib.sha256(t.encode()).hexdigest())


def _base(scoring_uri: str | None) -> str:
    """Returns the endpoint's base URL, without its scoring route, which passes every path through; empty if it has none
    yet.
    """
    if not scoring_uri:
        return ""
    parts = urlsplit(scoring_uri)
    return f"{parts.scheme}://{parts.netloc}/"
