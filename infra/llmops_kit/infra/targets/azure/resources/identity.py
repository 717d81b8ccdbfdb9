"""The identities of jobs, endpoints and the workspace, and the role assignments of them and of people."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import pulumi
from pulumi_azure_native import authorization, managedidentity

from llmops_kit.clouds.azure.roles import BUILT_IN
from llmops_kit.infra.targets.azure import grants
from llmops_kit.infra.targets.azure.grants import RoleGrant
from llmops_kit.infra.targets.azure.providers.access import DataAccess
from llmops_kit.infra.targets.azure.resources.context import AzureIdentity, AzureStack, AzureStorage, as_scope

Ready = Mapping[str, Sequence[pulumi.Resource]]
"""A resource's key in grants -> the resource that must exist before a role is assigned on it."""


def declare_identity(stack: AzureStack, name: str) -> AzureIdentity:
    """Declare the identity training, endpoint or workspace, without roles, unless an existing one is given."""
    if given := stack.inventory.found.identities.get(name):
        return AzureIdentity(getattr(stack.azure.identities, name), given.client_id, given.principal_id, [])
    entry = stack.inventory.identity(name)
    made = managedidentity.UserAssignedIdentity(
        entry.logical, resource_name_=entry.name, **stack.placed, opts=stack.options(entry)
    )
    return AzureIdentity(made.id, made.client_id, made.principal_id, [made])


def grant(stack: AzureStack, identity: AzureIdentity, wanted: Iterable[RoleGrant], ready: Ready) -> AzureIdentity:
    """Declare an identity's roles, unless it is an existing one that has them."""
    wanted = [each for each in wanted if not grants.has_roles(stack.inventory, each.who)]
    made = [_assign(stack, each, identity.principal_id, "ServicePrincipal", ready) for each in wanted]
    roles = (*identity.roles, *(grants.assignment(stack.inventory, each).id for each in wanted))
    return replace(identity, ready=[*identity.ready, *made], roles=roles)


def grant_deployer(stack: AzureStack, data: AzureStorage, ready: Ready) -> list[pulumi.Resource]:
    """Declare the roles of the first deployer.

    Returns:
        The resources that signing and reading must wait for.
    """
    who = stack.operator
    wanted = grants.deployer(stack.inventory)
    made = [_assign(stack, each, who["object_id"], who["kind"], ready) for each in wanted]
    if stack.azure.resource_group or stack.azure.storage_account:
        return made
    urls = [data.store_url, data.work_url]
    name, after = stack.inventory.names.logical("access"), stack.after(*data.ready, *made)
    return [*made, DataAccess(name, stack.location, after, operator=who["object_id"], containers=urls)]


def grant_operators(stack: AzureStack, ready: Ready) -> None:
    """Declare the roles of others who operate the stack."""
    people = {f"operator-{person.object_id}": person for person in stack.azure.operators}
    for each in grants.operators(stack.inventory):
        _assign(stack, each, people[each.who].object_id, people[each.who].kind, ready)


def _assign(
    stack: AzureStack, wanted: RoleGrant, principal: pulumi.Input[str], kind: pulumi.Input[str], ready: Ready
) -> pulumi.Resource:
    entry = grants.assignment(stack.inventory, wanted)
    definitions = f"/subscriptions/{stack.location.subscription}/providers/Microsoft.Authorization/roleDefinitions"
    return authorization.RoleAssignment(
        entry.logical,
        role_assignment_name=entry.name,
        scope=as_scope(wanted.scope),
        role_definition_id=f"{definitions}/{BUILT_IN[wanted.role]}",
        principal_id=principal,
        principal_type=kind,
        opts=stack.options(
            entry, protect=True if grants.keeps(wanted) else None, depends_on=list(ready[wanted.resource])
        ),
    )
