"""How a twin's own platform pulls images of its registries through this machine's Docker: without a login, by a name
that is the permission.
"""

import hmac
import shutil
import subprocess
from pathlib import Path

from twins.core import root
from twins.core.twin import BaseTwin

_PULL = "twin-"


def folder(twin: BaseTwin) -> Path:
    """The registries' own folder in the twin's home."""
    return twin.home / "registry"


def pull_name(twin: BaseTwin, place: str, repository: str) -> str:
    """NAME of a repository, without its host, as the platform pulls it here. `place` (a region, a registry's name, no
    slash) tells repositories of one name from each other.
    """
    return f"{_first(twin)}/{place}/{repository}"


def pulled(twin: BaseTwin, name: str) -> tuple[str, str] | None:
    """Place and repository of a name that `pull_name` gave; None for any other."""
    first, _, rest = name.partition("/")
    place, _, repository = rest.partition("/")
    genuine = hmac.compare_digest(first.encode(), _first(twin).encode())
    return (place, repository) if genuine and repository else None


def forget_pulled(twin: BaseTwin) -> None:
    """Take the names away that Docker has for what the platform pulled; layers that nothing else has go with them."""
    if not (docker := shutil.which("docker")):
        return
    listed = [docker, "images", "--digests", "--format", "{{.Repository}}@{{.Digest}}"]
    names = subprocess.run(listed, stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout.split()
    if pulled_names := [name for name in names if f"/{_first(twin)}/" in name]:
        subprocess.run([docker, "rmi", "--force", *pulled_names], stdin=subprocess.DEVNULL, capture_output=True)


def sign(twin: BaseTwin, text: str) -> str:
    """What only this twin can say of a text, in hexadecimal digits."""
    return hmac.new(root.key(twin.home, "images").encode(), text.encode(), "sha256").hexdigest()


def _first(twin: BaseTwin) -> str:
    return f"{_PULL}{sign(twin, 'pull')[:32]}"
