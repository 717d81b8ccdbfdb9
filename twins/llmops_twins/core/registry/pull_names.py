"""Names under which a twin's platform pulls images of its registries through this machine's Docker. They need no login,
because only the twin can compute them.
"""

import hmac
import shutil
import subprocess
from pathlib import Path

from llmops_twins.core import root
from llmops_twins.core.twin import BaseTwin

_PULL = "twin-"


def folder(twin: BaseTwin) -> Path:
    """Returns the registries' folder in the twin's home."""
    return twin.home / "registry"


def pull_name(twin: BaseTwin, place: str, repository: str) -> str:
    """Returns the name, without host, under which the platform pulls a repository. `place` (a region, or a registry's
    name, without slash) distinguishes repositories of the same name.
    """
    return f"{_first(twin)}/{place}/{repository}"


def pulled(twin: BaseTwin, name: str) -> tuple[str, str] | None:
    """Returns place and repository of a name created by `pull_name`; None for any other."""
    first, _, rest = name.partition("/")
    place, _, repository = rest.partition("/")
    genuine = hmac.compare_digest(first.encode(), _first(twin).encode())
    return (place, repository) if genuine and repository else None


def forget_pulled(twin: BaseTwin) -> None:
    """Removes Docker's names of images that the platform pulled, and layers that nothing else uses."""
    if not (docker := shutil.which("docker")):
        return
    listed = [docker, "images", "--digests", "--format", "{{.Repository}}@{{.Digest}}"]
    names = subprocess.run(listed, stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout.split()
    if pulled_names := [name for name in names if f"/{_first(twin)}/" in name]:
        subprocess.run([docker, "rmi", "--force", *pulled_names], stdin=subprocess.DEVNULL, capture_output=True)


def sign(twin: BaseTwin, text: str) -> str:
    """Returns a signature of a text with this twin's secret, in hexadecimal digits."""
    return hmac.new(root.key(twin.home, "images").encode(), text.encode(), "sha256").hexdigest()


def _first(twin: BaseTwin) -> str:
    return f"{_PULL}{sign(twin, 'pull')[:32]}"
