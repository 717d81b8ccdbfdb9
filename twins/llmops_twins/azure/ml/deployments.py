"""Online deployments: checks, quota, and their states from Creating to Succeeded or Failed.

https://learn.microsoft.com/rest/api/azureml/online-deployments
https://learn.microsoft.com/azure/machine-learning/reference-yaml-deployment-managed-online

Unsure (70 %): the rules are the reference's, which names no codes; code and words are assumed.
"""

from llmops_twins.azure.arm import operations
from llmops_twins.azure.ml import endpoints, references, sizes
from llmops_twins.azure.ml.ml_bodies import judge, judged, refuse_changes, writable
from llmops_twins.azure.ml.ml_documents import FORMS, chosen, seconds, stamp
from llmops_twins.azure.ml.running import needs
from llmops_twins.azure.ml.workspaces import require_network
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import ArmCall, Document, Reply
from llmops_twins.azure.protocol.kinds import ResourceKind
from llmops_twins.azure.twin import TenantTwin

TYPE = endpoints.DEPLOYMENTS
START_SECONDS = 120.0
"""Time to provide machines and images, before a container starts."""
DELETE_SECONDS = 60.0
LONGEST_REQUEST = 180.0
MOST_INSTANCES = 50
MOST_DEPLOYMENTS = 20
DEFAULT_INSTANCE_TYPE = "Standard_F4s_v2"
PROBE = {"initialDelay": "PT10S", "period": "PT10S", "timeout": "PT2S", "successThreshold": 1, "failureThreshold": 30}
REQUESTS = {"maxConcurrentRequestsPerInstance": 1, "requestTimeout": "PT5S", "maxQueueWait": "PT0.5S"}
_START = "machinelearning.deployment"


def install(twin: TenantTwin) -> None:
    """Registers the kind and its actions."""
    twin.kind(
        ResourceKind(
            TYPE,
            put=_put,
            begun=lambda twin, document: twin.later(twin.scaled(START_SECONDS), _START, document["id"]),
            deleting=_deleting,
            gone=_gone,
            listed=chosen,
            accepted=("PATCH",),
            polled=FORMS,
            name=endpoints.NAME,
            seconds=DELETE_SECONDS,
            open_ended=True,
            location=True,
        )
    )
    twin.action_named(_START, lambda deployment_id: _start(twin, deployment_id))
    twin.action(TYPE, "getLogs", _get_logs)


def _put(twin: TenantTwin, call: ArmCall, there: Document | None) -> Document:
    body = judged("OnlineDeployment", call.method, call.body)
    properties = body["properties"]
    if properties["endpointComputeType"] != "Managed":
        message = "Deployments on Kubernetes are not on this twin."
        raise ArmError(400, "UserError", message, "properties.endpointComputeType")
    endpoint_id = call.id.rsplit("/deployments/", 1)[0]
    endpoint = twin.find(endpoint_id)
    assert endpoint is not None  # ARM has checked the parent
    _check_state(endpoint, there)
    workspace = twin.find(references.workspace_of(call.id))
    assert workspace is not None
    require_network(twin, workspace)
    properties["instanceType"] = properties.get("instanceType") or DEFAULT_INSTANCE_TYPE
    if there:
        refuse_changes("OnlineDeployment", writable("OnlineDeployment", there), body, f"deployment {there['name']}")
    elif len(twin.children(endpoint_id, TYPE)) >= MOST_DEPLOYMENTS:
        raise ArmError(400, "OutOfQuota", f"An endpoint has at most {MOST_DEPLOYMENTS} deployments.")
    _check_assets(twin, workspace["id"], properties)
    _check_settings(properties)
    body["sku"] = _sku(body)
    sizes.check_deployment(twin, call.id, properties["instanceType"], body["sku"]["capacity"])
    return stamp(call, there, body)


def _check_state(endpoint: Document, there: Document | None) -> None:
    """Refuses a deployment if its endpoint is not ready. https://github.com/Azure/azure-sdk-for-net/issues/36961

    Raises:
        ArmError: 409.
    """
    state = endpoint["properties"]["provisioningState"]
    if state == "Succeeded" or (there and state == "Updating"):
        return
    what = "update" if there else "create"
    message = f"Cannot {what} a deployment in endpoint {endpoint['name']} because it is in {state} provisioning state."
    raise ArmError(409, "UserError", message)


