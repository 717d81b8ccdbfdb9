"""azure-ai-ml, unmodified, in an environment of its own, TLS verified: jobs, models, endpoints, invocations, logs."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential
from azure.storage.blob import BlobServiceClient

from contract.twin import TWIN_SUBSCRIPTION
from hosting.images import build
from llmops.platforms.azure.arm import Arm
from tests.support.echo import echo_source
from tests.support.environments import AZURE_AI_ML, environment
from tests.support.serving import until
from twins.azure import control
from twins.azure.principals import OWNER_ID

GROUP = f"/subscriptions/{TWIN_SUBSCRIPTION}/resourceGroups/kit"
WORKSPACE = f"{GROUP}/providers/Microsoft.MachineLearningServices/workspaces/kit-ml"
ACCOUNT = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/kitdata"
VAULT = f"{GROUP}/providers/Microsoft.KeyVault/vaults/kit-vault"
IDENTITY = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/kit"
CONTRIBUTOR = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"  # Storage Blob Data Contributor
LOCATION = "westeurope"
SCRIPT = Path(__file__).with_name("ml_client.py")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What the script came to on a twin with a workspace."""
    home = tmp_path_factory.mktemp("twin")
    image = build(echo_source(tmp_path_factory.mktemp("echo")))
    info = control.up(home, pace=0.2)
    try:
        variables = {name: value for name, value in control.environment(home).items() if value is not None}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in control.environment(home).items():
                if value is None:
                    patch.delenv(name, raising=False)
                else:
                    patch.setenv(name, value)
            client_id = _make_workspace(Arm(info.url, DefaultAzureCredential()), image)
        told = {
            "ML_GROUP": "kit",
            "ML_WORKSPACE": "kit-ml",
            "ML_IDENTITY": IDENTITY,
            "ML_CLIENT_ID": client_id,
            "ML_COMMAND": "cat ${{inputs.spec}}/spec.txt && cp ${{inputs.spec}}/spec.txt ${{outputs.model}}/model.txt",
            "ML_VARIABLES": json.dumps({"SAYS": "to the log"}),
        }
        yield _run(home, variables | told)
    finally:
        control.reset(home)


def _run(home: Path, variables: dict[str, str]) -> dict[str, Any]:
    python = environment("azure-ai-ml", AZURE_AI_ML) / "bin" / "python"
    own = {"PATH": os.environ["PATH"], "HOME": str(home)}
    command = [str(python), str(SCRIPT), str(home)]
    ran = subprocess.run(command, env=own | variables, text=True, capture_output=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-4000:]
    return {**json.loads((home / "done.json").read_text()), "said": ran.stdout}


def _make_workspace(arm: Arm, image: str) -> str:
    """A workspace, and what the script needs there; the client id of its identity, which may read and write blobs."""
    arm.put(GROUP, {"location": LOCATION}, "2024-03-01")
    storage = {"location": LOCATION, "sku": {"name": "Standard_LRS"}, "kind": "StorageV2", "properties": {}}
    account = arm.put(ACCOUNT, storage, "2024-01-01")
    arm.put(f"{ACCOUNT}/blobServices/default/containers/store", {"properties": {}}, "2024-01-01")
    identity = arm.put(IDENTITY, {"location": LOCATION}, "2023-01-31")["properties"]
    for number, principal in enumerate((OWNER_ID, identity["principalId"])):
        _assign(arm, f"00000000-0000-0000-0000-{number:012}", principal)
    sku = {"family": "A", "name": "standard"}
    vault = {"tenantId": identity["tenantId"], "sku": sku, "enableRbacAuthorization": True}
    arm.put(VAULT, {"location": LOCATION, "properties": vault}, "2023-07-01")
    needed = {"storageAccount": ACCOUNT, "keyVault": VAULT}
    body = {"location": LOCATION, "identity": {"type": "SystemAssigned"}, "properties": needed}
    arm.put(WORKSPACE, body)
    store = {"datastoreType": "AzureBlob", "accountName": "kitdata", "containerName": "store"}
    arm.put(f"{WORKSPACE}/datastores/store", {"properties": {**store, "credentials": {"credentialsType": "None"}}})
    scale = {"minNodeCount": 0, "maxNodeCount": 1}
    cluster = {"computeType": "AmlCompute", "properties": {"vmSize": "Standard_DS3_v2", "scaleSettings": scale}}
    assigned = {"type": "UserAssigned", "userAssignedIdentities": {IDENTITY: {}}}
    arm.put(f"{WORKSPACE}/computes/cpu", {"location": LOCATION, "identity": assigned, "properties": cluster})
    routes = {
        f"{name}Route": {"path": path, "port": 8080}
        for name, path in (("liveness", "/ping"), ("readiness", "/ping"), ("scoring", "/"))
    }
    arm.put(f"{WORKSPACE}/environments/training/versions/1", {"properties": {"image": image}})
    arm.put(f"{WORKSPACE}/environments/serving/versions/1", {"properties": {"image": image, "inferenceConfig": routes}})
    _upload(account["properties"]["primaryEndpoints"]["blob"])
    return identity["clientId"]


