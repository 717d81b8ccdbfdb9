"""Datastores: names for blob containers, and their credentials; new workspaces have some.

https://learn.microsoft.com/rest/api/azureml/datastores

Unsure (65 %): the rules are the reference's, which names no codes; code and words are assumed.
"""

from llmops_twins.azure.arm import arm
from llmops_twins.azure.ml import references
from llmops_twins.azure.ml.ml_bodies import WORKSPACES, judged, refuse_changes, writable
from llmops_twins.azure.ml.ml_documents import stamp
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import ArmCall, Document
from llmops_twins.azure.protocol.kinds import ResourceKind
from llmops_twins.azure.twin import TenantTwin

TYPE = f"{WORKSPACES}/datastores"
DEFAULTS = {"workspaceblobstore": "azureml-blobstore-{guid}", "workspaceartifactstore": "azureml"}
"""Datastores that a new workspace has, and their containers."""


def install(twin: TenantTwin) -> None:
    """Registers the kind."""
    twin.kind(
        ResourceKind(
            TYPE,
            put=_put,
            deleting=_deleting,
            patch=False,  # the specification has no PATCH, as for assets
            listed=_listed,
            show=_show,
            name=r"[a-zA-Z0-9][a-zA-Z0-9_]{0,254}",
            provisioning=False,
        )
    )


def _listed(call: ArmCall, found: list[Document]) -> list[Document]:
    """Returns the datastores that match `isDefault`: azure-rest-api-specs, Microsoft.MachineLearningServices:
    Datastores_List.
    """
    default = call.query.get("isDefault", "").lower()
    return [each for each in found if default in ("", str(bool(each["properties"].get("isDefault"))).lower())]


def make_defaults(twin: TenantTwin, workspace: Document) -> None:
    """Creates a new workspace's datastores, and their containers in its storage account."""
    properties = workspace["properties"]
    account = properties.get("storageAccount")
    if not account:
        return
    kind = twin.kinds.get("microsoft.storage/storageaccounts/blobservices/containers")
    for name, container in DEFAULTS.items():
        container = container.format(guid=properties["workspaceId"])
        container_id = f"{account}/blobServices/default/containers/{container}"
        if kind and twin.find(container_id) is None:
            arm.put(twin, container_id, {"properties": {}})
        body = {
            "datastoreType": "AzureBlob",
            "accountName": account.rpartition("/")[2],
            "containerName": container,
            "credentials": {"credentialsType": "None"},
            "serviceDataAccessAuthIdentity": "None",
        }
        document = arm.put(twin, f"{workspace['id']}/datastores/{name}", {"properties": body})
        document["properties"]["isDefault"] = name == "workspaceblobstore"
        twin.keep(document)


def _put(twin: TenantTwin, call: ArmCall, there: Document | None) -> Document:
    body = judged("Datastore", call.method, call.body)
    properties = body["properties"]
    if properties["datastoreType"] != "AzureBlob":
        kind = properties["datastoreType"]
        raise ArmError(400, "UserError", f"Datastores of type {kind} are not on this twin.", "properties.datastoreType")
    for name in ("accountName", "containerName"):
        if not properties.get(name):
            raise ArmError(400, "ValidationError", f"{name} is required.", f"properties.{name}")
    properties.setdefault("endpoint", "core.windows.net")
    properties.setdefault("protocol", "https")
    properties.setdefault("serviceDataAccessAuthIdentity", "None")
    if there:
        refuse_changes("Datastore", writable("Datastore", there), body, f"datastore {there['name']}")
    account = properties["accountName"]
    skipped = call.query.get("skipValidation", "").lower() == "true"
    if not skipped and references.storage_account(twin, account) is None:
        # unsure (35 %): azure-ai-ml always skips the validation, so nobody reports what it refuses
        message = f"The storage account {account} of the datastore can't be found."
        raise ArmError(400, "UserError", message, "properties.accountName")
    properties["isDefault"] = bool(there and there["properties"]["isDefault"])
    return stamp(call, there, body)


def _deleting(twin: TenantTwin, call: ArmCall, document: Document) -> None:
    if document["properties"]["isDefault"]:
        raise ArmError(400, "UserError", f"The default datastore {document['name']} can't be deleted.")


def _show(twin: TenantTwin, document: Document) -> Document:
    document["properties"]["credentials"].pop("secrets", None)
    return document
