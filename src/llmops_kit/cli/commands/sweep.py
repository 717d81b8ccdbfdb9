"""sweep: list and remove orphaned resources and expired stacks."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from llmops_kit.cli.commands import Json, progress_on_stderr
from llmops_kit.cli.context import Context, say
from llmops_kit.cli.terminal.tables import print_json, print_rows
from llmops_kit.contract.errors import KitError

if TYPE_CHECKING:
    from llmops_kit.cli.platforms.sweep import Left, Swept

_PANEL = "Deployment"


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=_PANEL)(sweep)


def sweep(
    context: typer.Context,
    of: Annotated[
        list[str] | None, typer.Option(help="Only resources of this stack. Repeatable.", metavar="NAME")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove them; asks first.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --remove: skip the confirmation.")] = False,
    data: Annotated[
        str,
        typer.Option(
            help="With --remove: also remove models, datasets, images and keys of this stack.", metavar="NAME"
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """List orphaned cloud resources (with the kit's tags, but in no stack's state) and expired stacks.

    It looks through the stack's account and region on AWS, through its subscription on Azure.

    Orphans are left by an update that was killed at the wrong moment, or by a state
    that was lost. Models, datasets, images and keys stay, unless --data names their
    stack. What is of a stack that this backend does not know may be another backend's:
    with --yes it stays too, unless --of or --data names that stack.

    llmops sweep
    llmops sweep --remove
    llmops sweep --remove --yes --of old-trial
    """
    from llmops_kit.cli.platforms import sweep as sweeping

    here: Context = context.obj
    if (yes or data) and not remove:
        raise typer.BadParameter("has an effect with --remove alone", param_hint="--yes" if yes else "--data")
    found = sweeping.find(here.pulumi, of=[*(of or []), *([data] if data else [])])
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
            f"{found.place}: nothing is left over",
        )  # fmt: skip
        _tell(found)
        if remove:
            removed = _remove(here, found, named={*(of or []), data}, data=data, yes=yes)
            fields |= {"removed": [e.row for e in removed], "taken_down": _take_down_expired(here, found, yes)}
    if as_json:
        print_json(fields)
    elif found.removable and not remove:
        print(f"{len(found.removable)} of them go with `llmops sweep --remove`")


def _readable(left: "Left") -> dict[str, object]:
    cost = left.thing.usd_month
    return {**left.row, "usd_a_month": "" if cost is None else f"{cost:.2f}"}


def _tell(found: "Swept") -> None:
    for name in found.busy:
        print(f"stack {name} is being changed: what is its was not judged; look again when its update has ended")
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
    from llmops_kit.cli.stacks import deploy

    done = []
    for each in found.expired:
        if not here.project.stack_file(each.stack).is_file():
            print(f"stack {each.stack} has no file in {here.project.folder}: take it down from where it has one")
        elif yes or _ask(f"Take the expired stack {each.stack} down (models, datasets and keys stay)?"):
            deploy.down(here.open_stack(each.stack), say)
            done.append(each.stack)
    return done


def _ask(question: str) -> bool:
    """Raises KitError if standard input is no terminal."""
    if not sys.stdin.isatty():
        raise KitError(
            "--remove needs a confirmation, and standard input is no terminal", fix="add --yes; nothing was removed"
        )
    return typer.confirm(question)


def _count(number: int) -> str:
    return f"{number} thing{'' if number == 1 else 's'}"
