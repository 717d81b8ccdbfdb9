"""Microsoft.Resources: the tenant, the subscription, its providers and locations, resource groups, lists of resources.

https://learn.microsoft.com/rest/api/resources/
"""

import re
from typing import Any

from llmops_twins.azure.arm import providers
from llmops_twins.azure.arm.arm import CREATED
from llmops_twins.azure.protocol import body_checks, locations
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import ArmCall, Document, Reply
from llmops_twins.azure.protocol.ids import RESOURCE_GROUPS, SUBSCRIPTIONS, Id
from llmops_twins.azure.protocol.kinds import RESULT, ResourceKind
from llmops_twins.azure.twin import TenantTwin

DELETE_SECONDS = 60.0
UNJUDGED = [
    "subscriptions: registered providers and quotas are the same in all; only the first runs endpoints and jobs",
    "requests: Resource Manager's limits are neither counted nor reported (x-ms-ratelimit-remaining-…)",
    "resources: refused: checks of name availability, regenerated keys, a caller's permissions, other filters than eq",
]
_GROUP = body_checks.Body(RESOURCE_GROUPS)
_TERM = re.compile(
    r"(?P<name>tagName|tagValue|resourceType|name|location|resourceGroup)\s+eq\s+'(?P<value>[^']*)'",
    re.I,
)
_EXPANDED = {"createdTime": CREATED}


def install(twin: TenantTwin) -> None:
    """Registers the kinds and the lists."""
    twin.kind(ResourceKind(SUBSCRIPTIONS, scopes=(), patch=False, deleting=_refuse, provisioning=False))
    twin.kind(
        ResourceKind(
            RESOURCE_GROUPS,
            put=_put_group,
            name=r"[-\w._()]{0,89}[-\w_()]",
            location=True,
            scopes=("subscription", "group"),
            delete_seconds=DELETE_SECONDS,
            polled={"DELETE": RESULT},
            listed=_listed_groups,
        )
    )
    read = "Microsoft.Resources/subscriptions/resources/read"
    twin.action("", "tenants", _list_tenants, None, "GET")
    twin.action("Microsoft.Resources", "subscriptions", _list_subscriptions, None, "GET")
    twin.action(SUBSCRIPTIONS, "resources", _list, read, "GET")
    twin.action(RESOURCE_GROUPS, "resources", _list, read, "GET")
    twin.action(SUBSCRIPTIONS, "providers", _list_providers, "Microsoft.Resources/subscriptions/providers/read", "GET")
    twin.action(SUBSCRIPTIONS, "locations", _list_locations, "Microsoft.Resources/subscriptions/locations/read", "GET")
    twin.seeds.append(lambda: _seed(twin))
    twin.unjudged += UNJUDGED


def add_subscription(twin: TenantTwin, subscription: str) -> None:
    """Adds an empty subscription to the tenant, which has no roles of anybody yet."""
    twin.state.setdefault("subscriptions", []).append(subscription.lower())
    _keep_subscription(twin, subscription.lower(), "another subscription of the twin")


def _seed(twin: TenantTwin) -> None:
    _keep_subscription(twin, twin.subscription, "the twin's subscription")


def _keep_subscription(twin: TenantTwin, subscription: str, name: str) -> None:
    twin.keep(
        {
            "id": f"/subscriptions/{subscription}",
            "type": SUBSCRIPTIONS,
            "subscriptionId": subscription,
            "tenantId": twin.tenant,
            "displayName": name,
            "state": "Enabled",
        }
    )


def _refuse(_twin: TenantTwin, call: ArmCall, _document: Document) -> None:
    raise ArmError(405, "MethodNotAllowed", f"The request with method {call.method} is not allowed on {call.path}.")


def _put_group(_twin: TenantTwin, call: ArmCall, there: Document | None) -> Document:
    body = _GROUP.judged(call)
    return (
        {**body, "managedBy": body.get("managedBy") or (there or {}).get("managedBy")} if "managedBy" in body else body
    )


