"""Checks that Azure Resource Manager makes before a resource provider: scopes, parents, names, locations, states.

Codes are those of https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors;
messages also follow
https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/error-register-resource-provider and
https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/error-parent-resource.
"""

import re
import time

from llmops_twins.azure.arm import operations
from llmops_twins.azure.protocol import locations
from llmops_twins.azure.protocol.arm_errors import ArmError, not_found
from llmops_twins.azure.protocol.calls import ArmCall, Document
from llmops_twins.azure.protocol.ids import RESOURCE_GROUPS, SUBSCRIPTIONS, Id
from llmops_twins.azure.protocol.kinds import ResourceKind
from llmops_twins.azure.twin import TenantTwin

BUSY_UNTIL = "_busy_until"
"""Member of a document: the time (seconds since 1970) until which a pending change refuses others."""
SUBSTITUTED = "substituted_versions"
"""Member of the twin's state: "TYPE VERSION" of a call with a version that the twin does not know -> the version that
was served instead.
"""
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_MOST_SUBSTITUTED = 200  # a client that counts versions up must not fill the state
_VERSION = re.compile(r"20\d\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])(-[a-z]{1,20})?")
_MOST_TAGS, _LONGEST_TAG = 50, 256
_NOT_IN_TAGS = re.compile(r"[<>%&\\?/\x00-\x1f\x7f]")
_HIDDEN = ("hidden-", "link:")


def kind_of(twin: TenantTwin, call: ArmCall, type_: str) -> ResourceKind:
    """Returns the kind of a type. A call with a newer api-version than the twin knows goes on with the newest known.

    Raises:
        ArmError: 404 InvalidResourceNamespace or InvalidResourceType, 400 NoRegisteredProviderFound or
            InvalidApiVersionParameter.
    """
    namespace, _, rest = type_.partition("/")
    kind = twin.kinds.get(type_.lower())
    if kind is None:
        if not any(each.startswith(namespace.lower() + "/") for each in twin.kinds):
            message = f"The resource namespace '{namespace}' is invalid."
            raise ArmError(404, "InvalidResourceNamespace", message)
        message = (
            f"The resource type '{rest}' could not be found in the namespace '{namespace}' for api version "
            f"'{call.api_version}'."
        )
        raise ArmError(404, "InvalidResourceType", message)
    if call.api_version not in kind.versions:
        call.api_version = _served_version(twin, call, kind, rest)
    return kind


def _served_version(twin: TenantTwin, call: ArmCall, kind: ResourceKind, rest: str) -> str:
    """Returns the newest known version in place of a newer one, which the twin can't tell from a published one, and
    records that for `status`.

    InvalidApiVersionParameter for resource groups: https://github.com/Azure/azure-cli/issues/28038

    Raises:
        ArmError: 400, the version is not a date, or older than the newest known one.
    """
    newest = max(kind.versions)
    if _VERSION.fullmatch(call.api_version) and call.api_version[:10] > newest[:10]:
        served: dict[str, str] = twin.state.setdefault(SUBSTITUTED, {})
        if len(served) < _MOST_SUBSTITUTED:
            served.setdefault(f"{kind.type} {call.api_version}", newest)
            twin.changed()
        return newest
    supported = f"The supported {{}}versions are '{', '.join(kind.versions)}'."
    if kind.type in (RESOURCE_GROUPS, SUBSCRIPTIONS):
        message = f"The api-version '{call.api_version}' is invalid. {supported.format('')}"
        raise ArmError(400, "InvalidApiVersionParameter", message)
    location = call.body.get("location", "global") if isinstance(call.body, dict) else "global"
    raise ArmError(
        400,
        "NoRegisteredProviderFound",
        f"No registered resource provider found for location '{location}' and API version '{call.api_version}' for "
        f"type '{rest}'. {supported.format('api-')}",
    )


