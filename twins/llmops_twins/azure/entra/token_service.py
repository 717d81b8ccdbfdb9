"""The tenant's token service: OpenID configuration, keys, and tokens for applications and federated identities.

https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
"""

import base64
import hmac
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from jwt.algorithms import RSAAlgorithm
from werkzeug.wrappers import Request

from llmops_twins.azure import faults
from llmops_twins.azure.entra import principals, tokens
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import Principal, Reply
from llmops_twins.azure.replies import route
from llmops_twins.azure.twin import TenantTwin
from llmops_twins.core import web_identity

CREDENTIALS = "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials"
UNJUDGED = [
    "tokens: federated tokens of a real issuer are refused: the twin accepts only those that it issued",
    "tokens: no instance metadata service (IMDS): managed identities use App Service's and Azure ML's endpoints",
]
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_PLACES = ("common", "organizations")
RESOURCES = (
    *(*tokens.MANAGEMENT, *tokens.STORAGE, *tokens.VAULT, *tokens.ML),
    *("https://graph.microsoft.com", "https://api.loganalytics.io", "https://api.applicationinsights.io"),
    *("https://monitor.azure.com", "https://containerregistry.azure.net", "https://cognitiveservices.azure.com"),
)
"""Microsoft's resources that a client of the kit or of its stacks requests tokens for.

https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/services-id-authentication-support
"""
_OF_ACCOUNTS = (".blob.core.windows.net", ".dfs.core.windows.net", ".queue.core.windows.net", ".table.core.windows.net")


def install(twin: TenantTwin) -> None:
    """Registers the tenant's routes."""
    for place in (twin.tenant, *_PLACES):
        route(twin, f"/{place}/", _respond)
    twin.unjudged += UNJUDGED


def _respond(twin: TenantTwin, request: Request) -> Reply:
    path = request.path.strip("/").partition("/")[2]
    found = _ROUTES.get((request.method, path))
    if found is None:
        raise ArmError(404, "NotFound", f"There is no {request.method} {request.path} on the twin's token service.")
    with twin.lock:
        return found(twin, request)


def is_of_another_tenant(path: str) -> bool:
    """Returns whether an unrouted path asks the token service of an unknown tenant."""
    return path.strip("/").partition("/")[2] in {each for _, each in _ROUTES}


def unknown_tenant(request: Request) -> Reply:
    """Refuses a request for another tenant.

    https://learn.microsoft.com/entra/identity-platform/reference-error-codes (AADSTS90002)

    Raises:
        PlainError: 400; invalid_tenant for the OpenID configuration, as recordings of @azure/identity show.
    """
    tenant, _, _ = request.path.strip("/").partition("/")
    message = (
        f"Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the "
        "correct cloud. Check with your subscription administrator, this may happen if there are no active "
        "subscriptions for the tenant."
    )
    raise _refused(400, "invalid_request" if request.method == "POST" else "invalid_tenant", 90002, message)


def _configuration(twin: TenantTwin, _request: Request) -> Reply:
    place = f"{twin.url}/{twin.tenant}"
    return Reply(
        200,
        {
            "issuer": tokens.issuer(twin),
            "authorization_endpoint": f"{place}/oauth2/v2.0/authorize",
            "token_endpoint": f"{place}/oauth2/v2.0/token",
            "device_authorization_endpoint": f"{place}/oauth2/v2.0/devicecode",
            "jwks_uri": f"{place}/discovery/v2.0/keys",
            "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
            "tenant_region_scope": None,
            "cloud_instance_name": twin.url.removeprefix("https://"),
        },
    )


def _instance(twin: TenantTwin, _request: Request) -> Reply:
    host = twin.url.removeprefix("https://")
    return Reply(
        200,
        {
            "tenant_discovery_endpoint": f"{twin.url}/{twin.tenant}/v2.0/.well-known/openid-configuration",
            "api-version": "1.1",
            "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
        },
    )


def _keys(twin: TenantTwin, _request: Request) -> Reply:
    key = RSAAlgorithm.to_jwk(tokens.private_key(twin.home).public_key(), as_dict=True)
    return Reply(200, {"keys": [{**key, "use": "sig", "kid": tokens.KEY_ID, "x5t": tokens.KEY_ID}]})


def _token(twin: TenantTwin, request: Request) -> Reply:
    form = request.form
    if not form.get("grant_type"):
        message = "The request body must contain the following parameter: 'grant_type'."
        raise _refused(400, "invalid_request", 900144, message)
    if form.get("grant_type") != "client_credentials":
        raise _refused(400, "unsupported_grant_type", 70003, "The app requested an unsupported grant type.")
    client, secret = _client(request)
    caller = principals.by_app(twin, client)
    if caller is None:
        message = f"Application with identifier '{client}' was not found in the directory '{twin.tenant}'."
        raise _refused(400, "unauthorized_client", 700016, message)
    audience = _audience(form)
    require_resource(twin, audience)
    if faults.take(twin, "expired", principal=caller.object_id):
        message = f"The provided client secret keys for app '{client}' are expired."
        raise _refused(401, "invalid_client", 7000222, message)
    if form.get("client_assertion"):
        _check_assertion(twin, caller, form)
    elif not secret:
        message = "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."
        raise _refused(401, "invalid_client", 7000218, message)
    elif not _same(secret, principals.secret_of(twin, caller)):
        message = f"Invalid client secret provided for app '{client}'."
        raise _refused(401, "invalid_client", 7000215, message)
    return Reply(200, answer_of(twin, caller, audience))


