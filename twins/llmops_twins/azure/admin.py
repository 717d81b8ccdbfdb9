"""Azure's part of the twin's own routes (core/admin.py): applications and federated tokens for tests."""

import json
import secrets
import uuid
from typing import Any

from werkzeug.wrappers import Request, Response

from llmops_twins.azure import faults, inventory
from llmops_twins.azure.entra import identity_endpoints, principals, tokens
from llmops_twins.azure.judges import permissions
from llmops_twins.azure.services import authorization, resources
from llmops_twins.azure.twin import TenantTwin
from llmops_twins.core.admin import Admin, answer


def admin(twin: TenantTwin) -> Admin:
    """Returns the routes of a twin."""
    return Admin(
        twin,
        {"subscription": twin.subscription, "tenant": twin.tenant},
        lambda: inventory.of(twin),
        lambda: faults.of(twin),
        {
            ("GET", "principals"): lambda _: answer(_principals(twin)),
            ("POST", "applications"): lambda request: _add_application(twin, request),
            ("DELETE", "applications"): lambda request: _remove_application(twin, request),
            ("POST", "subscriptions"): lambda request: _add_subscription(twin, request),
            ("POST", "headers"): lambda request: _header(twin, request),
            ("POST", "tokens"): lambda request: _token(twin, request),
            ("GET", "grants"): lambda _: answer(permissions.grants(twin.resources.values())),
            ("PUT", "denials"): lambda request: _deny(twin, request, denied=True),
            ("DELETE", "denials"): lambda request: _deny(twin, request, denied=False),
        },
    )


def _principals(twin: TenantTwin) -> list[dict[str, Any]]:
    hidden = ("secret",)
    return [
        {"object_id": object_id, **{name: value for name, value in found.items() if name not in hidden}}
        for object_id, found in principals.of(twin).items()
    ]


def _add_application(twin: TenantTwin, request: Request) -> Response:
    """Creates an application with a client secret and these built-in `roles` on the subscription."""
    given = json.loads(request.get_data() or b"{}")
    secret = secrets.token_urlsafe(24)
    made = principals.add(twin, str(given.get("name") or "application"), "application", secret)
    try:
        for role in given.get("roles", []):
            authorization.assign(twin, made.object_id, role, f"/subscriptions/{twin.subscription}")
    except KeyError as e:
        return answer({"error": f"the twin has no built-in role {e}"}, 400)
    return answer({"object_id": made.object_id, "client_id": made.app_id, "client_secret": secret}, 201)


def _add_subscription(twin: TenantTwin, request: Request) -> Response:
    """Adds a subscription to the tenant, of the twin's owner."""
    subscription = str(uuid.UUID(json.loads(request.get_data())["subscription"]))
    with twin.lock:
        if subscription in twin.subscriptions:
            return answer({"error": f"the tenant has the subscription {subscription} already"}, 409)
        resources.add_subscription(twin, subscription)
        authorization.make_owner(twin, subscription)
    return answer({"subscription": subscription}, 201)


def _remove_application(twin: TenantTwin, request: Request) -> Response:
    principals.remove(twin, json.loads(request.get_data())["object_id"])
    return answer({})


def _header(twin: TenantTwin, request: Request) -> Response:
    """Returns the environment variables that give a process a principal's tokens, as if it were its machine's managed
    identity.
    """
    object_id = json.loads(request.get_data())["object_id"]
    if principals.find(twin, object_id) is None:
        return answer({"error": f"no principal {object_id}"}, 404)
    return answer(identity_endpoints.grant(twin, [object_id]), 201)


def _token(twin: TenantTwin, request: Request) -> Response:
    """Returns a token of any principal, so that a test can act as a managed identity."""
    given = json.loads(request.get_data())
    caller = principals.find(twin, given["object_id"])
    if caller is None:
        return answer({"error": f"no principal {given['object_id']}"}, 404)
    lifetime = float(given.get("seconds", tokens.LIFETIME_SECONDS))
    return answer({"access_token": tokens.issue(twin, caller, given["audience"], lifetime)})


def _deny(twin: TenantTwin, request: Request, *, denied: bool) -> Response:
    """Denies a principal an action regardless of its roles, or lifts the denial; a stand-in for deny assignments."""
    given = json.loads(request.get_data())
    entry = [given["principal"], given["action"]]
    others = [each for each in twin.state.get("denied", []) if each != entry]
    twin.state["denied"] = [*others, entry] if denied else others
    twin.changed()
    return answer({})
