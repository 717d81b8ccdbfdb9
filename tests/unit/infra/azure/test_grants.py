"""Which roles the program gives, and to whom."""

import pytest

from llmops_kit.cli.platforms.azure.bootstrap.roles import GRANTED
from llmops_kit.clouds.azure.location import AzureLocation
from llmops_kit.clouds.azure.roles import BUILT_IN
from llmops_kit.infra.resource_names import CloudNames
from llmops_kit.infra.targets.azure.given import GivenIdentity, GivenResources
from llmops_kit.infra.targets.azure.grants import grants
from llmops_kit.infra.targets.azure.inventory import AzureInventory
from llmops_kit.settings.stack_settings import Settings
from tests.support.clouds.settings import resolved
from tests.unit.infra.azure.arm import PLACE

GROUP = f"/subscriptions/{PLACE['subscription']}/resourceGroups/theirs"


def roles_in_a_given_group(*, has_roles: bool) -> set[str]:
    azure = {"resource_group": GROUP, "network": {"mode": "managed"}}
    identities = {
        name: GivenIdentity("client", "principal", has_roles) for name in ("training", "endpoint", "workspace")
    }
    settings = Settings.model_validate({"target": "azure", "azure": azure})
    found = GivenResources(identities=identities)
    inventory = AzureInventory(CloudNames("kit", "dev"), AzureLocation.of(PLACE), resolved(settings), found)
    return {each.role for each in grants(inventory)}


@pytest.mark.vulnerability(12)
def test_vulnerability_12_the_deploy_identity_may_give_what_the_program_gives_and_no_more() -> None:
    """In a group that bootstrap made, where the deploy identity's own right has the condition GRANTED."""
    assert {BUILT_IN[role] for role in roles_in_a_given_group(has_roles=False)} == set(GRANTED)


def test_identities_that_have_their_roles_get_none() -> None:
    assert not roles_in_a_given_group(has_roles=True)
