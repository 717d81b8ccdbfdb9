"""Online endpoints: names, traffic, authentication.

https://learn.microsoft.com/rest/api/azureml/online-endpoints
https://learn.microsoft.com/azure/machine-learning/how-to-safely-rollout-online-endpoints

Unsure (70 %): the rules are the reference's, which names no codes; code and words are assumed.
"""

import secrets
from datetime import UTC, datetime, timedelta

from llmops_twins.azure.arm import providers
from llmops_twins.azure.entra import tokens
from llmops_twins.azure.ml.ml_bodies import WORKSPACES, judge, judged
from llmops_twins.azure.ml.ml_documents import FORMS, chosen, stamp, with_identity
from llmops_twins.azure.ml.references import asset, workspace_of
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import ArmCall, Document, Reply
from llmops_twins.azure.protocol.kinds import ResourceKind
from llmops_twins.azure.twin import TenantTwin

TYPE = f"{WORKSPACES}/onlineEndpoints"
DEPLOYMENTS = f"{TYPE}/deployments"
NAME = r"(?=.{3,32}$)[a-zA-Z](?:-?[a-zA-Z0-9])*"
"""Names of endpoints and of their deployments."""
SECONDS = 60.0
MOST_MIRRORED = 50
TOKEN_SECONDS = 12 * 3600


def install(twin: TenantTwin) -> None:
    """Registers the kind and its actions."""
    twin.kind(
        ResourceKind(
            TYPE,
            put=_put,
            begun=lambda twin, document: twin.running.endpoint_changed(document),
            done=lambda twin, _document: providers.require_for_endpoints(twin),
            gone=lambda twin, document: twin.running.endpoint_gone(document["id"]),
            listed=_listed,
            show=_show,
            accepted=("PATCH",),
            polled=FORMS,
            name=NAME,
            seconds=SECONDS,
            location=True,
        )
    )
    twin.action(TYPE, "listKeys", _list_keys)
    twin.action(TYPE, "regenerateKeys", _regenerate_keys)
    twin.action(TYPE, "token", _token)


def traffic_of(endpoint: Document, deployment_name: str) -> int:
    """Returns a deployment's share of live traffic, in percent."""
    return int((endpoint["properties"].get("traffic") or {}).get(deployment_name) or 0)


def mirrored_to(endpoint: Document, deployment_name: str) -> int:
    """Returns the share of live traffic that is copied to a deployment, in percent."""
    return int((endpoint["properties"].get("mirrorTraffic") or {}).get(deployment_name) or 0)


def forget_deployment(twin: TenantTwin, deployment: Document) -> None:
    """Removes a deleted deployment without traffic from its endpoint's traffic."""
    endpoint_id, name = deployment["id"].rsplit("/deployments/", 1)
    endpoint = twin.find(endpoint_id)
    if endpoint:
        for member in ("traffic", "mirrorTraffic"):
            endpoint["properties"].get(member, {}).pop(name, None)
        twin.keep(endpoint)


def _listed(call: ArmCall, found: list[Document]) -> list[Document]:
    """Returns the endpoints selected by `name` and `computeType` too; all of the twin's are managed."""
    name, compute = call.query.get("name"), call.query.get("computeType", "Managed")
    return [each for each in chosen(call, found) if name in (None, each["name"]) and compute in ("Managed", "All")]


def _put(twin: TenantTwin, call: ArmCall, there: Document | None) -> Document:
    body = judged("OnlineEndpoint", call.method, call.body)
    properties = body["properties"]
    workspace = twin.find(workspace_of(call.id))
    if workspace and workspace["location"] != body.get("location", workspace["location"]):
        message = f"The endpoint must be in the workspace's location {workspace['location']}."
        raise ArmError(400, "BadRequest", message, "location")
    if properties.get("compute"):
        raise ArmError(400, "UserError", "Endpoints on Kubernetes are not on this twin.", "properties.compute")
    if there is None:
        _check_unique(twin, call, body)
    _check_identity(body, there)
    with_identity(twin, call, body, there)
    properties["traffic"] = {name: int(share) for name, share in (properties.get("traffic") or {}).items()}
    properties["mirrorTraffic"] = {k: int(share) for k, share in (properties.get("mirrorTraffic") or {}).items()}
    _check_traffic(twin, call.id, properties["traffic"])
    _check_mirror(twin, call.id, properties["mirrorTraffic"], properties["traffic"])
    properties.setdefault("publicNetworkAccess", "Enabled")
    given = properties.pop("keys", None) or {}
    if there is None:
        names = ("primaryKey", "secondaryKey")
        body["_keys"] = {name: given.get(name) or secrets.token_urlsafe(32) for name in names}
    return stamp(call, there, body)


def _check_unique(twin: TenantTwin, call: ArmCall, body: Document) -> None:
    """Checks that no other endpoint in the region has this name, which is part of a host name there.

    Raises:
        ArmError: 409.
    """
    name = call.id.rpartition("/")[2].lower()
    for other in twin.children(f"/subscriptions/{twin.subscription}", TYPE):
        if other["name"].lower() == name and other["location"] == body["location"]:
            message = f"An endpoint named {name} exists in {body['location']} already; names are unique in a region."
            # unsure (70 %): that names are unique is documented, also in
            # https://github.com/Azure/mlops-project-template/issues/29, whose words differ; the code is assumed
            raise ArmError(409, "Conflict", message, "name")


