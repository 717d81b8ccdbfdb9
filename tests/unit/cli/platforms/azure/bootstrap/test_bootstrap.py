"""Names of bootstrap's things, the roles that it knows, where a backend's blobs are, and what encrypts secrets."""

import re
from types import SimpleNamespace
from typing import Any

import pytest

from llmops_kit.cli.platforms.azure import preflight
from llmops_kit.cli.platforms.azure.bootstrap import foundations as bootstrap_stack
from llmops_kit.cli.platforms.azure.bootstrap.github import permissions_of
from llmops_kit.cli.platforms.azure.bootstrap.names import AzureBootstrapNames
from llmops_kit.cli.platforms.azure.bootstrap.roles import GRANTED
from llmops_kit.cli.platforms.azure.recording import role_definition
from llmops_kit.cli.platforms.azure.state_locks import account_url
from llmops_kit.core.errors import KitError
from llmops_twins.azure.judges import roles

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"


@pytest.mark.parametrize("project", ["llmops", "a", "A_project.of-many--words" * 4, "7-up", "x" * 100, "-_."])
def test_names_keep_azures_limits_and_differ_by_subscription(project: str) -> None:
    names = AzureBootstrapNames(project, SUBSCRIPTION)
    assert re.fullmatch(r"[a-z0-9]{3,24}", names.account)
    assert re.fullmatch(r"[a-z](?!.*--)[a-z0-9-]{1,22}[a-z0-9]", names.vault)
    assert re.fullmatch(r"[-\w.()]{0,89}[-\w()]", names.group)
    identity = names.identity("preview", "Acme/" + "repo.sitory" * 12)
    assert re.fullmatch(r"[a-zA-Z0-9][-_a-zA-Z0-9]{2,127}", identity)
    other = AzureBootstrapNames(project, SUBSCRIPTION.replace("1", "2"))
    assert {names.account, names.vault}.isdisjoint({other.account, other.vault})


@pytest.mark.vulnerability(12)
def test_vulnerability_12_no_role_that_gives_roles_can_be_given() -> None:
    known = roles.built_in()
    for id_ in GRANTED:
        for action in (
            "roleAssignments/write",
            "roleAssignments/delete",
            "roleDefinitions/write",
            "elevateAccess/action",
        ):
            assert not known[id_].allows(f"Microsoft.Authorization/{action}"), known[id_].name


@pytest.mark.parametrize("text", ["", "me", "Robot:11111111-2222-3333-4444-555555555555", "User:"])
def test_an_operator_is_an_object_id_with_its_kind(text: str) -> None:
    with pytest.raises(KitError, match="is not an operator"):
        bootstrap_stack._operator(text)
    assert bootstrap_stack._operator(f"Group:{SUBSCRIPTION}") == ("Group", SUBSCRIPTION)
    assert bootstrap_stack._operator(SUBSCRIPTION.upper()) == ("User", SUBSCRIPTION)


def test_a_recorded_role_says_of_each_action_whether_it_is_of_data() -> None:
    keys, blobs = "Microsoft.KeyVault/vaults/keys", "Microsoft.Storage/storageAccounts/blobServices/containers"
    actions = [f"{keys}/read", f"{keys}/write", f"{keys}/sign/action", f"{blobs}/read", f"{blobs}/blobs/read"]
    role = role_definition("deploy", "", [*actions, "Microsoft.KeyVault/vaults/read"], "/subscriptions/1")
    assert role["Actions"] == [f"{keys}/read", f"{keys}/write", "Microsoft.KeyVault/vaults/read", f"{blobs}/read"]
    assert role["DataActions"] == [f"{keys}/read", f"{keys}/sign/action", f"{blobs}/blobs/read"]
    assert role["AssignableScopes"] == ["/subscriptions/1"]
    other = role_definition("deploy", "", actions, "/subscriptions/2")
    assert role["Name"] != other["Name"], "names are unique in the tenant"


@pytest.mark.vulnerability(12)
def test_vulnerability_12_a_recorded_role_neither_gives_roles_nor_signs() -> None:
    gives = [f"Microsoft.Authorization/roleAssignments/{verb}" for verb in ("read", "write", "delete")]
    keys = [f"Microsoft.KeyVault/vaults/keys/{verb}" for verb in ("sign/action", "verify/action")]
    role = role_definition("deploy", "", [*gives, *keys], "/subscriptions/1")
    assert permissions_of(role)["actions"] == ["Microsoft.Authorization/roleAssignments/read"]
    assert permissions_of(role)["dataActions"] == ["Microsoft.KeyVault/vaults/keys/verify/action"]


@pytest.mark.parametrize(
    ("backend", "url"),
    [
        ("azblob://states?storage_account=mine", "https://mine.blob.core.windows.net"),
        ("azblob://states/below?storage_account=mine&domain=blob.example", "https://mine.blob.example"),
        ("azblob://states?storage_account=mine&domain=localhost:1/storage", "https://localhost:1/storage/mine"),
        ("azblob://states", "https://theirs.blob.core.windows.net"),
    ],
)
def test_a_backends_blobs_are_where_the_engine_finds_them(
    backend: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "theirs")
    monkeypatch.delenv("AZURE_STORAGE_DOMAIN", raising=False)
    assert account_url(backend) == url


def test_a_backend_without_an_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT", raising=False)
    with pytest.raises(KitError, match="names no storage account"):
        account_url("azblob://states")


@pytest.mark.parametrize(
    ("backend", "twin", "written", "provider"),
    [
        ("azblob://states", "", "", "azurekeyvault://llmops-s"),
        ("azblob://states", "https://localhost:1", "", ""),
        ("file:///state", "", "", ""),
        ("azblob://states", "", "azurekeyvault://mine/keys/k", "azurekeyvault://mine/keys/k"),
    ],
)
def test_what_protects_the_secrets_of_a_new_stack(backend: str, twin: str, written: str, provider: str) -> None:
    stack, session = _stack(backend, written), _session(twin, key={})
    assert preflight._secrets_provider(stack, session, False).startswith(provider)
    assert bool(preflight._secrets_provider(stack, session, False)) is bool(provider)


def test_without_the_key_a_stack_of_ones_own_has_a_passphrase() -> None:
    stack, session = _stack("azblob://states", ""), _session("", key=None)
    assert preflight._secrets_provider(stack, session, True) == ""
    with pytest.raises(KitError, match="there is no key"):
        preflight._secrets_provider(stack, session, False)


def _stack(backend: str, written: str) -> Any:
    file = SimpleNamespace(secrets_provider=written)
    return SimpleNamespace(backend=backend, file=file, project=SimpleNamespace(name="llmops"))


def _session(twin: str, key: Any) -> Any:
    return SimpleNamespace(twin=twin, subscription=SUBSCRIPTION, arm=SimpleNamespace(find=lambda *_: key))
