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

from llmops_twins.core import root

_PURPOSE = "web identities"
_HEADER = {"alg": "HS256", "typ": "JWT"}
_SECONDS = 300
"""Lifetime of GitHub's tokens: `exp` is 300 seconds after `iat` in
https://docs.github.com/en/actions/reference/security/oidc#oidc-token-claims and
https://github.com/Azure/login/issues/372.
"""
_GITHUB = "https://token.actions.githubusercontent.com"
_IMMUTABLE = "use_immutable_subject"  # a repository's setting, by its name in GitHub's API; not a claim


def issue(home: Path, claims: Mapping[str, Any], purpose: str = _PURPOSE) -> str:
    """Returns a token with `claims` (iss, sub, aud), valid for five minutes unless they say otherwise. A token with
    another `purpose` is not accepted as a web identity.
    """
    now = int(time.time())
    parts = (_HEADER, {"iat": now, "exp": now + _SECONDS, **claims})
    text = ".".join(_encoded(json.dumps(part).encode()) for part in parts)
    return f"{text}.{_signature(home, text, purpose)}"


def with_subject(claims: Mapping[str, Any]) -> dict[str, Any]:
    """Returns claims of GitHub with the subject that GitHub derives from them; others, and those with one, as they are.

    The ids of owner and repository follow the names, as in repositories that were created, renamed or transferred after
    15 July 2026; in older ones, `use_immutable_subject` is false.
    https://docs.github.com/en/actions/reference/security/oidc#immutable-subject-claims
    https://docs.github.com/en/rest/actions/oidc

    Args:
        claims: iss, aud; repository (OWNER/REPO), repository_owner_id, repository_id; and ref, environment, or
            event_name `pull_request`.
    """
    said = dict(claims)
    immutable = said.pop(_IMMUTABLE, True)
    if said.get("iss") != _GITHUB or "sub" in said or "repository" not in said:
        return said
    owner, _, name = said["repository"].partition("/")
    ids = [f"@{said[claim]}" if immutable else "" for claim in ("repository_owner_id", "repository_id")]
    if "environment" in said:
        context = f"environment:{said['environment']}"
    else:
        context = "pull_request" if said.get("event_name") == "pull_request" else f"ref:{said['ref']}"
    return {**said, "sub": f"repo:{owner}{ids[0]}/{name}{ids[1]}:{context}"}


def claims_of(home: Path, token: str, purpose: str = _PURPOSE) -> dict[str, Any]:
    """Returns the claims of a token that the twin issued.

    Raises:
        ValueError: the token was made elsewhere, or is malformed.
        TimeoutError: the token has expired.
    """
    text, _, signature = token.rpartition(".")
    if not hmac.compare_digest(signature.encode(), _signature(home, text, purpose).encode()):
        raise ValueError("this twin did not sign it, and accepts no tokens of other issuers")
    payload = text.partition(".")[2]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    if claims["exp"] < time.time():
        raise TimeoutError
    return claims


def _signature(home: Path, text: str, purpose: str) -> str:
    return _encoded(hmac.digest(root.key(home, purpose).encode(), text.encode(), "sha256"))


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
