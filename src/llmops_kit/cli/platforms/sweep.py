"""Finds resources that carry the kit's tags and are in no stack's state, and removes them on request."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.cli.interfaces.sweeper import RUN, Sweeper, Thing
from llmops_kit.cli.platforms import registry
from llmops_kit.cli.stacks.backend import folder_of
from llmops_kit.cli.stacks.locks import locks_of
from llmops_kit.cli.stacks.stack import PulumiStack
from llmops_kit.core.errors import KitError
from llmops_kit.core.expiry import expired_since

NOT_IN_STATE = "not in its stack's state"
UNKNOWN_STACK = "no stack of this name in this backend"


@dataclass(frozen=True)
class Left:
    """A resource that is in no stack's state."""

    thing: Thing
    why: str

    @property
    def row(self) -> dict[str, Any]:
        thing = self.thing
        return {
            "kind": thing.kind,
            "name": thing.name,
            "stack": thing.stack,
            "age": age(thing.created),
            "usd_month": thing.usd_month,
            "why": f"{self.why}; {thing.keep}" if thing.keep else self.why,
            "keep": thing.keep,
            "data": thing.data,
            "id": thing.id,
            "created": thing.created.isoformat() if thing.created else "",
        }


@dataclass(frozen=True)
class Expired:
    """A stack whose `expires` has passed, and which still has more than its data."""

    stack: str
    since: datetime
    things: int
    usd_month: float | None
    """Total of the known prices; None: no price is known."""

    @property
    def row(self) -> dict[str, Any]:
        return {
            "stack": self.stack,
            "expired": self.since.isoformat(),
            "things": self.things,
            "usd_month": self.usd_month,
        }


@dataclass(frozen=True)
class Swept:
    """Result of a sweep."""

    place: str
    """Account and region, or subscription, for display."""
    left: list[Left]
    expired: list[Expired] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)
    """Stacks that are being updated; their resources were skipped."""

    @property
    def removable(self) -> list[Left]:
        """Leftovers that may be removed without confirmation: no data, and only of stacks that this backend knows."""
        return [each for each in self.left if not (each.thing.data or each.thing.keep or each.why == UNKNOWN_STACK)]


def find(stack: PulumiStack, *, of: Collection[str] = ()) -> Swept:
    """Finds leftovers in the account and region of a stack.

    Args:
        stack: any stack of the project there; its backend is the one whose states count.
        of: names of the stacks whose resources are considered; empty: all of the project.

    Raises:
        KitError: the cloud or the backend can't be read, or the target has no cloud.
    """
    sweeper = registry.sweeper(stack)
    things = [t for t in sweeper.things(stack.project.name) if not of or t.stack in of]
    known: dict[str, dict[str, Any]] = {}
    owned: set[str] = set()
    for project, name, state in states(stack):
        owned |= set(_references(state.get("resources") or []))
        if project == stack.project.name and _lives_here(sweeper, state):
            known[name] = state
    busy = sorted(name for name in known if _is_busy(stack, name))
    left = {t.id: t for t in things if not (t.id.lower() in owned or t.stack in busy or _is_a_run(t, known))}
    why = {True: NOT_IN_STATE, False: UNKNOWN_STACK}
    found = [Left(_kept(thing, left), why[thing.stack in known]) for thing in left.values()]
    return Swept(sweeper.place, found, list(_expired([t for t in things if t.stack in known])), busy)


def remove(stack: PulumiStack, left: Collection[Left], say: Say) -> None:
    """Removes leftovers, except those that must be kept or are gone already.

    Raises:
        KitError: some could not be removed; the others were.
    """
    problems = registry.sweeper(stack).remove([each.thing for each in left if not each.thing.keep], say)
    if problems:
        raise KitError(
            f"{len(problems)} of {len(left)} could not be removed:\n  " + "\n  ".join(problems),
            where=registry.sweeper(stack).place,
            fix="repeat the command: some resources can be removed only after others",
        )


def states(stack: PulumiStack) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yields (project, name, state) of every stack in the backend of a stack."""
    for full in stack.siblings():
        *above, name = full.split("/")  # [organization, project,] stack
        yield (above[-1] if above else stack.project.name), name, stack.export(full)


def age(created: datetime | None, now: datetime | None = None) -> str:
    """Returns how long something has existed, such as `3 d`; empty if its cloud does not say."""
    if created is None:
        return ""
    seconds = max(0.0, ((now or datetime.now(UTC)) - created).total_seconds())
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _references(resources: Collection[Mapping[str, Any]]) -> Iterator[str]:
    """Yields all ids that a state's resources have or refer to, in lower case: a resource that is used is no leftover.

    (Azure's ids are case-insensitive, and its services differ in the case that they return.)
    """
    for resource in resources:
        yield from _texts([resource.get("id"), resource.get("outputs"), resource.get("inputs")])


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value.removesuffix(":*").lower()  # which some AWS responses add to a log group's ARN
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _lives_here(sweeper: Sweeper, state: Mapping[str, Any]) -> bool:
    resources = state.get("resources") or []
    root = next((r for r in resources if str(r.get("type")) == "pulumi:pulumi:Stack"), {})
    return not resources or sweeper.lives_here(root.get("outputs") or {})


def _is_a_run(thing: Thing, known: Mapping[str, Mapping[str, Any]]) -> bool:
    """Returns whether it is a run of an existing stack: runs are events, which no state has."""
    return thing.kind == RUN and bool(known.get(thing.stack, {}).get("resources"))


def _kept(thing: Thing, left: Mapping[str, Thing]) -> Thing:
    """Adds the reason to keep a resource that something other than a leftover uses."""
    in_use = thing.needed_by and thing.needed_by not in left
    user = "/".join(thing.needed_by.rpartition(":")[2].split("/")[-2:])  # endpoint/chatbot
    return replace(thing, keep=f"{user} uses it") if in_use else thing


def _expired(things: Collection[Thing]) -> Iterator[Expired]:
    by_stack: dict[str, list[Thing]] = {}
    for thing in things:
        if not thing.data and expired_since(thing.expires):
            by_stack.setdefault(thing.stack, []).append(thing)
    for stack, theirs in sorted(by_stack.items()):
        since = min(filter(None, (expired_since(t.expires) for t in theirs)))
        costs = [t.usd_month for t in theirs if t.usd_month is not None]
        yield Expired(stack, since, len(theirs), sum(costs) if costs else None)


def _is_busy(stack: PulumiStack, name: str) -> bool:
    """Returns whether an update of a stack of this backend is in progress, whose new resources its state may not have
    yet.
    """
    project = stack.project.name
    look = registry.state_locks(stack, name)
    if look is None and stack.backend.startswith("file://"):
        look = partial(locks_of, folder_of(stack.backend), name, project)
    if look is None:
        return False  # Pulumi's service itself prevents concurrent updates
    return bool(look())
