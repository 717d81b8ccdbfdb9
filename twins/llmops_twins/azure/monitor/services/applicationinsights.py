"""Microsoft.Insights/components: Application Insights, on top of a Log Analytics workspace.

https://learn.microsoft.com/rest/api/application-insights/components
"""

import uuid

from llmops_twins.azure.monitor.services.operationalinsights import WORKSPACES
from llmops_twins.azure.protocol import body_checks
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import ArmCall, Document, timestamp
from llmops_twins.azure.protocol.declared import READ_ONLY
from llmops_twins.azure.protocol.kinds import ResourceKind
from llmops_twins.azure.twin import TenantTwin

COMPONENTS = "Microsoft.Insights/components"
_BODY = body_checks.Body(
    COMPONENTS,
    required=("properties.Application_Type",),
    more={"properties.Ver": READ_ONLY},  # declared by no client
)
_RETENTIONS = (30, 60, 90, 120, 180, 270, 365, 550, 730)


def install(twin: TenantTwin) -> None:
    """Registers the kind."""
    twin.kind(
        ResourceKind(COMPONENTS, put=_put, name=r"[^/<>%&\\?#]{0,259}[^/<>%&\\?#. ]", location=True, codes=(200, 200))
    )


def _put(twin: TenantTwin, call: ArmCall, there: Document | None) -> Document:
    body = _BODY.judged(call)
    properties = body["properties"]
    before = (there or {}).get("properties") or {}
    workspace = properties.get("WorkspaceResourceId", before.get("WorkspaceResourceId", ""))
    found = twin.find(workspace) if workspace else None
    if found is None or found["type"] != WORKSPACES:
        message = "Workspace-based Application Insights needs WorkspaceResourceId, the id of a workspace that exists."
        raise ArmError(
            400, "ResourceNotFound" if workspace else "BadRequest", message, "properties.WorkspaceResourceId"
        )
    if properties.setdefault("RetentionInDays", 90) not in _RETENTIONS:
        raise body_checks.refused(f"RetentionInDays is one of {_RETENTIONS}.", "properties.RetentionInDays")
    key = before.get("InstrumentationKey") or str(uuid.uuid4())
    app = before.get("AppId") or str(uuid.uuid4())
    name = call.id.rpartition("/")[2]
    now = timestamp()
    properties |= {
        "WorkspaceResourceId": workspace,
        "Name": name,
        "ApplicationId": name,
        "AppId": app,
        "InstrumentationKey": key,
        "ConnectionString": f"InstrumentationKey={key};IngestionEndpoint={twin.url}/;ApplicationId={app}",
        "CreationDate": before.get("CreationDate") or now,
        "TenantId": twin.subscription,
        "Ver": "v2",
    }
    properties.setdefault("Flow_Type", "Bluefield")
    properties.setdefault("Request_Source", "rest")
    properties.setdefault("IngestionMode", "LogAnalytics")
    properties.setdefault("publicNetworkAccessForIngestion", "Enabled")
    properties.setdefault("publicNetworkAccessForQuery", "Enabled")
    return body
