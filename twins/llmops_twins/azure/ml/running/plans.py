"""Plans a deployment's containers from its documents.

https://learn.microsoft.com/azure/machine-learning/how-to-deploy-custom-container
https://learn.microsoft.com/azure/machine-learning/reference-yaml-deployment-managed-online
"""

from dataclasses import dataclass
from typing import Any

from llmops_twins.azure.ml import references
from llmops_twins.azure.ml.ml_documents import identities_of, seconds
from llmops_twins.azure.ml.running import environment_images
from llmops_twins.azure.protocol.calls import Document
from llmops_twins.azure.twin import TenantTwin
from llmops_twins.core.fleet.plan import ContainerPlan, ModelDataSource, Probe

MODELS = "/var/azureml-app/azureml-models"
"""Default mount path of models."""
_SHORTEST_SECONDS = 1.0
_DEFAULTS = {"initialDelay": "PT10S", "period": "PT10S", "timeout": "PT2S", "failureThreshold": 30}


@dataclass(frozen=True)
class RequestSettings:
    """Limits of a deployment: concurrent requests per instance, and seconds for an answer."""

    at_once: int = 1
    seconds: float = 5.0

    @classmethod
    def of(cls, deployment: Document) -> "RequestSettings":
        """Reads the limits of a deployment, with Azure's defaults."""
        given = deployment["properties"].get("requestSettings") or {}
        time_out = given.get("requestTimeout") or "PT5S"
        return cls(int(given.get("maxConcurrentRequestsPerInstance") or 1), seconds(time_out, "requestTimeout"))


def container_of(twin: TenantTwin, deployment: Document) -> ContainerPlan:
    """Returns the plan of a deployment's container; with the twin's lock.

    Raises:
        ArmError: something that it references does not exist.
        ImageError: its image can't run here.
    """
    properties = deployment["properties"]
    workspace = references.workspace_of(deployment["id"])
    target = "properties.environmentId"
    environment = references.asset(twin, workspace, properties.get("environmentId") or "", "environments", target)
    image = environment["properties"]["image"]
    routes = environment["properties"].get("inferenceConfig") or {}
    data, environ = _model(twin, workspace, properties)
    port = (routes.get("scoringRoute") or {}).get("port") or 8080
    reference, arguments = environment_images.runnable(twin, image)
    return ContainerPlan(
        image=image,
        reference=reference,
        arguments=arguments,
        environ={**environ, **{k: str(v) for k, v in (properties.get("environmentVariables") or {}).items()}},
        data=data,
        start_seconds=_start_seconds(properties),
        ready=_probe(properties.get("readinessProbe"), routes.get("readinessRoute"), twin),
        live=_probe(properties.get("livenessProbe"), routes.get("livenessRoute"), twin),
        port=port,
    )


def scoring_path(twin: TenantTwin, deployment: Document) -> str:
    """Returns the path prefix of requests to a deployment's container: "/" passes all."""
    workspace = references.workspace_of(deployment["id"])
    reference = deployment["properties"].get("environmentId") or ""
    environment = references.asset(twin, workspace, reference, "environments", "properties.environmentId")
    route = (environment["properties"].get("inferenceConfig") or {}).get("scoringRoute") or {}
    return "/" + (route.get("path") or "score").lstrip("/")


def principal_of(endpoint: Document) -> str:
    """Returns the object id of the identity that reads a deployment's files; empty: a system-assigned one, with
    automatic permissions.
    """
    return next((each["principalId"] for each in identities_of(endpoint).values()), "")


def _model(
    twin: TenantTwin, workspace: str, properties: dict[str, Any]
) -> tuple[list[ModelDataSource], dict[str, str]]:
    """Returns a model's data and the variables that point to it; its folder keeps its name:
    …/<model>/<version>/<folder>.
    """
    if not properties.get("model"):
        return [], {}
    model = references.asset(twin, workspace, properties["model"], "models", "properties.model")
    name, version = model["id"].split("/")[-3], model["name"]
    mount = f"{(properties.get('modelMountPath') or MODELS).rstrip('/')}/{name}/{version}"
    return [ModelDataSource(uri=model["properties"]["modelUri"], path=mount)], {"AZUREML_MODEL_DIR": mount}


def _start_seconds(properties: dict[str, Any]) -> float:
    """Returns the real seconds that a container may take until it is ready; not scaled, because its work takes real
    time.
    """
    given = properties.get("startupProbe") or properties.get("livenessProbe") or properties.get("readinessProbe") or {}
    numbers = _DEFAULTS | {name: value for name, value in given.items() if value is not None}
    delay, period = seconds(numbers["initialDelay"], "initialDelay"), seconds(numbers["period"], "period")
    return delay + period * int(numbers["failureThreshold"])


def _probe(given: dict[str, Any] | None, route: dict[str, Any] | None, twin: TenantTwin) -> Probe:
    """Returns a probe of a serving container; its interval is scaled like the twin's time, but not below a second."""
    numbers = _DEFAULTS | {name: value for name, value in (given or {}).items() if value is not None}
    period = seconds(numbers["period"], "period")
    return Probe(
        path=(route or {}).get("path") or "/",
        timeout=seconds(numbers["timeout"], "timeout"),
        every=max(twin.scaled(period), min(period, _SHORTEST_SECONDS)),
        failures=int(numbers["failureThreshold"]),
    )
