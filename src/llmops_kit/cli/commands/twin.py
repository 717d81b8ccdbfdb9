"""twin: local emulators of AWS and Azure. The subcommands are those of `twins` (cli.py)."""

from contextlib import suppress
from functools import partial
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution
from pathlib import Path
from typing import Annotated

import typer

from llmops_kit.cli.commands import Json, Verbs
from llmops_kit.cli.context import Context, say
from llmops_kit.core.errors import KitError


def _plugins() -> list[EntryPoint]:
    """Returns the commands of the installed twins: each is called with the class of its application, the words before
    its verbs, and a function that finds a twin's folder.
    """
    with suppress(PackageNotFoundError):
        return [*distribution("llmops-twins").entry_points.select(group="llmops.twins")]
    return []


_PLUGINS = _plugins()
_INSTALL = "" if _PLUGINS else " Not installed: pip install 'llmops-kit\\[twins]'."
twin = Verbs(no_args_is_help=True, help=f"Run local emulators of AWS and Azure.{_INSTALL}")


def register(app: typer.Typer) -> None:
    """Add the subcommands."""
    app.add_typer(twin, name="twin")


@twin.command("replay", no_args_is_help=True)
def replay(
    context: typer.Context,
    cloud: Annotated[str, typer.Argument(help="Cloud of the recording: aws or azure.", metavar="CLOUD")],
    recording: Annotated[Path, typer.Argument(help="Recording, written by `llmops smoke --record`.", metavar="FILE")],
    against: Annotated[
        Path | None,
        typer.Option(help="Earlier recording of the twin, used instead of starting one.", metavar="FILE"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare a recording of a real account with the twin, and print the differences.

    Runs the smoke test on a temporary twin, which takes minutes. Compares statuses, error codes
    and the fields of responses, but not ids, times and other values. Exit code 1: they differ.

    llmops smoke aws --record aws.json
    llmops twin replay aws aws.json
    """
    from rich.console import Console

    from llmops_kit.cli.rehearsal.clouds import find_cloud
    from llmops_kit.cli.rehearsal.smoke.replay import replay
    from llmops_kit.cli.terminal.tables import print_json

    here: Context = context.obj
    paths = [each and (here.cwd / each).absolute() for each in (recording, against)]
    assert paths[0]
    found = replay(find_cloud(cloud), here.project, paths[0], paths[1], Console(stderr=True, highlight=False), say)
    if as_json:
        print_json([each.row for each in found])
    else:
        for each in found:
            print(each.line)
        print(f"{len(found)} differences" if found else "no differences")
    if found:
        raise typer.Exit(1)


def _find_home(word: str, context: typer.Context, given: Path | None) -> Path:
    """Return the twin's folder: the given one, or that of the current project."""
    here: Context = context.obj
    if given:
        return (here.cwd / given.expanduser()).absolute()
    try:
        return here.project.folder / f".llmops/twins/{word}"
    except KitError as e:
        raise KitError(e.what, where=e.where, fix=f"{e.fix}; or name the twin's folder: --home FOLDER") from None


for _plugin in _PLUGINS:
    _word = _plugin.name
    twin.add_typer(_plugin.load()(Verbs, f"llmops twin {_word}", partial(_find_home, _word)), name=_word)
