"""bootstrap on a twin's subscription: new, again, and where somebody changed something."""

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from llmops_kit.cli.platforms.azure import given
from llmops_kit.cli.platforms.azure.bootstrap.bootstrap import BootstrappedSubscription, bootstrap, key_url
from llmops_kit.clouds.azure.session import AzureSession
from llmops_kit.core.errors import KitError

Run = Callable[..., BootstrappedSubscription]


@pytest.fixture
def project(tmp_path: Path) -> str:
    """A name of this test's own, so that tests share a subscription and nothing in it."""
    return f"kit{abs(hash(str(tmp_path))) % 10**8}"


@pytest.fixture
def run(session: AzureSession, project: str) -> Run:
    return lambda **options: bootstrap(session, project, lambda _: None, **options)


def states(done: BootstrappedSubscription) -> dict[str, str]:
    return {row["what"]: row["state"] for row in done.rows}


def test_a_dry_run_makes_nothing(run: Run, session: AzureSession, project: str) -> None:
    done = run(dry_run=True, github="acme/bot", stacks=("dev",))
    assert all("would be made" in state or state == "is there" for state in states(done).values())
    assert len(done.rows) >= 5
    assert session.arm.find(done.names.group_id) is None
    with pytest.raises(KitError) as missed:
        key_url(session, project)
    assert "llmops bootstrap azure" in missed.value.fix


def test_the_subscription_is_made_ready_and_a_second_time_nothing_changes(
    run: Run, session: AzureSession, project: str
) -> None:
    done = run()
    names, arm = done.names, session.arm
    account = arm.get(names.account_id)["properties"]
    assert (account["allowSharedKeyAccess"], account["allowBlobPublicAccess"]) == (False, False)
    assert (account["supportsHttpsTrafficOnly"], account["minimumTlsVersion"]) == (True, "TLS1_2")
    blobs = arm.get(f"{names.account_id}/blobServices/default")["properties"]
    assert blobs["isVersioningEnabled"]
    assert blobs["deleteRetentionPolicy"]["enabled"]
    vault = arm.get(names.vault_id)["properties"]
    assert (vault["enableRbacAuthorization"], vault["enablePurgeProtection"]) == (True, True)
    assert arm.get(f"{names.vault_id}/keys/states")["properties"]["kty"] == "RSA"
    assert key_url(session, project) == f"azurekeyvault://{names.vault}.vault.azure.net/keys/states"
    assert set(states(run()).values()) == {"is there"}


def test_what_somebody_weakened_is_put_right_and_what_they_added_stays(run: Run, session: AzureSession) -> None:
    names, arm = run().names, session.arm
    weaker = {"allowSharedKeyAccess": True, "minimumTlsVersion": "TLS1_0"}
    arm.patch(names.account_id, {"properties": weaker, "tags": {"theirs": "1"}})
    service = f"{names.account_id}/blobServices/default"
    policy = {"enabled": True, "days": 300}
    off = {"isVersioningEnabled": False, "deleteRetentionPolicy": policy, "containerDeleteRetentionPolicy": policy}
    arm.put(service, {"properties": off})
    changed = {what: state for what, state in states(run()).items() if state.startswith("changed")}
    account = f"storage account {names.account}"
    assert changed[f"{account}: access"].startswith("changed: allowSharedKeyAccess True -> False")
    assert changed[f"{account}: versions and soft delete"] == "changed: isVersioningEnabled off -> on"
    assert len(changed) == 2
    assert arm.get(names.account_id)["tags"]["theirs"] == "1"
    assert arm.get(service)["properties"]["deleteRetentionPolicy"]["days"] == 300


def test_a_deleted_vault_comes_back_with_its_key(run: Run, session: AzureSession, project: str) -> None:
    names = run().names
    before = session.arm.get(f"{names.vault_id}/keys/states")["properties"]["keyUriWithVersion"]
    session.arm.delete(names.vault_id)
    assert states(run())[f"vault {names.vault}"] == "changed: deleted -> recovered"
    after = session.arm.get(f"{names.vault_id}/keys/states")["properties"]["keyUriWithVersion"]
    assert before.rpartition("/")[2] == after.rpartition("/")[2]


def test_a_group_that_is_elsewhere_is_named(run: Run) -> None:
    run(location="northeurope")
    with pytest.raises(KitError, match="the group is in northeurope"):
        run(location="westeurope")


def test_a_new_subscription_gets_every_provider_that_a_stack_needs(run: Run, session: AzureSession) -> None:
    root = f"/subscriptions/{session.subscription}/providers"
    everything = {each["namespace"] for each in session.arm.list(root, "2021-04-01")}
    for name in everything:
        session.arm.post(f"{root}/{name}", "unregister", api_version="2021-04-01")
    said = states(run())["resource providers of the subscription"]
    assert said.startswith("changed: Microsoft.Cdn, Microsoft.Compute, Microsoft.ContainerRegistry")
    found = {each["namespace"]: each["registrationState"] for each in session.arm.list(root, "2021-04-01")}
    without = {name for name, state in found.items() if state != "Registered"}
    assert without == set(), "without those that no document lists the first endpoint fails, and Azure names none"


def test_two_subscriptions_of_a_tenant_are_bootstrapped_for_one_project(
    run: Run, session: AzureSession, project: str
) -> None:
    """Names of custom roles are unique in the tenant. A role that had its name without a hash is renamed."""
    other = str(uuid.uuid4())
    given.admin("POST", "subscriptions", {"subscription": other})
    run(stacks=("dev",))
    there = AzureSession(other)
    bootstrap(there, project, lambda _: None, location="westeurope", stacks=("dev",))
    names = {each.subscription: _roles(each, project) for each in (session, there)}
    assert [len(found) for found in names.values()] == [1, 1]
    assert set(names[session.subscription]).isdisjoint(names[other])
    id_, named = next((i, n) for n, i in names[session.subscription].items())
    session.arm.put(id_, {"properties": {**session.arm.get(id_)["properties"], "roleName": f"{project} signs"}})
    assert states(run(stacks=("dev",)))[f"role definition {project} signs"] == "changed: rewritten"
    assert _roles(session, project) == {named: id_}


def _roles(session: AzureSession, project: str) -> dict[str, str]:
    """The project's custom roles in a subscription: name -> id."""
    scope = f"/subscriptions/{session.subscription}"
    found = session.arm.list(f"{scope}/providers/Microsoft.Authorization/roleDefinitions")
    ours = [each for each in found if str(each["properties"]["roleName"]).startswith(f"{project} ")]
    return {each["properties"]["roleName"]: each["id"] for each in ours if each["id"].startswith(scope)}
