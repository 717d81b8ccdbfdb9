"""What a user does with azure-ai-ml, in its own environment: `python ml_client.py FOLDER`, with the twin's `env`.

Writes done.json into the folder: what each step came to. The workspace, its datastore, cluster, environments and
identity are there; their names come from variables ML_….
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from azure.ai.ml import Input, MLClient, Output, command  # pyright: ignore[reportMissingImports]
from azure.ai.ml.entities import (  # pyright: ignore[reportMissingImports]
    AmlCompute,
    Environment,
    IdentityConfiguration,
    ManagedIdentityConfiguration,
    ManagedOnlineDeployment,
    ManagedOnlineEndpoint,
    Model,
    OnlineRequestSettings,
)
from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential

SIZE = "Standard_DS3_v2"
ROUTE = {"port": 8080, "path": "/"}


def connect() -> MLClient:
    """The client of the workspace."""
    group, workspace = os.environ["ML_GROUP"], os.environ["ML_WORKSPACE"]
    return MLClient(DefaultAzureCredential(), os.environ["AZURE_SUBSCRIPTION_ID"], group, workspace)


def workspace(client: MLClient) -> dict[str, Any]:
    """Read and change the workspace, and list what it has."""
    found = client.workspaces.get(os.environ["ML_WORKSPACE"])
    found.tags = {"team": "a"}
    changed = client.workspaces.begin_update(found).result()
    cluster = AmlCompute(name="second", size=SIZE, min_instances=0, max_instances=1)
    return {
        "location": found.location,
        "tags": changed.tags,
        "default_datastore": client.datastores.get_default().name,
        "created": client.compute.begin_create_or_update(cluster).result().provisioning_state,
        "computes": sorted(each.name for each in client.compute.list()),
        "sizes": SIZE in [each.name for each in client.compute.list_sizes(location=found.location)],
        "usage": next(each.limit for each in client.compute.list_usage(location=found.location)),
    }


def models(client: MLClient) -> dict[str, Any]:
    """Register a model version and an environment version, and find them again."""
    made = client.models.create_or_update(
        Model(name="chat", version="1", type="custom_model", path="azureml://datastores/store/paths/models/a")
    )
    routes = {"liveness_route": ROUTE, "readiness_route": ROUTE, "scoring_route": ROUTE}
    client.environments.create_or_update(
        Environment(name="other", version="1", image="mcr.microsoft.com/other:1", inference_config=routes)
    )
    again = Model(name="chat", version="1", type="custom_model", path="azureml://datastores/store/paths/models/b")
    return {
        "path": made.path,
        "latest": client.models.get("chat", label="latest").version,
        "versions": [each.version for each in client.models.list("chat")],
        "refused": refused(lambda: client.models.create_or_update(again)),
        "environment": client.environments.get("other", "1").image,
    }


def jobs(client: MLClient) -> dict[str, Any]:
    """Submit a job, follow it to its end, tag it, and find it."""
    job = command(
        command=os.environ["ML_COMMAND"],
        environment="training:1",
        compute="cpu",
        inputs={"spec": Input(type="uri_folder", path="azureml://datastores/store/paths/spec/", mode="download")},
        outputs={"model": Output(type="uri_folder", path="azureml://datastores/store/paths/runs/${{name}}/")},
        identity=ManagedIdentityConfiguration(client_id=os.environ["ML_CLIENT_ID"]),
        experiment_name="chat",
        name="run-1",
    )
    submitted = client.jobs.create_or_update(job)
    client.jobs.stream("run-1")
    found = client.jobs.get("run-1")
    found.tags = {"kept": "yes"}
    return {
        "submitted": submitted.status,
        "ended": client.jobs.get("run-1").status,
        "tags": client.jobs.create_or_update(found).tags,
        "listed": [each.name for each in client.jobs.list()],
        "refused": refused(lambda: client.jobs.begin_cancel("run-1").result()),
    }


def endpoints(client: MLClient, folder: Path) -> dict[str, Any]:
    """Make an endpoint and a deployment, give it traffic, ask it, read its logs, and take all away."""
    identity = ManagedIdentityConfiguration(resource_id=os.environ["ML_IDENTITY"])
    endpoint = ManagedOnlineEndpoint(
        name="chat",
        auth_mode="key",
        identity=IdentityConfiguration(type="user_assigned", user_assigned_identities=[identity]),
    )
    made = client.online_endpoints.begin_create_or_update(endpoint).result()
    deployment = ManagedOnlineDeployment(
        name="chat-a",
        endpoint_name="chat",
        model="chat:1",
        environment="serving:1",
        environment_variables=json.loads(os.environ["ML_VARIABLES"]),
        instance_type=SIZE,
        instance_count=1,
        request_settings=OnlineRequestSettings(request_timeout_ms=60000, max_concurrent_requests_per_instance=2),
    )
    deployed = client.online_deployments.begin_create_or_update(deployment).result()
    made.traffic = {"chat-a": 100}
    routed = client.online_endpoints.begin_create_or_update(made).result()
    asked = folder / "asked.json"
    asked.write_text(json.dumps({"hello": "azure"}), encoding="utf-8")
    kept = refused(lambda: client.online_deployments.begin_delete("chat-a", "chat").result())
    results = {
        "state": made.provisioning_state,
        "deployed": deployed.provisioning_state,
        "traffic": routed.traffic,
        "key": bool(client.online_endpoints.get_keys("chat").primary_key),
        "answer": client.online_endpoints.invoke("chat", request_file=str(asked)),
        "named": client.online_endpoints.invoke("chat", request_file=str(asked), deployment_name="chat-a"),
        "logs": client.online_deployments.get_logs("chat-a", "chat", 50),
        "refused": kept,
        "deployments": [each.name for each in client.online_deployments.list("chat")],
    }
    client.online_endpoints.begin_delete("chat").result()
    return {**results, "left": [each.name for each in client.online_endpoints.list()]}


def refused(act: Any) -> str:
    """The message of a refusal; empty: it was none."""
    try:
        act()
    except HttpResponseError as e:
        return str(e.message)
    return ""


def main() -> None:
    """Do it all."""
    client, folder = connect(), Path(sys.argv[1])
    done = {
        "workspace": workspace(client),
        "models": models(client),
        "jobs": jobs(client),
        "endpoints": endpoints(client, folder),
    }
    (folder / "done.json").write_text(json.dumps(done, default=str), encoding="utf-8")


main()
