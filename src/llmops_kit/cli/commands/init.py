"""init: write a project of one's own."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from llmops_kit.cli.commands import Json
from llmops_kit.cli.context import Context
from llmops_kit.cli.terminal.questions import ask
from llmops_kit.cli.terminal.tables import print_json

if TYPE_CHECKING:
    from llmops_kit.cli.own_rows import OwnRows


_Kind = Annotated[
    str, typer.Argument(help="chatbot, assistant or translation. Default: chatbot, after asking.", show_default=False)
]
_Folder = Annotated[
    str, typer.Argument(help="New or empty folder of the project. Default: the name.", show_default=False)
]
_Name = Annotated[
    str, typer.Option(help="Name of project, model and endpoint. Default: the folder's.", show_default=False)
]
_Cloud = Annotated[str, typer.Option(help="Cloud of the second stack, aws or azure.", show_default=False)]
_From = Annotated[
    str,
    typer.Option(
        "--from",
        help="Take a chatbot's rows from this CSV, TSV, JSON lines or Parquet file.",
        metavar="FILE",
        show_default=False,
    ),
]
_Column = Annotated[
    list[str] | None,
    typer.Option(
        help="Column of the file for question, answer, fact or expect, if it has another name. Repeatable.",
        metavar="NAME=COLUMN",
        show_default=False,
    ),
]
_Yes = Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: take the defaults.")]


def register(app: typer.Typer) -> None:
    app.command()(init)


def init(
    context: typer.Context,
    kind: _Kind = "",
    folder: _Folder = "",
    name: _Name = "",
    cloud: _Cloud = "",
    source: _From = "",
    column: _Column = None,
    yes: _Yes = False,
    as_json: Json = False,
) -> None:
    """Write a project of your own: recipe, example data, stack files, workflows.

    It asks for the kind, the name and the cloud, unless they are given. The folder needs nothing
    but the installed kit. A folder that has files is refused, and no file is ever overwritten.

    --from takes a chatbot's rows from a file with the columns question and answer. `fact` names
    what a row is about, and `expect` the words that an answer must contain, separated by semicolons.
    The rows are checked before anything is written, as `llmops data build` does.

    llmops init
    llmops init shelf
    llmops init assistant helpdesk --cloud azure --yes
    llmops init shelf --from faq.csv --column question=Frage
    """
    from llmops_kit.cli.new_project import CLOUDS, KINDS, name_of, require_empty, write_project

    here: Context = context.obj
    if kind and kind not in KINDS and not folder:
        kind, folder = "", kind
    if folder:
        require_empty(here.cwd / folder)
    _require_terminal(yes)
    rows = _own_rows(here, source, kind, column or [])
    kind = _choice("kind", "chatbot" if rows else kind, list(KINDS), yes)
    default = name_of(here.cwd / folder) if folder else kind
    name = name or (default if yes else ask("name", default or None))
    cloud = _choice("cloud", cloud, list(CLOUDS), yes)
    place = folder or name
    written = write_project(here.cwd / place, kind, name, cloud, rows)
    if as_json:
        print_json({"folder": str(here.cwd / place), "kind": kind, "name": name, "cloud": cloud, "files": written})
    else:
        _print_next(place)


def _own_rows(here: Context, source: str, kind: str, columns: list[str]) -> "OwnRows | None":
    from llmops_kit.cli.own_rows import COLUMNS, read_own_rows

    if not source:
        if columns:
            raise typer.BadParameter("--column names a column of the file that --from gives")
        return None
    if kind not in ("", "chatbot"):
        raise typer.BadParameter(f"--from makes a chatbot, not {kind!r}: leave the kind out")
    given = {name: found for name, _, found in (each.partition("=") for each in columns)}
    if wrong := [name for name, found in given.items() if name not in COLUMNS or not found]:
        raise typer.BadParameter(
            f"--column {wrong[0]}: write NAME=COLUMN, with one of {', '.join(COLUMNS)} as the name"
        )
    return read_own_rows(here.cwd / source, source, given)


def _require_terminal(yes: bool) -> None:
    if not yes and not sys.stdin.isatty():
        raise typer.BadParameter("init asks questions, and standard input is not a terminal: add --yes")


def _choice(what: str, given: str, known: list[str], yes: bool) -> str:
    from llmops_kit.core.validation import did_you_mean

    answer = given or (known[0] if yes else ask(f"{what} ({', '.join(known)})", known[0]))
    if answer not in known:
        raise typer.BadParameter(
            f"there is no {what} {answer!r}; {did_you_mean(answer, known) or 'one of: ' + ', '.join(known)}"
        )
    return answer


def _print_next(place: str) -> None:
    print(f"wrote {place}. Next:")
    for line in (
        f"cd {place}",
        "llmops doctor",
        "llmops data build recipe.yaml",
        "llmops up --stack local",
        "llmops train recipe.yaml --stack local",
    ):
        print(f"  {line}")
    print("`llmops up` takes an installed `pulumi`. Without one, it downloads the pinned release.")
    print("Where that can't be had, it compiles the engine once, which takes minutes.")
