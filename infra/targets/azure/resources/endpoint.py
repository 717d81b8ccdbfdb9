"""Online endpoints on Azure ML: one stable endpoint, a deployment named by content, then its traffic and its scaling.

A deployment has a name and a logical name of its content: what can't change in place comes beside the old one, and the
engine deletes that at the end, when the traffic has moved. An update that failed deletes nothing, so that going back
finds the old deployment serving, and the state knows it still.
"""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import pulumi
from pulumi_azure_native import machinelearningservices as ml

from contract.layout import model_key
from contract.names import ModelRef
from infra import names
from infra.settings import Endpoint as Entry
from infra.targets.azure.alerts import provide_alerts
from infra.targets.azure.asset import Asset
from infra.targets.azure.here import Ground, Here
from infra.targets.azure.limits import bake_seconds, instance_type
from infra.targets.azure.live import Live
from infra.targets.azure.online import API, BROKEN, deployment_id, has_traffic, remove_broken, state_of
from infra.targets.azure.patience import patient
from infra.targets.azure.preparation import Preparation
from infra.targets.azure.scaling import provide_scaling
from infra.targets.azure.session import find
from infra.targets.azure.traffic import Traffic
from infra.targets.azure.training import Environment

_LONGEST_NAME = 32
_PROBE_SECONDS = 10
# Azure answers 429 by itself beyond these, and its default of 1 would leave the server's batch empty. The server takes
# 32 requests into its batch and lets 64 wait; one more it refuses itself, with a Retry-After.
_REQUESTS_AT_ONCE = 32 + 64
_LONGEST_SECONDS = 180  # Azure's most: the default of 5 s cuts the answers of a language model
_SERVER_SECONDS = _LONGEST_SECONDS - 5  # a server that went on would generate for nobody
_KIND = "azure-native:machinelearningservices"
_DEPLOYMENT = f"{_KIND}:OnlineDeployment"


@dataclass(frozen=True)
class Made:
    """An endpoint that was declared."""

    name: pulumi.Input[str]
    url: pulumi.Input[str]


def endpoint_name(here: Here, name: str) -> str:
    """What an endpoint of the settings is called on Azure, where a region's endpoints share their names."""
    return here.names.of(name, _LONGEST_NAME, here.caller.subscription, here.location)


def provide_endpoint(
    here: Here, name: str, entry: Entry, ground: Ground, environment: Environment, model: Asset
) -> Made:
    """Declare an endpoint and what belongs to it alone.

    Args:
        here: the stack's place.
        name: the endpoint in the settings.
        entry: its settings.
        ground: what it stands on.
        environment: that its deployment runs.
        model: its version in the workspace, from `provide_versions`.
    """
    id_ = f"{ground.workspace.plain_id}/onlineEndpoints/{endpoint_name(here, name)}"
    kind = instance_type(here.settings, entry)
    deployment = deployment_name(entry, kind, environment.image)
    logical = f"deployment-{name}-{deployment}"
    prepared = _prepare(here, name, entry, ground, id_, deployment)
    endpoint = _endpoint(here, name, ground, prepared, id_)
    options = _options(here, logical, id_, deployment)
    declared = ml.OnlineDeployment(
        logical,
        deployment_name=deployment,
        endpoint_name=endpoint.name,
        location=ground.location,
        sku=ml.SkuArgs(name="Default", capacity=prepared.capacity),
        properties=_deployment(entry, kind, ground, environment, model),
        tags=prepared.tags("deployment").apply(lambda own: {**here.all_tags, **own}),
        **_in_workspace(ground),
        opts=options(
            depends_on=[endpoint, model, environment.resource, *ground.ready],
            hooks=patient(
                here, _DEPLOYMENT, logical, ground.endpoint, partial(remove_broken, here.place, id_, deployment)
            ),
        ),
    )
    traffic = _traffic(here, name, entry, ground, id_, deployment, [endpoint, declared])
    scaling = provide_scaling(here, name, entry, ground, endpoint.id, declared.id, deployment, [traffic])
    alerts = provide_alerts(here, name, entry, ground, endpoint.id, id_)
    _check(here, name, entry, ground, id_, deployment, environment, kind, [traffic, *scaling, *alerts])
    return Made(endpoint_name(here, name), endpoint.properties.apply(lambda p: _base(p.scoring_uri)))