def require_resource(twin: TenantTwin, audience: str) -> None:
    """Refuses a token for a resource that the tenant does not have.

    https://learn.microsoft.com/entra/identity-platform/reference-error-codes (AADSTS500011)

    Raises:
        PlainError: 400 invalid_resource.
    """
    plain = audience.rstrip("/").lower()
    if plain in RESOURCES or plain.endswith(_OF_ACCOUNTS) or f"{plain}/".startswith(f"{twin.url}/"):
        return
    message = (
        f"The resource principal named {audience} was not found in the tenant named {twin.tenant}. This can happen if "
        "the application has not been installed by the administrator of the tenant or consented to by any user in the "
        "tenant. You might have sent your authentication request to the wrong tenant."
    )
    raise _refused(400, "invalid_resource", 500011, message)


def answer_of(twin: TenantTwin, caller: Principal, audience: str) -> dict[str, Any]:
    """Returns the token service's answer."""
    lifetime = tokens.LIFETIME_SECONDS - 1
    return {
        "token_type": "Bearer",
        "expires_in": lifetime,
        "ext_expires_in": lifetime,
        "expires_on": str(int(time.time()) + lifetime),
        "resource": audience,
        "access_token": tokens.issue(twin, caller, audience),
    }


def _client(request: Request) -> tuple[str, str]:
    """Returns client id and secret, from the form or from HTTP basic authentication."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        client, _, secret = base64.b64decode(given).decode().partition(":")
        return client, secret
    return request.form.get("client_id", ""), request.form.get("client_secret", "")


def _audience(form: Mapping[str, str]) -> str:
    scope = form.get("resource") or form.get("scope", "")
    if not scope:
        message = "The required field 'scope' is missing from the credential."
        raise _refused(400, "invalid_request", 90014, message)
    if "resource" not in form and not scope.endswith("/.default"):
        message = f"The provided value for the input parameter 'scope' is not valid. The scope {scope} is not valid."
        raise _refused(400, "invalid_scope", 1002012, message)
    return scope.removesuffix("/.default").rstrip("/") or scope


def _check_assertion(twin: TenantTwin, caller: Principal, form: Mapping[str, str]) -> None:
    """Checks that another issuer's token matches the issuer, subject and audience of one of an identity's federated
    credentials.

    https://learn.microsoft.com/entra/workload-id/workload-identity-federation

    Raises:
        PlainError: 400 or 401.
    """
    try:
        claims = web_identity.claims_of(twin.home, form["client_assertion"])
    except TimeoutError:
        text = "Client assertion is not within its valid time range."
        raise _refused(401, "invalid_client", 700024, text) from None
    except ValueError as e:
        raise _refused(401, "invalid_client", 50027, f"JWT token is invalid or malformed: {e}") from None
    if form.get("client_assertion_type") != _ASSERTION:
        message = "The required field 'client_assertion_type' is missing or is not jwt-bearer."
        raise _refused(400, "invalid_request", 90014, message)
    audiences = claims.get("aud", [])
    presented = [audiences] if isinstance(audiences, str) else audiences
    for credential in _credentials(twin, caller):
        same = credential["issuer"] == claims.get("iss") and credential["subject"] == claims.get("sub")
        if same and set(credential["audiences"]) & set(presented):
            return
    message = (
        "No matching federated identity record found for presented assertion "
        f"issuer '{claims.get('iss')}', subject '{claims.get('sub')}', audience '{', '.join(presented)}'."
    )
    raise _refused(401, "invalid_client", 700213, message)


def _credentials(twin: TenantTwin, caller: Principal) -> list[dict[str, Any]]:
    """Returns the federated credentials of an identity."""
    found = [d for d in twin.resources.values() if d["type"].lower() == CREDENTIALS.lower()]
    parents = {d["id"]: twin.find(d["id"].rsplit("/", 2)[0]) for d in found}
    return [
        d["properties"]
        for d in found
        if (parent := parents[d["id"]]) and parent["properties"]["principalId"] == caller.object_id
    ]


def _same(given: str, secret: str) -> bool:
    return bool(secret) and hmac.compare_digest(given.encode(), secret.encode())


def _refused(status: int, error: str, number: int, message: str) -> "PlainError":
    """Returns a refusal in the token service's format, which differs from ARM's."""
    trace, time_ = str(uuid.uuid4()), datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return PlainError(
        status,
        {
            "error": error,
            "error_description": f"AADSTS{number}: {message} Trace ID: {trace} Timestamp: {time_}",
            "error_codes": [number],
            "timestamp": time_,
            "trace_id": trace,
            "correlation_id": trace,
        },
    )


class PlainError(ArmError):
    """A refusal whose body is not in ARM's form."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(status, str(body.get("error", "")), str(body.get("error_description", "")))
        self._body = body

    def document(self) -> dict[str, Any]:
        """Returns the answer's body."""
        return self._body


_ROUTES: dict[tuple[str, str], Callable[[TenantTwin, Request], Reply]] = {
    ("GET", "v2.0/.well-known/openid-configuration"): _configuration,
    ("GET", ".well-known/openid-configuration"): _configuration,
    ("GET", "discovery/instance"): _instance,
    ("GET", "discovery/v2.0/keys"): _keys,
    ("GET", "discovery/keys"): _keys,
    ("POST", "oauth2/v2.0/token"): _token,
    ("POST", "oauth2/token"): _token,
}
