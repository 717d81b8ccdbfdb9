"""Tokens of other issuers (GitHub's workflows), in whose place a twin issues them: it can't reach them, and trusts no
token of others.

A real cloud verifies such a token by its issuer's published keys. Whoever could bring a twin a token that nobody signed
would be any role that trusts an issuer. So the twin makes them itself, for its owner, by a key of its root secret:
JSON Web Tokens with HMAC-SHA256 (RFC 7515, RFC 7518).
"""

import base64
import hmac
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twins.core import root

_PURPOSE = "web identities"
_HEADER = {"alg": "HS256", "typ": "JWT"}
_SECONDS = 600  # as GitHub's


def issue(home: Path, claims: Mapping[str, Any], purpose: str = _PURPOSE) -> str:
    """Returns a token with `claims` (iss, sub, aud), valid for ten minutes unless they say otherwise. Tokens of another
    `purpose` are none of other issuers.
    """
    now = int(time.time())
    parts = (_HEADER, {"iat": now, "exp": now + _SECONDS, **claims})
    text = ".".join(_encoded(json.dumps(part).encode()) for part in parts)
    return f"{text}.{_signature(home, text, purpose)}"


def claims_of(home: Path, token: str, purpose: str = _PURPOSE) -> dict[str, Any]:
    """Returns the claims of a token that the twin issued.

    Raises:
        ValueError: somebody else made it, or it is none.
        TimeoutError: it is expired.
    """
    text, _, signature = token.rpartition(".")
    if not hmac.compare_digest(signature.encode(), _signature(home, text, purpose).encode()):
        raise ValueError("its signature is not one of this twin, which makes the tokens of all issuers")
    payload = text.partition(".")[2]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    if claims["exp"] < time.time():
        raise TimeoutError
    return claims


def _signature(home: Path, text: str, purpose: str) -> str:
    return _encoded(hmac.digest(root.key(home, purpose).encode(), text.encode(), "sha256"))


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
