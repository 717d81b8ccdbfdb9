"""Starts, stops and inspects a twin's process: up, status, down, reset, snapshots, faults.

A twin lives in a folder. `twin.json` there holds its address; a lock beside it lets one command at a time start or stop
it. The process is detached: it outlives the command that started it.
"""

import json
import os
import shlex
import signal
import ssl
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import psutil

from llmops_kit.core.errors import KitError
from llmops_kit.core.twins import KEY_VARIABLES, key_headers
from llmops_kit.local_runtime.files import locked, silent
from llmops_kit.local_runtime.ports import choose_port, holder, is_free
from llmops_twins.core import root
from llmops_twins.core.fleet.fleet import end_containers
from llmops_twins.core.process import INFO_FILE
from llmops_twins.core.state_log import drop_state
from llmops_twins.core.twin import TwinSettings

LOG_FILE = "twin.log"
START_SECONDS = 120
STOP_SECONDS = 60  # containers may take half of it to finish their streams
BIND = "127.0.0.1"
_KEPT_VARIABLES = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "LLMOPS_CACHE",
    "PULUMI_HOME",
    "TMPDIR",
    "VIRTUAL_ENV",
    "XDG_CACHE_HOME",
)


@dataclass(frozen=True, kw_only=True)
class TwinInfo:
    """A running twin. `provider` is "plugin <path>", "stand-in", "failed" (a stand-in that could not start) or "none";
    `provider_port` is 0 except for a stand-in; `pids` are its processes by name; `containers` is "run" or "none".
    """

    url: str
    port: int
    provider: str
    provider_port: int
    judge: str
    pace: float
    pids: dict[str, int]
    started: float
    containers: str = TwinSettings.containers


Info = TypeVar("Info", bound=TwinInfo)


