"""data: fetch, prepare and inspect a recipe's data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmops_kit.cli.commands import Json, Verbs
from llmops_kit.cli.context import Context, say
from llmops_kit.cli.terminal.tables import print_json, print_rows

if TYPE_CHECKING:
    from llmops_kit.cli.data.dataset_versions import DatasetFolder
    from llmops_kit.core.documents.recipe import Recipe

data = Verbs(no_args_is_help=True, help="Fetch a recipe's data; build and inspect dataset versions.")


def register(app: typer.Typer) -> None:
    app.add_typer(data, name="data")


@data.command("collect")
def collect_data(
    context: typer.Context,
    recipe: Annotated[Path, typer.Argument(help="The recipe's file.", metavar="RECIPE")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to write to. Default: one per recipe in the cache.", metavar="FOLDER"),
    ] = None,
    max_gb: Annotated[int, typer.Option(help="Maximum size of a fetched or unpacked file, in GB.", min=1)] = 64,
    as_json: Json = False,
) -> None:
    """Fetch a recipe's data sources, unchanged, into a folder with receipts.jsonl.

    Sources that `data.sources` of a recipe can list, each with a licence:

      source: logs/*.jsonl.gz           below the recipe's folder
      source: folder:~/data             another folder on this machine
      source: s3://bucket/**/*.parquet  with this shell's AWS credentials
      source: az://account/box/*.csv    with this shell's Azure credentials
      source: https://host/pages.zip    `files: "**/*.html"` selects files
      source: hub:org/name              a dataset at `revision: COMMIT`
      source: package:django==5.2       a wheel's files, which are never run

    Formats: JSON lines, JSON, CSV, TSV, Parquet, text, Markdown, HTML, .po and .mo; each but
    Parquet also as .gz or .zst; all of them also in .zip, .tar, .tar.gz and .tar.zst.

    Safe to repeat: unchanged files are not fetched again, and interrupted downloads resume.

    llmops data collect recipes/chatbot.yaml
    llmops data collect recipes/chatbot.yaml --out /data/chatbot
    """
    from llmops_kit.cli.data.collect import collect, default_folder
    from llmops_kit.cli.data.items import FetchLimits
    from llmops_kit.cli.runs.runs import parse_recipe

    here: Context = context.obj
    path = here.cwd / recipe
    sources = parse_recipe(path).data.sources
    folder = here.cwd / out if out else default_folder(path)
    limits = FetchLimits(file=max_gb * 10**9)
    # The stack is opened only for a secret: data can be collected before the stack exists.
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


_Folder = Annotated[Path, typer.Argument(help="Folder of a dataset version.", metavar="FOLDER")]


@data.command("build")
def build(
    context: typer.Context,
    recipe: Annotated[Path, typer.Argument(help="The recipe's file.", metavar="RECIPE")],
    out: Annotated[
        Path | None, typer.Option(help="Folder to create. Default: .llmops/datasets/NAME-SHA256.", metavar="FOLDER")
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Processes that apply `data.prepare`. Default: one per processor.", min=0)
    ] = 0,
    ray: Annotated[
        str, typer.Option(help="Ray cluster to apply `data.prepare` on, such as ray://host:10001.", metavar="ADDRESS")
    ] = "",
    as_json: Json = False,
) -> None:
    """Build a recipe's dataset version in a folder, with an HTML page beside it.

    `llmops train` also builds the version, and stores it. Building it first shows which rows
    would be trained, which are dropped, and why. The same sources and recipe give the same
    version on any number of workers. If interrupted, it resumes after the last finished stage.

    llmops data build recipes/chatbot.yaml
    """
    from llmops_kit.cli.data.collect import default_folder
    from llmops_kit.cli.data.dataset_page import html
    from llmops_kit.cli.data.dataset_versions import DatasetFolder
    from llmops_kit.cli.data.row_sources import naming_sources
    from llmops_kit.cli.runs.runs import parse_recipe
    from llmops_kit.training.evaluation.scoring import check_suites

    here: Context = context.obj
    path = here.cwd / recipe
    made = parse_recipe(path)
    target, sha256 = _build(here, made, path, here.cwd / out if out else None, workers, ray)
    version, page = DatasetFolder.open(target), target.with_name(f"{target.name}.html")
    page.write_text(html(version))
    with naming_sources(made.data, path.parent, default_folder(path), target):
        check_suites(made, target)  # after the page, which shows why a split has too few rows
    if as_json:
        print_json({"folder": str(target), "page": str(page), "sha256": sha256, **_fields(version)})
    else:
        _print_splits(version)
        _say_changes(version)
        say(f"{target}\n{page}")


def _build(here: Context, recipe: "Recipe", path: Path, out: Path | None, workers: int, ray: str) -> tuple[Path, str]:
    """Builds a recipe's dataset version, unless it exists, and returns its folder and identity."""
    import tempfile

    from llmops_kit.cli.data.build import Workers, build_dataset, ner_folder
    from llmops_kit.cli.data.collect import default_folder

    place = out.parent if out else here.cwd / ".llmops/datasets"
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place, prefix=".building-") as work:
        folder = Path(work) / "dataset"
        sha256 = build_dataset(
            recipe,
            path.parent,
            folder,
            collected=default_folder(path),
            secret=lambda name: here.platform.secret(name),
            model=lambda alias: ner_folder(here.platform, alias, say),
            workers=Workers(workers, ray),
            say=say,
        )
        target = out or place / f"{recipe.name}-{sha256[:12]}"
        if out or not target.exists():
            folder.rename(target)
    return target, sha256