def _check_assets(twin: TenantTwin, workspace_id: str, properties: Document) -> None:
    if properties.get("model"):
        references.asset(twin, workspace_id, properties["model"], "models", "properties.model")
    if not properties.get("environmentId"):
        message = "environmentId is required, but for models of MLflow, which this twin does not serve by itself."
        raise ArmError(400, "ValidationError", message, "properties.environmentId")
    target = "properties.environmentId"
    environment = references.asset(twin, workspace_id, properties["environmentId"], "environments", target)
    if not properties.get("codeConfiguration") and not environment["properties"].get("inferenceConfig"):
        message = (
            f"Environment {environment['id']} has no inferenceConfig: a container of your own needs the liveness, "
            "readiness and scoring routes that it answers."
        )
        raise ArmError(400, "BadRequest", message, "properties.environmentId")
    if properties.get("codeConfiguration"):
        message = "Scoring scripts are not run on this twin: give an environment whose image serves by itself."
        raise ArmError(400, "UserError", message, "properties.codeConfiguration")


def _check_settings(properties: Document) -> None:
    settings = properties["requestSettings"] = {**REQUESTS, **_given(properties.get("requestSettings"))}
    where = "properties.requestSettings"
    if not 0 < seconds(settings["requestTimeout"], f"{where}.requestTimeout") <= LONGEST_REQUEST:
        message = f"requestTimeout must be more than 0 and at most {LONGEST_REQUEST:g} seconds."
        raise ArmError(400, "BadRequest", message, f"{where}.requestTimeout")
    if settings["maxConcurrentRequestsPerInstance"] < 1:
        message = "maxConcurrentRequestsPerInstance must be at least 1."
        raise ArmError(400, "BadRequest", message, f"{where}.maxConcurrentRequestsPerInstance")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if name == "startupProbe" and not properties.get(name):
            continue
        probe = properties[name] = {**PROBE, **_given(properties.get(name))}
        for part in ("initialDelay", "period", "timeout"):
            seconds(probe[part], f"properties.{name}.{part}")
        for part in ("successThreshold", "failureThreshold"):
            if probe[part] < 1:
                raise ArmError(400, "BadRequest", f"{part} must be at least 1.", f"properties.{name}.{part}")
    properties["scaleSettings"] = properties.get("scaleSettings") or {"scaleType": "Default"}
    if properties["scaleSettings"]["scaleType"] != "Default":
        message = "Managed deployments take scaleType Default only: scale them by Azure Monitor's autoscale."
        raise ArmError(400, "BadRequest", message, "properties.scaleSettings.scaleType")
    properties.setdefault("egressPublicNetworkAccess", "Enabled")


def _given(settings: Document | None) -> Document:
    return {name: value for name, value in (settings or {}).items() if value is not None}


def _sku(body: Document) -> Document:
    sku = {"name": "Default", "capacity": 1, **_given(body.get("sku"))}
    if sku["name"] != "Default":
        raise ArmError(400, "BadRequest", "The sku of a managed deployment is named Default.", "sku.name")
    if not 1 <= sku["capacity"] <= MOST_INSTANCES:
        message = f"The capacity of a managed deployment is between 1 and {MOST_INSTANCES} instances."
        raise ArmError(400, "BadRequest", message, "sku.capacity")
    return sku


def _start(twin: TenantTwin, deployment_id: str) -> None:
    """Continues once the machines exist: checks whether the endpoint's identity may read what the deployment needs."""
    document = twin.find(deployment_id)
    if document is None or operations.running(twin, deployment_id) is None:
        return
    failure = needs.of_deployment(twin, document)
    if failure:
        operations.fail(twin, deployment_id, failure.code, failure.message)
    else:
        twin.running.deployment_wanted(document)


def _deleting(twin: TenantTwin, call: ArmCall, document: Document) -> None:
    endpoint = twin.find(document["id"].rsplit("/deployments/", 1)[0])
    if endpoint is None:
        return
    for share, what in (
        (endpoints.traffic_of(endpoint, document["name"]), "live"),
        (endpoints.mirrored_to(endpoint, document["name"]), "mirrored"),
    ):
        if share:
            message = f"Deployment {document['name']} has {share}% of {what} traffic: set it to 0 before you delete it."
            raise ArmError(400, "BadRequest", message)


def _gone(twin: TenantTwin, document: Document) -> None:
    endpoints.forget_deployment(twin, document)
    twin.running.deployment_gone(document["id"])


def _get_logs(twin: TenantTwin, call: ArmCall, document: Document) -> Reply:
    body = judge("DeploymentLogsRequest", call.body or {})
    container, tail = body.get("containerType") or "InferenceServer", body.get("tail") or 500
    return Reply(200, {"content": twin.running.deployment_logs(document["id"], container, tail)})
