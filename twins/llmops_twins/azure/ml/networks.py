"""Outbound rules of a workspace's managed network: private endpoints, host names and service tags.

https://learn.microsoft.com/azure/machine-learning/how-to-managed-network
"""

from llmops_twins.azure.ml import references
from llmops_twins.azure.ml.ml_bodies import WORKSPACES, judged
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import ArmCall, Document
from llmops_twins.azure.protocol.kinds import ResourceKind
from llmops_twins.azure.twin import TenantTwin

TYPE = f"{WORKSPACES}/outboundRules"
_SECONDS = 120.0


def install(twin: TenantTwin) -> None:
    """Registers the kind."""
    twin.kind(ResourceKind(TYPE, put=_put, patch=False, name=r"[a-zA-Z0-9][a-zA-Z0-9_-]{2,32}", seconds=_SECONDS))


def _put(twin: TenantTwin, call: ArmCall, there: Document | None) -> Document:
    """Checks an outbound rule: the workspace has a managed network, and the target exists.

    Unsure (60 %): the page requires both; codes and messages are assumed.
    """
    rule = judged("OutboundRule", call.method, call.body.get("properties") or {})
    workspace = twin.find(references.workspace_of(call.id))
    if workspace is None or workspace["properties"]["managedNetwork"]["isolationMode"] == "Disabled":
        message = "Outbound rules need a managed network, and the workspace's isolation mode is Disabled."
        raise ArmError(400, "BadRequest", message, "properties")
    target = (rule.get("destination") or {}).get("serviceResourceId") if rule["type"] == "PrivateEndpoint" else ""
    if target and twin.find(target) is None:
        raise ArmError(400, "BadRequest", f"The resource {target} was not found.", "properties.destination")
    return {"properties": {**rule, "category": rule.get("category") or "UserDefined", "status": "Inactive"}}
