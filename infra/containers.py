"""The kit's images as container images, built by Docker from the same files and locks as their process form."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from contract.errors import HostingError

BASE_VARIABLE = "LLMOPS_BASE_IMAGE"
_BASE = "python:3.11-slim"
_DOCKERFILE = """\
FROM {base}
COPY requirements.txt /tmp/requirements.txt
RUN pip install --no-cache-dir --require-hashes -r /tmp/requirements.txt
COPY app /app
ENV PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HF_HUB_OFFLINE=1
ENTRYPOINT ["python", "-m", "{package}"]
CMD ["{command}"]
"""
_COMMANDS = {"training": "train", "serving": "serve"}


def build(name: str, files: Mapping[str, Path], source: str, say: Callable[[str], None]) -> str:
    """Build an image unless it is there.

    Args:
        name: training, serving or serving-torch.
        files: `requirements.txt` and `app/…` -> file, as hosting.images.ImageSource.files gives them.
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
    with tempfile.TemporaryDirectory(prefix="llmops-image-") as folder:
        context = Path(folder)
        for path, file in files.items():
            (context / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, context / path)
        package = name.partition("-")[0]
        base = os.environ.get(BASE_VARIABLE) or _BASE
        text = _DOCKERFILE.format(base=base, package=package, command=_COMMANDS[package])
        (context / "Dockerfile").write_text(text)
        say(f"image {name}: building it with Docker from {base}")
        _run(["build", "--tag", tag, folder], say)
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