def check_subscription(twin: TenantTwin, parsed: Id) -> None:
    """Refuses resources of a subscription that the tenant does not have.

    InvalidSubscriptionId: https://github.com/hashicorp/terraform-provider-azurerm/issues/25954 and
    https://github.com/Azure/apiops/issues/460

    Raises:
        ArmError: 400 InvalidSubscriptionId, it is not a GUID; 404 SubscriptionNotFound.
    """
    if parsed.subscription and not _GUID.fullmatch(parsed.subscription):
        message = f"The provided subscription identifier '{parsed.subscription}' is malformed or invalid."
        raise ArmError(400, "InvalidSubscriptionId", message)
    if parsed.subscription and parsed.subscription.lower() not in twin.subscriptions:
        raise ArmError(404, "SubscriptionNotFound", f"The subscription '{parsed.subscription}' could not be found.")


def check_parents(twin: TenantTwin, parsed: Id, *, verb: str, of_collection: bool = False) -> None:
    """Refuses a call whose resource group, scope or parent does not exist.

    Raises:
        ArmError: 404 ResourceGroupNotFound, ResourceNotFound, ParentResourceNotFound; 409 ResourceGroupBeingDeleted.
    """
    if parsed.group and (parsed.type != RESOURCE_GROUPS or of_collection):
        _check_group(twin, parsed, verb)
    if "/providers/" in parsed.scope.lower() and twin.find(parsed.scope) is None and verb == "write":
        raise not_found(parsed.scope)  # extensions of a deleted resource can still be read and deleted
    types = parsed.type.split("/")
    segments = parsed.resource.split("/")
    depth = len(parsed.names) if of_collection else len(parsed.names) - 1
    for level in range(1, depth + 1):
        parent = "/".join(segments[: len(segments) - 2 * (len(parsed.names) - level)])
        kind = twin.kinds.get("/".join(types[: level + 1]).lower())
        there = kind is None or kind.implicit or parsed.names[level - 1] in kind.singletons
        if not there and twin.find(parent) is None:
            raise ArmError(
                404,
                "ParentResourceNotFound",
                f"Failed to perform '{verb}' on resource(s) of type '{parsed.type.partition('/')[2]}', because the "
                f"parent resource '{parent}' could not be found.",
            )


def _check_group(twin: TenantTwin, parsed: Id, verb: str) -> None:
    group = twin.find(f"/subscriptions/{parsed.subscription}/resourceGroups/{parsed.group}")
    if group is None:
        raise ArmError(404, "ResourceGroupNotFound", f"Resource group '{parsed.group}' could not be found.")
    if verb == "write" and group["properties"]["provisioningState"] == "Deleting":
        raise ArmError(
            409,
            "ResourceGroupBeingDeleted",
            f"The resource group '{parsed.group}' is in deprovisioning state and cannot perform this operation.",
        )


def check_scope(kind: ResourceKind, parsed: Id) -> None:
    """Refuses a resource in a scope that its kind does not allow.

    Raises:
        ArmError: 400 InvalidResourceScope.
    """
    extends = "/providers/" in parsed.scope.lower()
    where = "resource" if extends else "group" if parsed.group else "subscription"
    if where not in kind.scopes:
        message = f"A resource of type '{kind.type}' can't be created at the scope of a {where}."
        code = "MethodNotAllowed" if kind.type == SUBSCRIPTIONS else "InvalidResourceScope"
        # unsure (60 %): no source found for the code: assumed from the template language's rules for scopes
        raise ArmError(405 if kind.type == SUBSCRIPTIONS else 400, code, message)


def check_name(kind: ResourceKind, parsed: Id) -> None:
    """Refuses a name that its kind does not allow.

    Raises:
        ArmError: 400 InvalidResourceName.
    """
    if not re.fullmatch(kind.name, parsed.name):
        message = f"Resource name {parsed.name} is invalid: it must match {kind.name}"
        # unsure (75 %): the rules are documented, and the code is ARM's; some providers have their own codes
        raise ArmError(400, "InvalidResourceName", message, target=parsed.name)


