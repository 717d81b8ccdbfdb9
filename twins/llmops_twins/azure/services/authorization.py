"""Microsoft.Authorization: role assignments, which take effect with a delay, and role definitions, built in and custom.

https://learn.microsoft.com/rest/api/authorization/role-assignments
"""

import re
import time
import uuid
from datetime import UTC, datetime
from typing import Any

from llmops_twins.azure.entra import principals
from llmops_twins.azure.judges import conditions, roles
from llmops_twins.azure.judges.permissions import ASSIGNMENTS, DEFINITIONS, WORKS_FROM, RoleJudge
from llmops_twins.azure.protocol import body_checks
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import ArmCall, Document
from llmops_twins.azure.protocol.ids import Id, key
from llmops_twins.azure.protocol.kinds import ResourceKind
from llmops_twins.azure.twin import TenantTwin

PROPAGATION_SECONDS = 120.0
"""Delay until every service applies a new assignment: "up to 10 minutes" according to Microsoft, mostly 1 to 5."""
OWNER_ROLES = ("Owner", "Storage Blob Data Owner", "Key Vault Administrator")
"""The initial roles of a twin's owner on the subscription: Owner alone can neither read blobs nor sign."""
UNJUDGED = [
    "roles: groups, deny assignments, locks and policies do not exist",
    "roles: revocation takes effect immediately",
]
_ASSIGNMENT = body_checks.Body(ASSIGNMENTS, code="InvalidCreateRoleAssignmentRequest")
_DEFINITION = body_checks.Body(DEFINITIONS, code="InvalidRoleDefinition")
_SCOPES = ("group", "subscription", "resource")
_GUID = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_FILTER = re.compile(
    r"|(?P<at>atScope\(\))(?:\s+and\s+assignedTo\('(?P<both>[^']+)'\))?"
    r"|assignedTo\('(?P<to>[^']+)'\)|principalId\s+eq\s+'(?P<id>[^']+)'",
    re.I,
)
_DEFINITIONS_FILTER = re.compile(
    r"roleName\s+eq\s+'(?P<name>[^']+)'|type\s+eq\s+'(?P<type>[^']+)'|atScopeAndBelow\(\)", re.I
)


def install(twin: TenantTwin) -> None:
    """Registers the kinds, and the judge of roles."""
    judge = RoleJudge(twin)
    twin.judge_of_roles = judge.allows

    def forget(_twin: TenantTwin, _document: Document) -> None:
        judge.forget()

    twin.kind(
        ResourceKind(
            ASSIGNMENTS,
            put=_assign,
            begun=forget,
            gone=forget,
            patch=False,
            scopes=_SCOPES,
            provisioning=False,
            codes=(201, 200),
            delete_shows=True,
        )
    )
    twin.kind(
        ResourceKind(
            DEFINITIONS,
            put=_define,
            begun=forget,
            deleting=_undefine,
            gone=forget,
            patch=False,
            name=_GUID,
            scopes=_SCOPES,
            provisioning=False,
            codes=(201, 201),
            delete_shows=True,
            given=_built_in,
        )
    )
    for collection, list_ in (("roleAssignments", _list_assignments), ("roleDefinitions", _list_definitions)):
        permission = f"Microsoft.Authorization/{collection}/read"
        twin.action("Microsoft.Authorization", collection, list_, permission, "GET")
    twin.seeds.append(lambda: _seed(twin, judge))
    twin.restorers.append(judge.forget)
    twin.unjudged += UNJUDGED


def assign(twin: TenantTwin, object_id: str, role: str, scope: str) -> Document:
    """Assigns a built-in role by its name, effective at once.

    Raises:
        KeyError: there is no such role.
    """
    found = next((each for each in roles.built_in().values() if each.name == role), None)
    if found is None:
        raise KeyError(role)
    name = _name_for(twin, object_id, found.id, scope)
    return _keep_assignment(twin, f"{scope}/providers/{ASSIGNMENTS}/{name}", object_id, found.id, scope)


def make_owner(twin: TenantTwin, subscription: str) -> None:
    """Gives the twin's owner its initial roles on a subscription."""
    for name in OWNER_ROLES:
        assign(twin, principals.OWNER_ID, name, f"/subscriptions/{subscription}")


def _seed(twin: TenantTwin, judge: RoleJudge) -> None:
    make_owner(twin, twin.subscription)
    judge.forget()


