"""The kit's images as container images: Docker builds a package's Dockerfile from the files of its process image."""

import json
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from llmops_kit.core.errors import HostingError
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.layout import cache_dir
from llmops_kit.core.models.server_memory import MACHINE_SHARE
from llmops_kit.local_runtime.files import locked
from llmops_kit.local_runtime.process_images import dockerfile_of, package_of

BASE_VARIABLE = "LLMOPS_BASE_IMAGE"
"""Variable with a base image that replaces the Dockerfile's."""
SOURCE_LABEL = "llmops.source"
"""Label of an image: the hash of its files, as in the reference of a process image."""
LOCK_LABEL = "llmops.lock"
"""Label of an image: the hash of its lock of packages."""
BEGINS_AS_ROOT = ("CHOWN", "KILL", "SETGID", "SETUID")
"""Capabilities of an image that starts as root and works as another user (nginx, gosu). It lacks these of Docker's
default set: bypassing modes, devices, raw packets, low ports, chroot, file capabilities, the audit log.
"""
PIDS = 4096
"""Maximum processes and threads of one container: more than training with its data loaders starts."""
CLOUD_PLATFORM = "linux/amd64"
_TOLD = ("Step ", "#", "Collecting ", "Installing ", "Successfully ")  # of the classic builder, BuildKit and pip
_PORTIONS = {"core": "hosting", "training": "training", "serving": "serving"}
_NO_SPACE = "no space left on device"


@dataclass(frozen=True)
class Inspected:
    """Docker's description of an image. `media_type` is its manifest's, where Docker keeps manifests; else empty."""

    id: str
    platform: str
    media_type: str


def build(
    name: str, files: Mapping[str, Path], source: str, say: Callable[[str], None], *, on: str = "", fix: str = ""
) -> str:
    """Builds an image unless it exists.

    Args:
        name: training, serving, serving-torch or serving-vllm.
        files: `requirements.txt`, `export.txt` and `app/…` -> file, from `ImageSource.files`; the image's package has
            a Dockerfile.
        source: hash of these files; the image is tagged with it, so that it is built once.
        say: called with the build's steps.
        on: the image's platform, such as `linux/amd64`; empty: this machine's.
        fix: for the error if there is no Docker.

    Returns:
        Its reference, `docker:NAME@sha256:<image id>`.

    Raises:
        HostingError: there is no Docker, or it can't build the image.
    """
    tag = f"llmops-{name}:{version_of(source)}"
    if found := inspect(tag, fix):
        return f"docker:{name}@{found.id}"
    folder = cache_dir() / "images" / f"{name}-docker"
    with locked(folder / ".lock", say, f"image {name}: another process builds it with Docker; waiting"):
        if not inspect(tag, fix):
            _build(name, tag, files, source, say, on)
    built = inspect(tag, fix)
    assert built
    return f"docker:{name}@{built.id}"


def _build(name: str, tag: str, files: Mapping[str, Path], source: str, say: Callable[[str], None], on: str) -> None:
    base = os.environ.get(BASE_VARIABLE, "")
    with tempfile.TemporaryDirectory(prefix="llmops-image-") as folder:
        for path, file in files.items():
            target = Path(folder, in_checkout(path.removeprefix("app/")))
            if "/" not in path:  # a lock, under the name that the package's Dockerfile copies
                target = Path(folder, "requirements", f"{package_of(name)}.txt" if path == "requirements.txt" else path)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        say(f"image {name}: building it with Docker{f' from {base}' if base else ''}")
        labels = {SOURCE_LABEL: source, LOCK_LABEL: sha256_bytes(files["requirements.txt"].read_bytes())}
        options = [f"--label={key}={value}" for key, value in labels.items()]
        options += [f"--build-arg=BASE={base}"] if base else []
        options += _options_of_builder(tag, on)
        _run(["build", "--file", str(Path(folder, in_checkout(dockerfile_of(name, files)))), *options, folder], say)


def in_checkout(path: str) -> str:
    """Returns the path in a checkout, from which Dockerfiles copy, of the file that an image has at `path`."""
    namespace, _, below = path.partition("/")
    portion = _PORTIONS.get(below.partition("/")[0]) if namespace == "llmops_kit" else None
    return f"{portion}/{path}" if portion else path


