import pytest

from llmops.platforms.azure.bootstrap.roles import BUILT_IN, only_the_stacks_own, only_what_is_said_of_versions
from twins.azure.judges.conditions import SUB_OPERATION, parse
from twins.azure.judges.permissions import assignment_attributes

ASSIGN = "Microsoft.Authorization/roleAssignments/write"
REMOVE = "Microsoft.Authorization/roleAssignments/delete"
READ = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"
PATH = "@resource[microsoft.storage/storageaccounts/blobservices/containers/blobs:path]"
Document = dict[str, str]
OWNER = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"


OURS, OTHER = "11111111-0000-0000-0000-000000000000", "22222222-0000-0000-0000-000000000000"


def asked(source: str, role: str = BUILT_IN["AcrPull"], who: str = OURS, kind: str = "ServicePrincipal") -> Document:
    """Attributes of an assignment that is written (@request) or deleted (@resource)."""
    properties = {"roleDefinitionId": f"/x/roleDefinitions/{role}", "principalId": who, "principalType": kind}
    given = {name: value for name, value in properties.items() if value}
    return assignment_attributes(**{"request": {}, "resource": {}, source: given})


@pytest.mark.vulnerability(12)
@pytest.mark.parametrize(
    ("action", "attributes", "holds"),
    [
        (ASSIGN, asked("request"), True),
        (ASSIGN, asked("request", BUILT_IN["AcrPull"].upper(), OURS.upper(), "serviceprincipal"), True),
        (ASSIGN, asked("request", OWNER), False),
        (ASSIGN, asked("request", BUILT_IN["Key Vault Crypto User"]), False),
        (ASSIGN, asked("request", who=OTHER), False),
        (ASSIGN, asked("request", kind="User"), False),
        (ASSIGN, asked("request", kind="Group"), False),
        (ASSIGN, asked("request", kind=""), False),  # a request that leaves the type to Azure
        (ASSIGN, asked("resource"), False),
        (ASSIGN, {}, False),
        (REMOVE, asked("resource"), True),
        (REMOVE, asked("resource", OWNER), False),
        (REMOVE, asked("resource", who=OTHER), False),
        (REMOVE, asked("resource", kind="User"), False),
        (REMOVE, asked("request"), False),
        (REMOVE, {}, False),
        ("Microsoft.Authorization/roleAssignments/read", {}, True),
    ],
)
def test_vulnerability_12_a_condition_names_roles_types_and_principals(
    action: str, attributes: Document, holds: bool
) -> None:
    assert parse(only_the_stacks_own([OURS]))(action, attributes) is holds


@pytest.mark.parametrize(
    "text",
    [
        "@Request[t:x] StringEquals 'a'",
        "NOT (@Request[t:x] StringEquals 'a')",
        "!(@Request[t:x] StringNotEquals 'a') AND ActionMatches{'a'}",
        "NOT (ActionMatches{'a'} AND @Request[t:x] StringEquals 'a')",
    ],
)
def test_what_a_request_does_not_have_allows_nothing(text: str) -> None:
    assert parse(text)("a", {}) is False


def test_what_is_known_decides_where_it_suffices() -> None:
    assert parse("ActionMatches{'a'} OR @Request[t:x] StringEquals 'a'")("a", {})
    assert parse("NOT (ActionMatches{'b'} AND @Request[t:x] StringEquals 'a')")("a", {})


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
