"""Search for leaked secrets: in files, states, logs, environments, command lines and memory dumps.

Secrets are known by value (those of the rehearsal's own clients), and by their shape (private keys, bearer tokens,
signed URLs), which also finds those that were issued during the rehearsal. A finding names the secret and the place,
never the value.
"""

import base64
import gzip
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import quote

import psutil

_SHORTEST = 8
"""Minimum length: shorter values occur anywhere by chance."""
_SECRET_NAME = re.compile(
    r"(SECRET|PASSPHRASE|PASSWORD|TOKEN|API_KEY|PRIVATE_KEY|IDENTITY_HEADER)(?!.*(_FILE|_FILE_PATH|_URL|_DIR)$)"
)
SHAPES: Mapping[str, re.Pattern[bytes]] = {
    "a private key": re.compile(rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----"),
    "a bearer token": re.compile(rb"eyJ[A-Za-z0-9_-]{16,}\.eyJ[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{8,}"),
    "a signed address": re.compile(rb"ig(?:(?<=[?&]sig)|(?<=[?&]X-Amz-Sig)nature)=[A-Za-z0-9%+/]{20,}"),
    "a session token of AWS": re.compile(
        rb"-(?<=[xX]-[aA][mM][zZ]-)(?i:security-token)['\"]?[:=] ?['\"]?[A-Za-z0-9%+/=]{20,}"
    ),
}
"""Each begins with a literal that `re` can search for: ten times as fast as an alternative of first bytes."""
_AT_A_TIME, _LONGEST = 1 << 24, 1 << 16
"""Bytes of a file that are searched at a time, and their overlap: no secret is longer."""
_LOGS = (".log", ".txt", ".html", ".xml", ".out", ".err")
_GZIP, _ELF, _CORE_TYPE = b"\x1f\x8b", b"\x7fELF", 4
_START_IS_EARLY = 2
"""Maximum error in seconds: psutil counts from the boot time, which Linux rounds down to a second."""
_Forms = Mapping[str, Collection[bytes]]
"""Secret's name -> its encodings."""
_LIMITS_LINE = re.compile(r"^Max core file size\s+(\S+)", re.MULTILINE)


class Known(NamedTuple):
    """A secret by its value; `prompt`: a user's text, which may be in data, but in no log."""

    name: str
    value: str
    kind: Literal["secret", "prompt"] = "secret"


class Accepted(NamedTuple):
    """A place that must hold secrets, and the reason."""

    pattern: str
    """Glob of the path below the root, or of `process NAME: VARIABLE`."""
    why: str


class Leak(NamedTuple):
    """A secret or a prompt that was found where it must not be: what it is, and where."""

    what: str
    where: str

    def __str__(self) -> str:
        return f"{self.what} in {self.where}"


def secrets_of(environ: Mapping[str, str]) -> Iterator[Known]:
    """Yields the secrets in an environment, by its variables' names."""
    for name, value in environ.items():
        if _SECRET_NAME.search(name) and len(value) >= _SHORTEST:
            yield Known(f"${name}", value)


def in_text(known: Iterable[Known], text: bytes, where: str) -> Iterator[Leak]:
    """Yields the leaks in a text, each once."""
    yield from _found(_forms_of(known), text, where)


def in_files(known: Iterable[Known], root: Path, accepted: Sequence[Accepted] = ()) -> Iterator[Leak]:
    """Yields the leaks in a file or below a folder: secrets in all files, prompts in logs, and dumps of memory."""
    known = list(known)
    every = _forms_of(each for each in known if each.kind == "secret")
    logs = _forms_of(known)
    for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
        if path.is_symlink() or not path.is_file():
            continue
        below = path.relative_to(root).as_posix() if path != root else path.name
        if any(fnmatch(below, each.pattern) for each in accepted):
            continue
        with suppress(FileNotFoundError):  # a process of the rehearsal removed it meanwhile
            yield from _in_file(logs if is_log(path) else every, path)


def is_log(path: Path) -> bool:
    """Returns whether programs log to this file."""
    return path.suffix in _LOGS or path.name in ("stdout", "stderr", "report.json")


def in_processes(
    known: Iterable[Known], processes: Iterable[psutil.Process], accepted: Sequence[Accepted] = ()
) -> Iterator[Leak]:
    """Yields leaks in command lines and environments, known or named like secrets, and processes that would write their
    memory to disk.
    """
    forms = _forms_of(known)
    for process in processes:
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess, FileNotFoundError, ProcessLookupError):
            name, words, environ = _name(process), "\0".join(process.cmdline()), process.environ()
            limit = _LIMITS_LINE.search(Path(f"/proc/{process.pid}/limits").read_text())
            if limit and limit[1] != "0":
                yield Leak("memory, at a crash,", f"a core file of process {name} (limit {limit[1]})")
            yield from _found(forms, words.encode(), f"the command line of process {name}")
            named = {each.name.removeprefix("$") for each in secrets_of(environ)}
            for variable, value in environ.items():
                where = f"process {name}: {variable}"
                if any(fnmatch(where, each.pattern) for each in accepted):
                    continue
                if variable in named:
                    yield Leak("a value named like a secret", where)
                yield from _found(forms, value.encode(), where)


def of_folder(folder: Path, since: float) -> list[psutil.Process]:
    """Returns the other processes started since a time whose command line or environment names a folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.create_time() < since - _START_IS_EARLY or process.pid == os.getpid():
                continue
            texts = (*process.cmdline(), *process.environ().values(), process.cwd())
            if any(str(folder) in each for each in texts):
                found.append(process)
    return found


def _in_file(forms: _Forms, path: Path) -> Iterator[Leak]:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(18)
        if head.startswith(_ELF) and len(head) == 18 and head[16] == _CORE_TYPE:
            yield Leak("memory", f"a core file, {path}")
            return
        file.seek(0)
        found: dict[Leak, None] = {}
        if head.startswith(_GZIP):
            with suppress(OSError, EOFError):
                found |= dict.fromkeys(_found(forms, gzip.decompress(file.read()), str(path)))
        for start in range(0, size, _AT_A_TIME):
            file.seek(start)
            found |= dict.fromkeys(_found(forms, file.read(_AT_A_TIME + _LONGEST), str(path)))
        yield from found


def _found(forms: _Forms, content: bytes, where: str) -> Iterator[Leak]:
    for name, of in forms.items():
        if any(form in content for form in of):
            yield Leak(name, where)
    for name, pattern in SHAPES.items():
        if pattern.search(content):
            yield Leak(name, where)


def _forms_of(known: Iterable[Known]) -> _Forms:
    found: dict[str, set[bytes]] = {}
    for each in known:
        if len(each.value) >= _SHORTEST:
            found.setdefault(each.name, set()).update(_forms(each.value))
    return found


def _forms(value: str) -> set[bytes]:
    """Returns the value's usual forms: as it is, quoted for a URL, escaped in JSON, in base64."""
    plain = value.encode()
    encoded = {base64.b64encode(plain).rstrip(b"="), base64.urlsafe_b64encode(plain).rstrip(b"=")}
    return {plain, quote(value, safe="").encode(), json.dumps(value)[1:-1].encode(), *encoded}


def _name(process: psutil.Process) -> str:
    """Returns the name of a process: the module of `python -m`, else the program."""
    words = process.cmdline()
    if "-m" in words[:-1]:
        return words[words.index("-m") + 1]
    return Path(words[0]).name if words else process.name()
