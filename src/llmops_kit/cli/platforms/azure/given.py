"""Creates on a twin the existing resources that settings name: groups, accounts, vaults, identities, a network."""

import json
import os
import re
import ssl
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from llmops_kit.cli.platforms.azure.removal import STORE_KEYS, WORK_KEYS
from llmops_kit.clouds.azure.job_requests import JOBS_TAG
from llmops_kit.clouds.azure.names import workspace_id
from llmops_kit.clouds.azure.roles import BUILT_IN
from llmops_kit.clouds.azure.session import AzureSession
from llmops_kit.core.documents.outputs import StackOutputs
from llmops_kit.core.twins import TWIN_SUBSCRIPTION, owner_headers

_ID = re.compile(r"/subscriptions/[^/]+/resourceGroups/[^/]+.*", re.IGNORECASE)
_KINDS = (
    "microsoft.managedidentity/userassignedidentities",
    "microsoft.storage/storageaccounts",
    "microsoft.keyvault/vaults",
    "microsoft.containerregistry/registries",
    "microsoft.operationalinsights/workspaces",
    "microsoft.insights/components",
    "microsoft.network/virtualnetworks",
    "microsoft.network/privatednszones",
    "microsoft.machinelearningservices/workspaces",
)
"""In the order of their creation."""
_SOME_GROUP = f"/subscriptions/{TWIN_SUBSCRIPTION}/resourceGroups/given"
_IDENTITY_ROLES = (
    *("Contributor", "Storage Blob Data Contributor"),
    *("AcrPull", "Key Vault Crypto Service Encryption User"),
)
Document = dict[str, Any]


def admin(method: str, route: str, body: Document | None = None) -> Any:
    """Calls an administrative route of the twin."""
    address = AzureSession().twin
    data = None if body is None else json.dumps(body).encode()
    context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    request = urllib.request.Request(
        f"{address}/_twin/{route}", data, owner_headers("azure", os.environ), method=method
    )
    with urllib.request.urlopen(request, timeout=30, context=context) as answer:
        return json.load(answer)


def application(name: str) -> tuple[dict[str, str], str]:
    """Creates an application without roles; returns the environment variables that sign in as it, and its object id."""
    made = admin("POST", "applications", {"name": name})
    variables = admin("POST", "headers", {"object_id": made["object_id"]})
    own = {"AZURE_CLIENT_ID": made["client_id"], "ARM_CLIENT_ID": made["client_id"]}
    return {**variables, **own, "ARM_CLIENT_SECRET": made["client_secret"]}, made["object_id"]


def assign(session: AzureSession, principal: str, role: str) -> None:
    """Assigns a built-in role on the whole subscription to an application or identity, also to one that is new."""
    root = f"/subscriptions/{TWIN_SUBSCRIPTION}/providers/Microsoft.Authorization"
    properties = {
        "principalId": principal,
        "principalType": "ServicePrincipal",
        "roleDefinitionId": f"{root}/roleDefinitions/{BUILT_IN[role]}",
    }
    session.arm.put(f"{root}/roleAssignments/{uuid.uuid4()}", {"properties": properties})


def make_given(session: AzureSession, azure: Document, location: str) -> Document:
    """Creates the resources that `llmops:azure` names on the twin that this process uses.

    Returns:
        The settings for the twin.
    """
    azure = _moved({name: value for name, value in azure.items() if name != "subscription"})
    azure["location"] = location
    ids = sorted(set(_ids(azure)), key=_order)
    groups = {"/".join(id_.split("/")[:5]) for id_ in ids}
    for group in sorted(groups):
        session.arm.put(group, {"location": location})
    for id_ in ids:
        if _kind(id_) in _KINDS:
            _make(session, id_, location)
    for name in ("store_container", "work_container"):
        if azure.get(name):
            container = f"{azure['storage_account']}/blobServices/default/containers/{azure[name]}"
            session.arm.put(container, {"properties": {}})
    if azure.get("signing_key"):
        azure["signing_key"] = _key(session, azure["signing_key"], location, {"kty": "EC", "curveName": "P-256"})
    if (azure.get("encryption") or {}).get("key"):
        rsa = {"kty": "RSA", "keySize": 2048}
        azure["encryption"] = {
            **azure["encryption"],
            "key": _key(session, azure["encryption"]["key"], location, rsa, azure["encryption"]["vault"]),
        }
    if azure.get("operators"):  # the twin's directory has none of the tenant's principals
        people = [application(f"operator-{number}")[1] for number, _ in enumerate(azure["operators"])]
        azure["operators"] = [{"object_id": each, "kind": "ServicePrincipal"} for each in people]
    return azure


