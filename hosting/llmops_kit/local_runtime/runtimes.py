"""Runtimes of workers: a process from a process image, or a Docker container."""

import os
import signal
import subprocess
from pathlib import Path

from llmops_kit.core.errors import HostingError
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.network.handover import SOCKET_VARIABLE
from llmops_kit.local_runtime import containers, process_images
from llmops_kit.local_runtime.daemon import Program
from llmops_kit.local_runtime.spec import EndpointSpec

_LOOPBACK = "127.0.0.1"
_HANDOVER_MOUNT = "/run/llmops-handover"
_STOP_SECONDS = 35  # 30 for a server to finish its streams, as on SageMaker, and 5 to end


def check(spec: EndpointSpec) -> None:
    """Checks that a worker could be started.

    Raises:
        HostingError: the image or a folder is missing, or the reference is of an unknown kind.
    """
    kind = spec.image.partition(":")[0]
    if kind == "process":
        process_images.find(spec.image)
    elif kind == "docker":
        containers.program()
    else:
        raise HostingError(
            f"{spec.image!r} is not an image that runs here",
            where=f"endpoint {spec.name}: image",
            fix="process:NAME@sha256:… or docker:NAME@sha256:…",
        )
    for key, value in spec.environ.items():
        if "\n" in value or "\0" in value:
            raise HostingError(
                "has more than one line", where=f"endpoint {spec.name}: environ.{key}", fix="mount a file"
            )
    for path, folder in (spec.folders | spec.shared).items():
        if not path.startswith("/") or ".." in Path(path).parts:
            raise HostingError(f"{path!r} is not an absolute path", where=f"endpoint {spec.name}: folders")
        if path in spec.folders and not Path(folder).exists():
            raise HostingError("does not exist", where=folder, fix=f"endpoint {spec.name} mounts it at {path}")


def pull(reference: str) -> None:
    """Pulls the image of a `docker:HOST:PORT/REPOSITORY@sha256:…` reference, unless it is on this machine.

    Raises:
        HostingError: there is no Docker, no daemon answers, or the registry doesn't give the image.
    """
    name = docker_name(reference)
    if "/" not in name:
        return
    if subprocess.run(
        [containers.program(), "image", "inspect", name], stdin=subprocess.DEVNULL, capture_output=True
    ).returncode:
        done = subprocess.run(
            [containers.program(), "pull", "--quiet", name], stdin=subprocess.DEVNULL, capture_output=True
        )
        if done.returncode:
            raise HostingError(
                f"Docker can't pull the image: {done.stderr.decode(errors='replace').strip()}",
                where=name,
                fix="check that Docker's daemon runs (`docker info`), and that the image is still in the registry",
            )


def docker_name(reference: str) -> str:
    """Returns Docker's name for a `docker:` reference: an image id, or a registry's name with a digest."""
    name = reference.removeprefix("docker:")
    return name if "/" in name else name.partition("@")[2]


def program(
    spec: EndpointSpec, name: str, home: Path, root: Path, port: int, log: str, *, handover: bool = False
) -> Program:
    """Returns the program of one worker, listening on 127.0.0.1:`port`; `root` is its own folder. With `handover`, it
    may take connections at `handover_socket(root)`.
    """
    folder = handover_socket(root).parent if handover else None
    for own in (*filter(None, [folder]), *map(Path, spec.shared.values())):
        own.mkdir(parents=True, exist_ok=True)
        own.chmod(0o700)
    if spec.image.startswith("docker:"):
        return _container(spec, name, home, root, port, log, folder)
    return _process(spec, name, root, port, log, folder)


def handover_socket(root: Path) -> Path:
    """Returns the unix socket of the worker whose folder is `root` (core/network/handover.py)."""
    return root / "handover/http.sock"


def clean(spec: EndpointSpec, home: Path, names: list[str]) -> None:
    """Removes leftovers of ended workers outside of their folders: containers whose client was killed."""
    if spec.image.startswith("docker:") and names:
        left = [container_name(home, name) for name in names]
        subprocess.run([containers.program(), "rm", "--force", *left], stdin=subprocess.DEVNULL, capture_output=True)


