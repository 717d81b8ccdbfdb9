"""The root secret of a twin: created at its first start, kept in its folder, and readable by its owner only.

A twin runs programs as its owner, so a caller with its owner's rights can do whatever the owner can. Every key that
gives access to it (the root's secret access key, the key of its own routes, the client secret of Azure's owner) is
derived from this secret: no two twins share one, and none can be computed from another.
"""

import base64
import hmac
import os
import secrets
import stat
from contextlib import suppress
from functools import cache
from pathlib import Path

from llmops_kit.core.errors import KitError

OWN_ROUTES = "own routes"
"""Purpose of the derived key for /_twin/."""
ROOT_FILE = "root.secret"
_BYTES = 30  # 40 characters of base64url, the length of AWS's secret access keys
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make(home: Path) -> None:
    """Creates the secret of a twin's folder unless it exists, readable by its owner only (0600 in a folder of 0700).

    Raises:
        KitError: the folder or the secret belongs to another user, or others may read the secret.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    _require_own(home)
    home.chmod(0o700)
    path = home / ROOT_FILE
    if not path.exists():
        partial = home / f".{ROOT_FILE}.{secrets.token_hex(8)}"
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(32))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another process was first: its secret is used
            path.hardlink_to(partial)
        partial.unlink()
    _secret(path)


def key(home: Path, purpose: str) -> str:
    """Returns the key of a twin for one purpose: 40 characters of base64url.

    Raises:
        KitError: the twin was never started, or users other than its owner may read the secret.
    """
    return _derived(_secret(home / ROOT_FILE), purpose)


def opens(home: Path, purpose: str, given: str) -> bool:
    """Returns whether this is the key for a purpose; compares in constant time."""
    return hmac.compare_digest(given.encode(), key(home, purpose).encode())


@cache
def _derived(secret: str, purpose: str) -> str:
    digest = hmac.new(secret.encode(), purpose.encode(), "sha256").digest()
    return base64.urlsafe_b64encode(digest[:_BYTES]).decode()


def _secret(path: Path) -> str:
    try:
        found = path.stat()
        secret = _content(path, found.st_ino, found.st_mtime_ns)
    except FileNotFoundError:
        raise KitError("this twin was never started", where=str(path.parent), fix="start it") from None
    except OSError as e:
        raise KitError(f"the twin's secret can't be read: {e.strerror}", where=str(path)) from e
    if found.st_uid != os.geteuid() or found.st_mode & _OTHERS or len(secret) < 32:
        raise KitError(
            "the twin's secret is not its owner's alone",
            where=str(path),
            fix="end the twin and remove the file: the next start makes a new one",
        )
    return secret


@cache
def _content(path: Path, _inode: int, _changed: int) -> str:
    return path.read_text()


def _require_own(home: Path) -> None:
    owner = home.stat().st_uid
    if owner != os.geteuid():
        raise KitError(
            f"the folder belongs to another user (uid {owner})",
            where=str(home),
            fix="give a folder of your own: --home FOLDER",
        )
