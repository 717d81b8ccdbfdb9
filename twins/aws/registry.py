"""The registry behind ECR: where it lies, and the names by which this machine's Docker pulls from it."""

import hmac
import secrets
from pathlib import Path

from hosting.files import write_atomic
from twins.aws.twin import Twin

PULL = "twin-"
"""What the first part of a name begins with by which the platform itself pulls; what follows nobody can guess."""


def folder(twin: Twin) -> Path:
    """The registry's own folder in the twin's home."""
    return twin.home / "registry"


def secret(twin: Twin) -> bytes:
    """What tokens and pull names are signed with; made once for each home."""
    path = folder(twin) / "secret"
    with twin.lock:
        if not path.exists():
            write_atomic(path, secrets.token_hex(32))
        return path.read_bytes()


def pull_name(twin: Twin, repository: str, region: str) -> str:
    """HOST:PORT/NAME of a repository as SageMaker pulls it here: without a login, by a name that is the permission."""
    return f"127.0.0.1:{twin.describe()['port']}/{PULL}{_capability(twin)}/{region}/{repository}"


def is_pull(twin: Twin, name: str) -> bool:
    """Is this the first part of a name that `pull_name` gave?"""
    return hmac.compare_digest(name, f"{PULL}{_capability(twin)}")


def _capability(twin: Twin) -> str:
    return hmac.new(secret(twin), b"pull", "sha256").hexdigest()[:32]