def _process(spec: EndpointSpec, name: str, root: Path, port: int, log: str, handover: Path | None) -> Program:
    image = process_images.find(spec.image)
    mounted = spec.folders | spec.shared
    for path, folder in mounted.items():
        link = root / path.lstrip("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(Path(folder).absolute())
    extra = {key: process_images.under(root, mounted, value) for key, value in spec.environ.items()}
    if handover:
        extra[SOCKET_VARIABLE] = str(handover_socket(root))
    environ = process_images.process_environ(image, root, port, {"LLMOPS_BIND": _LOOPBACK, **extra})
    first, *rest = [*(spec.command or image.entrypoint), *spec.arguments]
    argv = [str(image.python) if first == "python" else first, *rest]
    return Program(name, argv, environ, root / "tmp", log, stop_seconds=_STOP_SECONDS)


def _container(
    spec: EndpointSpec, name: str, home: Path, root: Path, port: int, log: str, handover: Path | None
) -> Program:
    docker = containers.program()
    container = container_name(home, name)
    root.mkdir(parents=True, exist_ok=True)
    variables = root / "environ"
    environ = {
        "LLMOPS_BIND": "0.0.0.0",
        "SAGEMAKER_BIND_TO_PORT": str(spec.container_port),
        "HOME": "/tmp",
        **spec.environ,
    }
    mounts = [
        f"type=bind,source={Path(folder).absolute()},target={path},readonly" for path, folder in spec.folders.items()
    ]
    mounts += [f"type=bind,source={Path(folder).absolute()},target={path}" for path, folder in spec.shared.items()]
    if handover and not _is_foreign(spec):  # a foreign image runs as another user, who can't enter that folder
        mounts.append(f"type=bind,source={handover.absolute()},target={_HANDOVER_MOUNT}")
        environ[SOCKET_VARIABLE] = f"{_HANDOVER_MOUNT}/{handover_socket(root).name}"
    variables.touch(mode=0o600)
    # A file of variables can't hold line breaks: values with them go through the client's own environment.
    multiline = {k: v for k, v in environ.items() if "\n" in v}
    variables.write_text("".join(f"{k}={v}\n" for k, v in environ.items() if k not in multiline))
    argv = [docker, "run", "--rm", "--name", container, "--publish", f"{_LOOPBACK}:{port}:{spec.container_port}"]
    argv += _rights(spec)
    # GPUs that compute together pass data through shared memory, of which a container has 64 MB by default.
    argv += ["--env-file", str(variables), "--stop-timeout", "30", "--shm-size", "1g"]
    argv += [word for key in multiline for word in ("--env", key)]
    argv += [word for mount in mounts for word in ("--mount", mount)]
    entry = ["--entrypoint", spec.command[0]] if spec.command else []
    argv += [*entry, docker_name(spec.image), *spec.command[1:], *spec.arguments]
    return Program(
        name,
        argv,
        multiline | containers.client_environ(),
        root,
        log,
        before=[[docker, "rm", "--force", container]],
        # The client passes SIGTERM on to the container; if it were killed, the container would stay.
        death_signal=signal.SIGTERM,
        stop_seconds=_STOP_SECONDS,
    )


def _is_foreign(spec: EndpointSpec) -> bool:
    """Returns whether the image comes from a registry."""
    return "/" in docker_name(spec.image)


def _rights(spec: EndpointSpec) -> list[str]:
    """Returns the options of `docker run` for a container's user and rights."""
    if _is_foreign(spec):  # it runs as its own user, as on SageMaker, who must read the model
        for folder in spec.folders.values():
            _let_all_read(Path(folder))
        return containers.limits(*containers.BEGINS_AS_ROOT)
    # As this user, so that it may read 0600 files such as the API key, and with no capabilities. Such a user can write
    # nowhere in the image but in /tmp, so the rest is read-only; `exec`, as compiled kernels are loaded from /tmp.
    user = ["--user", f"{os.getuid()}:{os.getgid()}", "--read-only", "--tmpfs", "/tmp:exec,mode=1777"]
    return [*user, *containers.limits()]


def _let_all_read(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))


def container_name(home: Path, program_name: str) -> str:
    """Returns a container's name: equal for each start of a program, different in each home."""
    return f"llmops-{sha256_bytes(str(home).encode())[:8]}-{program_name}"
