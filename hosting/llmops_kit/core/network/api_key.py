"""An endpoint's API key: its file, and its check by servers, which compare its sha256 in constant time."""

import hmac
import os
import secrets
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path


def make_api_key(path: Path) -> None:
    """Write a new API key (256 random bits, mode 0600) unless the file exists."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
        f.write(f"sk-{secrets.token_urlsafe(32)}\n")
    temporary.replace(path)


SHORTEST_KEY = 16
"""Minimum length of a key, in characters."""


def is_usable_key(key: str) -> bool:
    """Returns whether a key is valid in a header and too long to be guessed."""
    return len(key) >= SHORTEST_KEY and key.isascii() and key.isprintable() and " " not in key


def key_digest(key: str) -> str:
    """Returns the hex sha256 of a key. It reveals nothing about a random key, so a record may contain it."""
    return sha256(key.encode(errors="surrogateescape")).hexdigest()


def authorized_digest(header: str, digests: Iterable[str]) -> str:
    """Returns the digest of an Authorization header's key; empty unless the scheme is `Bearer` and it is one of these.

    Digests have the same length and all are compared, so that the time does not depend on a key.
    """
    scheme, _, key = header.partition(" ")
    given = key_digest(key.strip())
    matches = [hmac.compare_digest(given, digest) for digest in digests]
    return given if any(matches) and scheme.lower() == "bearer" else ""
