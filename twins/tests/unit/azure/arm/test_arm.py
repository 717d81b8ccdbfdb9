"""Azure Resource Manager's own rules, with kinds of a made-up provider."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from werkzeug.test import Client

from llmops_twins.azure import faults, inventory
from llmops_twins.azure.entra import principals, tokens
from llmops_twins.azure.main_port import ManagerApp
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import ArmCall, Document
from llmops_twins.azure.protocol.kinds import ResourceKind, SoftDelete
from llmops_twins.azure.twin import TenantTwin
from tests.support.clouds.azure import Arm, local_twin

V = "2025-01-01"
GONE: list[str] = []


def refuse_red(_twin: TenantTwin, call: ArmCall, _there: Document | None) -> Document:
    if call.body["properties"].get("colour") == "red":
        raise ArmError(400, "BadColour", "Red is not to be had.")
    return dict(call.body)


def unready(_twin: TenantTwin, document: Document) -> None:
    if document["properties"].get("colour") == "grey":
        raise ArmError(400, "TooGrey", "It did not become ready.")


def install(twin: TenantTwin) -> None:
    soft = SoftDelete(7, purge="forceToPurge")
    twin.kind(
        ResourceKind(
            "Test.Farm/fields",
            (V,),
            put=refuse_red,
            done=unready,
            gone=lambda _twin, document: GONE.append(document["name"]),
            name="[a-z]{1,8}",
            seconds=30,
            location=True,
            soft_delete=soft,
        )
    )
    twin.kind(ResourceKind("Test.Farm/fields/cows", (V,), gone=lambda _twin, document: GONE.append(document["name"])))
    twin.kind(ResourceKind("Test.Farm/notes", (V,), scopes=("resource",), patch=False, provisioning=False))
    twin.action("Test.Farm/fields", "mow", lambda _twin, _call, document: {"mown": document["name"]})


@pytest.fixture
def arm(tmp_path: Path) -> Arm:
    GONE.clear()
    return Arm(local_twin(tmp_path, install))


@pytest.fixture
def field(arm: Arm) -> str:
    """A field that is there."""
    path = f"{arm.group()}/providers/Test.Farm/fields/green"
    assert (
        arm.put(path, V, {"location": "West Europe", "tags": {"a": "1"}, "properties": {"colour": "green"}}).status
        == 201
    )
    arm.pass_time()
    return path


@pytest.mark.parametrize(
    ("path", "version", "status", "code"),
    [
        ("{sub}/resourceGroups/rg", "", 400, "MissingApiVersionParameter"),
        ("{sub}/resourceGroups/rg", "1999-01-01", 400, "InvalidApiVersionParameter"),
        ("{sub}/resourceGroups/rg", "2099-13-01", 400, "InvalidApiVersionParameter"),
        ("{sub}/resourceGroups/rg/providers/Test.Farm/fields/a", "1999-01-01", 400, "NoRegisteredProviderFound"),
        ("/subscriptions/Pay-As-You-Go/resourceGroups", "2024-03-01", 400, "InvalidSubscriptionId"),
        (
            "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups",
            "2024-03-01",
            404,
            "SubscriptionNotFound",
        ),
        ("{sub}/resourceGroups/none/providers/Test.Farm/fields/a", V, 404, "ResourceGroupNotFound"),
        ("{sub}/resourceGroups/rg/providers/Test.Farm/fields/a", V, 404, "ResourceNotFound"),
        ("{sub}/resourceGroups/rg/providers/Test.Farm/fields/a/cows/b", V, 404, "ParentResourceNotFound"),
        ("{sub}/resourceGroups/rg/providers/Test.Farm/pigs/a", V, 404, "InvalidResourceType"),
        ("{sub}/resourceGroups/rg/providers/Test.City/houses/a", V, 404, "InvalidResourceNamespace"),
    ],
)
def test_what_is_not_there(arm: Arm, path: str, version: str, status: int, code: str) -> None:
    arm.group()
    answer = arm.get(path, version)
    assert (answer.status, answer.code) == (status, code)


def test_a_newer_version_is_served_as_the_newest_known_and_reported(arm: Arm, field: str) -> None:
    """As the newest clients send it. Two of them, and one of a known version, which is not reported."""
    for version in ("2098-01-01-preview", "2099-01-01", V):
        assert arm.get(field, version).body["name"] == "green"
    assert arm.delete(field, "2099-01-01").status in (200, 202)
    reported = [each for each in inventory.of(arm.twin)["not_judged"] if each.startswith("api-versions:")]
    assert reported == [
        f"api-versions: Test.Farm/fields {version} is unknown, and was served as {V}"
        for version in ("2098-01-01-preview", "2099-01-01")
    ]


@pytest.mark.parametrize(
    ("name", "body", "code"),
    [
        ("UPPER", {"location": "westeurope"}, "InvalidResourceName"),
        ("a", {}, "LocationRequired"),
        ("a", {"location": "atlantis"}, "LocationNotAvailableForResourceType"),
        ("green", {"location": "eastus", "properties": {}}, "InvalidResourceLocation"),
        ("green", {"location": "westeurope", "properties": {"colour": "red"}}, "BadColour"),
        ("a", [1], "InvalidRequestContent"),
    ],
)
def test_what_is_refused_changes_nothing(arm: Arm, field: str, name: str, body: object, code: str) -> None:
    before = arm.get(field, V).body
    assert arm.put(field.replace("green", name), V, body).code == code
    assert arm.get(field, V).body == before
    assert [each["name"] for each in arm.get(field.rpartition("/")[0], V).body["value"]] == ["green"]


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ({str(n): "" for n in range(51)}, "TooManyTags"),
        ({"a/b": ""}, "InvalidTagNameCharacters"),
        ({"a\x07b": ""}, "InvalidTagNameCharacters"),
        ({"n" * 513: ""}, "InvalidTagName"),
        ({"n": "v" * 257}, "InvalidTagValueLength"),
    ],
)
def test_tags_have_limits(arm: Arm, field: str, tags: dict[str, str], code: str) -> None:
    body = {"location": "West Europe", "properties": {"colour": "green"}}
    assert arm.put(field, V, {**body, "tags": tags}).code == code
    most = {"hidden-link:/subscriptions/s": "x", **{f"n{n}" + "n" * 500: "v" * 256 for n in range(49)}}
    assert arm.put(field, V, {**body, "tags": most}).status == 200


def test_an_answer_says_which_request_it_belongs_to(arm: Arm, field: str) -> None:
    client, token = Client(ManagerApp(arm.twin)), tokens.issue(arm.twin, arm.caller, tokens.MANAGEMENT[0])
    asked = {
        "Authorization": f"Bearer {token}",
        "x-ms-correlation-request-id": "c",
        "x-ms-client-request-id": "mine",
        "x-ms-return-client-request-id": "true",
    }
    answer = client.get(field, query_string={"api-version": V}, headers=asked)
    assert (answer.headers["x-ms-correlation-request-id"], answer.headers["x-ms-client-request-id"]) == ("c", "mine")
    silent = arm.get(field, V).headers
    assert silent["x-ms-correlation-request-id"]
    assert "x-ms-client-request-id" not in silent


def test_a_put_takes_its_time_and_is_polled(arm: Arm) -> None:
    path = f"{arm.group()}/providers/Test.Farm/fields/slow"
    first = arm.put(path, V, {"location": "westeurope", "properties": {}})
    assert (first.status, first.body["properties"]["provisioningState"]) == (201, "Creating")
    status, result = (
        first.headers[name].removeprefix(arm.twin.url).partition("?")[0]
        for name in ("Azure-AsyncOperation", "Location")
    )
    assert arm.get(status, V).body["status"] == "InProgress"
    assert arm.get(result, V).status == 202
    assert arm.put(path, V, {"location": "westeurope", "properties": {}}).code == "AnotherOperationInProgress"
    assert arm.delete(path, V).code == "AnotherOperationInProgress"
    arm.pass_time()
    assert arm.get(status, V).body["status"] == "Succeeded"
    assert arm.get(result, V).body["properties"]["provisioningState"] == "Succeeded"


def test_an_operation_that_fails_leaves_the_resource_failed(arm: Arm) -> None:
    path = f"{arm.group()}/providers/Test.Farm/fields/grey"
    first = arm.put(path, V, {"location": "westeurope", "properties": {"colour": "grey"}})
    arm.pass_time()
    told = arm.get(first.headers["Azure-AsyncOperation"].removeprefix(arm.twin.url).partition("?")[0], V).body
    assert (told["status"], told["error"]["code"]) == ("Failed", "TooGrey")
    assert arm.get(path, V).body["properties"]["provisioningState"] == "Failed"
    assert arm.put(path, V, {"location": "westeurope", "properties": {"colour": "blue"}}).status == 200
    arm.pass_time()
    assert arm.get(path, V).body["properties"] == {"colour": "blue", "provisioningState": "Succeeded"}


def test_ids_are_compared_without_case_and_keep_their_first_spelling(arm: Arm, field: str) -> None:
    shouted = field.replace("resourceGroups/rg", "RESOURCEGROUPS/RG").replace("Test.Farm/fields", "test.farm/FIELDS")
    assert arm.get(shouted, V).body["id"] == field
    assert arm.put(shouted, V, {"location": "westeurope", "properties": {}}).body["id"] == field


def test_an_id_is_spelled_as_azure_does_whatever_its_words_were(arm: Arm) -> None:
    group = arm.group().replace("/resourceGroups/", "/resourcegroups/").replace("/subscriptions/", "/Subscriptions/")
    assert arm.put(group, "2024-03-01", {"location": "westeurope"}).body["id"] == arm.group()
    body = {"location": "westeurope", "properties": {}}
    made = arm.put(f"{group}/Providers/test.farm/FIELDS/red", V, body).body
    arm.pass_time()
    assert (made["id"], made["type"]) == (f"{arm.group()}/providers/Test.Farm/fields/red", "Test.Farm/fields")
    cow = arm.put(f"{group}/providers/test.farm/Fields/red/Cows/Bella", V, {}).body
    assert cow["id"] == f"{arm.group()}/providers/Test.Farm/fields/red/cows/Bella"
    note = arm.put(f"{made['id'].lower()}/providers/TEST.FARM/NOTES/n", V, {}).body
    assert note["id"] == f"{made['id']}/providers/Test.Farm/notes/n"


def test_patch_merges_and_a_kind_without_it_refuses(arm: Arm, field: str) -> None:
    changed = arm.call("PATCH", field, V, {"tags": {"c": None, "b": "2"}})
    assert (changed.status, changed.body["tags"]) == (200, {"b": "2"}), "tags are replaced as a whole"
    assert changed.body["properties"]["colour"] == "green"
    note = f"{field}/providers/Test.Farm/notes/n"
    assert arm.put(note, V, {"text": "x"}).status == 201
    assert arm.call("PATCH", note, V, {"text": "y"}).status == 405


def test_an_extension_needs_its_resource_and_has_its_scopes(arm: Arm, field: str) -> None:
    assert arm.put(f"{field}x/providers/Test.Farm/notes/n", V, {}).code == "ResourceNotFound"
    group = field.partition("/providers/")[0]
    assert arm.put(f"{group}/providers/Test.Farm/notes/n", V, {}).code == "InvalidResourceScope"


def test_what_lies_in_a_resource_goes_with_it(arm: Arm, field: str) -> None:
    assert arm.put(f"{field}/cows/bella", V, {}).status == 201
    assert arm.delete(field, V).status == 202
    assert arm.get(field, V).body["properties"]["provisioningState"] == "Deleting"
    arm.pass_time()
    assert arm.get(field, V).status == 404
    assert GONE == ["bella", "green"]
    assert arm.delete(field, V).status == 204


def test_a_deleted_name_is_blocked_until_it_is_purged(arm: Arm, field: str) -> None:
    arm.delete(field, V)
    arm.pass_time()
    body = {"location": "westeurope", "properties": {}}
    assert arm.put(field, V, body).code == "ConflictError"
    assert arm.delete(field, V, forceToPurge="true").status == 204
    assert arm.put(field, V, body).status == 201
    arm.pass_time()
    arm.delete(field, V, forceToPurge="true")
    arm.pass_time()
    assert arm.put(field, V, body).status == 201


def test_a_group_takes_everything_with_it_and_nothing_is_added_meanwhile(arm: Arm, field: str) -> None:
    group = field.partition("/providers/")[0]
    assert arm.call("HEAD", group, "2024-03-01").status == 204
    accepted = arm.delete(group, "2024-03-01")
    assert (accepted.status, accepted.body) == (202, None)
    assert "Azure-AsyncOperation" not in accepted.headers
    assert arm.get(accepted.headers["Location"].removeprefix(arm.twin.url).partition("?")[0], V).status == 202
    other = f"{group}/providers/Test.Farm/fields/late"
    assert arm.put(other, V, {"location": "westeurope"}).code == "ResourceGroupBeingDeleted"
    arm.pass_time()
    assert arm.call("HEAD", group, "2024-03-01").status == 404
    assert GONE == ["green"]
    assert arm.delete(group, "2024-03-01").code == "ResourceGroupNotFound"


def test_actions(arm: Arm, field: str) -> None:
    assert arm.call("POST", f"{field}/mow", V).body == {"mown": "green"}
    assert arm.call("POST", f"{field}x/mow", V).code == "ResourceNotFound"
    assert arm.call("POST", f"{field}/sow", V).status == 404


def test_pages(arm: Arm, field: str) -> None:
    for name in ("a", "b", "c"):
        arm.put(f"{field}/cows/{name}", V, {})
    first = arm.get(f"{field}/cows", V, **{"$top": "2"}).body
    assert [each["name"] for each in first["value"]] == ["a", "b"]
    query = first["nextLink"].partition("?")[2]
    assert "%24skiptoken=2" in query
    rest = arm.get(f"{field}/cows", V, **{"$top": "2", "$skiptoken": "2"}).body
    assert [each["name"] for each in rest["value"]] == ["c"]
    assert "nextLink" not in rest
    for name in ("$top", "$maxpagesize", "count"):
        assert len(arm.get(f"{field}/cows", V, **{name: "2"}).body["value"]) == 2
        for wrong in ("0", "-1", "many"):
            refused = arm.get(f"{field}/cows", V, **{name: wrong})
            assert (refused.status, refused.code) == (400, "InvalidQueryParameter")


def test_resources_are_found_by_tag_and_type(arm: Arm, field: str) -> None:
    def names(filter_: str) -> list[str]:
        answer = arm.get("{sub}/resources", "2021-04-01", **{"$filter": filter_})
        return [each["name"] for each in answer.body["value"]]

    assert names("tagName eq 'a' and tagValue eq '1'") == ["green"]
    assert names("tagName eq 'a' and tagValue eq '2'") == []
    assert names("resourceType eq 'test.farm/fields'") == ["green"]
    assert names("resourceGroup eq 'other'") == []
    for other in ("colour lt 3", "substringof('REE', name)", "startswith(tagName, 'A')"):
        assert arm.get("{sub}/resources", "2021-04-01", **{"$filter": other}).code == "InvalidFilterInQueryString"


def test_lists_tell_what_they_are_asked_for(arm: Arm, field: str) -> None:
    def lines(**query: str) -> list[Document]:
        return arm.get("{sub}/resources", "2021-04-01", **query).body["value"]

    assert "createdTime" not in lines()[0]
    assert datetime.fromisoformat(lines(**{"$expand": "createdTime"})[0]["createdTime"]) <= datetime.now(UTC)
    assert lines()[0]["tags"] == {"a": "1"}
    assert "tags" not in lines(**{"$filter": "tagName eq 'a' and tagValue eq '1'"})[0]


def test_groups_are_found_by_tag(arm: Arm) -> None:
    for name, tags in (("rg", {"a": "1"}), ("other", {"a": "2"}), ("bare", {})):
        path = f"{{sub}}/resourceGroups/{name}"
        assert arm.put(path, "2024-03-01", {"location": "westeurope", "tags": tags}).status == 201

    def names(filter_: str, **query: str) -> list[str]:
        answer = arm.get("{sub}/resourceGroups", "2024-03-01", **{"$filter": filter_}, **query)
        return [each["name"] for each in answer.body["value"]]

    assert names("tagName eq 'a'") == ["rg", "other"]
    assert names("tagName eq 'a' and tagValue eq '2'") == ["other"]
    assert names("tagName eq 'a'", **{"$top": "1"}) == ["rg"]
    for wrong in ("name eq 'rg'", "tags has a"):
        refused = arm.get("{sub}/resourceGroups", "2024-03-01", **{"$filter": wrong})
        assert refused.code == "InvalidFilterInQueryString"


def test_a_provider_that_is_not_registered_takes_no_change(arm: Arm, field: str) -> None:
    provider = "{sub}/providers/Test.Farm"
    assert arm.call("POST", f"{provider}/unregister", "2021-04-01").body["registrationState"] == "NotRegistered"
    assert arm.put(field, V, {"location": "westeurope"}).code == "MissingSubscriptionRegistration"
    assert arm.get(field, V).status == 200
    assert arm.call("POST", f"{provider}/register", "2021-04-01").status == 200
    assert arm.put(field, V, {"location": "westeurope", "properties": {}}).status == 200
    types = {each["resourceType"] for each in arm.get(provider, "2021-04-01").body["resourceTypes"]}
    assert types == {"fields", "fields/cows", "notes"}


def test_every_call_asks_for_its_own_permission(arm: Arm, field: str) -> None:
    asked: list[tuple[str, str]] = []

    def judge(_who: str, action: str, scope: str, _data: bool, _attributes: Mapping[str, str]) -> bool:
        asked.append((action, scope))
        return False

    arm.twin.judge_of_roles = judge
    person = Arm(arm.twin, principals.add(arm.twin, "nobody", "application"))
    for method, path in (
        ("GET", field),
        ("PUT", field),
        ("DELETE", field),
        ("POST", f"{field}/mow"),
        ("GET", f"{field}/cows"),
    ):
        answer = person.call(method, path, V, {} if method == "PUT" else None)
        assert (answer.status, answer.code) == (403, "AuthorizationFailed")
    actions = ["fields/read", "fields/write", "fields/delete", "fields/mow/action", "fields/cows/read"]
    assert asked == [(f"Test.Farm/{action}", field) for action in actions]


def test_what_was_made_is_seen_late_with_a_fault(arm: Arm, field: str) -> None:
    faults.of(arm.twin).add("eventual", {"operation": "fields/cows/write", "seconds": 3600})
    assert arm.put(f"{field}/cows/late", V, {}).status == 201
    assert arm.get(f"{field}/cows/late", V).status == 404
    faults.of(arm.twin).clear()
    assert arm.get(f"{field}/cows/late", V).status == 200


def test_throttling_is_429_with_retry_after(arm: Arm, field: str) -> None:
    faults.of(arm.twin).add("throttle", {"service": "Test.*", "operation": "fields/read"})
    answer = arm.get(field, V)
    assert (answer.status, answer.code, answer.headers["Retry-After"]) == (429, "TooManyRequests", "1")
    assert arm.get(field, V).status == 200


def test_an_azure_policy_denies_whoever_calls_until_it_is_gone(arm: Arm, field: str) -> None:
    faults.of(arm.twin).add("policy", {"service": "Test.*", "operation": "fields/cows/write"})
    for _ in range(2):
        answer = arm.put(f"{field}/cows/betsy", V, {})
        assert (answer.status, answer.code) == (403, "RequestDisallowedByPolicy")
        assert "Resource 'betsy' was disallowed by policy. Policy identifiers:" in answer.body["error"]["message"]
    assert arm.get(field, V).status == 200
    faults.of(arm.twin).clear()
    assert arm.put(f"{field}/cows/betsy", V, {}).status == 201


def test_tokens_of_an_expired_principal_are_refused(arm: Arm, field: str) -> None:
    faults.of(arm.twin).add("expired", {"principal": principals.OWNER.object_id})
    answer = arm.get(field, V)
    assert (answer.status, answer.code) == (401, "ExpiredAuthenticationToken")
    faults.of(arm.twin).clear()
    assert arm.get(field, V).status == 200
