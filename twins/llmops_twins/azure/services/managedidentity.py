"""Microsoft.ManagedIdentity: user-assigned identities and their federated credentials.

https://learn.microsoft.com/rest/api/managedidentity/
"""

from llmops_twins.azure.entra import principals
from llmops_twins.azure.entra.token_service import CREDENTIALS
from llmops_twins.azure.protocol import body_checks
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import ArmCall, Document
from llmops_twins.azure.protocol.ids import key
from llmops_twins.azure.protocol.kinds import ResourceKind
from llmops_twins.azure.twin import TenantTwin

IDENTITIES = "Microsoft.ManagedIdentity/userAssignedIdentities"
MOST_CREDENTIALS = 20
_IDENTITY = body_checks.Body(IDENTITIES, more={"properties.isolationScope": body_checks.TEXT})  # in later API versions
_CREDENTIAL = body_checks.Body(
    CREDENTIALS,
    required=tuple(f"properties.{name}" for name in ("issuer", "subject", "audiences")),
    code="BadRequest",  # https://github.com/zioproto/istio-aks-example/issues/6
)


def install(twin: TenantTwin) -> None:
    """Registers the kinds."""
    twin.kind(
        ResourceKind(
            IDENTITIES,
            put=_put,
            gone=_gone,
            name=r"[a-zA-Z0-9][-_a-zA-Z0-9]{2,127}",
            location=True,
            provisioning=False,
        )
    )
    twin.kind(
        ResourceKind(
            CREDENTIALS,
            put=_put_credential,
            patch=False,
            name=r"[a-zA-Z0-9][-_a-zA-Z0-9]{2,119}",
            provisioning=False,
        )
    )


def _put(twin: TenantTwin, call: ArmCall, there: Document | None) -> Document:
    body = _IDENTITY.judged(call)
    properties = dict((there or {}).get("properties") or {})
    if not there:
        made = principals.add(twin, call.id.rpartition("/")[2], "identity", resource=call.id)
        properties = {"tenantId": twin.tenant, "principalId": made.object_id, "clientId": made.app_id}
    return {**body, "properties": properties}


def _gone(twin: TenantTwin, document: Document) -> None:
    principals.remove(twin, document["properties"]["principalId"])


def _put_credential(twin: TenantTwin, call: ArmCall, there: Document | None) -> Document:
    body = _CREDENTIAL.judged(call)
    properties = body["properties"]
    if len(properties["audiences"]) != 1:
        raise body_checks.refused("Exactly one audience is expected.", "properties.audiences")
    others = [d for d in twin.children(call.id.rsplit("/", 2)[0], CREDENTIALS) if key(d["id"]) != key(call.id)]
    if not there and len(others) >= MOST_CREDENTIALS:
        message = f"Too many Federated Identity Credentials: at most {MOST_CREDENTIALS} are allowed."
        # unsure (65 %): the limit is documented (https://github.com/Azure/azure-workload-identity/issues/575); code and
        # words are assumed
        raise ArmError(400, "TooManyFederatedIdentityCredentials", message)
    for other in others:
        if all(other["properties"][name] == properties[name] for name in ("issuer", "subject")):
            # unsure (70 %): of applications it is reported (https://github.com/Azure/azure-workload-identity/issues/434);
            # code and words are assumed
            raise ArmError(
                409,
                "Conflict",
                "Issuer and subject combination already exists for this Managed Identity.",
            )
    return body
