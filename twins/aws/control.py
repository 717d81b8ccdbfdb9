"""The life of a twin's process, for the command line: up, status, down, reset, and the environment of its clients.

A twin lives in a folder. `twin.json` there says where it answers; a lock beside it lets one command at a time start or
stop it. The process is detached: it outlives the command that started it.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import psutil

from contract.errors import KitError
from hosting.files import locked, silent, write_atomic
from hosting.ports import choose_port, holder, is_free
from twins.aws.fleet import end_containers
from twins.aws.judges import installation
from twins.aws.principals import ROOT_ACCESS_KEY, ROOT_SECRET_KEY
from twins.aws.twin import TwinSettings

INFO_FILE = "twin.json"
LOG_FILE = "twin.log"
START_SECONDS = 60
STOP_SECONDS = 60  # containers finish their streams, which may take half of it
_BIND = "127.0.0.1"
# Whatever else could bring a client other credentials, another account, or another place than the twin.
_UNSET = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CREDENTIAL_EXPIRATION",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_CA_BUNDLE",
    "PULUMI_CONFIG_PASSPHRASE_FILE",
)


@dataclass(frozen=True)
class TwinInfo:
    """A twin that runs. `provider` is "plugin <path>", "stand-in", "failed" (a stand-in that could not start) or
    "none"; `provider_port` is 0 but for a stand-in; `pids` are its processes by what they are;
    `containers` is "run" or "none".
    """

    url: str
    port: int
    provider: str
    provider_port: int
    account: str
    region: str
    judge: str
    pace: float
    pids: dict[str, int]
    started: float
    containers: str = TwinSettings.containers


def up(
    home: Path,
    port: int = 0,
    judge: str = TwinSettings.judge,
    pace: float = TwinSettings.pace,
    region: str = "us-east-1",
    containers: str = TwinSettings.containers,
    say: Callable[[str], None] = silent,
) -> TwinInfo:
    """Start the twin of a folder, or find it running, and wait until it answers.

    Args:
        home: its folder, made when missing.
        port: on 127.0.0.1; 0: the one it had before, or one that is free, kept from then on.
        judge: of permissions: strict or off.
        pace: seconds that a status transition takes.
        region: of clients that name none.
        containers: of endpoints and jobs: run or none.
        say: told one line for each step.

    Raises:
        KitError: the port is taken, the judge can't be installed, or the process ends or does not answer; with the end
            of its log.
    """
    home = home.absolute()
    settings = {"judge": judge, "pace": pace, "containers": containers}
    if judge != "off":
        installation.install(say=say)  # here, with the user's own environment: npm may have to fetch it once
    _make_home(home)
    with locked(home / ".lock", say, f"waiting for another command that holds {home}"):
        running = _running(home)
        if running and port in (0, running.port) and running.region == region:
            return _with_settings(running, settings, say)
        if running:
            _stop(home, say)
        _end_leftovers(home)
        port = port or _kept_port(home)
        _require_free(home, port)
        say(f"starting the twin of AWS in {home}")
        process = _start(home, port, region, settings)
        info = _await_ready(home, process)
        say(f"the twin answers on {info.url} (plugin for Pulumi: {info.provider})")
        if info.provider == "failed":
            say(f"the stand-in for Pulumi's plugin did not start; why is at the end of {home / LOG_FILE}")
        return info


def status(home: Path) -> dict[str, Any] | None:
    """What a running twin says of itself: twin.json's members, services, endpoints, jobs, faults and what it doesn't
    judge; None while it does not run.
    """
    running = _running(home.absolute())
    return _ask(running.url, "status") if running else None


def down(home: Path, say: Callable[[str], None] = silent) -> bool:
    """End a twin's processes; its state stays, and the next `up` continues with it. False: it did not run."""
    home = home.absolute()
    if not home.exists():
        return False
    with locked(home / ".lock", say, f"waiting for another command that holds {home}"):
        ran = _running(home) is not None
        _stop(home, say)
        _end_leftovers(home)
        end_containers(home)
    return ran


def reset(home: Path, say: Callable[[str], None] = silent) -> None:
    """Empty a twin: an account as on its first day. One that does not run loses its files."""
    home = home.absolute()
    if not home.exists():
        return
    with locked(home / ".lock", say, f"waiting for another command that holds {home}"):
        if running := _running(home):
            _ask(running.url, "reset", "POST")
            _await_no_instance(running)
        else:
            end_containers(home)
            (home / "state.pickle").unlink(missing_ok=True)
            for body in (home / "objects").glob("*"):
                body.unlink(missing_ok=True)
    say("the twin's account is empty")


def faults(home: Path) -> dict[str, list[dict[str, Any]]]:
    """The faults that still may happen in a twin that runs, by kind.

    Raises:
        KitError: it does not run.
    """
    return _ask(_required(home).url, "faults")


def kinds_of_faults(home: Path) -> dict[str, dict[str, Any]]:
    """What may be made to go wrong: what each kind `does`, and its `members`.

    Raises:
        KitError: the twin does not run.
    """
    return _ask(_required(home).url, "faults/kinds")


def add_fault(home: Path, kind: str, members: Mapping[str, Any]) -> None:
    """Let something go wrong from now on (twins/aws/faults.py).

    Raises:
        KitError: there is no such fault, or the twin does not run.
    """
    _ask(_required(home).url, "faults", "PUT", {"kind": kind, **members})


def clear_faults(home: Path) -> None:
    """Let nothing more go wrong.

    Raises:
        KitError: the twin does not run.
    """
    _ask(_required(home).url, "faults", "DELETE")