def _assign(twin: TenantTwin, call: ArmCall, there: Document | None) -> Document:
    given, parsed = _ASSIGNMENT.judged(call)["properties"], Id.parse(call.id)
    if not re.fullmatch(_GUID, parsed.name):
        message = f"The role assignment ID '{parsed.name}' is not valid. The role assignment ID must be a GUID."
        raise ArmError(400, "InvalidRoleAssignmentId", message)
    _check_condition(given)
    _check_role(twin, given["roleDefinitionId"], parsed.scope)
    principal_type = _check_principal(twin, given)
    if there:
        _check_same(there, given)
    else:
        _check_new(twin, parsed, given)
    now = datetime.now(UTC).isoformat()
    created = there["properties"]["createdOn"] if there else now
    properties = {
        "roleDefinitionId": given["roleDefinitionId"],
        "principalId": given["principalId"],
        "principalType": principal_type,
        "scope": parsed.scope or "/",
        "condition": given.get("condition"),
        "conditionVersion": given.get("conditionVersion") if given.get("condition") else None,
        "description": given.get("description"),
        "createdOn": created,
        "updatedOn": now,
        "createdBy": call.caller.object_id,
        "updatedBy": call.caller.object_id,
        "delegatedManagedIdentityResourceId": None,
    }
    works_from = there[WORKS_FROM] if there else time.time() + _propagation(twin)
    return {"properties": properties, WORKS_FROM: works_from}


def _propagation(twin: TenantTwin) -> float:
    from llmops_twins.azure import faults

    fault = faults.take(twin, "role_propagation")
    return float(fault["seconds"]) if fault else twin.scaled(PROPAGATION_SECONDS)


def _check_condition(given: Document) -> None:
    if not given.get("condition"):
        return
    if given.get("conditionVersion") != "2.0":
        raise ArmError(400, "InvalidConditionVersion", "The condition version must be 2.0.")
    try:
        conditions.parse(given["condition"])
    except ValueError as e:
        message = f"The condition of the role assignment can't be read, or uses what this twin does not judge: {e}."
        raise ArmError(400, "InvalidCondition", message) from e


def _check_role(twin: TenantTwin, role_definition_id: str, scope: str) -> None:
    """Checks that a role definition exists in a scope. A plain GUID is malformed:
    https://github.com/pulumi/pulumi-azure-native/issues/779. A custom role exists only in its assignable scopes
    (custom-roles#custom-role-properties); that it is unknown elsewhere: 70 % sure.

    Raises:
        ArmError: 400.
    """
    if not re.search(rf"/providers/{DEFINITIONS}/{_GUID}$", role_definition_id, re.I):
        raise ArmError(400, "BadRequestFormat", "The request was incorrectly formatted.")
    guid = roles.guid_of(role_definition_id)
    custom = _custom_with(twin, guid)
    places = [key(each).rstrip("/") for each in custom["properties"]["assignableScopes"]] if custom else []
    if guid not in roles.built_in() and not any(f"{key(scope)}/".startswith(f"{each}/") for each in places):
        message = f"The specified role definition with ID '{guid.replace('-', '')}' does not exist."
        raise ArmError(400, "RoleDefinitionDoesNotExist", message)


def _check_principal(twin: TenantTwin, given: Document) -> str:
    """Returns the type of a principal. A principal whose type is given need not exist, since it may be too new to be
    known everywhere: https://learn.microsoft.com/azure/role-based-access-control/troubleshooting (for one that never
    existed: 75 % sure). Without a type, a new one is refused:
    https://learn.microsoft.com/azure/role-based-access-control/troubleshooting#symptom---assigning-a-role-sometimes-fails-with-rest-api-or-arm-templates

    InvalidPrincipalId: https://github.com/Azure/azure-powershell/issues/16627

    Raises:
        ArmError: 400.
    """
    object_id, asked = given["principalId"], given.get("principalType")
    if not re.fullmatch(_GUID, object_id):
        message = f"The Principal ID '{object_id}' is not valid. Principal ID must be a GUID."
        raise ArmError(400, "InvalidPrincipalId", message)
    found = principals.find(twin, object_id)
    if found is None and asked:
        return asked
    if found is None or (not asked and principals.is_new(twin, object_id)):
        raise ArmError(
            400,
            "PrincipalNotFound",
            f"Principal {object_id.replace('-', '')} does not exist in the directory {twin.tenant}. Check that you "
            "have the correct principal ID. If you are creating this principal and then immediately assigning a role, "
            "this error might be related to a replication delay. In this case, set the role assignment principalType "
            "property to a value, such as ServicePrincipal, User, or Group.  See https://aka.ms/docs-principaltype",
        )
    actual = "User" if found.kind == "user" else "ServicePrincipal"
    if asked not in (None, "", actual):
        message = f"The PrincipalId '{object_id.replace('-', '')}' has type '{actual}' , which is different from specified PrinciaplType '{asked}'."  # fmt: skip # noqa: E501
        raise ArmError(400, "UnmatchedPrincipalType", message)
    return actual


