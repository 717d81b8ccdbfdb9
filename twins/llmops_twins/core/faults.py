"""Faults on request: failures that occur on a cloud now and then, injected when a test needs them. The mechanism is the
same for every twin; each cloud lists its kinds.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from llmops_kit.core.validation import did_you_mean

Fault = dict[str, Any]
_FORMS = {
    "pattern": "a name, or a pattern of names such as chat-*",
    "number": "a number, 0 or more",
    "count": "a whole number, 0 or more",
}


class FaultError(ValueError):
    """Error for an unknown fault or member; its text lists the known ones."""


@dataclass(frozen=True)
class Member:
    """A member of a fault; required if it has no default."""

    form: Literal["pattern", "number", "count"]
    default: Any = None

    def read(self, value: Any) -> Any:
        """Returns the value in the member's type; a text from the command line may be a number.

        Raises:
            FaultError: the value has another type.
        """
        if self.form == "pattern":
            if isinstance(value, str) and value:
                return value
        elif not isinstance(value, bool):
            try:
                number = int(value) if self.form == "count" and isinstance(value, str) else float(value)
                if number >= 0 and (self.form == "number" or number == int(number)):
                    return int(number) if number == int(number) else number
            except (TypeError, ValueError, OverflowError):
                pass
        raise FaultError(f"{value!r} is not {_FORMS[self.form]}")

    def __str__(self) -> str:
        default = "" if self.default is None else f"; {'any' if self.default == '' else self.default} unless given"
        return _FORMS[self.form] + default


@dataclass(frozen=True)
class Kind:
    """A kind of fault: its effect, in one sentence for users, and its members."""

    does: str
    members: Mapping[str, Member]


def read_kinds(path: Path) -> dict[str, Kind]:
    """Returns the kinds of a cloud's file and those of containers, which every cloud has.

    The member `times` limits how often a fault happens; 0: until faults are cleared.
    """
    found = json.loads(path.read_text()) | json.loads(Path(__file__).with_suffix(".json").read_text())
    members = {name: {m: Member(*form) for m, form in kind["members"].items()} for name, kind in found.items()}
    return {name: Kind(kind["does"], members[name]) for name, kind in found.items()}


class Faults:
    """The active faults, kept in a twin's state. `met` counts how often each has happened.

    Args:
        kinds: the kinds of this cloud.
        state: the twin's state; its member "faults" holds them.
        changed: called after each change.
    """

    def __init__(self, kinds: Mapping[str, Kind], state: dict[str, Any], changed: Callable[[], None]) -> None:
        self.kinds = kinds
        self._state = state
        self._changed = changed

    def all(self) -> dict[str, list[Fault]]:
        return self._state.setdefault("faults", {})

    def add(self, kind: Any, given: Mapping[str, Any]) -> None:
        """Adds a fault.

        Raises:
            FaultError: the kind does not exist, or a member is missing, unknown or of another type.
        """
        if not isinstance(kind, str) or kind not in self.kinds:
            raise FaultError(f"no fault {kind!r}{_meant(str(kind), self.kinds)}; there are: {', '.join(self.kinds)}")
        members = self.kinds[kind].members
        told = f"the fault {kind} has {_list(members)}"
        if unknown := sorted(given.keys() - members.keys()):
            raise FaultError(f"no member {unknown[0]!r}{_meant(unknown[0], members)}: {told}")
        if missing := [n for n, member in members.items() if member.default is None and n not in given]:
            raise FaultError(f"{missing[0]} is missing: {told}")
        fault: Fault = {}
        for name, member in members.items():
            try:
                fault[name] = member.read(given[name]) if name in given else member.default
            except FaultError as e:
                raise FaultError(f"{name}: {e}: {told}") from None
        self.all().setdefault(kind, []).append({**fault, "met": 0})
        self._changed()

    def find(self, kind: str, **subject: str) -> Fault | None:
        """Returns the first fault of a kind whose patterns match, without using it up."""
        return next(self.matching(kind, **subject), None)

    def matching(self, kind: str, **subject: str) -> Iterator[Fault]:
        """Yields the faults of a kind whose patterns match, without using them up."""
        if not self._state.get("faults"):
            return
        for fault in self.all().get(kind, []):
            if all(fnmatchcase(value, str(fault[name])) for name, value in subject.items()):
                yield fault

    def take(self, kind: str, **subject: str) -> Fault | None:
        """Returns the first fault of a kind whose patterns match, and uses it up once; removes it after the last
        time.
        """
        fault = self.find(kind, **subject)
        if fault:
            self.use(kind, fault)
        return fault

    def use(self, kind: str, fault: Fault) -> None:
        """Uses an active fault up once; removes it after the last time."""
        fault["met"] = fault.get("met", 0) + 1  # faults saved by earlier versions have no count
        if fault.get("times"):
            fault["times"] -= 1
            if not fault["times"]:
                self.all()[kind].remove(fault)
        self._changed()

    def clear(self) -> None:
        self.all().clear()
        self._changed()


def _list(members: Mapping[str, Member]) -> str:
    return ", ".join(f"{name} ({member})" for name, member in members.items())


def _meant(given: str, known: Mapping[str, Any]) -> str:
    meant = did_you_mean(given, known)
    return f" ({meant})" if meant else ""
