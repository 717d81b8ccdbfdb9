"""Web identity tokens of other issuers (GitHub's workflows), which a twin issues on their behalf: it can't reach them,
and trusts no tokens from elsewhere.

A real cloud verifies such a token by its issuer's published keys. If a twin accepted unsigned tokens, anyone could
assume any role that trusts an issuer. So the twin issues them itself, for its owner, signed with a key of its root
secret: JSON Web Tokens with HMAC-SHA256 (RFC 7515, RFC 7518).
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
    """Returns a token with `claims` (iss, sub, aud), valid for ten minutes unless they say otherwise. A token with
    another `purpose` is not accepted as a web identity.
    """
    now = int(time.time())
    parts = (_HEADER, {"iat": now, "exp": now + _SECONDS, **claims})
    text = ".".join(_encoded(json.dumps(part).encode()) for part in parts)
    return f"{text}.{_signature(home, text, purpose)}"


def claims_of(home: Path, token: str, purpose: str = _PURPOSE) -> dict[str, Any]:
    """Returns the claims of a token that the twin issued.

    Raises:
        ValueError: the token was made elsewhere, or is malformed.
        TimeoutError: the token has expired.
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