def check_tags(kind: ResourceKind, body: Document) -> None:
    """Refuses too many tags, and invalid names and values.

    https://learn.microsoft.com/azure/azure-resource-manager/management/tag-resources#limitations
    InvalidTagNameCharacters: Microsoft's tutorial "Write Azure CLI commands for both Bash and PowerShell" shows it.
    Unsure (80 %): the codes for lengths are those that Azure/azure-powershell (RecoveryServices.SiteRecovery) uses on
    Azure's behalf; no source found for TooManyTags.

    Raises:
        ArmError: 400.
    """
    tags = body.get("tags")
    if not isinstance(tags, dict):
        return
    longest = 128 if kind.type == "Microsoft.Storage/storageAccounts" else 512
    if len(tags) > _MOST_TAGS:
        raise ArmError(400, "TooManyTags", f"The resource has {len(tags)} tags; the maximum is {_MOST_TAGS}.", "tags")
    if wrong := [name for name in tags if _NOT_IN_TAGS.search(name) and not name.lower().startswith(_HIDDEN)]:
        message = (
            f"The tag names '{', '.join(wrong)}' have reserved characters '<,>,%,&,\\,?,/' or control characters. "
            "These characters are only allowed for tags that start with the prefix 'hidden, link'."
        )
        raise ArmError(400, "InvalidTagNameCharacters", message, "tags")
    for code, what, words, most in (
        ("InvalidTagName", "name", list(tags), longest),
        ("InvalidTagValueLength", "value", [str(value) for value in tags.values()], _LONGEST_TAG),
    ):
        if long := [word for word in words if len(word) > most]:
            message = (
                f"Tag {what} too large. Following tag {what} '{', '.join(long)}' exceeded the maximum length. Maximum "
                f"allowed length for tag {what} - '{most}' characters."
            )
            raise ArmError(400, code, message, "tags")


def check_idle(twin: TenantTwin, kind: ResourceKind, resource_id: str) -> None:
    """Refuses a change during an operation on the resource.

    Raises:
        ArmError: 409, with the kind's code.
    """
    code, message = kind.busy
    operation = operations.running(twin, resource_id)
    if operation:
        what = f"Another operation ({operation['what']} {operation['id']}) on '{resource_id}' is in progress."
        raise ArmError(409, code, message or what)
    if (twin.find(resource_id) or {}).get(BUSY_UNTIL, 0.0) > time.time():
        raise ArmError(409, code, message or f"Another change of '{resource_id}' is in progress.")


def check_location(kind: ResourceKind, parsed: Id, body: Document, there: Document | None) -> None:
    """Refuses a missing, unknown or changed location; normalises it.

    Raises:
        ArmError: 400 LocationRequired or LocationNotAvailableForResourceType, 409 InvalidResourceLocation.
    """
    given = str(body.get("location") or "")
    if not given and there:
        return
    if not given:
        raise ArmError(400, "LocationRequired", "The location property is required for this definition.")
    canonical = locations.canonical(given)
    if not locations.exists(canonical):
        group = kind.type == RESOURCE_GROUPS
        raise ArmError(
            400,
            "LocationNotAvailableForResourceGroup" if group else "LocationNotAvailableForResourceType",
            f"The provided location '{given}' is not available for resource type '{kind.type}'. List of available "
            f"regions for the resource type is '{','.join(locations.DISPLAY_NAMES)}'.",
        )
    if there and locations.canonical(there.get("location", "")) != canonical:
        raise ArmError(
            409,
            "InvalidResourceGroupLocation" if kind.type == RESOURCE_GROUPS else "InvalidResourceLocation",
            f"The resource '{parsed.name}' already exists in location '{there['location']}' in resource group "
            f"'{parsed.group}'. A resource with the same name cannot be created in location '{given}'. Please select "
            "a new resource name.",
        )
    body["location"] = canonical
