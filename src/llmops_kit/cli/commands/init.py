"""init: write a project of one's own."""

import sys
from typing import Annotated

import typer

from llmops_kit.cli.commands import Json
from llmops_kit.cli.context import Context
from llmops_kit.cli.terminal.tables import print_json


def register(app: typer.Typer) -> None:
    app.command()(init)


def init(
    context: typer.Context,
    kind: Annotated[
        str,
        typer.Argument(help="chatbot, assistant or translation. Default: chatbot, after asking.", show_default=False),
    ] = "",
    folder: Annotated[
        str, typer.Argument(help="New or empty folder of the project. Default: the name.", show_default=False)
    ] = "",
    name: Annotated[
        str, typer.Option(help="Name of project, model and endpoint. Default: the folder's.", show_default=False)
    ] = "",
    cloud: Annotated[str, typer.Option(help="Cloud of the second stack, aws or azure.", show_default=False)] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: take the defaults.")] = False,
    as_json: Json = False,
) -> None:
    """Write a project of your own: recipe, example data, stack files, workflows.

    It asks for the kind, the name and the cloud, unless they are given. The folder needs nothing
    but the installed kit. A folder that has files is refused, and no file is ever overwritten.

    llmops init
    llmops init shelf
    llmops init assistant helpdesk --cloud azure --yes
    """
    from llmops_kit.cli.new_project import CLOUDS, KINDS, name_of, require_empty, write_project

    here: Context = context.obj
    if kind and kind not in KINDS and not folder:
        kind, folder = "", kind
    if folder:
        require_empty(here.cwd / folder)
    _require_terminal(yes)
    kind = _choice("kind", kind, list(KINDS), yes)
    default = name_of(here.cwd / folder) if folder else kind
    name = name or (default if yes else typer.prompt("name", default=default or None, err=True))
    cloud = _choice("cloud", cloud, list(CLOUDS), yes)
    written = write_project(here.cwd / (folder or name), kind, name, cloud)
    place = folder or name
    if as_json:
        print_json({"folder": str(here.cwd / place), "kind": kind, "name": name, "cloud": cloud, "files": written})
    else:
        _print_next(place)


def _require_terminal(yes: bool) -> None:
    if not yes and not sys.stdin.isatty():
        raise typer.BadParameter("init asks questions, and standard input is not a terminal: add --yes")


def _choice(what: str, given: str, known: list[str], yes: bool) -> str:
    from llmops_kit.core.validation import did_you_mean

    answer = given or (known[0] if yes else typer.prompt(f"{what} ({', '.join(known)})", default=known[0], err=True))
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
