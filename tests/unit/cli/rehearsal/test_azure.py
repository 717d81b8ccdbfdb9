"""Azure as a rehearsal sees it: whose things are whose, and where its clients may go."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llmops_kit.cli.commands.rehearse import parse_taken
from llmops_kit.cli.platforms.azure.bootstrap.roles import MADE
from llmops_kit.cli.platforms.twin_command import TwinCommand
from llmops_kit.cli.rehearsal.clouds import find_cloud
from llmops_kit.cli.rehearsal.clouds.azure_inventory import deleted, inventory
from llmops_kit.cli.rehearsal.clouds.azure_twin import AzureTwin
from llmops_kit.core.errors import KitError
from llmops_kit.core.twins import KEY_VARIABLES, METADATA_VARIABLE, TWIN_SUBSCRIPTION

ROOT = f"/subscriptions/{TWIN_SUBSCRIPTION}"
GROUP = f"{ROOT}/resourcegroups/llmops-dev-group-756bf7c1"
VAULT = f"{GROUP}/providers/microsoft.keyvault/vaults/llmops-dev-vaul-1"


def test_a_stack_s_things_are_those_of_its_group() -> None:
    azure = find_cloud("azure")
    assert azure.is_of(f"vault {VAULT}", "dev")
    assert azure.is_of(f"role assignment {VAULT}/providers/microsoft.authorization/roleassignments/1", "dev")
    assert not azure.is_of(f"vault {VAULT}", "de")
    assert not azure.is_of(f"bootstrap's resource group {GROUP}", "dev")
    assert not azure.is_of(f"role assignment {ROOT}/providers/microsoft.authorization/roleassignments/1", "dev")


def test_what_is_deleted_softly_is_nobody_s_orphan() -> None:
    azure = find_cloud("azure")
    assert azure.is_the_clouds(f"deleted {VAULT}")
    assert not azure.is_of(f"deleted {VAULT}", "dev")
    assert not azure.is_the_clouds(f"vault {VAULT}")


def test_a_twin_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {METADATA_VARIABLE: "https://127.0.0.1:1/metadata/endpoints", KEY_VARIABLES["azure"]: "key"}
    monkeypatch.setattr(TwinCommand, "environment", environ | {"SSL_CERT_FILE": str(tmp_path / "bundle.pem")})
    with pytest.raises(KitError) as refused:
        AzureTwin(tmp_path).ask("principals")
    assert refused.value.where == "https://127.0.0.1:1/_twin/principals"


@pytest.mark.parametrize(
    "elsewhere",
    [
        {METADATA_VARIABLE: "https://management.azure.com/metadata/endpoints"},
        {"AZURE_AUTHORITY_HOST": "https://login.microsoftonline.com"},
        {"AZURE_AUTHORITY_HOST": ""},
    ],
)
def test_clients_that_could_reach_azure_are_refused(elsewhere: dict[str, str]) -> None:
    home = {METADATA_VARIABLE: "https://localhost:1/metadata/endpoints", "AZURE_AUTHORITY_HOST": "https://localhost:1"}
    azure = find_cloud("azure")
    azure.require_loopback(home)
    with pytest.raises(KitError) as refused:
        azure.require_loopback(home | elsewhere)
    assert refused.value.where == f"${next(iter(elsewhere))}"


def test_an_update_is_watched_for_less_on_a_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    azure, entry = find_cloud("azure"), {"model": "m"}
    monkeypatch.delenv(METADATA_VARIABLE, raising=False)
    azure.change_machines(entry)
    assert entry == {"model": "m", "size": {"instance_type": "Standard_DS4_v2"}}
    monkeypatch.setenv(METADATA_VARIABLE, "https://localhost:1/metadata/endpoints")
    azure.change_machines(entry)
    assert entry["rollout"] == {"bake_seconds": 2}


class Reader:
    """A subscription with a group and a cluster, both of which change by themselves."""

    def __init__(self, nodes: int) -> None:
        ml = f"{GROUP}/providers/Microsoft.MachineLearningServices/workspaces/w"
        listed = {"id": ml, "type": "Microsoft.MachineLearningServices/workspaces"}
        cluster = {"id": f"{ml}/computes/cpu", "properties": {"properties": {"currentNodeCount": nodes, "vmSize": "D"}}}
        vaults, logs = "Microsoft.KeyVault/deletedVaults", "Microsoft.OperationalInsights/deletedWorkspaces"
        self._lists: dict[str, list[dict[str, Any]]] = {
            f"{ROOT}/resourcegroups": [{"id": GROUP, "etag": str(nodes)}],
            f"{ROOT}/resources": [listed],
            f"{ml}/computes": [cluster],
            f"{ROOT}/providers/{vaults}": [{"properties": {"vaultId": VAULT.upper()}}],
            f"{ROOT}/providers/{logs}": [{"id": f"{GROUP}/L"}],
        }

    def find(self, id_: str, _version: str = "") -> dict[str, Any]:
        return {"id": id_, "systemData": {}, "properties": {}}

    def list(self, id_: str, _version: str = "") -> Any:
        return iter(self._lists.get(id_, []))


def test_what_changes_by_itself_is_not_described() -> None:
    found = inventory(Reader(1), TWIN_SUBSCRIPTION)
    assert found == inventory(Reader(2), TWIN_SUBSCRIPTION)
    assert sorted(name.partition(" /")[0] for name in found) == ["cluster", "resource group", "workspace"]
    assert deleted(Reader(1), TWIN_SUBSCRIPTION) == sorted([VAULT, f"{GROUP}/l"])


@pytest.mark.parametrize("action", ["s3:PutObject", "Microsoft.KeyVault/vaults/write"])
def test_an_action_is_taken_away_as_its_cloud_writes_it(action: str) -> None:
    assert parse_taken(f"deploy:{action}") == ("deploy", action)


@pytest.mark.parametrize("text", ["deploy", "deploy:PutObject", ":s3:PutObject"])
def test_what_takes_nothing_away_is_refused(text: str) -> None:
    with pytest.raises(KitError) as refused:
        parse_taken(text)
    assert refused.value.where == "--without"


def test_what_bootstrap_made_is_told_by_its_tag_or_its_description() -> None:
    known = {
        GROUP: {"tags": {"llmops:managed-by": "bootstrap"}},
        VAULT: {"tags": {}},
        f"{GROUP}/a": {"properties": {"description": MADE}},
    }

    class Bootstrapped(Reader):
        def list(self, id_: str, _version: str = "") -> Any:
            return iter([{"id": each, "type": "T", **document} for each, document in known.items()])

    found = inventory(Bootstrapped(0), TWIN_SUBSCRIPTION)
    assert f"bootstrap's resource group {GROUP}" in found
    assert f"bootstrap's role assignment {GROUP}/a" in found
    assert f"T {VAULT}" in found


ML = "Microsoft.MachineLearningServices/workspaces"
OURS, THEIRS = (f"{ROOT}/resourceGroups/{group}/providers/{ML}/w" for group in ("smoke-1a2b-dev", "acme"))


class Lists:
    """A subscription's lists; nobody else's workspace may be looked into."""

    def __init__(self, lists: dict[str, list[dict[str, Any]]]) -> None:
        self.lists = lists

    def list(self, id_: str, _api_version: str = "") -> list[dict[str, Any]]:
        if id_.startswith(THEIRS):
            raise KitError("Azure refused: a deny assignment")
        return self.lists.get(id_, [])


def test_what_has_no_count_or_size_is_named_and_others_are_not_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = {"id": f"{OURS}/onlineEndpoints/chat"}
    computes = [
        ("AmlCompute", {"vmSize": "Standard_DS3_v2", "currentNodeCount": 2}),
        ("AmlCompute", {"vmSize": "Standard_DS3_v2", "currentNodeCount": 0}),
        ("ComputeInstance", {"vmSize": "Standard_DS11_v2"}),
        ("Kubernetes", None),
    ]
    lists = {
        f"{ROOT}/resources": [{"id": id_, "type": ML} for id_ in (OURS, THEIRS)],
        f"{OURS}/onlineEndpoints": [endpoint],
        f"{endpoint['id']}/deployments": [
            {"properties": {"instanceType": "Standard_DS4_v2"}, "sku": {"capacity": 3}},
            {"properties": {"endpointComputeType": "Kubernetes"}},
        ],
        f"{OURS}/computes": [
            {"id": f"{OURS}/computes/{kind}", "properties": {"computeType": kind, "properties": inner}}
            for kind, inner in computes
        ],
    }
    azure = find_cloud("azure")
    azure.only = "smoke-1a2b"
    monkeypatch.setattr(type(azure), "_session", SimpleNamespace(arm=Lists(lists), subscription=TWIN_SUBSCRIPTION))
    unnamed = "machines whose size Azure does not name"
    assert [(each.purpose, each.instance_type, each.count) for each in azure.standing()] == [
        ("hosting", "Standard_DS4_v2", 3),
        ("hosting", unnamed, 1),
        ("training", "Standard_DS3_v2", 2),
        ("training", "Standard_DS11_v2", 1),
        ("training", unnamed, 1),
    ]
