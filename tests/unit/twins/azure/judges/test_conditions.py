import pytest

from llmops.platforms.azure.bootstrap_roles import BUILT_IN, only_the_kits_roles, only_what_is_said_of_versions
from twins.azure.judges.conditions import SUB_OPERATION, parse

ASSIGN = "Microsoft.Authorization/roleAssignments/write"
REMOVE = "Microsoft.Authorization/roleAssignments/delete"
READ = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"
ROLE = "[microsoft.authorization/roleassignments:roledefinitionid]"
PATH = "@resource[microsoft.storage/storageaccounts/blobservices/containers/blobs:path]"
OWNER = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"


@pytest.mark.parametrize(
    ("action", "attributes", "holds"),
    [
        (ASSIGN, {f"@request{ROLE}": BUILT_IN["AcrPull"].upper()}, True),
        (ASSIGN, {f"@request{ROLE}": OWNER}, False),
        (ASSIGN, {}, False),
        (REMOVE, {f"@resource{ROLE}": BUILT_IN["AcrPull"]}, True),
        (REMOVE, {f"@resource{ROLE}": OWNER}, False),
        ("Microsoft.Authorization/roleAssignments/read", {}, True),
    ],
)
def test_roles_that_may_be_given(action: str, attributes: dict[str, str], holds: bool) -> None:
    assert parse(only_the_kits_roles())(action, attributes) is holds


@pytest.mark.parametrize(
    ("path", "holds"),
    [("models/abc/manifest.json", True), ("aliases/a/1.json", True), ("models/abc/model.safetensors", False)],
)
def test_blobs_that_may_be_read(path: str, holds: bool) -> None:
    assert parse(only_what_is_said_of_versions())(READ, {PATH: path}) is holds


def test_names_of_blobs_may_be_listed() -> None:
    assert parse(only_what_is_said_of_versions())(READ, {SUB_OPERATION: "Blob.List"})


def test_and_binds_more_than_or() -> None:
    condition = parse("ActionMatches{'a'} OR ActionMatches{'b'} AND @Request[t:x] StringEquals 'it''s'")
    assert condition("a", {})
    assert condition("B", {"@request[t:x]": "it's"})
    assert not condition("b", {"@request[t:x]": "its"})


@pytest.mark.parametrize(
    ("operator", "holds"),
    [
        ("StringNotEquals 'b'", True),
        ("StringStartsWith 'a/'", True),
        ("StringLike '*[b]'", False),
        ("StringNotLike 'a*'", False),
        ("StringEqualsIgnoreCase 'A/B'", True),
        ("ForAnyOfAllValues:StringNotEquals {'c', 'a/b'}", False),
    ],
)
def test_what_a_value_is_compared_with(operator: str, holds: bool) -> None:
    assert parse(f"@Resource[t:x] {operator}")("a", {"@resource[t:x]": "a/b"}) is holds


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "too early"),
        ("(ActionMatches{'a'}", "is missing"),
        ("@Principal[x] StringEquals 'a'", "not understood"),
        ("@Request[x] Nearly 'a'", "not understood"),
        ("ActionMatches{'a'} 'b'", "unexpected"),
        ("#", "unexpected"),
    ],
)
def test_what_is_no_condition_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse(text)