@data.command("show")
def show(context: typer.Context, folder: _Folder, as_json: Json = False) -> None:
    """Check a dataset version's files, and show its splits, sources and dropped rows."""
    from llmops_kit.cli.data.dataset_versions import DatasetFolder

    here: Context = context.obj
    version = DatasetFolder.open(here.cwd / folder)
    if as_json:
        print_json({"sha256": version.sha256, **_fields(version)})
        return
    say(f"{version.manifest.name} sha256:{version.sha256}")
    _print_splits(version)
    sources = [each.model_dump() for each in version.manifest.sources]
    print_rows(sources, ["source", "licence", "rows"], as_json=False)
    _say_changes(version)


@data.command("sample")
def sample(
    context: typer.Context,
    folder: _Folder,
    split: Annotated[str, typer.Option(help="train, validation, test or rephrased.")] = "train",
    count: Annotated[int, typer.Option("--count", "-n", help="Rows to draw.", min=1)] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    as_json: Json = False,
) -> None:
    """Print random rows of a split as JSON lines, or with --json as one array."""
    import json

    from llmops_kit.cli.data.dataset_versions import DatasetFolder

    here: Context = context.obj
    lines = [row.to_line() for row in DatasetFolder.open(here.cwd / folder).sample(split, count, seed)]
    if as_json:
        print_json([json.loads(line) for line in lines])
    else:
        print("".join(lines), end="")


@data.command("diff")
def diff(
    context: typer.Context,
    first: Annotated[Path, typer.Argument(help="Folder of a dataset version.", metavar="A")],
    second: Annotated[Path, typer.Argument(help="Folder of another dataset version.", metavar="B")],
    as_json: Json = False,
) -> None:
    """Compare two dataset versions: rows that are the same, added, removed or in another split.

    Also prints how many rows each version dropped, by reason.
    """
    from llmops_kit.cli.data.dataset_versions import DatasetFolder, compare, compare_dropped

    here: Context = context.obj
    a, b = DatasetFolder.open(here.cwd / first), DatasetFolder.open(here.cwd / second)
    rows, dropped = compare(a, b), compare_dropped(a, b)
    if as_json:
        print_json({"splits": rows, "dropped": dropped})
        return
    print_rows(rows, ["split", "a", "b", "same", "added", "removed", "moved"], as_json=False)
    if dropped:
        print_rows(dropped, ["dropped", "a", "b"], as_json=False)


def _splits(version: "DatasetFolder") -> list[dict[str, Any]]:
    manifest = version.manifest
    return [
        {"split": split, "rows": rows, "groups": manifest.groups.get(split, 0)}
        | ({"tokens": manifest.tokens.get(split, 0)} if manifest.tokens else {})
        for split, rows in manifest.rows.items()
    ]


def _print_splits(version: "DatasetFolder") -> None:
    columns = ["split", "rows", "groups", *(["tokens"] if version.manifest.tokens else [])]
    print_rows(_splits(version), columns, as_json=False)


def _say_changes(version: "DatasetFolder") -> None:
    """Print how many rows were dropped or redacted, and why."""
    for reason, count in version.manifest.dropped.items():
        say(f"dropped {count}: {reason}")
    for kind, count in version.manifest.redacted.items():
        say(f"replaced {kind} in {count} rows")


def _fields(version: "DatasetFolder") -> dict[str, Any]:
    return version.manifest.model_dump(mode="json", exclude={"schema_", "splits", "group", "files"})
