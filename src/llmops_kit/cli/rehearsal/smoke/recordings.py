"""Writes and reads recordings of smoke tests, and compares a cloud's with its twin's.

The comparison covers statuses, error codes, and the members of responses with their types; not values, which differ by
nature (ids, times, sizes).
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llmops_kit.cli import __version__
from llmops_kit.cli.platforms.exchanges import BYTES, MASK, TIME, recorded
from llmops_kit.cli.terminal.plain_text import printable
from llmops_kit.core.errors import KitError
from llmops_kit.local_runtime.files import write_atomic

SCHEMA = "smoke-recording/1"
_DEEPEST = 50
_ITEMS = ("[]", "*")  # whether a list or a map has any differs by nature
_CALL, _OUTCOME, _FIELD, _TYPE = "not asked", "outcome", "field", "type"


@dataclass(frozen=True)
class Difference:
    """A difference of two recordings. `kind`: not asked, outcome, field, type. `path`: of a member of the response."""

    call: str
    kind: str
    path: str
    cloud: str
    twin: str

    @property
    def line(self) -> str:
        where = f": {self.path}" if self.path else ""
        line = f"{self.call}{where}: {self.cloud} on the cloud, {self.twin} on the twin"
        return printable(line).replace("\n", " ")  # a recording may be a stranger's

    @property
    def row(self) -> dict[str, str]:
        return asdict(self)


def write(path: Path, target: str, twin: bool, folder: Path) -> None:
    """Writes the exchanges that were recorded into a folder as one file. `twin`: whether a twin responded."""
    fields = {"schema": SCHEMA, "target": target, "twin": twin, "kit_version": __version__}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps({**fields, "exchanges": recorded(folder)}, indent=1) + "\n")


def read(path: Path, target: str) -> list[dict[str, Any]]:
    """Returns the exchanges of a recording.

    Raises:
        KitError: it is not a recording, or of another cloud.
    """
    try:
        document = json.loads(path.read_text())
        if document["schema"] != SCHEMA:
            raise ValueError(f"its schema is {document['schema']}")
        if document["target"] != target:
            raise ValueError(f"it is of {document['target']}")
        exchanges = document["exchanges"]
        for each in exchanges:
            known = (each["call"], str), (each["status"], int), (each["code"], str), (each["answer"], object)
            if not all(isinstance(value, kind) for value, kind in known):
                raise TypeError("an exchange has members of other types")
            _require_depth(each["answer"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as e:
        raise KitError(
            f"no recording of a smoke test on {target}: {e}",
            where=str(path),
            fix=f"`llmops smoke {target} --record {path.name}` writes one",
        ) from e
    return exchanges


def _require_depth(value: Any, left: int = _DEEPEST) -> None:
    if left < 0:
        raise ValueError(f"an answer is nested deeper than {_DEEPEST} times")
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _require_depth(each, left - 1)


def differences(cloud: Iterable[dict[str, Any]], twin: Iterable[dict[str, Any]]) -> list[Difference]:
    """Returns the differences of a twin's recording from a cloud's, by call."""
    there, here = _by_call(cloud), _by_call(twin)
    found: list[Difference] = []
    for call in sorted({*there, *here}):
        if call not in here:
            found.append(Difference(call, _CALL, "", "asked", "not asked"))
        elif call not in there:
            found.append(Difference(call, _CALL, "", "not asked", "asked"))
        else:
            found += _outcomes(call, there[call], here[call])
            found += _fields(call, there[call], here[call])
    return found


def _by_call(exchanges: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for each in exchanges:
        found.setdefault(each["call"], []).append(each)
    return found


def _outcomes(call: str, there: list[dict[str, Any]], here: list[dict[str, Any]]) -> Iterator[Difference]:
    """Yields the statuses and codes that only one of them returned."""
    cloud, twin = ({f"{e['status']} {e['code']}".strip() for e in exchanges} for exchanges in (there, here))
    for each in sorted(cloud - twin):
        yield Difference(call, _OUTCOME, "", each, "never")
    for each in sorted(twin - cloud):
        yield Difference(call, _OUTCOME, "", "never", each)


def _fields(call: str, there: list[dict[str, Any]], here: list[dict[str, Any]]) -> Iterator[Difference]:
    """Yields members that all responses of one side have and none of the other; only the topmost of each branch."""
    cloud, twin = _Shape.of(there), _Shape.of(here)
    if not cloud.types or not twin.types:
        return
    for one, other, words in ((cloud, twin, ("there", "missing")), (twin, cloud, ("missing", "there"))):
        for path in sorted(one.always - other.types.keys()):
            if _parent(path) in other.types and not path.endswith(_ITEMS):
                yield Difference(call, _FIELD, path, *words)
    for path in sorted(cloud.types.keys() & twin.types.keys()):
        if not (cloud.types[path] & twin.types[path] or {"null"} in (cloud.types[path], twin.types[path])):
            yield Difference(
                call, _TYPE, path, " or ".join(sorted(cloud.types[path])), " or ".join(sorted(twin.types[path]))
            )


@dataclass(frozen=True)
class _Shape:
    """Members of a call's successful responses: the types of each path, and the paths that all responses have."""

    types: dict[str, set[str]]
    always: set[str]

    @classmethod
    def of(cls, exchanges: list[dict[str, Any]]) -> "_Shape":
        types: dict[str, set[str]] = {}
        always: set[str] | None = None
        for each in exchanges:
            if each["status"] >= 400:
                continue
            paths: dict[str, set[str]] = {}
            _walk(each["answer"], "", paths)
            always = set(paths) if always is None else always & set(paths)
            for path, kinds in paths.items():
                types.setdefault(path, set()).update(kinds)
        return cls(types, always or set())


def _walk(value: Any, path: str, found: dict[str, set[str]]) -> None:
    found.setdefault(path, set()).add(_type(value))
    if isinstance(value, dict):
        for key, each in value.items():
            _walk(each, f"{path}.{'*' if key.startswith(MASK) else key}".lstrip("."), found)
    elif isinstance(value, list):
        for each in value:
            _walk(each, f"{path}[]", found)


def _parent(path: str) -> str:
    """Returns the parent of `a.b[].c`, which is `a.b[]`; or of `a.b[]`, which is `a.b`."""
    return path[:-2] if path.endswith("[]") else path.rpartition(".")[0]


def _type(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return {TIME: "time", BYTES: "bytes"}.get(value, "text")
    return "list" if isinstance(value, list) else "object"