def provide_versions(here: Here, ground: Ground, entries: dict[str, Entry]) -> dict[str, Asset]:
    """Declare what Azure ML must know of the promoted versions: once each, whoever serves them; by endpoint."""
    made: dict[ModelRef, Asset] = {}
    return {name: _version(here, ground, entry.version, made) for name, entry in entries.items()}


def deployment_name(entry: Entry, kind: str, image: str) -> str:
    """Of a deployment's content: what Azure refuses to change in place, and what changes the answers.

    https://learn.microsoft.com/azure/machine-learning/reference-yaml-deployment-managed-online
    """
    content = {"kind": kind, "image": image, "environment": _variables(entry)}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    readable = re.sub(r"[^a-z0-9]+", "-", entry.version.alias)[: _LONGEST_NAME - 9].strip("-")
    return f"{readable}-{digest[:8]}"


def model_version_id(here: Here, ground: Ground, ref: ModelRef) -> str:
    """Resource id of a promoted version in the workspace, whether it is there or not."""
    return f"{ground.workspace.plain_id}/models/{_asset_name(here, ref)}/versions/{ref.number}"


def _version(here: Here, ground: Ground, ref: ModelRef, made: dict[ModelRef, Asset]) -> Asset:
    if ref not in made:
        logical = f"model-{ref.name}-{ref.number}-{ref.sha256[:8]}"
        workspace = ground.workspace
        folder = pulumi.Output.concat(
            f"azureml://subscriptions/{here.caller.subscription}/resourcegroups/",
            workspace.group,
            "/workspaces/",
            workspace.name,
            "/datastores/",
            workspace.datastores["store"],
            f"/paths/{model_key(ref.sha256)}",
        )
        made[ref] = Asset(
            logical,
            here.place,
            asset=model_version_id(here, ground, ref),
            properties={
                "modelType": "custom_model",
                "modelUri": folder,
                "description": f"{ref.alias} of {here.project}, stack {here.stack}",
                "tags": {**here.all_tags, "llmops:sha256": ref.sha256},
            },
            after=[*workspace.ready, *ground.storage.ready],
        )
    return made[ref]


def _asset_name(here: Here, ref: ModelRef) -> str:
    """A content's own: a registered version keeps its path for good, and Azure takes integers alone for versions.

    https://github.com/Azure/azureml-examples/issues/2725
    """
    return f"{here.names.of(ref.name)}-{ref.sha256[:8]}"


def _prepare(here: Here, name: str, entry: Entry, ground: Ground, id_: str, deployment: str) -> Preparation:
    both = {"tags": here.all_tags, "provider": version("pulumi-azure-native")}  # which may put all with a newer API
    content = {**both, "access": _public_access(here), "identity": ground.endpoint.id}
    settings = {**both, "start": entry.start_seconds, "key": ground.signing.public_key}
    return Preparation(
        f"preparation-{name}",
        here.place,
        endpoint=id_,
        deployment=deployment,
        content=_digest(content),
        settings=_digest(settings),
        instances=entry.size.instances,
        max_instances=entry.size.max_instances,
        after=ground.ready,
    )


def _endpoint(here: Here, name: str, ground: Ground, prepared: Preparation, id_: str) -> ml.OnlineEndpoint:
    """Its traffic is what is live, and never a change: see infra.targets.azure.preparation."""
    logical = names.endpoint(name)
    return ml.OnlineEndpoint(
        logical,
        endpoint_name=endpoint_name(here, name),
        kind="Managed",
        location=ground.location,
        identity=ml.ManagedServiceIdentityArgs(type="UserAssigned", user_assigned_identities=[ground.endpoint.id]),
        properties=ml.OnlineEndpointPropertiesArgs(
            auth_mode="AADToken",
            public_network_access=_public_access(here),
            traffic=prepared.traffic,
            mirror_traffic=prepared.mirror,
        ),
        tags=prepared.tags("endpoint").apply(lambda own: {**here.all_tags, **own}),
        **_in_workspace(ground),
        opts=here.adopted(f"{_KIND}:OnlineEndpoint", logical, id_, API, depends_on=[prepared, *ground.ready]),
    )


def _public_access(here: Here) -> str:
    return "Disabled" if here.settings.azure.network.mode == "existing" else "Enabled"


