"""Pushes an image of this machine's Docker to a registry, with a temporary login that only this process uses."""

import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.core.errors import KitError

_LAYER = re.compile(r"^([0-9a-f]{12}): (Pushed|Layer already exists|Mounted from .*)$")
_QUIET_SECONDS = 15
_LOGINS = ("auths", "credsStore", "credHelpers")
# Message of a registry or the daemon -> the fix.
_WAYS_OUT = {
    "no space left on device": "the disk of Docker's daemon or of the twin's home is full: `docker system df` shows "
    "its use, `docker system prune` frees space",
    "no basic auth credentials": "the registry rejected the login: check whose credentials these are, then repeat "
    "the command",
    "authorization token has expired": "rerun the command, which gets a new token",
    "name unknown": "`llmops up` makes the stack's repositories",
    "is not authorized to perform": "`llmops plan --policy` prints the deployer's permissions",
    "tag is immutable": "another process has just pushed this tag: rerun the command, which uses that image",
    "docker-registry": "apt-get install docker-registry, then repeat the command",
    "connection refused": "`llmops twin aws status` says whether the twin runs; Docker must run on the same machine",
}


@dataclass(frozen=True)
class Login:
    """A registry's address (host, or host:port) and credentials."""

    host: str
    user: str
    password: str = field(repr=False)


def push(image: str, repository: str, tag: str, login: Login, say: Say) -> None:
    """Pushes an image to HOST/`repository`:`tag`.

    Args:
        image: its id.
        repository: its name in the registry, without the host.
        tag: its tag in the registry.
        login: of the registry.
        say: called for each layer.

    Raises:
        KitError: the registry or Docker's daemon refused; with its message and the fix.
    """
    name = f"{login.host}/{repository}:{tag}"
    subprocess.run(["docker", "tag", image, name], stdin=subprocess.DEVNULL, capture_output=True, check=True)
    try:
        with _config(login) as folder:
            _push(name, folder, say)
    finally:
        subprocess.run(["docker", "rmi", name], stdin=subprocess.DEVNULL, capture_output=True)


def _push(name: str, config: Path, say: Say) -> None:
    lines: list[str] = []
    with subprocess.Popen(
        ["docker", "--config", str(config), "push", name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout
        layers: set[str] = set()
        with _sign_of_life(layers, say):
            for line in map(str.strip, process.stdout):
                lines = [*lines[-4:], line]
                if line.endswith((": Preparing", ": Waiting")):
                    layers.add(line.partition(":")[0])
                elif found := _LAYER.match(line):
                    layers.discard(found[1])
                    say(f"docker: layer {found[1]}: {found[2].lower()}{f', {len(layers)} to go' if layers else ''}")
    if process.returncode:
        text = lines[-1] if lines else f"docker push ended with {process.returncode}"
        fix = next(
            (fix for word, fix in _WAYS_OUT.items() if word in text.lower()), "see Docker's daemon and the network"
        )
        raise KitError(f"the image can't be pushed: {text}", where=name, fix=fix)


@contextmanager
def _sign_of_life(layers: set[str], say: Say) -> Iterator[None]:
    """Prints progress at intervals during the block: Docker's client is silent while a layer is uploaded, which may
    take minutes.
    """
    ended, began = threading.Event(), time.monotonic()

    def tell() -> None:
        while not ended.wait(_QUIET_SECONDS):
            say(f"docker: pushing for {time.monotonic() - began:.0f} s, {len(layers)} layers to go")

    thread = threading.Thread(target=tell, name="push", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def _config(login: Login) -> Iterator[Path]:
    """Yields a folder for Docker's client with the user's own settings, and only this login."""
    own = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    try:
        settings = json.loads((own / "config.json").read_text())
    except (OSError, ValueError):
        settings = {}
    settings = {key: value for key, value in settings.items() if key not in _LOGINS}
    secret = base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
    settings["auths"] = {login.host: {"auth": secret}}
    folder = Path(tempfile.mkdtemp(prefix="llmops-docker-"))  # 0700
    try:
        (folder / "config.json").write_text(json.dumps(settings))
        for name in ("contexts", "cli-plugins"):
            if (own / name).is_dir():
                (folder / name).symlink_to(own / name)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
