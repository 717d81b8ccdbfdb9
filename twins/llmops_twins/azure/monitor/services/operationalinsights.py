"""Microsoft.OperationalInsights: Log Analytics workspaces.

https://learn.microsoft.com/rest/api/loganalytics/workspaces
"""

import base64
import secrets
import uuid

from llmops_twins.azure.arm import soft_delete
from llmops_twins.azure.protocol import body_checks
from llmops_twins.azure.protocol.calls import ArmCall, Document, timestamp
from llmops_twins.azure.protocol.ids import key
from llmops_twins.azure.protocol.kinds import ResourceKind, SoftDelete
from llmops_twins.azure.twin import TenantTwin

WORKSPACES = "Microsoft.OperationalInsights/workspaces"
SECONDS = 30.0
_BODY = body_checks.Body(WORKSPACES)


def install(twin: TenantTwin) -> None:
    """Registers the kind. A deleted workspace is recovered by creating one of its name, as on Azure."""
    soft = SoftDelete(14, purge="force", recover=lambda _body: True, restores=True)
    twin.kind(
        ResourceKind(
            WORKSPACES,
            put=_put,
            name=r"[A-Za-z0-9][A-Za-z0-9-]{2,61}[A-Za-z0-9]",
            location=True,
            seconds=SECONDS,
            soft_delete=soft,
        )
    )
    twin.action(WORKSPACES, "sharedKeys", _keys)
    twin.action("Microsoft.OperationalInsights", "deletedWorkspaces", _list_deleted, method="GET")


def _put(twin: TenantTwin, call: ArmCall, there: Document | None) -> Document:
    body = _BODY.judged(call)
    properties = body["properties"]
    before = (there or {}).get("properties") or {}
    properties.setdefault("sku", before.get("sku") or {"name": "PerGB2018"})
    properties.setdefault("retentionInDays", 30)
    if not 30 <= properties["retentionInDays"] <= 730:
        message = f"The value {properties['retentionInDays']} of retentionInDays is not in the range of 30 to 730."
        raise body_checks.refused(message, "properties.retentionInDays", "InvalidParameter")
    now = timestamp()
    properties |= {"customerId": before.get("customerId") or str(uuid.uuid4()), "modifiedDate": now}
    properties["createdDate"] = before.get("createdDate") or now
    properties.setdefault("workspaceCapping", {"dailyQuotaGb": -1.0})
    properties.setdefault("publicNetworkAccessForIngestion", "Enabled")
    properties.setdefault("publicNetworkAccessForQuery", "Enabled")
    properties["features"] = {
        "legacy": 0,
        "searchVersion": 1,
        "enableLogAccessUsingOnlyResourcePermissions": True,
        **properties.get("features", {}),
    }
    keys = (there or {}).get("_keys") or [base64.b64encode(secrets.token_bytes(64)).decode() for _ in range(2)]
    return {**body, "_keys": keys}


def _keys(_twin: TenantTwin, _call: ArmCall, document: Document) -> Document:
    return dict(zip(("primarySharedKey", "secondarySharedKey"), document["_keys"], strict=True))


def _list_deleted(twin: TenantTwin, call: ArmCall, _document: Document | None) -> Document:
    scope = key(call.path.rpartition("/providers/")[0])
    found = [d for each, d in soft_delete.deleted(twin).items() if d["type"] == WORKSPACES and each.startswith(scope)]
    return {"value": [twin.shown(document) for document in found]}