def version_of(source: str) -> str:
    """Returns an image's tag: the hash of its files, with that of its base image's name if BASE_VARIABLE is set."""
    base = os.environ.get(BASE_VARIABLE, "")
    return source[:20] + (f"-{sha256_bytes(base.encode())[:8]}" if base else "")


def exists(reference: str) -> bool:
    """Returns whether the image of a reference is on this machine."""
    return inspect(reference.partition("@")[2]) is not None


def program(fix: str = "") -> str:
    """Returns the path of Docker's client.

    Raises:
        HostingError: there is none.
    """
    found = shutil.which("docker")
    if not found:
        raise HostingError(
            "docker is not on PATH", where="Docker", fix=fix or "install Docker, or set `local_runtime: process`"
        )
    return found


def client_environ() -> dict[str, str]:
    """Returns the variables of this process's environment that Docker's client needs."""
    return {k: os.environ[k] for k in ("PATH", "HOME", "DOCKER_HOST", "DOCKER_CONFIG") if k in os.environ}


def limits(*given_back: str) -> list[str]:
    """Returns the options of `docker run` for every container of an endpoint or a job: no capabilities but those given
    back, no way to gain any, a limit of processes, and a limit of memory that leaves some to this machine (without
    swap, which would only make it slow).
    """
    memory = str(int(psutil.virtual_memory().total * MACHINE_SHARE))
    rights = ["--cap-drop", "ALL", *(word for right in given_back for word in ("--cap-add", right))]
    rights += ["--security-opt", "no-new-privileges"]
    return [*rights, "--pids-limit", str(PIDS), "--memory", memory, "--memory-swap", memory]


def inspect(image: str, fix: str = "") -> Inspected | None:
    """Returns Docker's description of an image, by its id or name; None if it is not on this machine.

    Raises:
        HostingError: there is no Docker, or its daemon does not answer.
    """
    done = subprocess.run(
        [program(fix), "image", "inspect", "--format", "{{json .}}", image],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode and "no such image" not in done.stderr.lower():
        raise HostingError(
            f"docker does not answer: {done.stderr.strip()}",
            where="Docker",
            fix=fix or "start its daemon, or set `local_runtime: process`",
        )
    if done.returncode:
        return None
    found = json.loads(done.stdout)
    media_type = (found.get("Descriptor") or {}).get("mediaType", "")
    return Inspected(found["Id"], f"{found['Os']}/{found['Architecture']}", media_type)


def _options_of_builder(tag: str, on: str) -> list[str]:
    """Returns the options that make the builder behind `docker build` produce one plain Docker manifest.

    SageMaker's hosting refuses the OCI manifests and the provenance that buildx makes by default.
    """
    options = ["--network=host"]  # packages may come through a proxy of this machine
    if on and on.partition("/")[2] != {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine()):
        options.append(f"--platform={on}")  # the classic builder supports only its own machine's
    if subprocess.run(["docker", "buildx", "version"], stdin=subprocess.DEVNULL, capture_output=True).returncode:
        return [*options, f"--tag={tag}"]
    return [*options, "--provenance=false", f"--output=type=image,oci-mediatypes=false,name={tag}"]


def _run(arguments: Sequence[str], say: Callable[[str], None]) -> None:
    environ = {k: v for k, v in os.environ.items() if k != "BUILDX_BUILDER"}  # it may not load images into this Docker
    last: list[str] = []
    with subprocess.Popen(
        ["docker", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environ,
    ) as process:
        assert process.stdout
        for line in filter(None, map(str.strip, process.stdout)):
            last = [*last[-7:], line]
            if line.startswith(_TOLD):
                say(f"docker: {line}")
    if process.returncode:
        text = " / ".join(last)
        fix = f"make the base image (${BASE_VARIABLE} names another one) and the package registry reachable"
        if _NO_SPACE in text.lower():
            fix = (
                "the disk of Docker's daemon is full: `docker system df` shows its use, `docker system prune` frees it"
            )
        raise HostingError(f"docker can't build the image: {text}", fix=fix)