def _variables(entry: Entry) -> dict[str, str]:
    ref = entry.version
    variables = {
        "LLMOPS_AUTH": "platform",
        "LLMOPS_PLATFORM": "azureml",
        "LLMOPS_MODEL_NAME": ref.alias,
        "LLMOPS_MODEL_SHA256": ref.sha256,
        "LLMOPS_PRECISION": entry.precision,
    }
    if entry.gate == "waived":
        variables["LLMOPS_GOLDEN"] = "reported"  # somebody wants it all the same: the rollout's watch has the last word
    return variables


def _deployment(
    entry: Entry, kind: str, ground: Ground, environment: Environment, model: Asset
) -> ml.ManagedOnlineDeploymentArgs:
    # The image collects nothing of requests, so there is nothing for `data_collector` to write.
    return ml.ManagedOnlineDeploymentArgs(
        endpoint_compute_type="Managed",
        instance_type=kind,
        model=model.id,
        environment_id=environment.id,
        environment_variables={
            **_variables(entry),
            "LLMOPS_PUBLIC_KEY": ground.signing.public_key,
            "LLMOPS_REQUEST_SECONDS": str(_SERVER_SECONDS),
        },
        app_insights_enabled=True,
        request_settings=ml.OnlineRequestSettingsArgs(
            max_concurrent_requests_per_instance=_REQUESTS_AT_ONCE, request_timeout=f"PT{_LONGEST_SECONDS}S"
        ),
        scale_settings=ml.DefaultScaleSettingsArgs(scale_type="Default"),
        startup_probe=_probe(-(-entry.start_seconds // _PROBE_SECONDS)),
        readiness_probe=_probe(3),
        liveness_probe=_probe(30),  # /ping is not well either while an engine that died is started again
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
    here: Here,
    name: str,
    entry: Entry,
    ground: Ground,
    id_: str,
    deployment: str,
    after: Sequence[pulumi.Resource],
) -> Traffic:
    rollout = entry.rollout
    return Traffic(
        f"traffic-{name}",
        here.place,
        endpoint=id_,
        deployment=deployment,
        model=entry.version.alias,
        sha256=entry.version.sha256,
        rollout={
            "strategy": rollout.strategy,
            "canary_percent": rollout.canary_percent,
            "step_percent": rollout.step_percent,
            "mirror_percent": rollout.mirror_percent,
            "bake_seconds": bake_seconds(entry),
        },
        alerts=here.settings.azure.alerts,
        store=ground.storage.store_url,
        setting=f"{here.project}:endpoints.{name}.model",
        after=after,
    )


def _check(
    here: Here,
    name: str,
    entry: Entry,
    ground: Ground,
    id_: str,
    deployment: str,
    environment: Environment,
    kind: str,
    after: Sequence[pulumi.Resource],
) -> None:
    size = entry.size
    Live(
        f"live-{name}",
        here.place,
        endpoint=id_,
        deployment=deployment,
        model_version=model_version_id(here, ground, entry.version),
        environment=environment.plain_id,
        image=environment.image,
        instance_type=kind,
        limits=(size.instances, size.max_instances or size.instances),
        after=after,
    )


def _in_workspace(ground: Ground) -> dict[str, Any]:
    return {"resource_group_name": ground.workspace.group, "workspace_name": ground.workspace.name}


def _options(here: Here, logical: str, endpoint_id: str, name: str) -> Callable[..., pulumi.ResourceOptions]:
    """Options of a deployment. What an interrupted update left is taken over, but for what `prepared` removes."""
    id_ = deployment_id(endpoint_id, name)
    if here.knows(_DEPLOYMENT, logical):
        return here.options
    found = find(here.place, id_, API, tags=here.tags)
    if found and state_of(found) in BROKEN and not has_traffic(find(here.place, endpoint_id, API), name):
        return here.options
    return partial(here.adopted, _DEPLOYMENT, logical, id_, API)


def _digest(content: dict[str, Any]) -> pulumi.Output[str]:
    text = pulumi.Output.json_dumps(content, sort_keys=True)
    return text.apply(lambda t: hashlib.sha256(t.encode()).hexdigest())


def _base(scoring_uri: str | None) -> str:
    """The endpoint's own address: its scoring route is `/`, which passes every path through. Empty: it has none yet."""
    if not scoring_uri:
        return ""
    parts = urlsplit(scoring_uri)
    return f"{parts.scheme}://{parts.netloc}/"
