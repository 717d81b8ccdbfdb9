"""Which action each request for blobs needs."""

import pytest

from llmops_twins.azure.blobs.rights import need

SERVICE = "Microsoft.Storage/storageAccounts/blobServices"
CONTAINER, BLOB = f"{SERVICE}/containers", f"{SERVICE}/containers/blobs"


@pytest.mark.parametrize(
    ("method", "path", "query", "actions", "data"),
    [
        ("GET", "", {"comp": "list"}, [f"{CONTAINER}/read"], False),
        ("GET", "c", {"restype": "container", "comp": "list"}, [f"{BLOB}/read"], True),
        ("HEAD", "c", {"restype": "container"}, [f"{CONTAINER}/read"], False),
        ("PUT", "c", {"restype": "container"}, [f"{CONTAINER}/write"], False),
        ("DELETE", "c", {"restype": "container"}, [f"{CONTAINER}/delete"], False),
        ("PUT", "c", {"restype": "container", "comp": "acl"}, [f"{CONTAINER}/setAcl/action"], False),
        ("GET", "c/b", {}, [f"{BLOB}/read"], True),
        ("HEAD", "c/b", {"comp": "metadata"}, [f"{BLOB}/read"], True),
        ("PUT", "c/b", {}, [f"{BLOB}/write", f"{BLOB}/add/action"], True),
        ("PUT", "c/b", {"comp": "block"}, [f"{BLOB}/write", f"{BLOB}/add/action"], True),
        ("PUT", "c/b", {"comp": "metadata"}, [f"{BLOB}/write"], True),
        ("PUT", "c/b", {"comp": "lease"}, [f"{BLOB}/write"], True),
        ("GET", "c/b", {"comp": "tags"}, [f"{BLOB}/tags/read"], True),
        ("DELETE", "c/b", {}, [f"{BLOB}/delete"], True),
    ],
)
def test_the_action_of_an_operation(
    method: str, path: str, query: dict[str, str], actions: list[str], data: bool
) -> None:
    container, _, blob = path.partition("/")
    found = need(method, container, blob, query)
    assert found
    assert (list(found.actions), found.data) == (actions, data)


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("POST", "", {"comp": "userdelegationkey", "restype": "service"}),
        ("POST", "", {"comp": "batch"}),
        ("PUT", "", {}),
        ("GET", "c", {}),
        ("PATCH", "c/b", {}),
        ("POST", "c", {"restype": "container"}),
    ],
)
def test_what_is_no_operation_needs_nothing_and_is_refused(method: str, path: str, query: dict[str, str]) -> None:
    container, _, blob = path.partition("/")
    assert need(method, container, blob, query) is None
