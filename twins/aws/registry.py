"""The registry behind ECR: tokens that open it, and the names by which this machine's Docker pulls from it."""

import base64
import hmac
import json
import secrets
import shutil
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from hosting.files import write_atomic
from twins.aws.calls import Call
from twins.aws.twin import Twin

USER = "AWS"
TOKEN_HOURS = 12
PULL_HOST = "localhost"
"""Who asks by this name is not asked for a login, and gets only what `pull_name` names."""
_PULL = "twin-"


@dataclass(frozen=True)
class Holder:
    """Who a token was given to, and for which region's registry."""

    access_key: str
    principal: str
    region: str


def folder(twin: Twin) -> Path:
    """The registry's own folder in the twin's home."""
    return twin.home / "registry"


def token(twin: Twin, call: Call) -> str:
    """A password for `docker login`, good for 12 hours: who asks now is who pushes and pulls with it."""
    holder = Holder(call.access_key, call.principal, call.region)
    document = {**asdict(holder), "expires": time.time() + TOKEN_HOURS * 3600}
    text = base64.urlsafe_b64encode(json.dumps(document).encode()).decode()
    return f"{text}.{_sign(twin, text)}"


def holder(twin: Twin, authorization: str) -> Holder | None:
    """Who an `Authorization: Basic …` header stands for; None: nobody.

    Raises:
        TimeoutError: the token has expired.
    """
    kind, _, credentials = authorization.partition(" ")
    try:
        user, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
    except ValueError:  # no base64, or no text
        return None
    text, _, signature = password.partition(".")
    genuine = hmac.compare_digest(signature.encode(), _sign(twin, text).encode())
    if kind.lower() != "basic" or user != USER or not genuine:
        return None
    document = json.loads(base64.urlsafe_b64decode(text))
    if document.pop("expires") < time.time():
        raise TimeoutError
    return Holder(**document)


def pull_name(twin: Twin, repository: str, region: str) -> str:
    """HOST:PORT/NAME of a repository as SageMaker pulls it here: without a login, by a name that is the permission."""
    return f"{PULL_HOST}:{twin.describe()['port']}/{_PULL}{_sign(twin, 'pull')[:32]}/{region}/{repository}"


def pulled(twin: Twin, name: str) -> tuple[str, str] | None:
    """Region and repository of a name that `pull_name` gave, without its host; None for any other."""
    first, _, rest = name.partition("/")
    region, _, repository = rest.partition("/")
    genuine = hmac.compare_digest(first.encode(), f"{_PULL}{_sign(twin, 'pull')[:32]}".encode())
    return (region, repository) if genuine and repository else None


def forget_pulled(twin: Twin) -> None:
    """Take the names away that Docker has for what the platform pulled; layers that nothing else has go with them."""
    if not (docker := shutil.which("docker")):
        return
    listed = [docker, "images", "--digests", "--format", "{{.Repository}}@{{.Digest}}"]
    names = subprocess.run(listed, stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout.split()
    ours = f"/{_PULL}{_sign(twin, 'pull')[:32]}/"
    if pulled_names := [name for name in names if ours in name]:
        subprocess.run([docker, "rmi", "--force", *pulled_names], stdin=subprocess.DEVNULL, capture_output=True)


def _sign(twin: Twin, text: str) -> str:
    return hmac.new(_secret(twin), text.encode(), "sha256").hexdigest()


def _secret(twin: Twin) -> bytes:
    """Made once for each home."""
    path = folder(twin) / "secret"
    with twin.lock:
        if not path.exists():
            write_atomic(path, secrets.token_hex(32))
    return path.read_bytes()
