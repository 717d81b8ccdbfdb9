"""Sources on this machine: a path or glob below the recipe's folder, and `folder:`."""

import os
from collections.abc import Iterator
from pathlib import Path

from llmops_kit.cli.data.globs import choose, fixed_folder, is_glob
from llmops_kit.cli.data.items import Item, SourceContext, copier, stat_revision
from llmops_kit.core.documents.collected import RECEIPTS
from llmops_kit.core.documents.recipe_data import DataSource
from llmops_kit.core.errors import DataError
from llmops_kit.data_pipeline.readers.formats import format_of, is_archive, unknown_format


def find_paths(source: DataSource, context: SourceContext) -> Iterator[Item]:
    """Yields the files that match a path or glob.

    Raises:
        DataError: it matches none, one of an unknown format, or one outside of the recipe's folder.
    """
    root = context.recipe_folder.resolve()
    glob = os.path.normpath(source.source)
    if glob.startswith(("/", "..")):
        fix = f"copy the file below {root}, or write folder:PATH"
        raise DataError("lies outside of the recipe's folder", where=source.source, fix=fix)
    if (root / glob).is_file():
        if not (format_of(glob) or is_archive(glob)):
            raise unknown_format(glob, source.source)
        names = [glob]
    elif not is_glob(glob):
        fix = f"correct the path; it is relative to {root}"
        raise DataError("is not a file", where=source.source, fix=fix)
    else:
        base = fixed_folder(glob)
        names = choose((f"{base}{name}" for name in _names(root / base)), glob, source.source)
    for name in names:
        yield _item(root, name, source.source)


def find_folder(source: DataSource, context: SourceContext) -> Iterator[Item]:
    """Yields the files below a folder, by the source's `files`.

    Raises:
        DataError: it is not a folder, or holds no such file.
    """
    place = Path(source.source.removeprefix("folder:")).expanduser()
    root = (context.recipe_folder / place).resolve()
    if not root.is_dir():
        fix = "a `folder:` is relative to the recipe's folder"
        raise DataError("is not a folder", where=source.source, fix=fix)
    for name in choose(_names(root), source.files, source.source):
        yield _item(root, name, source.source)


def _names(root: Path) -> Iterator[str]:
    """Yields the paths of all files below a folder; skips linked folders, and folders filled by `llmops data
    collect`.
    """
    for base, folders, names in os.walk(root):
        folders[:] = [name for name in sorted(folders) if not Path(base, name, RECEIPTS).exists()]
        for name in names:
            yield Path(base, name).relative_to(root).as_posix()


def _item(root: Path, name: str, where: str) -> Item:
    path = root / name
    if not path.resolve().is_relative_to(root):
        what = "is a link that leads out of its folder"
        raise DataError(what, where=f"{where}: {name}", fix="copy the file, or write folder:PATH")
    if not path.is_file():
        raise DataError("is not a regular file", where=f"{where}: {name}", fix="leave it out of the glob")
    return Item(name, path.as_uri(), copier(path), stat_revision(path))
