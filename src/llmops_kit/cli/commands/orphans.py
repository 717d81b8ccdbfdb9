"""down --orphans: list and remove orphaned resources and expired stacks."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from llmops_kit.cli.commands import progress_on_stderr
from llmops_kit.cli.context import Context, say
from llmops_kit.cli.terminal.questions import confirm
from llmops_kit.cli.terminal.tables import print_json, print_rows
from llmops_kit.core.errors import KitError

if TYPE_CHECKING:
    from llmops_kit.cli.platforms.sweep import Left, Swept


_PANEL = "Orphans (cloud)"
Orphans = Annotated[
    bool,
    typer.Option(
        "--orphans",
        help="List resources with the kit's tags that are in no stack's state, and expired stacks.",
        rich_help_panel=_PANEL,
    ),
]
Of = Annotated[
    list[str] | None,
    typer.Option(help="Only resources of this stack. Repeatable.", metavar="NAME", rich_help_panel=_PANEL),
]
Remove = Annotated[bool, typer.Option("--remove", help="Remove them; asks first.", rich_help_panel=_PANEL)]
Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="With --orphans --remove: skip the confirmation. Else no effect.")
]


def sweep_orphans(here: Context, *, of: list[str], remove: bool, data: str, yes: bool, as_json: bool) -> None:
    """Lists orphaned cloud resources (with the kit's tags, but in no stack's state) and expired stacks.

    Orphans are left by an update that was killed at the wrong moment, or by a state that was lost.

    Args:
        of: only resources of these stacks; empty: of all.
        remove: remove them, after a confirmation.
        data: also remove models, datasets, images and keys of this stack.
        yes: skip the confirmation. Resources of a stack that this backend does not know stay then, unless `of` or
            `data` names it: another backend may hold it.
    """
    from llmops_kit.cli.platforms import sweep as sweeping

    if (yes or data) and not remove:
        raise typer.BadParameter(
            "has an effect on orphans with --remove alone", param_hint="--yes" if yes else "--data"
        )
    found = sweeping.find(here.pulumi, of=[*of, *([data] if data else [])])
    fields = {
        "place": found.place,
        "left": [e.row for e in found.left],
        "expired": [e.row for e in found.expired],
        "busy": found.busy,
    }
    if as_json and not remove:
        print_json(fields)
        return
    with progress_on_stderr(as_json):
        print_rows(
            [_readable(each) for each in found.left], ["kind", "name", "stack", "age", "usd_a_month", "why"], False,
            f"{found.place}: no orphaned resources",
        )  # fmt: skip
        _tell(found)
        if remove:
            removed = _remove(here, found, named={*of, data}, data=data, yes=yes)
            fields |= {"removed": [e.row for e in removed], "taken_down": _take_down_expired(here, found, yes)}
    if as_json:
        print_json(fields)
    elif found.removable and not remove:
        print(f"{len(found.removable)} of them go with `llmops down --orphans --remove`")


def _readable(left: "Left") -> dict[str, object]:
    cost = left.thing.usd_month
    return {**left.row, "usd_a_month": "" if cost is None else f"{cost:.2f}"}


def _tell(found: "Swept") -> None:
    for name in found.busy:
        print(
            f"stack {name} is being changed: its resources were not checked; rerun when its update has ended "
            f"(if it was killed, `pulumi cancel --stack {name}` frees the stack)"
        )
    for each in found.expired:
        cost = "of unknown price" if each.usd_month is None else f"at least ${each.usd_month:.2f} a month"
        print(
            f"stack {each.stack} expired on {each.since:%Y-%m-%d %H:%M} UTC: {_count(each.things)}, {cost}; "
            f"`llmops down --stack {each.stack}` takes it down"
        )


def _remove(here: Context, found: "Swept", *, named: set[str], data: str, yes: bool) -> "list[Left]":
    """Confirm leftovers of known stacks and of unknown ones separately, then remove them."""
    from llmops_kit.cli.platforms import sweep as sweeping

    candidates = [e for e in found.left if not e.thing.keep and (not e.thing.data or e.thing.stack == data)]
    known = [e for e in candidates if e.why != sweeping.UNKNOWN_STACK or e.thing.stack in named]
    unknown = [e for e in candidates if e not in known]
    ask = (lambda _question: True) if yes else _ask
    chosen = known if known and ask(f"Remove {_count(len(known))} from {found.place}?") else []
    if unknown and not yes:
        stacks = ", ".join(sorted({e.thing.stack for e in unknown}))
        question = f"No stack {stacks} is in this backend ({here.pulumi.backend}); another one may hold it."
        chosen += unknown if ask(f"{question} Remove {_count(len(unknown))} all the same?") else []
    elif unknown:
        say(f"{_count(len(unknown))} of stacks that this backend does not know stay: `--of NAME` names one")
    if chosen:
        sweeping.remove(here.pulumi, chosen, say)
        print(f"{_count(len(chosen))} removed")
    return chosen


def _take_down_expired(here: Context, found: "Swept", yes: bool) -> list[str]:
    """Take expired stacks down; returns them."""
    from llmops_kit.cli.deploying import deploy

    done = []
    for each in found.expired:
        if not here.project.stack_file(each.stack).is_file():
            print(f"stack {each.stack} has no file in {here.project.folder}: take it down from where it has one")
        elif yes or _ask(f"Take the expired stack {each.stack} down (models, datasets and keys stay)?"):
            deploy.down(here.open_stack(each.stack), say)
            done.append(each.stack)
    return done


def _ask(question: str) -> bool:
    """Raises KitError if standard input is not a terminal."""
    if not sys.stdin.isatty():
        raise KitError(
            "--remove needs a confirmation, and standard input is not a terminal", fix="add --yes; nothing was removed"
        )
    return confirm(question)


def _count(number: int) -> str:
    return f"{number} thing{'' if number == 1 else 's'}"
