"""The script under test: deploys a container on Azure ML with plain azure-ai-ml. It knows nothing of the twin."""

import os
from pathlib import Path

from azure.ai.ml import MLClient  # pyright: ignore[reportMissingImports]
from azure.ai.ml.entities import Environment, ManagedOnlineDeployment, ManagedOnlineEndpoint  # pyright: ignore[reportMissingImports]
from azure.identity import DefaultAzureCredential

ROUTE = {"port": 8080, "path": "/"}
ROUTES = {"liveness_route": ROUTE, "readiness_route": ROUTE, "scoring_route": ROUTE}


def deploy(group: str, workspace: str, image: str, request: Path) -> str:
    """Creates an endpoint with one deployment, sends it all traffic, and returns its answer to a request."""
    client = MLClient(DefaultAzureCredential(), os.environ["AZURE_SUBSCRIPTION_ID"], group, workspace)
    endpoint = ManagedOnlineEndpoint(name="line", auth_mode="key")
    client.online_endpoints.begin_create_or_update(endpoint).result()
    deployment = ManagedOnlineDeployment(
        name="blue",
        endpoint_name="line",
        environment=Environment(name="line", version="1", image=image, inference_config=ROUTES),
        environment_variables={"SLOPE": "3"},
        instance_type="Standard_DS3_v2",
        instance_count=1,
    )
    client.online_deployments.begin_create_or_update(deployment).result()
    endpoint.traffic = {"blue": 100}
    client.online_endpoints.begin_create_or_update(endpoint).result()
    return client.online_endpoints.invoke("line", request_file=str(request))