def _assign(arm: Arm, name: str, principal: str) -> None:
    definition = f"/subscriptions/{TWIN_SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/{CONTRIBUTOR}"
    properties = {"roleDefinitionId": definition, "principalId": principal, "principalType": "ServicePrincipal"}
    scope = f"{ACCOUNT}/providers/Microsoft.Authorization/roleAssignments/{name}"
    arm.put(scope, {"properties": properties}, "2022-04-01")


def _upload(url: str) -> None:
    """What the job and the model read, as soon as the role is of use."""
    with DefaultAzureCredential() as credential, BlobServiceClient(url, credential) as blobs:
        container = blobs.get_container_client("store")
        until(lambda: _is_uploaded(container, "spec/spec.txt", b"what to do\n"))
        assert _is_uploaded(container, "models/a/model.txt", b"a model")


def _is_uploaded(container: Any, name: str, content: bytes) -> bool:
    try:
        container.upload_blob(name, content, overwrite=True)
    except HttpResponseError as e:
        if e.status_code != 403:
            raise
        return False
    return True


def test_a_workspace_and_what_it_has(done: dict[str, Any]) -> None:
    assert done["workspace"] == {
        "location": LOCATION,
        "tags": {"team": "a"},
        "default_datastore": "workspaceblobstore",
        "created": "Succeeded",
        "computes": ["cpu", "second"],
        "sizes": True,
        "usage": 350,
    }


def test_models_and_environments_by_version(done: dict[str, Any]) -> None:
    found = done["models"]
    assert found["path"].endswith("/datastores/store/paths/models/a")
    assert (found["latest"], found["versions"], found["environment"]) == ("1", ["1"], "mcr.microsoft.com/other:1")
    assert "modelUri of version 1 of models can't be changed" in found["refused"]


def test_a_job_runs_and_its_log_is_followed(done: dict[str, Any]) -> None:
    found = done["jobs"]
    assert (found["ended"], found["listed"], found["tags"]) == ("Completed", ["run-1"], {"kept": "yes"})
    assert "what to do" in done["said"]
    assert "is Completed already" in found["refused"]


def test_an_endpoint_answers_what_it_was_asked(done: dict[str, Any]) -> None:
    found = done["endpoints"]
    assert (found["state"], found["deployed"], found["traffic"]) == ("Succeeded", "Succeeded", {"chat-a": 100})
    assert json.loads(found["answer"]) == json.loads(found["named"]) == {"hello": "azure"}
    assert "to the log" in found["logs"]
    assert found["key"]


def test_what_has_traffic_stays_until_its_endpoint_goes(done: dict[str, Any]) -> None:
    assert "has 100% of live traffic" in done["endpoints"]["refused"]
    assert (done["endpoints"]["deployments"], done["endpoints"]["left"]) == (["chat-a"], [])