def _check_same(there: Document, given: Document) -> None:
    before = there["properties"]
    same_role = roles.guid_of(before["roleDefinitionId"]) == roles.guid_of(given["roleDefinitionId"])
    if not same_role or before["principalId"].lower() != given["principalId"].lower():
        raise _not_permitted()


def _not_permitted() -> ArmError:
    message = "Tenant ID, application ID, principal ID, and scope are not allowed to be updated."
    return ArmError(400, "RoleAssignmentUpdateNotPermitted", message)


def _check_new(twin: TenantTwin, parsed: Id, given: Document) -> None:
    """Checks that no assignment has the same name, or the same role, principal and scope. A PUT with the name of
    another scope's assignment counts as a change of that one:
    https://learn.microsoft.com/azure/role-based-access-control/troubleshooting#symptom---arm-template-role-assignment-returns-badrequest-status

    Raises:
        ArmError: 400 or 409 RoleAssignmentExists.
    """
    for document in twin.resources.values():
        if document["type"] != ASSIGNMENTS:
            continue
        other = document["properties"]
        if document["name"].lower() == parsed.name.lower():
            raise _not_permitted()
        same_role = roles.guid_of(other["roleDefinitionId"]) == roles.guid_of(given["roleDefinitionId"])
        same_principal = other["principalId"].lower() == given["principalId"].lower()
        if same_role and same_principal and key(other["scope"]) == key(parsed.scope):
            message = f"The role assignment already exists. The ID of the existing role assignment is {document['name'].replace('-', '')}."  # fmt: skip # noqa: E501
            raise ArmError(409, "RoleAssignmentExists", message)


def _define(twin: TenantTwin, call: ArmCall, there: Document | None) -> Document:
    given = _DEFINITION.judged(call)["properties"]
    guid = Id.parse(call.id).name.lower()
    if guid in roles.built_in():
        raise ArmError(403, "RoleDefinitionIsBuiltIn", "A built-in role can't be changed.")
    for name in ("roleName", "permissions", "assignableScopes"):
        if not given.get(name):
            message = f"The request to create role definition is not valid: '{name}' is missing."
            raise ArmError(400, "InvalidRoleDefinition", message)
    for document in twin.resources.values():
        same = document["type"] == DEFINITIONS and document["properties"]["roleName"] == given["roleName"]
        if same and document["name"].lower() != guid:
            message = f"A custom role with the same name already exists in this directory. Use a different name: '{given['roleName']}'."  # fmt: skip # noqa: E501
            raise ArmError(409, "RoleDefinitionWithSameNameExists", message)
    blocks = [_block(each) for each in given["permissions"]]
    now = datetime.now(UTC).isoformat()
    properties = {
        "roleName": given["roleName"],
        "type": "CustomRole",
        "description": given.get("description", ""),
        "assignableScopes": given["assignableScopes"],
        "permissions": blocks,
        "createdOn": there["properties"]["createdOn"] if there else now,
        "updatedOn": now,
        "createdBy": call.caller.object_id,
        "updatedBy": call.caller.object_id,
    }
    return {"properties": properties}


def _block(given: Document) -> Document:
    return {name: list(given.get(name) or ()) for name in ("actions", "notActions", "dataActions", "notDataActions")}


def _undefine(twin: TenantTwin, call: ArmCall, document: Document) -> None:
    guid = roles.guid_of(document["id"])
    if guid in roles.built_in():
        raise ArmError(403, "RoleDefinitionIsBuiltIn", "A built-in role can't be deleted.")
    for other in twin.resources.values():
        if other["type"] == ASSIGNMENTS and roles.guid_of(other["properties"]["roleDefinitionId"]) == guid:
            message = "There are existing role assignments referencing role (code: RoleDefinitionHasAssignments)."
            raise ArmError(400, "RoleDefinitionHasAssignments", message)


