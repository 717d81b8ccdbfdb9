import pytest

from llmops_twins.azure.judges.conditions import SUB_OPERATION, parse
from llmops_twins.azure.judges.permissions import assignment_attributes

Document = dict[str, str]


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


def test_a_suboperation_is_told_from_its_action() -> None:
    condition = parse(
        "(!(ActionMatches{'a/read'} AND NOT SubOperationMatches{'Blob.List'})) OR (@Resource[t:path] StringLike 'b/*')"
    )
    assert condition("a/read", {SUB_OPERATION: "Blob.List"})
    assert condition("a/read", {"@resource[t:path]": "b/c"})
    assert not condition("a/read", {"@resource[t:path]": "c"})
    assert condition("a/write", {})


@pytest.mark.parametrize(
    ("attributes", "holds"),
    [
        ({"request": {"principalType": "serviceprincipal"}, "resource": {}}, True),
        ({"request": {"principalType": "User"}, "resource": {}}, False),
        ({"request": {}, "resource": {"principalType": "ServicePrincipal"}}, False),
        ({"request": {}, "resource": {}}, False),
    ],
)
def test_attributes_of_an_assignment_are_those_of_its_request(attributes: dict[str, Document], holds: bool) -> None:
    attribute = "@Request[Microsoft.Authorization/roleAssignments:PrincipalType]"
    condition = parse(f"{attribute} ForAnyOfAnyValues:StringEqualsIgnoreCase {{'ServicePrincipal'}}")
    assert condition("a", assignment_attributes(**attributes)) is holds


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
