"""Tokens of a container registry: a tenant's token is exchanged for a refresh token, and that for an access token with
a scope.

https://azure.github.io/acr/AAD-OAuth.html
"""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from werkzeug.wrappers import Request

from llmops_twins.azure.entra import principals, tokens
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import Document, Principal, Reply
from llmops_twins.azure.twin import TenantTwin
from llmops_twins.core.registry.registry_api import RegistryError

TOKEN_USER = "00000000-0000-0000-0000-000000000000"
"""User name of a login whose password is a refresh token."""
_AUDIENCES = (*tokens.MANAGEMENT, "https://containerregistry.azure.net")
_REFRESH_SECONDS = 3 * 3600
_ACCESS_SECONDS = 75 * 60
# Action of a scope -> the action of Resource Manager that it needs (not a data action).
_NEEDS = {
    "pull": "pull/read",
    "metadata_read": "pull/read",
    "push": "push/write",
    "metadata_write": "push/write",
    "delete": "artifacts/delete",
}


@dataclass(frozen=True)
class RegistryAccess:
    """The rights of an access token: the actions allowed on each repository."""

    caller: str
    actions: Mapping[str, frozenset[str]]


def exchange(twin: TenantTwin, document: Document, request: Request) -> Reply:
    """Answers POST /oauth2/exchange: issues a refresh token for a token of the tenant."""
    form = request.form
    if form.get("grant_type") not in ("access_token", "access_token_refresh_token"):
        raise _unauthorized("grant_type must be access_token")
    try:
        headers = {"Authorization": f"Bearer {form.get('access_token', '')}"}
        caller = tokens.caller_of(twin, headers, _AUDIENCES)
    except ArmError as e:
        raise _unauthorized(e.message) from e
    return Reply(200, {"refresh_token": refresh_token(twin, document, caller)})


def refresh_token(twin: TenantTwin, document: Document, caller: Principal) -> str:
    """Returns the password of TOKEN_USER for `docker login`, valid for three hours."""
    return _issue(twin, document, caller.object_id, _REFRESH_SECONDS, {"grant_type": "refresh_token"})


def token(twin: TenantTwin, document: Document, request: Request) -> Reply:
    """Answers GET or POST /oauth2/token: issues an access token for the part of a scope that the roles allow."""
    if request.method == "POST":
        given = request.form
        if given.get("grant_type") == "password":
            object_id = _by_password(twin, document, given.get("username", ""), given.get("password", ""))
        else:
            object_id = _by_refresh_token(twin, document, given.get("refresh_token", ""))
        scopes = given.getlist("scope")
    else:
        authorization = request.authorization
        if authorization is None or authorization.type != "basic":
            raise _unauthorized("authentication required")
        object_id = _by_password(twin, document, authorization.username or "", authorization.password or "")
        scopes = request.args.getlist("scope")
    wanted = [scope for each in scopes for scope in each.split()]
    access = [found for scope in wanted if (found := _granted(twin, document, object_id, scope))]
    issued = _issue(twin, document, object_id, _ACCESS_SECONDS, {"grant_type": "access_token", "access": access})
    body = {"access_token": issued, "token": issued, "expires_in": _ACCESS_SECONDS}
    if request.args.get("offline_token") == "true" and (caller := principals.find(twin, object_id)):
        body["refresh_token"] = refresh_token(twin, document, caller)
    return Reply(200, body)


def access_of(twin: TenantTwin, document: Document, authorization: str) -> RegistryAccess | None:
    """Returns the access that an `Authorization: Bearer …` header grants at this registry; None if it is invalid."""
    kind, _, text = authorization.partition(" ")
    claims = _claims(twin, document, text) if kind.lower() == "bearer" else None
    if not claims or claims.get("grant_type") != "access_token":
        return None
    return RegistryAccess(claims["sub"], {each["name"]: frozenset(each["actions"]) for each in claims["access"]})


def _granted(twin: TenantTwin, document: Document, object_id: str, scope: str) -> dict[str, Any] | None:
    """Returns the actions of a scope such as "repository:NAME:pull,push" that the roles on the registry allow; None for
    another scope.
    """
    kind, _, rest = scope.partition(":")
    name, _, actions = rest.rpartition(":")
    if kind != "repository" or not name:
        return None
    wanted = [each for each in actions.split(",") if each]
    wanted = list(_NEEDS) if "*" in wanted else wanted
    allowed = [
        each
        for each in wanted
        if each in _NEEDS
        and twin.may(object_id, f"Microsoft.ContainerRegistry/registries/{_NEEDS[each]}", document["id"])
    ]
    return {"type": "repository", "name": name, "actions": allowed}


def _by_password(twin: TenantTwin, document: Document, user: str, password: str) -> str:
    """Returns the principal's object id of a login with a token, or as an application with its secret."""
    if user == TOKEN_USER:
        return _by_refresh_token(twin, document, password)
    with twin.lock:
        caller = principals.by_app(twin, user)
        secret = principals.secret_of(twin, caller) if caller else ""
    if caller is None or not secret or secret != password:
        raise _unauthorized("authentication required, visit https://aka.ms/acr/authorization for more information.")
    return caller.object_id


def _by_refresh_token(twin: TenantTwin, document: Document, text: str) -> str:
    claims = _claims(twin, document, text)
    with twin.lock:
        if not claims or claims.get("grant_type") != "refresh_token" or not principals.find(twin, claims["sub"]):
            raise _unauthorized("authentication required, visit https://aka.ms/acr/authorization for more information.")
    return claims["sub"]


def _issue(twin: TenantTwin, document: Document, object_id: str, seconds: int, claims: Mapping[str, Any]) -> str:
    now = int(time.time())
    own = {
        "jti": str(uuid.uuid4()),
        "sub": object_id,
        "nbf": now,
        "iat": now,
        "exp": now + seconds,
        "iss": "Azure Container Registry",
        "aud": document["properties"]["loginServer"],
    }
    return jwt.encode({**own, **claims}, tokens.private_key(twin.home), "RS256", {"kid": tokens.KEY_ID})


def _claims(twin: TenantTwin, document: Document, text: str) -> dict[str, Any] | None:
    try:
        audience = document["properties"]["loginServer"]
        return jwt.decode(text, tokens.private_key(twin.home).public_key(), ["RS256"], audience=audience)
    except jwt.InvalidTokenError:
        return None


def _unauthorized(message: str) -> RegistryError:
    return RegistryError("UNAUTHORIZED", message, 401)
