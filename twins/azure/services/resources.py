"""Microsoft.Resources: resource groups.

https://learn.microsoft.com/rest/api/resources/resource-groups
"""

from twins.azure.ids import RESOURCE_GROUPS
from twins.azure.kinds import Kind
from twins.azure.twin import Twin

VERSIONS = (
    "2024-11-01",
    "2024-07-01",
    "2024-03-01",
    "2023-07-01",
    "2022-09-01",
    "2021-04-01",
    "2020-10-01",
    "2020-06-01",
    "2019-07-01",
)


def install(twin: Twin) -> None:
    """Add the kind."""
    twin.kind(
        Kind(
            RESOURCE_GROUPS,
            VERSIONS,
            name=r"[-\w._()]{0,89}[-\w_()]",
            location=True,
            scopes=("subscription", "group"),
        )
    )
