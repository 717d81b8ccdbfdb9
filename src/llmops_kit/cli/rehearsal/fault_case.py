"""Reads the faults that a rehearsal can inject, and their expected ends (clouds/faults.toml)."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from llmops_kit.core.errors import NotFoundError
from llmops_kit.core.validation import did_you_mean

End = Literal["recovered", "refused"]
"""Whether the step recovers by itself, or a clear error names the fix, which then works."""


@dataclass(frozen=True)
class FaultCase:
    """A fault of the twin (core/faults.py), the step in which it is injected, and its expected end.

    A member that is not known in advance is a function of the stage. The error must contain `says`. If it contains
    `meanwhile`, nothing was lost, and the step is retried, as a client does, until it succeeds.
    """

    name: str
    step: str
    does: str
    end: End
    members: Mapping[str, Any] = field(default_factory=dict)
    says: str = ""
    fix: str = ""
    meanwhile: str = ""


def cases_of(cloud: str) -> tuple[FaultCase, ...]:
    """Returns the fault cases of a cloud's twin."""
    rows = tomllib.loads(Path(__file__).with_name("clouds").joinpath("faults.toml").read_text())["case"]
    return tuple(_case(row, cloud) for row in rows if cloud in row.pop("clouds", (cloud,)))


def _case(row: Mapping[str, Any], cloud: str) -> FaultCase:
    fields: dict[str, Any] = {k: v.get(cloud, v) if isinstance(v, dict) else v for k, v in row.items()}
    fields["members"] = {k: _after_the_roles if v == _LATER else v for k, v in fields["members"].items()}
    return FaultCase(**fields)


def _after_the_roles(stage: Any) -> float:
    """Returns the seconds since the roles were created, and 30, so that the first job starts before they work."""
    return stage.timeline.now() - stage.notes["roles made"] + 30


_LATER = "after the roles"


def table(cases: Iterable[FaultCase]) -> str:
    """Returns the cases as the table of docs/how-to/rehearsal.md."""
    lines = ["| `--fault` | what goes wrong | in the step | how it ends |", "|---|---|---|---|"]
    for case in cases:
        end = "recovered" if case.end == "recovered" else f'refused, with "{case.says}"; the fix: {case.fix}'
        lines.append(f"| `{case.name}` | {case.does} | `{case.step}` | {end} |")
    return "\n".join(lines) + "\n"


def find(cases: Iterable[FaultCase], name: str) -> FaultCase:
    """Returns the case with a name.

    Raises:
        KitError: there is none.
    """
    known = {case.name: case for case in cases}
    if name not in known:
        raise NotFoundError(
            f"there is no fault {name}", where="--fault", fix=did_you_mean(name, known) or f"one of {', '.join(known)}"
        )
    return known[name]
