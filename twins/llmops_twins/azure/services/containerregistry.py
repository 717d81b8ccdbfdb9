"""Microsoft.ContainerRegistry: registries, each on its own port, with the images that Docker pushes.

https://learn.microsoft.com/rest/api/containerregistry/registries
"""

import re
from datetime import UTC, datetime

from llmops_twins.azure.protocol import body_checks
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import ArmCall, Document
from llmops_twins.azure.protocol.ids import Id
from llmops_twins.azure.protocol.kinds import ResourceKind
from llmops_twins.azure.registry import registry
from llmops_twins.azure.registry.registry import REGISTRIES
from llmops_twins.azure.registry.registry_host import RegistryApp
from llmops_twins.azure.twin import TenantTwin
from llmops_twins.core.registry import pull_names as common
from llmops_twins.core.registry.registry_storage import Storage

CREATE_SECONDS = 20.0
UNJUDGED = [
    "registries: no admin user and no anonymous pulls; firewalls block nobody; images are not encrypted",
    "registries: no tasks, webhooks, replication, imports, retention; layers are not mounted from another repository",
]
_NAME = re.compile(r"[a-zA-Z0-9]{5,50}")
_SKUS = ("Basic", "Standard", "Premium")
_DEFAULTS: Document = {
    "adminUserEnabled": False,
    "anonymousPullEnabled": False,
    "dataEndpointEnabled": False,
    "dataEndpointHostNames": [],
    "encryption": {"status": "disabled"},
    "networkRuleBypassOptions": "AzureServices",
    "policies": {
        "azureADAuthenticationAsArmPolicy": {"status": "enabled"},
        "exportPolicy": {"status": "enabled"},
        "quarantinePolicy": {"status": "disabled"},
        "retentionPolicy": {"days": 7, "status": "disabled"},
        "softDeletePolicy": {"retentionDays": 7, "status": "disabled"},
        "trustPolicy": {"status": "disabled", "type": "Notary"},
    },
    "privateEndpointConnections": [],
    "publicNetworkAccess": "Enabled",
    "zoneRedundancy": "Disabled",
}
# Any SKU's name: `_put` refuses an invalid one with its own code.
_BODY = body_checks.Body(REGISTRIES, values={"sku.name": body_checks.TEXT})
_OF_PREMIUM = {
    "dataEndpointEnabled": True,
    "publicNetworkAccess": "Disabled",
    "zoneRedundancy": "Enabled",
}


def install(twin: TenantTwin) -> None:
    """Registers the kind and its actions."""
    storage = Storage(common.folder(twin), "twins azure up")
    twin.kind(
        ResourceKind(
            REGISTRIES,
            put=_put,
            begun=lambda twin, document: _begun(twin, document, storage),
            gone=lambda twin, document: _gone(twin, document, storage),
            seconds=CREATE_SECONDS,
            codes=(201, 200),
            location=True,
        )
    )
    twin.resumers.append(lambda: _resume(twin, storage))
    twin.seeds.append(lambda: _empty(twin, storage))
    twin.closers.append(storage.close)
    twin.unjudged += UNJUDGED


def _plane(name: str) -> str:
    return f"registry/{name.lower()}"


def _login_server(twin: TenantTwin, name: str, storage: Storage) -> str:
    return twin.data_plane(_plane(name), RegistryApp(twin, name, storage), tls=False).partition("//")[2]


def _resume(twin: TenantTwin, storage: Storage) -> None:
    for document in list(twin.resources.values()):
        if document["type"] == REGISTRIES:
            _begun(twin, document, storage)


def _put(twin: TenantTwin, call: ArmCall, there: Document | None) -> Document:
    _check_name(twin, Id.parse(call.id).name, there)
    body = _BODY.judged(call)
    given, sku = body["properties"], body["sku"]["name"]
    if sku not in _SKUS:
        message = f"The SKU '{sku}' is not valid: it is one of {', '.join(_SKUS)}."
        # unsure (60 %): the names are documented; no source found for code and words
        raise ArmError(400, "InvalidSku", message)
    _check_sku(given, sku)
    if given.get("adminUserEnabled") or given.get("anonymousPullEnabled"):
        message = "This twin of Azure has no registry with an admin user or anonymous pulls."
        raise ArmError(400, "FeatureNotSupported", message)
    before = there["properties"] if there else {"creationDate": datetime.now(UTC).isoformat()}
    if there and given.get("zoneRedundancy", before["zoneRedundancy"]) != before["zoneRedundancy"]:
        message = "The property 'zoneRedundancy' can't be changed after the registry was created."
        # unsure (65 %): that it can't be changed was long documented; no source found for code and words
        raise ArmError(400, "CannotChangeZoneRedundancy", message)
    merged = _DEFAULTS | before | given
    merged["policies"] = _DEFAULTS["policies"] | (before.get("policies") or {}) | (given.get("policies") or {})
    kept = {key: body[key] for key in ("location", "tags", "identity") if key in body}
    if there:
        kept = {key: there[key] for key in ("location", "tags", "identity") if key in there} | kept
    return {**kept, "sku": {"name": sku, "tier": sku}, "properties": merged}


def _check_name(twin: TenantTwin, name: str, there: Document | None) -> None:
    if not _NAME.fullmatch(name):
        message = "The specified registry name is invalid: it has 5 to 50 characters, letters and digits only."
        raise ArmError(400, "InvalidResourceName", message)
    if there is None and registry.named(twin, name):
        message = f"The registry DNS name {name.lower()}.azurecr.io is already in use. You can check if the name is already claimed using following API: https://docs.microsoft.com/en-us/rest/api/containerregistry/registries/checknameavailability"  # fmt: skip # noqa: E501
        raise ArmError(409, "AlreadyInUse", message)


def _check_sku(given: Document, sku: str) -> None:
    asked = [name for name, value in _OF_PREMIUM.items() if given.get(name) == value]
    if (given.get("encryption") or {}).get("status") == "enabled":
        asked.append("encryption")
    if (given.get("networkRuleSet") or {}).get("defaultAction") == "Deny":
        asked.append("networkRuleSet")
    if ((given.get("policies") or {}).get("retentionPolicy") or {}).get("status") == "enabled":
        asked.append("retentionPolicy")
    if asked and sku != "Premium":
        message = f"The property '{asked[0]}' is not supported for the SKU {sku}: it needs Premium."
        # unsure (65 %): which tier has what is documented; no source found for code and words
        raise ArmError(400, "SkuNotSupported", message)


def _begun(twin: TenantTwin, document: Document, storage: Storage) -> None:
    document["properties"]["loginServer"] = _login_server(twin, document["name"], storage)


def _gone(twin: TenantTwin, document: Document, storage: Storage) -> None:
    name = document["name"]
    twin.end_data_plane(_plane(name))
    for repository in registry.forget(twin, name):
        storage.forget(f"{name.lower()}/{repository}")


def _empty(twin: TenantTwin, storage: Storage) -> None:
    if storage.empty():
        common.forget_pulled(twin)
