"""One twin for this folder's tests, and a deployed stack on it without an engine: containers and keys of its own."""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from llmops_kit.cli.platforms.azure.platform import AzurePlatform
from llmops_kit.clouds.azure.names import account_id, group_id, workspace_id
from llmops_kit.clouds.azure.session import AzureSession
from llmops_kit.core.documents.outputs import AzureCompute, StackOutputs
from llmops_kit.core.documents.run import Compute
from llmops_kit.core.twins import TWIN_SUBSCRIPTION
from llmops_twins.azure import control
from tests.support.clients import client_environ
from tests.support.clouds.azure_twin import trusted
from tests.support.servers.serving import until

MakePlatform = Callable[..., AzurePlatform]
LOCATION = "westeurope"
_GROUPS, _STORAGE, _VAULTS, _ROLES, _REGISTRIES = "2024-03-01", "2024-01-01", "2024-11-01", "2022-04-01", "2023-07-01"
BLOBS_CONTRIBUTOR = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
CRYPTO_USER = "12338af0-0e69-4776-bea7-57ae8d297424"
SECRETS_OFFICER = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7"


@pytest.fixture(scope="session")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A twin's home."""
    home = tmp_path_factory.mktemp("azure") / "twin"
    control.up(home, pace=0.05, containers="none", say=lambda _: None)
    try:
        yield home
    finally:
        control.down(home)


@pytest.fixture
def session(twin: Path, tmp_path: Path) -> Iterator[AzureSession]:
    """This process is a client of the twin meanwhile."""
    with entered(twin, LLMOPS_CACHE=str(tmp_path / "cache")):
        yield AzureSession()


@contextmanager
def entered(home: Path, **others: str) -> Iterator[None]:
    """This process' environment is the one of a twin's clients meanwhile."""
    environ = client_environ({**control.environment(home), **trusted(home)}) | others
    with mock.patch.dict(os.environ, environ, clear=True):
        yield


def assign(session: AzureSession, scope: str, role: str, principal: str = "") -> None:
    """Give a principal a role; without one: the caller."""
    definitions = f"/subscriptions/{TWIN_SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions"
    properties = {
        "roleDefinitionId": f"{definitions}/{role}",
        "principalId": principal or session.caller.object_id,
        "principalType": "ServicePrincipal",
    }
    name = f"{scope}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
    session.arm.put(name, {"properties": properties}, _ROLES)


@pytest.fixture
def make_platform(session: AzureSession) -> MakePlatform:
    """See `make_parts`."""
    return partial(make_parts, session)


def make_parts(session: AzureSession, stack: str = "dev", tagged: bool = True, **azure: Any) -> AzurePlatform:
    """Make a stack's account, containers, vault, key and registry; what the program leaves of one without endpoints."""
    suffix, arm = uuid.uuid4().hex[:8], session.arm
    group = f"/subscriptions/{TWIN_SUBSCRIPTION}/resourceGroups/kit-{suffix}"
    account = f"{group}/providers/Microsoft.Storage/storageAccounts/kit{suffix}"
    vault = f"{group}/providers/Microsoft.KeyVault/vaults/kit-{suffix}"
    registry = f"{group}/providers/Microsoft.ContainerRegistry/registries/kit{suffix}"
    place = {"location": LOCATION, "tags": {"llmops:stack": stack} if tagged else {}}
    arm.put(group, place, _GROUPS)
    storage = {**place, "sku": {"name": "Standard_LRS"}, "kind": "StorageV2", "properties": {}}
    blobs = arm.put(account, storage, _STORAGE)["properties"]["primaryEndpoints"]["blob"]
    service = {"isVersioningEnabled": True, "deleteRetentionPolicy": {"enabled": True, "days": 7}}
    arm.put(f"{account}/blobServices/default", {"properties": service}, _STORAGE)
    for container in ("store", "work"):
        arm.put(f"{account}/blobServices/default/containers/{container}", {"properties": {}}, _STORAGE)
    rights = {"tenantId": session.caller.tenant, "sku": {"family": "A", "name": "standard"}}
    made = arm.put(vault, {**place, "properties": {**rights, "enableRbacAuthorization": True}}, _VAULTS)
    key = {"properties": {"kty": "EC", "curveName": "P-256", "keyOps": ["sign", "verify"]}}
    key_id = arm.put(f"{vault}/keys/signing", key, _VAULTS)["properties"]["keyUriWithVersion"]
    for scope, role in ((account, BLOBS_CONTRIBUTOR), (vault, CRYPTO_USER), (vault, SECRETS_OFFICER)):
        assign(session, scope, role)
    sku = {"sku": {"name": "Basic"}, "properties": {"adminUserEnabled": False}}
    server = arm.put(registry, {**place, **sku}, _REGISTRIES)["properties"]["loginServer"]
    outputs = {
        "target": "azure",
        "stack": stack,
        "project": "",
        "store": {"url": f"{blobs.rstrip('/')}/store"},
        "signing": {
            "private_key": f"azurekeyvault://{key_id.removeprefix('https://')}",
            "public_key": _pem(session, key_id),
        },
        "training": {"image": f"process:training@sha256:{'0' * 64}", "runs": f"{blobs.rstrip('/')}/work/runs"},
        "azure": {
            "subscription": TWIN_SUBSCRIPTION,
            "tenant": session.caller.tenant,
            "location": LOCATION,
            "resource_group": group.rpartition("/")[2],
            "workspace": f"kit-{suffix}",
            "twin": True,
            "storage_account": account.rpartition("/")[2],
            "blob_url": blobs,
            "store_container": "store",
            "work_container": "work",
            "vault_url": made["properties"]["vaultUri"],
            "registry": server,
            "repositories": {"serving": f"{server}/serving"},
            **azure,
        },
    }
    platform = AzurePlatform(StackOutputs.new(**outputs))
    if not azure:
        until(lambda: _may_write(platform))  # a role takes its time
    return platform