def _listed_groups(call: ArmCall, found: list[Document]) -> list[Document]:
    """Returns the resource groups that a filter by tag selects; Azure supports no other:
    https://learn.microsoft.com/rest/api/resources/resource-groups/list
    """
    text = call.query.get("$filter", "")
    wanted = _terms(text)
    if set(wanted) - {"tagname", "tagvalue"}:
        raise ArmError(400, "InvalidFilterInQueryString", f"Invalid $filter '{text}' specified in the query string.")
    return [each for each in found if _matches(each, wanted)]


def _list_tenants(twin: TenantTwin, _call: ArmCall, _document: Any) -> Document:
    return {"value": [{"id": f"/tenants/{twin.tenant}", "tenantId": twin.tenant}]}


def _list_subscriptions(twin: TenantTwin, _call: ArmCall, _document: Any) -> Document:
    found = [twin.find(f"/subscriptions/{each}") for each in twin.subscriptions]
    return {"value": [each for each in found if each]}


def _list_providers(twin: TenantTwin, _call: ArmCall, _document: Any) -> Document:
    return {"value": [providers.document(twin, namespace) for namespace in sorted(providers.namespaces(twin))]}


def _list_locations(twin: TenantTwin, _call: ArmCall, _document: Any) -> Document:
    place = f"/subscriptions/{twin.subscription}/locations"
    found = locations.DISPLAY_NAMES.items()
    return {"value": [{"id": f"{place}/{name}", "name": name, "displayName": shown} for name, shown in found]}


def _list(twin: TenantTwin, call: ArmCall, _document: Any) -> Reply:
    """Returns the resources with a location, of the subscription or of a group, as the portal's list does.

    If filtered by a tag's name and value, the response contains no tags:
    https://learn.microsoft.com/rest/api/resources/resources/list
    """
    wanted = _terms(call.query.get("$filter", ""))
    more = [name.strip() for name in call.query.get("$expand", "").split(",")]
    found = [_line(document, more) for document in twin.children(call.id) if _is_listed(twin, document)]
    found = [line for line in found if _matches(line, wanted)]
    if {"tagname", "tagvalue"} <= set(wanted):
        found = [{name: value for name, value in line.items() if name != "tags"} for line in found]
    return Reply(200, {"value": found})


def _is_listed(twin: TenantTwin, document: Document) -> bool:
    kind = twin.kinds.get(document["type"].lower())
    return bool(kind and kind.location and kind.type != RESOURCE_GROUPS)


def _line(document: Document, more: list[str]) -> Document:
    line = {
        n: document[n] for n in ("id", "name", "type", "location", "kind", "sku", "tags", "identity") if n in document
    }
    return line | {name: document[_EXPANDED[name]] for name in more if _EXPANDED.get(name) in document}


def _terms(text: str) -> dict[str, str]:
    """Returns the terms of a filter, joined by `and`: property in lower case -> value.

    Raises:
        ArmError: 400 InvalidFilterInQueryString, it has another form.
    """
    left = re.sub(r"\s+and\s+", "", _TERM.sub("", text), flags=re.I).strip()
    if left:
        raise ArmError(400, "InvalidFilterInQueryString", f"Invalid $filter '{text}' specified in the query string.")
    return {each["name"].lower(): each["value"] for each in _TERM.finditer(text)}


def _matches(line: Document, wanted: dict[str, str]) -> bool:
    tags = {name.lower(): value for name, value in (line.get("tags") or {}).items()}
    if "tagname" in wanted:
        value = tags.get(wanted["tagname"].lower())
        if value is None or wanted.get("tagvalue", value) != value:
            return False
    actual = {
        "resourcetype": line["type"],
        "name": line["name"],
        "location": line.get("location", ""),
        "resourcegroup": Id.parse(line["id"]).group,
    }
    return all(value.lower() == actual[name].lower() for name, value in wanted.items() if name in actual)
