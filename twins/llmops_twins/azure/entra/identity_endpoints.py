"""Endpoints for the tokens of managed identities: App Service's and Azure ML's protocol.

https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference
"""

import hmac
import secrets
import time
from collections.abc import Sequence
from typing import Any

from werkzeug.wrappers import Request

from llmops_twins.azure.entra import principals, token_service
from llmops_twins.azure.entra.token_service import PlainError
from llmops_twins.azure.protocol.calls import Principal, Reply
from llmops_twins.azure.replies import route
from llmops_twins.azure.twin import TenantTwin
from llmops_twins.core import root

OWNER_PURPOSE = "azure identity header"
"""Purpose of the derived key that is the owner's header."""
_APP_SERVICE = "/msi/token"


def install(twin: TenantTwin) -> None:
    """Registers the routes."""
    route(twin, _APP_SERVICE, _of_header)


def grant(twin: TenantTwin, object_ids: Sequence[str]) -> dict[str, str]:
    """Returns the environment variables that give a program tokens of these identities, the first by default. The same
    identities always get the same secret.
    """
    with twin.lock:
        known = _granted(twin)
        secret = next((each for each, ids in known.items() if ids == list(object_ids)), "")
        if not secret:
            secret = secrets.token_hex(16).upper()
            known[secret] = list(object_ids)
            twin.changed()
    return variables(twin, secret)


def variables(twin: TenantTwin, secret: str) -> dict[str, str]:
    """Returns the variables that azure-identity reads: those of App Service, and their names on Azure ML."""
    endpoint = twin.url + _APP_SERVICE
    return {
        "IDENTITY_ENDPOINT": endpoint,
        "IDENTITY_HEADER": secret,
        "MSI_ENDPOINT": endpoint,
        "MSI_SECRET": secret,
    }


def _granted(twin: TenantTwin) -> dict[str, list[str]]:
    return twin.state.setdefault("identity_headers", {})


def _holders(twin: TenantTwin, secret: str) -> list[str]:
    """Returns the identities that a secret was granted for; compares in constant time."""
    if root.opens(twin.home, OWNER_PURPOSE, secret):
        return [principals.OWNER_ID]
    found: list[str] = []
    for each, ids in _granted(twin).items():
        if hmac.compare_digest(each.encode(), secret.encode()):
            found = ids
    return found


def _of_header(twin: TenantTwin, request: Request) -> Reply:
    secret = request.headers.get("X-IDENTITY-HEADER") or request.headers.get("secret", "")
    if not secret:
        raise _refused(403, "The X-IDENTITY-HEADER header is missing or wrong.")
    return _answer(twin, request, secret)


def _answer(twin: TenantTwin, request: Request, secret: str) -> Reply:
    resource = request.args.get("resource", "").rstrip("/")
    if not request.args.get("api-version") or not resource:
        raise _refused(400, "The parameters api-version and resource are required.")
    with twin.lock:
        allowed = _holders(twin, secret)
        if not allowed:
            raise _refused(403, "The X-IDENTITY-HEADER header is missing or wrong.")
        caller = _wanted(twin, request, allowed)
        token_service.require_resource(twin, resource)
        body: dict[str, Any] = token_service.answer_of(twin, caller, resource)
    body = {name: str(value) for name, value in body.items()}  # this protocol sends numbers as strings
    return Reply(200, {**body, "client_id": caller.app_id, "not_before": str(int(time.time()))})


def _wanted(twin: TenantTwin, request: Request, allowed: Sequence[str]) -> Principal:
    """Returns the identity that a request names by any of its ids; by default the first."""
    found = [caller for each in allowed if (caller := principals.find(twin, each))]
    asked = {name: request.args[name].lower() for name in _NAMES if request.args.get(name)}
    for caller in found:
        of_it = {
            caller.app_id.lower(),
            caller.object_id.lower(),
            principals.resource_of(twin, caller.object_id).lower(),
        }
        if all(value in of_it for value in asked.values()):
            return caller
    raise _refused(
        400, "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId."
    )


_NAMES = ("client_id", "clientid", "object_id", "principal_id", "mi_res_id", "msi_res_id", "resource_id")


def _refused(status: int, message: str) -> PlainError:
    return PlainError(
        status, {"statusCode": status, "message": message, "error": "invalid_request", "error_description": message}
    )
