"""Role assignments take time to work: an `up` that makes them passes at the first try all the same."""

import re
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.emulated.azure.test_given import given_by
from tests.emulated.azure.test_ground import held
from tests.support.clouds.azure_twin import AzureStack, Subscription, make_stack, role_assignment, running_twin
from tests.support.servers.serving import until

ROLES = "2022-04-01"
DEPLOYER = {
    "Contributor": "b24988ac-6180-42a0-ab88-20f7382dd24c",
    "Role Based Access Control Administrator": "f58310d9-a9f6-439a-9e8d-f62e7b41a168",
}
SECONDS = 5


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subscription]:
    """A subscription whose platform is done with everything before a new role assignment works."""
    folder = tmp_path_factory.mktemp("subscription").resolve()
    with running_twin(folder, pace=0.01) as made:
        yield made
    shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Company:
    """A stack, what its first `up` said, and a version that was stored right afterwards."""

    stack: AzureStack
    said: str
    version: str

    def team(self, subscription: Subscription, folder: Path) -> AzureStack:
        """A stack, not deployed yet, that takes everything of the company's but its identities."""
        given = {key: value for key, value in given_by(self.stack).items() if key != "identities"}
        return make_stack(subscription, folder, folder.name, deploy=False, azure=given)


@pytest.fixture(scope="module")
def company(owner: Subscription, tmp_path_factory: pytest.TempPathFactory) -> Company:
    """Deployed from nothing by somebody who has no roles on data but those that the stack gives."""
    deployer = deployer_of(owner)
    owner.fault("role_propagation", seconds=SECONDS)
    stack = make_stack(deployer, tmp_path_factory.mktemp("company").resolve(), "company", deploy=False)
    return Company(stack, stack.up(), stack.add_version("chatbot@1"))


def test_an_update_from_nothing_passes_at_the_first_try(company: Company) -> None:
    assert "workspace (llmops down keeps it) needs role assignments that were created at" in company.said
    assert "/store can be read: a new role assignment takes minutes" in company.said
    assert "/keys/signing/" in company.said
    stack = company.stack
    assert stack.changes() == {}
    stack.pulumi("refresh", "--yes", "--skip-preview")
    assert stack.changes() == {}


def test_a_deployment_waits_for_its_identitys_new_role_and_not_for_one_that_was_taken_away(
    owner: Subscription, company: Company, tmp_path: Path
) -> None:
    team = company.team(owner, tmp_path / "team")
    team.serve("chat", company.version)
    assert re.search(r"deployment-chat-\S+ needs role assignments that were created at", team.up())
    assert team.changes() == {}

    change(owner, "DELETE", held(team)["role-endpoint-registry-acrpull"])
    team.serve("late", company.version)
    said = team.up(refused=True)
    assert "does not have pull permission on the registry" in said
    assert "retrying until" not in said


def deployer_of(owner: Subscription) -> Subscription:
    """The subscription as somebody reaches it who deploys, and has no right to data."""
    somebody = owner.application("deployer")
    root = f"/subscriptions/{owner.info.subscription}/providers/Microsoft.Authorization"
    for role in DEPLOYER.values():
        body = role_assignment(somebody.object_id, f"{root}/roleDefinitions/{role}")
        change(owner, "PUT", f"{root}/roleAssignments/{uuid.uuid4()}", body)
    with owner.entered(), somebody.credential() as credential:
        client = owner.arm(credential)
        until(lambda: client.send("GET", "{sub}/resourceGroups", "2024-03-01").status_code == 200)
        client.close()
    secret = {"CLIENT_ID": somebody.client_id, "CLIENT_SECRET": somebody.client_secret}
    mine = {f"{cloud}_{name}": value for cloud in ("AZURE", "ARM") for name, value in secret.items()}
    return replace(owner, environ={**owner.environ, **mine})


def change(owner: Subscription, method: str, id_: str, body: Any = None) -> None:
    """As the owner."""
    with owner.entered():
        client = owner.arm()
        client.change(method, id_, ROLES, body)
        client.close()
