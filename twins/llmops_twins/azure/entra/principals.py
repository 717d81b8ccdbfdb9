"""The tenant's principals: the owner, whose credentials `env` gives to clients, managed identities, and tests'
applications.
"""

import time
import uuid
from typing import Any

from llmops_twins.azure.protocol.calls import Principal
from llmops_twins.azure.twin import TenantTwin
from llmops_twins.core import root

OWNER_ID = "00000000-0000-0000-0000-00000000000a"
OWNER_APP = "00000000-0000-0000-0000-00000000000b"
OWNER_PURPOSE = "azure client secret"
"""Purpose of the derived key that is the owner's client secret."""
KNOWN_SECONDS = 60.0
"""Delay until the directory knows a new principal everywhere; Microsoft names none."""
OWNER = Principal(OWNER_ID, OWNER_APP, "owner", "application")


def install(twin: TenantTwin) -> None:
    """Adds the owner to every new tenant."""
    twin.seeds.append(lambda: _seed(twin))


def of(twin: TenantTwin) -> dict[str, dict[str, Any]]:
    """Returns all principals by object id: app_id, name, kind, secret, resource, known_from."""
    return twin.state.setdefault("principals", {})


def add(
    twin: TenantTwin,
    name: str,
    kind: str,
    secret: str = "",
    object_id: str = "",
    app_id: str = "",
    resource: str = "",
) -> Principal:
    """Adds a principal to the tenant; `resource` is the id of the resource that a managed identity belongs to."""
    caller = Principal(object_id or str(uuid.uuid4()), app_id or str(uuid.uuid4()), name, kind)
    of(twin)[caller.object_id] = {
        "app_id": caller.app_id,
        "name": name,
        "kind": kind,
        "secret": secret,
        "resource": resource,
        "known_from": time.time() + twin.scaled(KNOWN_SECONDS),
    }
    twin.changed()
    return caller


def remove(twin: TenantTwin, object_id: str) -> None:
    """Removes a principal; its role assignments stay, as on Azure."""
    of(twin).pop(object_id, None)
    twin.changed()


def find(twin: TenantTwin, object_id: str) -> Principal | None:
    """Returns a principal by its object id."""
    found = of(twin).get(object_id)
    return Principal(object_id, found["app_id"], found["name"], found["kind"]) if found else None


def is_new(twin: TenantTwin, object_id: str) -> bool:
    """Returns whether the directory does not know a principal everywhere yet."""
    return object_id != OWNER_ID and time.time() < of(twin).get(object_id, {}).get("known_from", 0.0)


def by_app(twin: TenantTwin, app_id: str) -> Principal | None:
    """Returns a principal by its application's (client) id."""
    for object_id, found in of(twin).items():
        if found["app_id"].lower() == app_id.lower():
            return find(twin, object_id)
    return None


def resource_of(twin: TenantTwin, object_id: str) -> str:
    """Returns the id of the resource that a managed identity belongs to; empty for others."""
    return of(twin)[object_id].get("resource", "")


def secret_of(twin: TenantTwin, caller: Principal) -> str:
    """Returns a principal's client secret; empty without one."""
    if caller.object_id == OWNER_ID:
        return root.key(twin.home, OWNER_PURPOSE)
    return of(twin)[caller.object_id]["secret"]


def _seed(twin: TenantTwin) -> None:
    add(twin, OWNER.name, OWNER.kind, "", OWNER_ID, OWNER_APP)
