"""Removes the resources that bootstrap created for a removed project: its custom roles, and the resource group of
states and their key.
"""

from llmops_kit.cli.platforms.azure.bootstrap.names import TAGS, AzureBootstrapNames
from llmops_kit.cli.platforms.azure.bootstrap.roles import remove_roles
from llmops_kit.clouds.azure.session import AzureSession
from llmops_kit.core.errors import KitError


def remove(session: AzureSession, project: str) -> None:
    """Removes the project's custom roles and the group with all its resources; resumes when repeated. Registered
    resource providers stay, since others may use them.

    Raises:
        KitError: a group of this name is not bootstrap's; or Azure rejects the removal.
    """
    names = AzureBootstrapNames(project, session.subscription)
    found = session.arm.find(names.group_id)
    if found is not None and not TAGS.items() <= (found.get("tags") or {}).items():
        raise KitError("bootstrap did not create this group", where=names.group_id, fix="remove it yourself")
    remove_roles(session, project, names.scope)
    if found is not None:
        session.arm.delete(names.group_id)