def _list_assignments(twin: TenantTwin, call: ArmCall, _document: Document | None) -> Document:
    """Returns the assignments on the scope, above it (which it inherits) and, unless filtered by `atScope()`, below it.

    https://learn.microsoft.com/azure/role-based-access-control/role-assignments-list-rest
    Refused filters: https://github.com/Azure/azure-rest-api-specs/issues/28255

    Raises:
        ArmError: 400 UnsupportedQuery, for any other filter.
    """
    scope, asked = key(Id.parse(call.id).scope), call.query.get("$filter", "").strip()
    wanted = _FILTER.fullmatch(asked)
    if wanted is None:
        message = f"The filter '{asked}' is not supported. Supported filters are either 'atScope()' or 'principalId eq '{{value}}' or assignedTo('{{value}}')'."  # fmt: skip # noqa: E501
        raise ArmError(400, "UnsupportedQuery", message)
    principal = (wanted["both"] or wanted["to"] or wanted["id"] or "").lower()
    found = []
    for document in twin.resources.values():
        if document["type"] != ASSIGNMENTS:
            continue
        other = key(document["properties"]["scope"])
        above = scope == other or scope.startswith(other.rstrip("/") + "/")
        below = other.startswith(scope.rstrip("/") + "/") and not wanted["at"]
        if (above or below) and principal in ("", document["properties"]["principalId"].lower()):
            found.append(_public(document))
    return {"value": found}


def _list_definitions(twin: TenantTwin, call: ArmCall, _document: Document | None) -> Document:
    """Returns the built-in and custom role definitions that a filter selects.
    https://learn.microsoft.com/azure/role-based-access-control/role-definitions-list#rest-api

    Raises:
        ArmError: 400 UnsupportedQuery.
    """
    scope, asked = Id.parse(call.id).scope, call.query.get("$filter", "").strip()
    terms = [_DEFINITIONS_FILTER.fullmatch(each) for each in re.split(r"\s+and\s+", asked, flags=re.I) if each]
    if None in terms:
        message = f"The filter '{asked}' is not supported. Supported filters are either roleName eq '{{value}}' or type eq 'BuiltInRole|CustomRole'."  # fmt: skip # noqa: E501
        raise ArmError(400, "UnsupportedQuery", message)
    documents = [_built_in_document(scope, role.id) for role in roles.built_in().values()]
    documents += [d for d in twin.resources.values() if d["type"] == DEFINITIONS]
    for term in filter(None, terms):
        for name, member in (("name", "roleName"), ("type", "type")):
            if term[name]:
                documents = [d for d in documents if d["properties"][member].lower() == term[name].lower()]
    return {"value": [_public(document) for document in documents]}


def _public(document: Document) -> Document:
    return {name: value for name, value in document.items() if not name.startswith("_")}


def _custom_with(twin: TenantTwin, guid: str) -> Document | None:
    for document in twin.resources.values():
        if document["type"] == DEFINITIONS and roles.guid_of(document["id"]) == guid:
            return document
    return None


def _built_in(_twin: TenantTwin, parsed: Id) -> Document | None:
    guid = parsed.name.lower()
    return _built_in_document(parsed.scope, guid) if guid in roles.built_in() else None


def _built_in_document(scope: str, guid: str) -> dict[str, Any]:
    role = roles.built_in()[guid]
    blocks = [
        {
            "actions": list(each.actions),
            "notActions": list(each.not_actions),
            "dataActions": list(each.data_actions),
            "notDataActions": list(each.not_data_actions),
        }
        for each in role.permissions
    ]
    properties = {"roleName": role.name, "type": "BuiltInRole", "description": role.name, "assignableScopes": ["/"]}
    path = f"{scope}/providers/{DEFINITIONS}/{guid}"
    return {"id": path, "name": guid, "type": DEFINITIONS, "properties": {**properties, "permissions": blocks}}


def _name_for(twin: TenantTwin, object_id: str, role: str, scope: str) -> str:
    return str(uuid.uuid5(uuid.UUID(twin.tenant), f"{object_id} {role} {key(scope)}"))


def _keep_assignment(twin: TenantTwin, resource_id: str, object_id: str, role: str, scope: str) -> Document:
    found = principals.find(twin, object_id)
    properties = {
        "roleDefinitionId": f"/subscriptions/{twin.subscription}/providers/{DEFINITIONS}/{role}",
        "principalId": object_id,
        "principalType": "User" if found and found.kind == "user" else "ServicePrincipal",
        "scope": scope,
        "createdOn": datetime.now(UTC).isoformat(),
    }
    document: Document = {"id": resource_id, "type": ASSIGNMENTS, "properties": properties, WORKS_FROM: 0.0}
    twin.keep(document)
    kind = twin.kinds[ASSIGNMENTS.lower()]
    assert kind.begun
    kind.begun(twin, document)
    return document
