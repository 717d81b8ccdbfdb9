"""data: a recipe's data, fetched and looked at."""

from pathlib import Path
from typing import Annotated

import typer

from llmops.commands import Json
from llmops.context import Context, say
from llmops.terminal.tables import print_json, print_rows

data = typer.Typer(no_args_is_help=True, help="A recipe's data: fetch it from where it lies.")


def register(app: typer.Typer) -> None:
    app.add_typer(data, name="data", rich_help_panel="Runs and models")


@data.command("collect")
def collect_data(
    context: typer.Context,
    recipe: Annotated[Path, typer.Argument(help="The recipe's file.", metavar="RECIPE")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to fill; without it one in the cache for each recipe.", metavar="FOLDER"),
    ] = None,
    max_gb: Annotated[int, typer.Option(help="Largest file that is fetched or unpacked, in GB.", min=1)] = 64,
    as_json: Json = False,
) -> None:
    """Fetch a recipe's data sources, as they lie, into a folder with receipts.jsonl.

    data.sources of a recipe, each with a licence:

    source: logs/*.jsonl.gz           below the recipe's folder
    source: folder:~/data             another folder on this machine
    source: s3://bucket/**/*.parquet  with this shell's AWS credentials
    source: az://account/box/*.csv    with this shell's Azure credentials
    source: https://host/pages.zip    `files: "**/*.html"` takes a part
    source: hub:org/name              a dataset at `revision: COMMIT`
    source: package:django==5.2       a wheel's files, which are never run

    JSON lines, JSON, CSV, TSV, Parquet, text, Markdown, HTML, .po and .mo;
    each but Parquet also as .gz or .zst; all in .zip, .tar, .tar.gz, .tar.zst.

    Repeat it whenever you like: what has not changed is not fetched again,
    and what was interrupted is resumed.

    llmops data collect recipes/chatbot.yaml
    llmops data collect recipes/chatbot.yaml --out /data/chatbot
    """
    from llmops.data.collect import collect, default_folder
    from llmops.data.items import FetchLimits
    from llmops.runs.runs import parse_recipe

    here: Context = context.obj
    path = here.cwd / recipe
    sources = parse_recipe(path).data.sources
    folder = here.cwd / out if out else default_folder(path)
    limits = FetchLimits(file=max_gb * 10**9)
    # The stack is asked for a secret alone: data can be collected before there is one.
    found = collect(
        sources, path.parent, folder, secret=lambda name: here.platform.secret(name), say=say, limits=limits
    )
    rows = [
        {"path": each.path, "rows": each.rows, "bytes": each.bytes, "licence": each.licence, "sha256": each.sha256}
        for each in found.files
    ]
    if as_json:
        print_json({"folder": str(found.folder), "fetched": found.fetched, "files": rows})
        return
    print_rows(rows, ["path", "rows", "bytes", "licence"], as_json=False)
    say(f"{len(rows)} files in {found.folder}; fetched {found.fetched}")
