"""Access tokens: JWTs that the twin signs and verifies.

https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
"""

import time
import uuid
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from werkzeug.datastructures import Headers

from llmops_kit.local_runtime.files import write_atomic
from llmops_twins.azure import faults
from llmops_twins.azure.entra import principals
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import Principal
from llmops_twins.azure.twin import TenantTwin

MANAGEMENT = ("https://management.azure.com", "https://management.core.windows.net")
STORAGE = ("https://storage.azure.com",)
VAULT = ("https://vault.azure.net",)
ML = ("https://ml.azure.com",)
LIFETIME_SECONDS = 3600
KEY_ID = "twin"
KEY_FILE = "tokens.pem"
_EXPIRED = "The access token expiry UTC time is earlier than current UTC time."


def issue(twin: TenantTwin, caller: Principal, audience: str, lifetime: float = LIFETIME_SECONDS) -> str:
    """Returns a token of a principal for an audience ("https://vault.azure.net")."""
    now = int(time.time())
    claims = {
        "aud": audience,
        "iss": issuer(twin),
        "iat": now,
        "nbf": now,
        "exp": int(now + lifetime),
        "oid": caller.object_id,
        "sub": caller.object_id,
        "appid": caller.app_id,
        "tid": twin.tenant,
        "idtyp": "user" if caller.kind == "user" else "app",
        "ver": "1.0",
        "uti": uuid.uuid4().hex[:22],
    }
    return jwt.encode(claims, private_key(twin.home), "RS256", {"kid": KEY_ID, "x5t": KEY_ID})


def issuer(twin: TenantTwin) -> str:
    """Returns the `iss` of the twin's tokens, the form of Microsoft Entra ID's version 2.0."""
    return f"{twin.url}/{twin.tenant}/v2.0"


def caller_of(twin: TenantTwin, headers: Mapping[str, str] | Headers, audiences: tuple[str, ...]) -> Principal:
    """Returns the principal of a request's token for one of these audiences, such as `VAULT`. Any service may call it.

    Raises:
        ArmError: 401 with WWW-Authenticate, in ARM's words.
    """
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise unauthorized(
            twin, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing."
        )
    try:
        claims = claims_of(twin, token)
    except jwt.ExpiredSignatureError:
        raise unauthorized(twin, "ExpiredAuthenticationToken", _EXPIRED) from None
    except jwt.InvalidTokenError as e:
        message = f"The access token is invalid: {e}"
        raise unauthorized(twin, "InvalidAuthenticationToken", message) from None
    if claims["aud"].rstrip("/") not in audiences and claims["aud"].rstrip("/") != twin.url:
        raise unauthorized(
            twin,
            "InvalidAuthenticationTokenAudience",
            f"The access token has been obtained for wrong audience or resource '{claims['aud']}'. It should exactly "
            f"match with one of the allowed audiences '{', '.join(audiences)}'.",
        )
    with twin.lock:
        if faults.take(twin, "expired", principal=claims["oid"]):
            raise unauthorized(twin, "ExpiredAuthenticationToken", _EXPIRED)
        caller = principals.find(twin, claims["oid"])
    if caller is None:
        message = "The principal of the access token is not in the tenant."
        raise unauthorized(twin, "InvalidAuthenticationToken", message)
    return caller


def claims_of(twin: TenantTwin, token: str) -> dict[str, Any]:
    """Returns the claims of a token that the twin signed.

    Raises:
        jwt.InvalidTokenError: the twin did not sign the token, or it has expired.
    """
    return jwt.decode(
        token, private_key(twin.home).public_key(), ["RS256"], {"verify_aud": False, "require": ["exp", "aud", "oid"]}
    )


def unauthorized(twin: TenantTwin, code: str, message: str) -> ArmError:
    """Returns the 401 that tells clients where to get a token."""
    challenge = (
        f'Bearer authorization_uri="{twin.url}/{twin.tenant}", error="invalid_token", error_description="{message}"'
    )
    return ArmError(401, code, message, headers={"WWW-Authenticate": challenge})


@cache
def private_key(home: Path) -> rsa.RSAPrivateKey:
    """Returns the signing key, created once and kept in the twin's folder."""
    file = home / KEY_FILE
    if file.exists():
        key = serialization.load_pem_private_key(file.read_bytes(), None)
        assert isinstance(key, rsa.RSAPrivateKey)
        return key
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_atomic(file, pem.decode())
    return key
