"""What the parts of a path are."""

import pytest

from llmops_twins.azure.protocol.ids import Id

GROUP = "/subscriptions/s/resourceGroups/g"
ML = f"{GROUP}/providers/Microsoft.ML/workspaces"


@pytest.mark.parametrize(
    ("path", "type_", "names", "tail", "parent"),
    [
        ("/subscriptions", "Microsoft.Resources", (), "subscriptions", ""),
        ("/subscriptions/s", "Microsoft.Resources/subscriptions", ("s",), "", ""),
        ("/subscriptions/s/providers", "Microsoft.Resources/subscriptions", ("s",), "providers", ""),
        ("/subscriptions/s/resourceGroups", "Microsoft.Resources", (), "resourceGroups", "/subscriptions/s"),
        (GROUP, "Microsoft.Resources/resourceGroups", ("g",), "", "/subscriptions/s"),
        (f"{GROUP}/resources", "Microsoft.Resources/resourceGroups", ("g",), "resources", "/subscriptions/s"),
        ("/subscriptions/s/providers/Microsoft.ML", "Microsoft.ML", (), "", "/subscriptions/s"),
        (ML, "Microsoft.ML", (), "workspaces", GROUP),
        (f"{ML}/w", "Microsoft.ML/workspaces", ("w",), "", GROUP),
        (f"{ML}/w/computes", "Microsoft.ML/workspaces", ("w",), "computes", GROUP),
        (f"{ML}/w/computes/c", "Microsoft.ML/workspaces/computes", ("w", "c"), "", f"{ML}/w"),
        (f"{ML}/w/providers/Microsoft.X/locks/l", "Microsoft.X/locks", ("l",), "", f"{ML}/w"),
    ],
)
def test_parts(path: str, type_: str, names: tuple[str, ...], tail: str, parent: str) -> None:
    found = Id.parse(path)
    assert (found.type, found.names, found.tail, found.parent) == (type_, names, tail, parent)
    assert found.resource == (path.removesuffix(f"/{tail}") if tail else path)


def test_group_and_subscription_are_read_whatever_their_case() -> None:
    found = Id.parse("/SUBSCRIPTIONS/s/ResourceGroups/g/PROVIDERS/Microsoft.ML/workspaces/w/")
    assert (found.subscription, found.group, found.name) == ("s", "g", "w")
