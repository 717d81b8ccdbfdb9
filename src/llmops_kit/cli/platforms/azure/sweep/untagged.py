"""Finds resources without tags, which belong to a stack by name, and deleted ones that Azure keeps for a while."""

from collections.abc import Collection, Iterator
from typing import Any

from llmops_kit.cli.platforms.azure.job_states import moment
from llmops_kit.cli.platforms.azure.sweep.look import (
    ASSIGNMENT,
    BUDGET,
    CONTAINER,
    DELETED_LOGS,
    DELETED_VAULT,
    AzureLook,
    Type,
)
from llmops_kit.cli.platforms.sweep import Thing
from llmops_kit.clouds.azure.names import PROJECT_TAG, STACK_TAG, assignment_name

_WHO = ("training", "endpoint", "workspace", "deployer")


def things(look: AzureLook, stacks: Collection[str]) -> Iterator[Thing]:
    """Yields the project's resources that have no tags.

    Args:
        look: the subscription.
        stacks: names of stacks that have, or had, tagged resources here.
    """
    yield from _assignments(look, stacks)
    yield from _budgets(look, stacks)
    yield from _containers(look, stacks)
    yield from _deleted(look)


def _assignments(look: AzureLook, stacks: Collection[str]) -> Iterator[Thing]:
    """Yields the program's assignments, also those of deleted identities, which Azure keeps.

    https://learn.microsoft.com/azure/role-based-access-control/troubleshooting#symptom---role-assignments-with-identity-not-found
    """
    roles: dict[str, str] = {}
    authorization = f"{look.root}/providers/Microsoft.Authorization"
    for assignment in look.arm.list(f"{authorization}/roleAssignments"):
        given = assignment["properties"]
        scope = str(given["scope"])
        if "/resourcegroups/" not in scope.lower():
            continue  # the program assigns none on a whole subscription
        definition = str(given["roleDefinitionId"]).rpartition("/")[2]
        if definition not in roles:
            found = look.arm.find(f"{authorization}/roleDefinitions/{definition}")
            roles[definition] = found["properties"]["roleName"] if found else ""
        people = (*_WHO, f"operator-{given['principalId']}")
        names = {
            assignment_name(look.project, stack, look.subscription, who, roles[definition], scope): stack
            for stack in stacks
            for who in people
        }
        if stack := names.get(str(assignment["name"]).lower()):
            yield _named(look, ASSIGNMENT, assignment["id"], stack, created=moment(given.get("createdOn")))


def _budgets(look: AzureLook, stacks: Collection[str]) -> Iterator[Thing]:
    names = look.named(stacks, "budget")
    groups = {line["id"].split("/")[4]: None for line in look.lines if look.is_ours(line.get("tags"))}
    for group in groups:
        budgets = f"{look.root}/resourceGroups/{group}/providers/Microsoft.Consumption/budgets"
        for budget in look.arm.list(budgets):
            if stack := names.get(budget["name"]):
                yield _named(look, BUDGET, budget["id"], stack)


def _containers(look: AzureLook, stacks: Collection[str]) -> Iterator[Thing]:
    """Yields containers in existing accounts that a stack uses; those in its own account belong to the account."""
    names = look.named(stacks, "store", "work")
    for account in look.of_type("Microsoft.Storage/storageAccounts"):
        if look.is_ours(account.get("tags")) or account.get("kind") == "FileStorage":  # an account without containers
            continue
        for container in look.arm.list(f"{account['id']}/blobServices/default/containers"):
            if stack := names.get(container["name"]):
                yield _named(look, CONTAINER, container["id"], stack)


def _deleted(look: AzureLook) -> Iterator[Thing]:
    """Yields deleted resources that block their names until they are purged. (Azure documents no list of deleted
    workspaces.)
    """
    vaults = f"{look.root}/providers/Microsoft.KeyVault/deletedVaults"
    for vault in look.arm.list(vaults):
        given = vault["properties"]
        if look.is_ours(given.get("tags")):
            until, purge = moment(given.get("scheduledPurgeDate")), f"az keyvault purge --name {vault['name']}"
            days = f"Azure keeps it until {until:%Y-%m-%d}" if until else "Azure keeps it for a while"
            way = "only then is its name free" if given.get("purgeProtectionEnabled") else f"or `{purge}`"
            when = moment(given.get("deletionDate"))
            yield look.thing(
                DELETED_VAULT, vault["id"], given["tags"], created=when, usd_month=0.0, keep=f"{days}, {way}"
            )
    logs = f"{look.root}/providers/Microsoft.OperationalInsights/deletedWorkspaces"
    for workspace in look.arm.list(logs):
        if look.is_ours(workspace.get("tags")):
            keep = "Azure keeps it for 14 days; a stack of this name restores it"
            id_ = f"{workspace['id']}#deleted"  # distinguishes it from a new one of this name
            yield look.thing(DELETED_LOGS, id_, workspace["tags"], usd_month=0.0, keep=keep)


def _named(look: AzureLook, type_: Type, id_: str, stack: str, **more: Any) -> Thing:
    return look.thing(type_, id_, {PROJECT_TAG: look.project, STACK_TAG: stack}, **more)