def _may_write(platform: AzurePlatform) -> bool:
    from llmops_kit.core.errors import KitError

    try:
        platform.store().objects.create("probe", b"")
        platform.session.blobs(platform.azure.blob_url.rstrip("/")).get_blob_client("store", "probe").delete_blob()
    except KitError as e:
        if "may not" not in e.what:
            raise
        return False
    return True


def _pem(session: AzureSession, key_id: str) -> str:
    """Of a key, as the program exports it: read once its role is there, by Key Vault's own client."""
    from azure.core.exceptions import HttpResponseError
    from azure.keyvault.keys import KeyClient, KeyVaultKey

    vault, _, rest = key_id.partition("/keys/")
    name, _, version = rest.partition("/")
    found: list[KeyVaultKey] = []

    def read() -> bool:
        try:
            with KeyClient(vault, session.credential, verify_challenge_resource=False) as keys:
                found.append(keys.get_key(name, version))
        except HttpResponseError as e:
            if e.status_code != 403:
                raise
            return False
        return True

    until(read)
    x, y = (int.from_bytes(part, "big") for part in (found[0].key.x, found[0].key.y))  # type: ignore[attr-defined]
    public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return public.public_bytes(*form).decode()


def add_workspace(
    platform: AzurePlatform, images: dict[str, str], clusters: dict[str, dict[str, Any]]
) -> AzurePlatform:
    """Give a stack a workspace with datastores, an identity, clusters and environments; its platform from then on.

    Args:
        platform: of a stack without one.
        images: training, serving.
        clusters: name -> vm_size, spot, max_nodes.
    """
    azure, arm, outputs = platform.azure, platform.session.arm, platform.outputs
    group, workspace = group_id(azure), workspace_id(azure)
    identity_id = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{azure.workspace}"
    vault = f"{group}/providers/Microsoft.KeyVault/vaults/{azure.workspace}"
    identity = arm.put(identity_id, {"location": LOCATION}, "2023-01-31")["properties"]
    assign(platform.session, account_id(azure), BLOBS_CONTRIBUTOR, identity["principalId"])
    needed = {"storageAccount": account_id(azure), "keyVault": vault}
    arm.put(workspace, {"location": LOCATION, "identity": {"type": "SystemAssigned"}, "properties": needed})
    for name in ("store", "work"):
        store = {"datastoreType": "AzureBlob", "accountName": azure.storage_account, "containerName": name}
        store["credentials"] = {"credentialsType": "None"}  # type: ignore[assignment]
        arm.put(f"{workspace}/datastores/{name}", {"properties": store})
    assigned = {"type": "UserAssigned", "userAssignedIdentities": {identity_id: {}}}
    for name, cluster in clusters.items():
        properties = {
            "vmSize": cluster["vm_size"],
            "vmPriority": "LowPriority" if cluster.get("spot") else "Dedicated",
            "scaleSettings": {"minNodeCount": 0, "maxNodeCount": cluster.get("max_nodes", 1)},
        }
        made = {"computeType": "AmlCompute", "properties": properties}
        arm.put(f"{workspace}/computes/{name}", {"location": LOCATION, "identity": assigned, "properties": made})
    routes = {
        f"{name}Route": {"path": path, "port": 8080}
        for name, path in (("liveness", "/ping"), ("readiness", "/ping"), ("scoring", "/"))
    }
    environments = {}
    for name, image in images.items():
        inference = {"inferenceConfig": routes} if name == "serving" else {}
        environments[name] = f"{workspace}/environments/{name}/versions/1"
        arm.put(environments[name], {"properties": {"image": image, **inference}})
    changed = azure.model_copy(
        update={
            "datastores": {"store": "store", "work": "work"},
            "identities": {"training": identity_id, "endpoint": identity_id},
            "client_ids": {"training": identity["clientId"], "endpoint": identity["clientId"]},
            "computes": {name: AzureCompute.model_validate(cluster) for name, cluster in clusters.items()},
            "environments": environments,
            "jobs": Compute(instance_type=next(iter(clusters.values()))["vm_size"]),
            "job_prefix": f"llmops-dev-run-{azure.workspace[-8:]}",
            "tags": {"llmops:stack": outputs.stack},
        }
    )
    training = outputs.training.model_copy(update={"image": images.get("training", "")})
    return AzurePlatform(outputs.model_copy(update={"azure": changed, "training": training}))
