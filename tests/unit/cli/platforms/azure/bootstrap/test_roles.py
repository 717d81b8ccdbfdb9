"""Which role assignments and definitions are bootstrap's, and go."""

import uuid
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from llmops_kit.cli.platforms.azure.bootstrap import roles
from llmops_kit.cli.platforms.azure.bootstrap.names import AzureBootstrapNames, AzureBootstrapSteps
from llmops_kit.clouds.azure.roles import BUILT_IN

SUBSCRIPTION, WHO = "11111111-2222-3333-4444-555555555555", "aaaaaaaa-0000-0000-0000-000000000000"
SCOPE = f"/subscriptions/{SUBSCRIPTION}"
AUTHORIZATION = f"{SCOPE}/providers/Microsoft.Authorization"


class Assigned:
    """A subscription's role definitions and assignments."""

    def __init__(self, *assignments: dict[str, Any], definitions: tuple[dict[str, Any], ...] = ()) -> None:
        self.lists = {"roleAssignments": assignments, "roleDefinitions": definitions}
        self.deleted: list[str] = []

    def list(self, id_: str, **query: str) -> Iterator[dict[str, Any]]:
        yield from self.lists[id_.rpartition("/")[2]]

    def delete(self, id_: str) -> None:
        self.deleted.append(id_.rpartition("/")[2])


def assignment(name: str, role: str, description: str | None, scope: str = SCOPE) -> dict[str, Any]:
    definition = f"{AUTHORIZATION}/roleDefinitions/{BUILT_IN.get(role, role)}"
    properties = {"roleDefinitionId": definition, "scope": scope, "principalId": WHO, "description": description}
    return {"id": f"{scope}/providers/Microsoft.Authorization/roleAssignments/{name}", "name": name, "properties": properties}  # fmt: skip # noqa: E501


def test_what_an_administrator_assigned_by_hand_stays_and_is_reported() -> None:
    first = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{SCOPE} {BUILT_IN['Owner']} {WHO}"))  # without a description
    arm = Assigned(
        assignment("ours", "Contributor", roles.MADE),
        assignment("by-hand", "Reader", None),
        assignment("told", "AcrPull", "for the audit"),
        assignment(first, "Owner", None),
        assignment("below", "Contributor", roles.MADE, f"{SCOPE}/resourceGroups/g"),
    )
    session: Any = SimpleNamespace(arm=arm)
    names = AzureBootstrapNames("kit", SUBSCRIPTION)
    work = AzureBootstrapSteps(session=session, names=names, say=lambda _: None)
    roles.take_back(work, "bot", WHO, [])
    assert arm.deleted == ["ours", first]
    kept = {row["what"].partition(" of ")[0] for row in work.rows if row["state"].startswith("kept: bootstrap did not")}
    assert kept == {"role Reader", "role AcrPull"}


def role(name: str, guid: str, description: str = roles.MADE, scope: str = SCOPE) -> dict[str, Any]:
    properties = {"roleName": name, "description": description, "assignableScopes": [scope]}
    return {"id": f"{AUTHORIZATION}/roleDefinitions/{guid}", "name": guid, "properties": properties}


def test_a_projects_roles_go_with_bootstraps_assignments_of_them_and_no_others() -> None:
    arm = Assigned(
        assignment("signs", "signs", roles.MADE, f"{SCOPE}/resourceGroups/g"),
        assignment("lent", "deploy", "for the audit"),
        assignment("other", "Contributor", roles.MADE),
        definitions=(
            role("kit signs 1234abcd", "signs"),
            role("kit looks around", "looks"),
            role("kit deploy 1234abcd", "deploy"),
            role("kit-2 signs 1234abcd", "of-another-project"),
            role("kit own", "by-hand", "mine"),
            role("kit elsewhere", "elsewhere", scope="/subscriptions/other"),
        ),
    )
    session: Any = SimpleNamespace(arm=arm)
    roles.remove_roles(session, "kit", SCOPE)
    assert arm.deleted == ["signs", "signs", "looks"]
