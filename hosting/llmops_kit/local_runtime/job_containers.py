"""Runs a job's container to its end, in Docker or as a process. It dies with the process that started it.

Beside each job is a warden (local_runtime/warden.py), a small process that holds the job's whole tree.
"""

import os
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from llmops_kit.core.errors import HostingError
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.local_runtime import containers, process_images, runtimes, warden

MARK = "HOSTING_JOB"
"""Variable that marks the processes of a home's jobs, with the home and the job's name."""
_LABEL = "llmops.jobs"
_NO_DOCKER = "install Docker, or use a process image"
_LOOK_SECONDS = 0.1
_LONGEST_LINE = 256 * 1024
_LAST_OUTPUT_SECONDS = 10  # a killed warden may leave a process that holds the output open
Said = Callable[[list[str]], None]


@dataclass(frozen=True)
class JobSpec:
    """A job to run. `home` is whose job it is (`end_leftovers`); `root` stands for the container's `/`.

    `entrypoint` replaces the image's; `mounts` are the folders of `root` that the container sees (a process sees all of
    it), those of `read_only` without the right to write. A variable or argument that is a path of a mount follows it.
    `network` is Docker's: "none", a name of `network`, or "" for its default; `host` is the container's name there.
    """

    name: str
    image: str
    home: Path
    root: Path
    arguments: Sequence[str] = ("train",)
    entrypoint: Sequence[str] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    mounts: Sequence[str] = ("/opt/ml",)
    read_only: Sequence[str] = ()
    network: str = ""
    host: str = ""


class Job:
    """A job that runs, or has ended."""

    def __init__(self, warden_process: subprocess.Popen[bytes], said: Said) -> None:
        self._warden = warden_process
        self._said = said
        self._reader = threading.Thread(target=self._read, name="job output", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The warden, whose children are the job's processes."""
        return self._warden.pid

    def wait(self, seconds: float | None = None) -> int | None:
        """Waits until the job and its output ended; returns the exit code (128 plus the number of a signal that ended
        it), or None while it runs.
        """
        try:
            code = self._warden.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        self._reader.join(_LAST_OUTPUT_SECONDS)
        assert self._warden.stdin
        with suppress(BrokenPipeError):  # an order that was sent after it had ended
            self._warden.stdin.close()
        return code

    def terminate(self) -> None:
        """Sends SIGTERM to the first process."""
        self._order(b"stop\n")

    def kill(self) -> None:
        """Kills every process of the job."""
        self._order(b"kill\n")

    def _order(self, order: bytes) -> None:
        assert self._warden.stdin
        with suppress(OSError, ValueError):  # it has ended
            self._warden.stdin.write(order)
            self._warden.stdin.flush()

    def _read(self) -> None:
        output = self._warden.stdout
        assert output
        rest = b""
        while read := os.read(output.fileno(), 65536):
            *lines, rest = (rest + read).split(b"\n")
            while len(rest) > _LONGEST_LINE:
                lines.append(rest[:_LONGEST_LINE])
                rest = rest[_LONGEST_LINE:]
            if lines:
                self._said([line.decode(errors="replace").removesuffix("\r") for line in lines])
        if rest:
            self._said([rest.decode(errors="replace")])
        output.close()


def start(spec: JobSpec, said: Said) -> Job:
    """Start a job.

    Args:
        spec: what to run.
        said: called with new lines of its output, on a separate thread.

    Raises:
        HostingError: the image is not on this machine or can't be pulled, or there is no Docker.
    """
    folder = spec.root / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    document = _process(spec) if spec.image.startswith("process:") else _container(spec)
    command = [str(Path(sys.executable).resolve()), "-I", "-S", str(Path(warden.__file__))]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={}, cwd=folder
    )
    job = Job(process, said)
    assert process.stdin
    with suppress(OSError):  # it could not even start; its exit code says so
        process.stdin.write(warden.encoded(document))
        process.stdin.flush()
    return job


def stop(jobs: Sequence[Job], grace: float, meanwhile: Callable[[], bool] = lambda: False) -> None:
    """Sends SIGTERM to jobs, and kills those that have not ended after `grace` seconds. `meanwhile` is called while
    they end; it returns whether to kill them now.
    """
    for job in jobs:
        job.terminate()
    deadline = time.monotonic() + grace
    running = list(jobs)
    while running and time.monotonic() < deadline and not meanwhile():
        running[0].wait(_LOOK_SECONDS)
        running = [job for job in running if job.wait(0) is None]
    for job in running:
        job.kill()
    for job in running:
        job.wait()


@contextmanager
def network(home: Path, name: str, *, isolated: bool) -> Iterator[str]:
    """Creates a Docker network for the containers of one job, which find each other by their `host`; removes it
    afterwards.

    Args:
        home: whose job it is.
        name: the job's.
        isolated: the containers can reach nothing outside of it.

    Raises:
        HostingError: Docker can't create it.
    """
    full = f"{_container_name(home, name)}-{secrets.token_hex(3)}"
    make = ["network", "create", "--label", f"{_LABEL}={home_id(home)}", *(["--internal"] if isolated else []), full]
    _docker(*make)
    try:
        yield full
    finally:
        with suppress(HostingError):
            _docker("network", "rm", full)