class Control(ABC, Generic[Info]):
    """Controls the twins of one cloud. Every method raises KitError if the twin is not running, except `up`, `status`,
    `down` and `reset`.
    """

    name: ClassVar[str]
    """The cloud's name, "AWS"."""
    word: ClassVar[str]
    """The cloud's word in `twins aws`."""
    package: ClassVar[str]
    """The Pulumi package, "azure-native"."""
    place: ClassVar[tuple[str, str]]
    """The option that names a region ("location"), and its default."""
    unset: ClassVar[tuple[str, ...]]
    """Variables that could give a client credentials, an account or a region other than the twin's."""
    info: type[Info]

    @abstractmethod
    def install(self, judge: str, say: Callable[[str], None]) -> None:
        """Installs programs that the twin needs, in the user's own environment: npm may have to fetch them first."""

    def forget(self, home: Path) -> None:
        """Deletes the state of a twin that is not running."""
        drop_state(home)

    @abstractmethod
    def variables(self, home: Path, running: Info) -> Mapping[str, str | None]:
        """Returns the environment of the cloud's clients."""

    def trust(self, _home: Path) -> ssl.SSLContext | None:
        """Returns the TLS context of a client of the twin; None for plain HTTP."""
        return None

    def up(
        self,
        home: Path,
        port: int = 0,
        judge: str = TwinSettings.judge,
        pace: float = TwinSettings.pace,
        containers: str = TwinSettings.containers,
        say: Callable[[str], None] = silent,
        **place: str,
    ) -> Info:
        """Starts the twin of a folder, or finds it running, and waits until it answers.

        Args:
            home: the twin's folder, created if missing.
            port: port on 127.0.0.1; 0: the previous one, or a free one that is kept from then on.
            judge: check of permissions, strict or off; a running twin adopts judge, pace and containers.
            pace: seconds of a status transition.
            containers: run; or none: endpoints and jobs only change their status.
            say: called with one line for each step.
            place: default `region` or `location` of clients.

        Raises:
            KitError: the port is in use, a program can't be installed, or the process ends or does not answer; with the
                end of its log.
        """
        self.install(judge, say)
        home = home.absolute()
        settings: dict[str, Any] = {"judge": judge, "pace": pace, "containers": containers}
        options = dict([self.place]) | place
        root.make(home)
        (home / "state").mkdir(exist_ok=True)
        with self._locked(home, say):
            running = self.running(home)
            if running and port in (0, running.port) and all(getattr(running, n) == v for n, v in options.items()):
                return self._with_settings(home, running, settings, say)
            if running:
                self._stop(home, say)
            _end_leftovers(home)
            port = port or int(_recorded(home).get("port", 0)) or choose_port(BIND)
            self._require_free(home, port)
            say(f"starting the twin of {self.name} in {home}")
            process = self._start(home, port, {**options, **settings})
            info = self._await_ready(home, process)
            say(f"the twin answers on {info.url} (plugin for Pulumi: {info.provider})")
            if info.provider == "failed":
                say(f"the stand-in for Pulumi's plugin did not start; see the end of {home / LOG_FILE}")
            return info

    def environment(self, home: Path) -> dict[str, str | None]:
        """Returns the variables that point the cloud's clients, and plain `pulumi up`, to the twin; None means to unset
        one.
        """
        home = home.absolute()
        running = self.required(home)
        return {
            **dict.fromkeys((*self.unset, "PULUMI_CONFIG_PASSPHRASE_FILE")),
            **self.variables(home, running),
            KEY_VARIABLES[self.word]: own_key(home),
            "PULUMI_BACKEND_URL": f"file://{home / 'state'}?metadata=skip",
            "PULUMI_CONFIG_PASSPHRASE": "",
            "PULUMI_DEBUG_PROVIDERS": f"{self.package}:{running.provider_port}" if running.provider_port else None,
        }

    def status(self, home: Path) -> dict[str, Any] | None:
        """Returns the status of a running twin; None if it is not running."""
        home = home.absolute()
        running = self.running(home)
        return self.ask(home, running.url, "status") if running else None

    def down(self, home: Path, say: Callable[[str], None] = silent) -> bool:
        """Ends a twin's processes; the next `up` continues with its state. Returns False if it was not running."""
        home = home.absolute()
        if not home.exists():
            return False
        with self._locked(home, say):
            ran = self.running(home) is not None
            self._stop(home, say)
            _end_leftovers(home)
            end_containers(home)  # they outlive the twin's own process
        return ran

    def reset(self, home: Path, say: Callable[[str], None] = silent) -> None:
        """Empties a twin; deletes the files of one that is not running."""
        home = home.absolute()
        if not home.exists():
            return
        with self._locked(home, say):
            if running := self.running(home):
                self.ask(home, running.url, "reset", "POST")
                self._await_no_instance(home, running)
            else:
                end_containers(home)  # they outlive the twin's own process
                self.forget(home)
        say("the twin's account is empty")

    def snapshot(self, home: Path) -> None:
        """Saves the state, replacing an earlier snapshot; refused while endpoints run, or blobs are stored."""
        self._ask_running(home, "snapshot", "PUT")

    def restore(self, home: Path) -> None:
        """Restores the snapshot without a restart."""
        self._ask_running(home, "restore", "POST")

    def faults(self, home: Path) -> dict[str, list[dict[str, Any]]]:
        """Returns the active faults, by kind."""
        return self._ask_running(home, "faults")

    def kinds_of_faults(self, home: Path) -> dict[str, dict[str, Any]]:
        """Returns the kinds of faults: the effect (`does`), and the `members` of each."""
        return self._ask_running(home, "faults/kinds")

    def add_fault(self, home: Path, kind: str, members: Mapping[str, Any]) -> None:
        """Injects a fault (core/faults.py)."""
        self._ask_running(home, "faults", "PUT", {"kind": kind, **members})

    def clear_faults(self, home: Path) -> None:
        """Removes every fault that was injected."""
        self._ask_running(home, "faults", "DELETE")

    def running(self, home: Path) -> Info | None:
        """Returns the twin that twin.json describes, if its process exists and answers; else None."""
        recorded = _recorded(home)
        if not recorded or not _runs_in(recorded["pids"].get("twin", 0), home):
            return None
        try:
            self.ask(home, recorded["url"], "health")
        except KitError:
            return None
        kind = self.info
        return kind(**{name: recorded[name] for name in kind.__dataclass_fields__ if name in recorded})

    def required(self, home: Path) -> Info:
        """Returns the info of the running twin."""
        running = self.running(home.absolute())
        if not running:
            raise KitError("the twin is not running", where=str(home.absolute()), fix=self._up(home))
        return running

    def ask(self, home: Path, url: str, route: str, method: str = "GET", document: Any = None) -> Any:
        """Calls one of the twin's own routes.

        Raises:
            KitError: the twin does not answer, or refuses.
        """
        data = None if document is None else json.dumps(document).encode()
        request = Request(f"{url}/_twin/{route}", data, key_headers(own_key(home)), method=method)
        try:
            with urlopen(request, timeout=60, context=self.trust(home)) as answer:
                return json.loads(answer.read())
        except HTTPError as e:
            raise KitError(f"the twin refuses: {_error_text(e.read())}", where=f"{url}/_twin/{route}") from e
        except (URLError, OSError) as e:
            raise KitError(f"the twin does not answer: {e}", where=url, fix=self._up(home)) from e

    def _up(self, home: Path) -> str:
        return f"twins {self.word} up --home {shlex.quote(str(home.absolute()))}"

    def _ask_running(self, home: Path, route: str, method: str = "GET", document: Any = None) -> Any:
        return self.ask(home.absolute(), self.required(home).url, route, method, document)

    def _locked(self, home: Path, say: Callable[[str], None]) -> AbstractContextManager[None]:
        return locked(home / ".lock", say, f"waiting for another command that holds {home}")

    def _require_free(self, home: Path, port: int) -> None:
        deadline = time.monotonic() + 3  # a twin killed just now may still hold the port
        while not is_free(BIND, port) and time.monotonic() < deadline:
            time.sleep(0.05)
        if not is_free(BIND, port):
            who = holder(port)
            raise KitError(
                f"port {port} on {BIND} is taken" + (f" by {who}" if who else ""),
                where=f"twin of {home}",
                fix=f"end that program, or give another port: {self._up(home)} --port N",
            )

    def _start(self, home: Path, port: int, words: Mapping[str, Any]) -> subprocess.Popen[bytes]:
        environ = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        environ["PYTHONPATH"] = str(Path(__file__).parents[2])
        command = [sys.executable, "-m", "llmops_twins", self.word, "serve", "--home", str(home), "--port", str(port)]
        command += [word for name, value in words.items() for word in (f"--{name}", str(value))]
        with (home / LOG_FILE).open("ab") as log:
            (home / LOG_FILE).chmod(0o600)
            return subprocess.Popen(
                command,
                cwd=home,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _await_ready(self, home: Path, process: subprocess.Popen[bytes]) -> Info:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            info = self.running(home)
            if info and info.pids["twin"] == process.pid and (info.provider != "stand-in" or info.provider_port):
                process.returncode = 0  # it outlives this command: without a code, Popen would warn about it
                return info
            time.sleep(0.02)
        ended = process.poll() is not None
        if not ended:
            process.kill()
            process.wait()
        raise KitError(
            "the twin ended at once" if ended else f"the twin did not answer within {START_SECONDS} s",
            where=str(home / LOG_FILE),
            fix="its log ends with:\n" + "\n".join(f"    {line}" for line in _tail(home / LOG_FILE)),
        )

    def _with_settings(
        self, home: Path, running: Info, settings: Mapping[str, Any], say: Callable[[str], None]
    ) -> Info:
        say(f"the twin runs on {running.url}")
        now = self.ask(home, running.url, "status")
        if any(now[name] != value for name, value in settings.items()):
            self.ask(home, running.url, "settings", "PUT", settings)
            say(
                f"it judges permissions: {settings['judge']}; a status transition takes {settings['pace']:g} s; "
                f"containers: {settings['containers']}"
            )
        return self.info(**{**vars(running), **settings})

    def _stop(self, home: Path, say: Callable[[str], None]) -> None:
        pid = _recorded(home).get("pids", {}).get("twin", 0)
        if not _runs_in(pid, home):
            return
        say("stopping the twin")
        process = psutil.Process(pid)
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except psutil.TimeoutExpired:
                process.kill()
                process.wait(STOP_SECONDS)

    def _await_no_instance(self, home: Path, running: TwinInfo) -> None:
        deadline = time.monotonic() + STOP_SECONDS
        while self.ask(home, running.url, "status")["instances"] and time.monotonic() < deadline:
            time.sleep(0.1)


def own_key(home: Path) -> str:
    """Returns the key of a twin's own routes.

    Raises:
        KitError: the twin was never started.
    """
    return root.key(home, root.OWN_ROUTES)


def _recorded(home: Path) -> dict[str, Any]:
    try:
        return json.loads((home / INFO_FILE).read_text())
    except (OSError, ValueError):
        return {}


def _runs_in(pid: int, home: Path) -> bool:
    """Returns whether a process (still) belongs to this home; process ids are reused, for example after a reboot."""
    try:
        process = psutil.Process(pid)
        return str(home) in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _tail(log: Path, lines: int = 12) -> list[str]:
    try:
        return log.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        return []


def _end_leftovers(home: Path) -> None:
    """Ends the children of a killed twin."""
    for pid in _recorded(home).get("pids", {}).values():
        if _runs_in(pid, home):
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                process.kill()
                process.wait(STOP_SECONDS)


def _error_text(body: bytes) -> str:
    try:
        return json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")