def environment(home: Path) -> dict[str, str | None]:
    """Variables with which every AWS client, and plain `pulumi up`, talks to the twin; None: to be unset.

    Raises:
        KitError: the twin does not run.
    """
    home = home.absolute()
    running = _required(home)
    values: dict[str, str | None] = dict.fromkeys(_UNSET)
    # One service's own address would win over the address of all.
    values |= {name: None for name in os.environ if name.startswith("AWS_ENDPOINT_URL_")}
    values |= {
        "AWS_ENDPOINT_URL": running.url,
        "AWS_REGION": running.region,
        "AWS_DEFAULT_REGION": running.region,
        "AWS_ACCESS_KEY_ID": ROOT_ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": ROOT_SECRET_KEY,
        "AWS_CONFIG_FILE": str(home / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(home / "credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "PULUMI_BACKEND_URL": f"file://{home / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": "",
        "PULUMI_DEBUG_PROVIDERS": f"aws:{running.provider_port}" if running.provider_port else None,
    }
    write_atomic(home / "config", f"[default]\nregion = {running.region}\n")
    write_atomic(home / "credentials", "")
    return values


def _make_home(home: Path) -> None:
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    (home / "state").mkdir(exist_ok=True)


def _recorded(home: Path) -> dict[str, Any]:
    try:
        return json.loads((home / INFO_FILE).read_text())
    except (OSError, ValueError):
        return {}


def _running(home: Path) -> TwinInfo | None:
    """The twin that twin.json tells of, if that process still is there and answers."""
    recorded = _recorded(home)
    if not recorded or not _ours(recorded["pids"].get("twin", 0), home):
        return None
    try:
        _ask(recorded["url"], "health")
    except KitError:
        return None
    return TwinInfo(**{name: recorded[name] for name in TwinInfo.__dataclass_fields__ if name in recorded})


def _required(home: Path) -> TwinInfo:
    running = _running(home.absolute())
    if not running:
        raise KitError("the twin does not run", where=str(home.absolute()), fix="llmops twin aws up")
    return running


def _ours(pid: int, home: Path) -> bool:
    """Is a process (still) one of this home? Numbers of processes are given again, after a reboot for one."""
    try:
        process = psutil.Process(pid)
        return str(home) in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _kept_port(home: Path) -> int:
    return int(_recorded(home).get("port", 0)) or choose_port(_BIND)


def _require_free(home: Path, port: int) -> None:
    deadline = time.monotonic() + 3  # a twin that was killed just now
    while not is_free(_BIND, port) and time.monotonic() < deadline:
        time.sleep(0.05)
    if not is_free(_BIND, port):
        who = holder(port)
        raise KitError(
            f"port {port} on {_BIND} is taken" + (f" by {who}" if who else ""),
            where=f"twin of {home}",
            fix="end that program, or give another port: llmops twin aws up --port N",
        )


def _start(home: Path, port: int, region: str, settings: Mapping[str, Any]) -> subprocess.Popen[bytes]:
    keep = (
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
    environ = {name: os.environ[name] for name in keep if name in os.environ}
    environ["PYTHONPATH"] = str(Path(__file__).parents[2])
    command = [sys.executable, "-m", "twins.aws", "serve", "--home", str(home), "--port", str(port)]
    command += ["--region", region, *(word for name, value in settings.items() for word in (f"--{name}", str(value)))]
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


def _await_ready(home: Path, process: subprocess.Popen[bytes]) -> TwinInfo:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        info = _running(home)
        if info and info.pids["twin"] == process.pid and (info.provider != "stand-in" or info.provider_port):
            process.returncode = 0  # it outlives us: nothing to warn of when the object goes
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


def _tail(log: Path, lines: int = 12) -> list[str]:
    try:
        return log.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        return []


def _with_settings(running: TwinInfo, settings: Mapping[str, Any], say: Callable[[str], None]) -> TwinInfo:
    say(f"the twin runs on {running.url}")
    now = _ask(running.url, "status")
    if any(now[name] != value for name, value in settings.items()):
        _ask(running.url, "settings", "PUT", settings)
        say(
            f"it judges permissions: {settings['judge']}; a status transition takes {settings['pace']:g} s; "
            f"containers: {settings['containers']}"
        )
    return TwinInfo(**{**vars(running), **settings})


def _stop(home: Path, say: Callable[[str], None]) -> None:
    pid = _recorded(home).get("pids", {}).get("twin", 0)
    if not _ours(pid, home):
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


def _await_no_instance(running: TwinInfo) -> None:
    deadline = time.monotonic() + STOP_SECONDS
    while _ask(running.url, "status")["instances"] and time.monotonic() < deadline:
        time.sleep(0.1)


def _end_leftovers(home: Path) -> None:
    """End children of a twin that was killed."""
    for pid in _recorded(home).get("pids", {}).values():
        if _ours(pid, home):
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                process.kill()
                process.wait(STOP_SECONDS)


def _ask(url: str, route: str, method: str = "GET", document: Any = None) -> Any:
    """One of the twin's own routes.

    Raises:
        KitError: it does not answer, or refuses.
    """
    data = None if document is None else json.dumps(document).encode()
    try:
        with urlopen(Request(f"{url}/_twin/{route}", data, method=method), timeout=20) as answer:
            return json.loads(answer.read())
    except HTTPError as e:
        raise KitError(f"the twin refuses: {_told(e.read())}", where=f"{url}/_twin/{route}") from e
    except (URLError, OSError) as e:
        raise KitError(f"the twin does not answer: {e}", where=url, fix="llmops twin aws up") from e


def _told(body: bytes) -> str:
    try:
        return json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")
