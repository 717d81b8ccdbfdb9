"""The kit's images as container images: Docker builds a package's Dockerfile from the files of its process image."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from contract.errors import HostingError

BASE_VARIABLE = "LLMOPS_BASE_IMAGE"
"""Names another base image than the Dockerfile's; the image is then built on that one."""


def build(name: str, files: Mapping[str, Path], source: str, say: Callable[[str], None]) -> str:
    """Build an image unless it is there.

    Args:
        name: training, serving or serving-torch.
        files: `requirements.txt` and `app/…` -> file, as hosting.images.ImageSource.files gives them;
            the package of the image has a Dockerfile.
        source: hash of these files; the image is tagged by it, so that it is built once.
        say: told the build's steps.

    Returns:
        Its reference, `docker:NAME@sha256:<image id>`.

    Raises:
        HostingError: there is no Docker, or it can't build the image.
    """
    tag = f"llmops-{name}:{source[:20]}"
    if found := _identity(tag):
        return f"docker:{name}@{found}"
    package = name.partition("-")[0]
    base = os.environ.get(BASE_VARIABLE)
    with tempfile.TemporaryDirectory(prefix="llmops-image-") as folder:
        for path, file in files.items():
            target = Path(folder, path.removeprefix("app/"))
            if path == "requirements.txt":  # the name that the package's Dockerfile gives to the lock
                target = Path(folder, "requirements", f"{package}.txt")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        say(f"image {name}: building it with Docker{f' from {base}' if base else ''}")
        dockerfile = Path(folder, package, "Dockerfile")
        options = ["--build-arg", f"BASE={base}"] if base else []
        _run(["build", "--tag", tag, "--file", str(dockerfile), *options, folder], say)
    return f"docker:{name}@{_identity(tag)}"


def exists(reference: str) -> bool:
    """Is the image of a reference on this machine?"""
    return bool(_identity(reference.partition("@")[2]))


def _identity(tag: str) -> str:
    docker = shutil.which("docker")
    if not docker:
        raise HostingError(
            "docker is not on PATH", where="setting local_runtime", fix="install Docker, or set local_runtime: process"
        )
    command = [docker, "image", "inspect", "--format", "{{.Id}}", tag]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode and "no such image" not in done.stderr.lower():
        raise HostingError(
            f"docker does not answer: {done.stderr.strip()}",
            where="setting local_runtime",
            fix="start its daemon, or set local_runtime: process",
        )
    return done.stdout.strip()


def _run(arguments: list[str], say: Callable[[str], None]) -> None:
    last: list[str] = []
    with subprocess.Popen(
        ["docker", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        for line in filter(None, map(str.strip, process.stdout)):
            last = [*last[-7:], line]
            if line.lower().startswith(("step ", "#")):
                say(f"docker: {line}")
    if process.returncode:
        raise HostingError(
            "docker can't build the image: " + " / ".join(last),
            fix=f"see that the base image (${BASE_VARIABLE} names another one) and the package registry are reachable",
        )
