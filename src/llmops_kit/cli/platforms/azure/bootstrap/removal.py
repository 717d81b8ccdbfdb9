"""Remove what bootstrap made for a project that is gone: the resource group of states and their key."""

from llmops_kit.cli.platforms.azure.bootstrap.names import TAGS, AzureBootstrapNames
from llmops_kit.clouds.azure.session import AzureSession
from llmops_kit.contract.errors import KitError


def remove(session: AzureSession, project: str) -> None:
    """Remove the group with all that is in it; repeated, it goes on where it stopped. What the subscription registered
    stays: others may use it by now.

    Raises:
        KitError: a group of this name is not bootstrap's; or Azure refuses.
    """
    names = AzureBootstrapNames(project, session.subscription)
    found = session.arm.find(names.group_id)
    if found is None:
        return
    if not TAGS.items() <= (found.get("tags") or {}).items():
        raise KitError("the group was not made by bootstrap", where=names.group_id, fix="remove it yourself")
    session.arm.delete(names.group_id)
