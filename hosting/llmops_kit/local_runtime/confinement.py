"""Confines processes of this machine, so that they can't reach the files of the user who starts them; confined.py does
it inside the process.

Under root, a process changes to an unused user, who owns only the folders that it is given. Where the kernel allows it,
the process gets its own namespaces too: they are the only way to confine a process that another user starts.
"""

import json
import os
import pwd
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import psutil

from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.local_runtime import confined
from llmops_kit.local_runtime.files import write_atomic

# Unused ids: https://systemd.io/UIDS-GIDS/. An unprivileged container maps fewer: then the last ones that it has.
_USERS = range(1_879_048_192, 2_013_265_920)
_LEAST_USER = 20_000
_CHECK = """\
import json, os, sys
reads, writes = json.loads(sys.argv[1])
found = [os.path.join(base, name) for place in reads for base, _, names in os.walk(place) for name in names]
bad = [p for p in (*reads, *found) if not os.access(p, os.R_OK)] + [p for p in writes if not os.access(p, os.W_OK)]
sys.exit(f"{bad[0]} is out of reach" if bad else 0)
"""


@dataclass(frozen=True)
class ConfinedProgram:
    """A program that can reach these files and no others.

    Attributes:
        argv: the first word is an absolute path.
        environ: its complete environment.
        cwd: where it starts.
        inputs: folders that it reads; each of their files must be readable for everybody.
        read: further folders that it may read, such as its interpreter's.
        write: folders that it may write; the caller owns them, for `give` to give away.
        hidden: folders that it must not reach, except for the ones above.
    """

    argv: Sequence[str]
    environ: dict[str, str]
    cwd: Path
    inputs: Sequence[Path] = ()
    read: Sequence[Path] = ()
    write: Sequence[Path] = ()
    hidden: Sequence[Path] = ()


@dataclass(frozen=True)
class Way:
    """A way to confine a program. `user` 0: it runs as the user who starts it."""

    user: int
    namespaces: bool
    why_not: str = ""
    """Why it is not confined further."""

    @property
    def keeps_secrets(self) -> bool:
        """Whether the program can't read files that only its starter may read."""
        return bool(self.user) or self.namespaces

    def __str__(self) -> str:
        who = "as another user" if self.user else "as you"
        return f"{who}, {'in its own namespaces' if self.namespaces else 'among all other processes'}"


def find_way(program: ConfinedProgram, python: Path, user: int, document: Path) -> Way:
    """Returns the strongest confinement that works here; tries each with a harmless program.

    Args:
        program: the program to confine later.
        python: an interpreter that it may read, which runs the trials.
        user: the user that it would become, if this process is root's; owns its folders. 0: it keeps this process's.
        document: a file to write, out of the program's reach.
    """
    ways = [Way(user, True), Way(user, False)] if os.geteuid() == 0 and user else [Way(0, True)]
    if os.geteuid() == 0 and not user:
        ways = []
    why_not = "" if ways else "root may not give files to another user here"
    for way in ways:
        refusal = _try(program, python, way, document)
        if not refusal:
            return replace(way, why_not=why_not)
        why_not = why_not or refusal
    return Way(0, False, why_not)


def start(program: ConfinedProgram, way: Way, document: Path, output: IO[bytes]) -> "subprocess.Popen[bytes]":
    """Starts a program in its own session. It ends when the returned process does.

    Args:
        program: what to start.
        way: from `find_way`.
        document: a file to write, out of the program's reach.
        output: of the program.
    """
    text = json.dumps(_document(program, way), indent=2)
    write_atomic(document, text)
    command = [str(Path(sys.executable).resolve()), "-I", "-S", str(Path(confined.__file__)), str(document)]
    return subprocess.Popen(
        command,
        cwd=document.parent,
        env={},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # neither a terminal's Ctrl-C nor its end reaches it
    )


def free_user(thing: str, taken: Iterable[int]) -> int:
    """Returns the id of a user that nothing else uses; 0 if there is none.

    Args:
        thing: name for which the user is chosen; the same name gets the same user.
        taken: users of other names.
    """
    users = _possible_users()
    known = {entry.pw_uid for entry in pwd.getpwall()} | set(taken)
    if len(users) <= len(known):
        return 0
    begin = int(sha256_bytes(thing.encode())[:12], 16)
    return next(user for step in range(len(users)) if (user := users[(begin + step) % len(users)]) not in known)


def give(folders: Sequence[Path], user: int) -> bool:
    """Gives folders and their contents to a user; returns whether this process may.

    Call it before the user's first process: a later one could have put a hard link there, to get a file of others.
    """
    try:
        for folder in folders:
            for base, _, names in os.walk(folder):
                for name in ("", *names):
                    os.chown(Path(base, name), user, user, follow_symlinks=False)
    except OSError:
        return False
    return True


def end_all(user: int) -> None:
    """Kills every process of a user that `free_user` returned, in any session."""
    if user in _possible_users() and user != os.geteuid():
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.uids().real == user:
                    process.kill()


def interpreter_folders(python: Path) -> list[Path]:
    """Returns the folders through which an interpreter's symbolic links lead, and those of its libraries."""
    found: list[Path] = []
    while python.parent.parent not in found:
        prefix = python.parent.parent
        found.append(prefix)
        with suppress(OSError):
            lines = (prefix / "pyvenv.cfg").read_text().splitlines()
            found += [Path(line.partition("=")[2].strip()).parent for line in lines if line.startswith("home")]
        if python.is_symlink():
            python = python.parent / python.readlink()
    folders = dict.fromkeys(Path(os.path.normpath(folder)) for folder in found)
    return [folder for folder in folders if folder != Path("/usr") and folder.is_dir()]


def _possible_users() -> range:
    """Returns the unused user ids that this process's user namespace maps."""
    with suppress(OSError, ValueError):
        ranges = [tuple(map(int, line.split())) for line in Path("/proc/self/uid_map").read_text().splitlines()]
        if not any(first <= _USERS.start and _USERS.stop <= first + count for first, _, count in ranges):
            first, _, count = max(ranges)
            return range(max(first, _LEAST_USER), first + count)
    return _USERS


def _try(program: ConfinedProgram, python: Path, way: Way, document: Path) -> str:
    """Returns why a way does not work here; empty if it does."""
    for folder in (*program.inputs, *program.read):
        for hidden in program.hidden:
            if hidden.is_relative_to(folder):
                return f"{folder}, which it has to read, holds {hidden}"
    wanted = json.dumps([[str(folder) for folder in folders] for folders in (program.inputs, program.write)])
    trial = replace(program, argv=[str(python), "-I", "-S", "-c", _CHECK, wanted])
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as answers:
        with os.fdopen(writing, "wb") as output:
            code = start(trial, way, document, output).wait()
        said = answers.read().decode(errors="replace").strip()
    return said.splitlines()[-1] if code and said else f"exit code {code}" if code else ""


def _document(program: ConfinedProgram, way: Way) -> confined.ConfinedRun:
    return {
        "argv": list(program.argv),
        "environ": program.environ,
        "cwd": str(program.cwd),
        "user": way.user,
        "namespaces": way.namespaces,
        "read": [str(folder.absolute()) for folder in (*program.inputs, *program.read)],
        "write": [str(folder.absolute()) for folder in program.write],
    }
