"""What roles allow: patterns, what is taken away from them, and the roles that Microsoft has."""

import json
import re

from llmops_twins.azure.judges import roles
from llmops_twins.azure.judges.roles import AzureRole, Permission, built_in, guid_of

BLOB = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"


def role(**fields: list[str]) -> AzureRole:
    return AzureRole("id", "name", (Permission.read(fields),))


def named(name: str) -> AzureRole:
    return next(each for each in built_in().values() if each.name == name)


def test_a_star_stands_for_any_text() -> None:
    assert role(actions=["*"]).allows("Microsoft.Storage/storageAccounts/write")
    assert role(actions=["*/read"]).allows("Microsoft.Storage/storageAccounts/read")
    assert not role(actions=["*/read"]).allows("Microsoft.Storage/storageAccounts/write")
    assert role(actions=["Microsoft.Authorization/*/read"]).allows("microsoft.authorization/roleAssignments/READ")
    assert not role(actions=["Microsoft.Storage/storageAccounts"]).allows("Microsoft.Storage/storageAccounts/read")
    assert role(actions=["A.B/c/*/read"]).allows("A.B/c/read")
    assert role(actions=["A.B/c/*/read"]).allows("A.B/c/d/e/read")
    assert not role(actions=["A.B/c/*/read"]).allows("A.B/cd/read")
    assert not role().allows("")


def test_data_actions_are_not_actions() -> None:
    assert not role(actions=["*"]).allows(f"{BLOB}/read", data=True)
    assert role(dataActions=[f"{BLOB}/*"]).allows(f"{BLOB}/add/action", data=True)
    assert not role(dataActions=[f"{BLOB}/*"]).allows(f"{BLOB}/read")


def test_what_a_block_takes_away_another_may_give() -> None:
    without = Permission.read({"actions": ["*"], "notActions": ["*/delete"]})
    assert not AzureRole("", "", (without,)).allows("A/b/delete")
    assert AzureRole("", "", (without, Permission.read({"actions": ["A/b/delete"]}))).allows("A/b/delete")
    data = Permission.read({"dataActions": ["*"], "notDataActions": ["*/delete"]})
    assert not AzureRole("", "", (data,)).allows("A/b/delete", data=True)


def test_microsofts_roles_are_what_their_names_say() -> None:
    assert not named("Contributor").allows("Microsoft.Authorization/roleAssignments/write")
    assert named("User Access Administrator").allows("Microsoft.Authorization/roleAssignments/write")
    assert not named("Owner").allows(f"{BLOB}/read", data=True)
    assert named("Storage Blob Data Reader").allows(f"{BLOB}/read", data=True)
    assert not named("Storage Blob Data Reader").allows(f"{BLOB}/write", data=True)
    assert named("Storage Blob Data Contributor").allows(f"{BLOB}/write", data=True)
    assert named("AcrPull").allows("Microsoft.ContainerRegistry/registries/pull/read")
    assert not named("AcrPull").allows("Microsoft.ContainerRegistry/registries/push/write")
    scientist, workspace = named("AzureML Data Scientist"), "Microsoft.MachineLearningServices/workspaces"
    assert scientist.allows(f"{workspace}/jobs/write")
    assert not scientist.allows(f"{workspace}/computes/cpu/write")
    assert not scientist.allows(f"{workspace}/write")
    assert named("Key Vault Crypto User").allows("Microsoft.KeyVault/vaults/keys/sign/action", data=True)
    assert not named("Key Vault Crypto User").allows("Microsoft.KeyVault/vaults/keys/create/action", data=True)
    assert not named("Key Vault Secrets User").allows("Microsoft.KeyVault/vaults/secrets/setSecret/action", data=True)


def test_the_file_is_whole() -> None:
    document = json.loads(roles._FILE.read_text())
    assert document["source"].startswith("https://learn.microsoft.com/")
    ids = [each["id"] for each in document["roles"]]
    assert len(set(ids)) == len(ids) == len(built_in())
    assert all(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", each) for each in ids)
    assert all(set(each) <= {"id", "name", "actions", "notActions", "dataActions", "notDataActions", "confirmed"}
               for each in document["roles"])  # fmt: skip
    patterns = [p for each in document["roles"] for kind in ("actions", "dataActions") for p in each[kind]]
    assert all(p in ("*", "*/read") or p.startswith("Microsoft.") for p in patterns)


def test_a_definitions_id_is_told_by_its_last_part() -> None:
    guid = "7f951dda-4ed3-4680-a7ca-43fe172d538d"
    assert guid_of(f"/subscriptions/s/providers/Microsoft.Authorization/roleDefinitions/{guid.upper()}") == guid
    assert guid_of(guid) == guid