def _check_identity(body: Document, there: Document | None) -> None:
    identity = body.get("identity") or {"type": "SystemAssigned"}
    body["identity"] = identity
    if identity["type"] not in ("SystemAssigned", "UserAssigned"):
        message = "An online endpoint has either a system-assigned identity or user-assigned ones."
        raise ArmError(400, "BadRequest", message, "identity.type")
    if there is None:
        return
    before = there["identity"]
    old = {each.lower() for each in before.get("userAssignedIdentities") or {}}
    new = {each.lower() for each in identity.get("userAssignedIdentities") or {}}
    if (before["type"], old) != (identity["type"], new):
        raise ArmError(
            400, "BadRequest", "The identity of an endpoint can't be changed after it was created.", "identity"
        )


def _check_traffic(twin: TenantTwin, endpoint_id: str, traffic: dict[str, int]) -> None:
    where = "properties.traffic"
    for name, share in traffic.items():
        if not 0 <= share <= 100:
            raise ArmError(400, "BadRequest", f"Traffic of {name} must be between 0 and 100, not {share}.", where)
        if twin.find(f"{endpoint_id}/deployments/{name}") is None:
            raise ArmError(400, "BadRequest", f"Traffic names a deployment that does not exist: {name}.", where)
    if sum(traffic.values()) not in (0, 100):
        message = f"Traffic rules must sum to 0 or 100 percent, not {sum(traffic.values())}."
        raise ArmError(400, "BadRequest", message, where)


def _check_mirror(twin: TenantTwin, endpoint_id: str, mirror: dict[str, int], traffic: dict[str, int]) -> None:
    where = "properties.mirrorTraffic"
    if len(mirror) > 1:
        raise ArmError(400, "BadRequest", "Traffic can be mirrored to one deployment only.", where)
    for name, share in mirror.items():
        if not 0 <= share <= MOST_MIRRORED:
            message = f"Mirror traffic must be between 0 and {MOST_MIRRORED} percent, not {share}."
            raise ArmError(400, "BadRequest", message, where)
        if twin.find(f"{endpoint_id}/deployments/{name}") is None:
            raise ArmError(400, "BadRequest", f"Mirror traffic names a deployment that does not exist: {name}.", where)
        if share and traffic.get(name):
            raise ArmError(400, "BadRequest", f"Deployment {name} can't have live and mirrored traffic.", where)


def _show(twin: TenantTwin, document: Document) -> Document:
    properties = document["properties"]
    url = twin.running.scoring_url(document["id"]).rstrip("/")
    return {**document, "properties": {**properties, "scoringUri": f"{url}{_scoring_path(twin, document)}"}}


def _scoring_path(twin: TenantTwin, endpoint: Document) -> str:
    """Returns the scoring route of the image of the deployment with the most traffic; if no image has one, that of
    Azure's own server.
    """
    deployments = twin.children(endpoint["id"], DEPLOYMENTS)
    deployments.sort(key=lambda each: traffic_of(endpoint, each["name"]), reverse=True)
    for deployment in deployments:
        try:
            workspace, reference = workspace_of(endpoint["id"]), deployment["properties"]["environmentId"]
            environment = asset(twin, workspace, reference, "environments", "")
        except ArmError:
            continue  # deleted meanwhile
        route = (environment["properties"].get("inferenceConfig") or {}).get("scoringRoute")
        if route:
            return "/" + route["path"].lstrip("/")
    return "/score"


def _list_keys(twin: TenantTwin, call: ArmCall, document: Document) -> Reply:
    _require_mode(document, "Key", "keys")
    return Reply(200, document["_keys"])


def _regenerate_keys(twin: TenantTwin, call: ArmCall, document: Document) -> Reply:
    _require_mode(document, "Key", "keys")
    body = judge("RegenerateEndpointKeysRequest", call.body)
    name = "primaryKey" if body["keyType"] == "Primary" else "secondaryKey"
    given = body.get("keyValue")
    document["_keys"][name] = given if given and given != document["_keys"][name] else secrets.token_urlsafe(32)
    twin.keep(document)
    twin.running.endpoint_changed(document)
    return Reply(200)


def _token(twin: TenantTwin, call: ArmCall, document: Document) -> Reply:
    _require_mode(document, "AMLToken", "tokens of Azure Machine Learning")
    expires = datetime.now(UTC) + timedelta(seconds=TOKEN_SECONDS)
    return Reply(
        200,
        {
            "accessToken": tokens.issue(twin, call.caller, token_audience(document), TOKEN_SECONDS),
            "tokenType": "Bearer",
            "expiryTimeUtc": int(expires.timestamp()),
            "refreshAfterTimeUtc": int((expires - timedelta(hours=1)).timestamp()),
        },
    )


def token_audience(endpoint: Document) -> str:
    """Returns the audience of tokens for an endpoint with authMode AMLToken."""
    return f"https://ml.azure.com{endpoint['id'].lower()}"


def _require_mode(endpoint: Document, mode: str, what: str) -> None:
    there = endpoint["properties"]["authMode"]
    if there != mode:
        raise ArmError(400, "BadRequest", f"The endpoint has authMode {there}, so it has no {what}.", "authMode")
