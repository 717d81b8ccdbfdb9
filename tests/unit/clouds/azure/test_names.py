"""Names that are looked for after years, and the API version of each kind of resource."""

import pytest

from llmops_kit.clouds.azure.names import api_version, assignment_name

GROUP = "/subscriptions/s/resourceGroups/g"


def test_the_name_of_a_role_assignment_never_changes() -> None:
    scope = "/subscriptions/s-1/resourceGroups/G"
    name = assignment_name("llmops", "dev", "s-1", "training", "AcrPull", scope)
    assert name == assignment_name("llmops", "dev", "s-1", "training", "AcrPull", scope.lower())
    assert name == "1c9d2adb-3390-568f-9242-24f405531777"
    others = [("dev", "training", "Reader"), ("dev", "endpoint", "AcrPull"), ("prod", "training", "AcrPull")]
    assert len({name, *(assignment_name("llmops", s, "s-1", who, role, scope) for s, who, role in others)}) == 4


@pytest.mark.parametrize(
    ("id_", "version"),
    [
        (GROUP, "2024-03-01"),
        (f"{GROUP}/resources", "2024-03-01"),
        ("/subscriptions/s/providers/Microsoft.Storage", "2024-03-01"),
        ("/subscriptions/s/providers/Microsoft.Cdn/register", "2024-03-01"),
        (f"{GROUP}/providers/Microsoft.Storage/storageAccounts/a/blobServices/default/containers/c", "2024-01-01"),
        (f"{GROUP}/providers/Microsoft.Network/privateEndpoints/e/privateDnsZoneGroups/default", "2024-05-01"),
        (f"{GROUP}/providers/Microsoft.Network/privateDnsZones/z/virtualNetworkLinks/l", "2024-06-01"),
        (
            f"{GROUP}/providers/Microsoft.KeyVault/vaults/v/providers/Microsoft.Authorization/roleAssignments/r",
            "2022-04-01",
        ),
        (f"{GROUP}/providers/Microsoft.X/y/z/providers/Microsoft.Insights/metrics?api=/providers/a/b", "2024-02-01"),
    ],
)
def test_each_resource_is_asked_for_by_its_own_api_version(id_: str, version: str) -> None:
    assert api_version(id_) == version
