"""What the caller may do on a scope, as clients ask before they try.

https://learn.microsoft.com/rest/api/authorization/permissions
"""

import time
from typing import Any

from twins.azure.arm.calls import Call, Document
from twins.azure.arm.ids import key
from twins.azure.judges import permissions
from twins.azure.judges.roles import Permission
from twins.azure.twin import Twin


def install(twin: Twin) -> None:
    """Add the list. (Everybody may see what he may.)"""
    twin.action("Microsoft.Authorization", "permissions", _list, None, "GET")


def _list(twin: Twin, call: Call, _document: Any) -> Document:
    scope, now = key(call.path.rpartition("/providers/")[0]), time.time()
    grants = permissions.read(twin.resources.values()).get(call.caller.object_id.lower(), [])
    working = [grant for grant in grants if grant.works_from <= now and grant.covers(scope)]
    return {"value": [_block(each) for grant in working for each in grant.role.permissions]}


def _block(permission: Permission) -> Document:
    return {
        "actions": list(permission.actions),
        "notActions": list(permission.not_actions),
        "dataActions": list(permission.data_actions),
        "notDataActions": list(permission.not_data_actions),
    }