def _moved(value: Any) -> Any:
    """Returns settings with ids in the twin's subscription."""
    if isinstance(value, dict):
        return {name: _moved(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_moved(each) for each in value]
    if isinstance(value, str) and _ID.fullmatch(value):
        return f"/subscriptions/{TWIN_SUBSCRIPTION}/{value.split('/', 3)[3]}"
    return value


def _ids(value: Any) -> Iterator[str]:
    """Yields all resource ids in settings, with the ids of their parents."""
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _ids(each)
    elif isinstance(value, str) and _ID.fullmatch(value):
        yield "/".join(value.split("/")[:9])
        yield value


def _kind(id_: str) -> str:
    """Returns the type of a resource directly in a group."""
    parts = id_.lower().split("/")
    return "/".join(parts[6:8]) if len(parts) == 9 else ""


def _order(id_: str) -> tuple[int, str]:
    return _KINDS.index(_kind(id_)) if _kind(id_) in _KINDS else len(_KINDS), id_


def _make(session: AzureSession, id_: str, location: str) -> None:
    kind, arm = _kind(id_), session.arm
    body: Document = {"location": location, "properties": {}}
    if kind.endswith("userassignedidentities"):
        made = arm.put(id_, {"location": location})["properties"]["principalId"]
        for role in _IDENTITY_ROLES:
            assign(session, made, role)
        return
    if kind.endswith("storageaccounts"):
        body |= {"sku": {"name": "Standard_LRS"}, "kind": "StorageV2"}
    elif kind.endswith("vaults"):
        body["properties"] = {
            "tenantId": session.caller.tenant,
            "sku": {"family": "A", "name": "standard"},
            "enableRbacAuthorization": True,
            "enablePurgeProtection": True,
        }
    elif kind.endswith("registries"):
        body |= {"sku": {"name": "Premium"}}
    elif kind.endswith("components"):
        logs = f"{_SOME_GROUP}/providers/Microsoft.OperationalInsights/workspaces/given"
        arm.put(_SOME_GROUP, {"location": location})
        arm.put(logs, {"location": location})
        body |= {"kind": "web", "properties": {"Application_Type": "web", "WorkspaceResourceId": logs}}
    elif kind.endswith("virtualnetworks"):
        subnets = [{"name": "given", "properties": {"addressPrefix": "10.99.0.0/24"}}]
        body["properties"] = {"addressSpace": {"addressPrefixes": ["10.99.0.0/16"]}, "subnets": subnets}
    elif kind.endswith("privatednszones"):
        body = {"location": "global"}
    elif kind.startswith("microsoft.machinelearningservices"):
        body = _workspace(session, location)
    arm.put(id_, body)


def _workspace(session: AzureSession, location: str) -> Document:
    """Returns the properties of a workspace, with the resources that it depends on."""
    kinds = {
        "storageAccount": "Microsoft.Storage/storageAccounts",
        "keyVault": "Microsoft.KeyVault/vaults",
        "applicationInsights": "Microsoft.Insights/components",
    }
    session.arm.put(_SOME_GROUP, {"location": location})
    properties = {}
    for member, kind in kinds.items():
        properties[member] = f"{_SOME_GROUP}/providers/{kind}/given{member.lower()[:10]}"
        _make(session, properties[member], location)
    return {"location": location, "identity": {"type": "SystemAssigned"}, "properties": properties}


def _key(session: AzureSession, url: str, location: str, properties: Document, vault: str = "") -> str:
    """Creates a key like the one at a URL, in the given vault or one of the same name; returns its URL on the twin."""
    name = (urlsplit(url).hostname or "").partition(".")[0]
    vault = vault or f"{_SOME_GROUP}/providers/Microsoft.KeyVault/vaults/{name}"
    if session.arm.find(vault) is None:
        session.arm.put("/".join(vault.split("/")[:5]), {"location": location})
        _make(session, vault, location)
    body = {"properties": properties}
    made = session.arm.put(f"{vault}/keys/{urlsplit(url).path.split('/')[2]}", body)
    return str(made["properties"]["keyUriWithVersion"])


def fill(session: AzureSession, outputs: StackOutputs) -> None:
    """Writes a blob of each kind into the stack's containers on the twin, so that its removal uses all permissions."""
    assert outputs.azure
    azure = outputs.azure
    blobs = session.blobs(azure.blob_url.rstrip("/"))
    for container, keys in ((azure.store_container, STORE_KEYS), (azure.work_container, WORK_KEYS)):
        for key in keys:
            name = f"{key}recorded" if key.endswith("/") else key
            blobs.get_blob_client(container, name).upload_blob(b"recorded", overwrite=True)


def start_job(session: AzureSession, outputs: StackOutputs) -> None:
    """Creates a job on the twin that runs until it is canceled, so that `down` uses all permissions."""
    assert outputs.azure
    azure = outputs.azure
    pace = admin("GET", "settings")["pace"]
    admin("PUT", "settings", {"pace": 3600})
    cluster = next(iter(azure.computes))
    properties = {
        "jobType": "Command",
        "command": "true",
        "environmentId": azure.environments["training"],
        "computeId": f"{workspace_id(azure)}/computes/{cluster}",
        "identity": {"identityType": "Managed", "clientId": azure.client_ids["training"]},
        "tags": {**azure.tags, JOBS_TAG: azure.job_prefix},
    }
    session.arm.put(f"{workspace_id(azure)}/jobs/{azure.job_prefix}-recorded", {"properties": properties})
    admin("PUT", "settings", {"pace": pace})