def end_leftovers(home: Path, *, docker: bool = False) -> None:
    """Ends the leftovers of a home's jobs that were killed together with their warden.

    Args:
        home: whose jobs.
        docker: look for containers and networks too.
    """
    left = [process for process in psutil.process_iter() if _is_of(process, home)]
    for process in left:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, timeout=10)
    if not docker or not shutil.which("docker"):
        return
    with suppress(HostingError):
        label = f"label={_LABEL}={home_id(home)}"
        if running := _docker("ps", "--all", "--quiet", "--filter", label).split():
            _docker("rm", "--force", *running)
        if networks := _docker("network", "ls", "--quiet", "--filter", label).split():
            _docker("network", "rm", *networks)


def _process(spec: JobSpec) -> warden.WardenRun:
    image = process_images.find(spec.image)
    words = [*(spec.entrypoint or image.entrypoint), *spec.arguments]
    for path in spec.read_only:
        _set_modes(spec.root / path.lstrip("/"), of_folders=0o555, of_files=0o444)
    extra = {key: process_images.under(spec.root, spec.mounts, value) for key, value in spec.environ.items()}
    environ = process_images.process_environ(image, spec.root, extra=extra) | {MARK: f"{spec.home}:{spec.name}"}
    first = str(image.python) if words[0] in ("python", "python3") else shutil.which(words[0], path=environ["PATH"])
    argv = [first or words[0], *(process_images.under(spec.root, spec.mounts, word) for word in words[1:])]
    return {"argv": argv, "environ": environ, "cwd": str(spec.root / "tmp"), "after": []}


def _container(spec: JobSpec) -> warden.WardenRun:
    runtimes.pull(spec.image)
    name = f"{_container_name(spec.home, spec.name)}-{secrets.token_hex(3)}"
    argv = [containers.program(_NO_DOCKER), "run", "--rm", "--name", name, "--label", f"{_LABEL}={home_id(spec.home)}"]
    argv += [*containers.limits(*containers.BEGINS_AS_ROOT), "--shm-size", "1g"]
    client = containers.client_environ()
    for key, value in spec.environ.items():
        # Given only its name, Docker takes a variable's value from the client's environment, where others can't see it.
        argv += ["--env", f"{key}={value}" if key in client else key]
    if spec.network:
        argv += ["--network", spec.network]
    if spec.host and spec.network != "none":
        argv += ["--hostname", spec.host, *(["--network-alias", spec.host] if spec.network else [])]
    for path in (*spec.mounts, *spec.read_only):
        folder = spec.root / path.lstrip("/")
        only = ",readonly" if path in spec.read_only else ""
        _open_up(folder, writable=not only)
        argv += ["--mount", f"type=bind,source={folder.absolute()},target={path}{only}"]
    reference = runtimes.docker_name(spec.image)
    argv += [*(["--entrypoint", spec.entrypoint[0]] if spec.entrypoint else []), reference]
    argv += [*spec.entrypoint[1:], *spec.arguments]
    after = [[containers.program(_NO_DOCKER), "rm", "--force", name]]
    if os.getuid():  # the container may have run as root, and this user must read and remove its files
        after.append(_take_over(spec, reference))
    return {"argv": argv, "environ": {**spec.environ, **client}, "cwd": str(spec.root / "tmp"), "after": after}


def _take_over(spec: JobSpec, reference: str) -> list[str]:
    """Returns the command that gives a job's files to this user: the image's `chown`, with only the mounts, no network
    and two capabilities.
    """
    argv = [containers.program(_NO_DOCKER), "run", "--rm", "--network", "none", "--user", "0", "--read-only"]
    argv += containers.limits("CHOWN", "DAC_OVERRIDE")
    for path in spec.mounts:
        argv += ["--mount", f"type=bind,source={spec.root / path.lstrip('/')},target={path}"]
    return [*argv, "--entrypoint", "chown", reference, "-R", f"{os.getuid()}:{os.getgid()}", *spec.mounts]


def _open_up(folder: Path, *, writable: bool) -> None:
    """Lets a container's user, who is not this one, read a folder, and write to it if it is mounted writable: without
    capabilities even root there must respect modes. Only this user can enter the folder above.
    """
    _set_modes(folder, of_folders=0o777, of_files=0o666 if writable else 0o644)


def _set_modes(folder: Path, of_folders: int, of_files: int) -> None:
    for base, _, files in os.walk(folder):
        Path(base).chmod(of_folders)
        for name in files:
            Path(base, name).chmod(of_files)


def _is_of(process: psutil.Process, home: Path) -> bool:
    try:
        return process.environ().get(MARK, "").rpartition(":")[0] == str(home)
    except (psutil.Error, OSError):
        return False


def home_id(home: Path) -> str:
    """Returns the value of the label `llmops.jobs` of a home's containers and networks."""
    return sha256_bytes(str(home).encode())[:12]


def _container_name(home: Path, name: str) -> str:
    return f"llmops-job-{home_id(home)[:6]}-{name}"


def _docker(*arguments: str) -> str:
    done = subprocess.run(
        [containers.program(_NO_DOCKER), *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        raise HostingError(
            f"docker {' '.join(arguments[:2])}: {done.stderr.strip()}",
            fix="start Docker's daemon (`docker info` shows whether it runs)",
        )
    return done.stdout
