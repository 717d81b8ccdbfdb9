"""API keys of an endpoint: their files, and their check by servers, which compare their sha256 in constant time."""

import hmac
import os
import secrets
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

ISSUED_KEYS = "api_keys.json"


def make_api_key(path: Path) -> None:
    """Write a new API key (mode 0600) unless the file exists."""
    _make(path, f"{new_api_key()}\n")


def new_api_key() -> str:
    """Returns a new API key of 256 random bits."""
    return f"sk-{secrets.token_urlsafe(32)}"


def issued_keys_file(key_file: Path) -> Path:
    """Returns the file of an endpoint's issued keys: in a folder of its own, which its servers see, beside the file of
    the endpoint's own key.
    """
    return key_file.parent / key_file.stem / ISSUED_KEYS


def make_issued_keys(path: Path) -> None:
    """Write a file of no keys (mode 0600) unless the file exists; it is a `llmops_kit.core.key_file.KeyFile`."""
    _make(path, '{"schema": "keys/1", "keys": []}\n')


def _make(path: Path, text: str) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
        f.write(text)
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
