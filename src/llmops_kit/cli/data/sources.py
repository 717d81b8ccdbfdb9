"""The kinds of sources, by their notation in the recipe."""

import re
from collections.abc import Callable, Iterator

from llmops_kit.cli.data.cloud_objects import SCHEMES, find_objects
from llmops_kit.cli.data.https import find_on_web
from llmops_kit.cli.data.hub import find_on_hub
from llmops_kit.cli.data.items import Item, SourceContext
from llmops_kit.cli.data.local import find_folder, find_paths
from llmops_kit.cli.data.package import find_in_package
from llmops_kit.core.documents.recipe_data import DataSource
from llmops_kit.core.errors import DataError, UnsupportedError
from llmops_kit.core.validation import did_you_mean

_Finder = Callable[[DataSource, SourceContext], Iterator[Item]]
_PREFIX = re.compile(r"([A-Za-z][A-Za-z0-9+-]*):")


def find_items(source: DataSource, context: SourceContext) -> Iterator[Item]:
    """Returns the files of a source, not fetched yet.

    Raises:
        DataError: there is no such kind of source, or it has no such file.
        KitError: the source can't be reached.
    """
    return _KINDS[kind_of(source)](source, context)


def kind_of(source: DataSource) -> str:
    """Returns `path`, or the prefix before the colon.

    Raises:
        DataError: there is no such kind.
    """
    found = _PREFIX.match(source.source)
    kind = found[1] if found else "path"
    if kind not in _KINDS:
        meant = did_you_mean(kind, _KINDS)
        fix = f"{meant} write a path, or one of: {', '.join(f'{k}:' for k in _KINDS if k != 'path')}".strip()
        raise DataError(f"there is no kind of source {kind}:", where=source.source, fix=fix)
    return kind


def is_pinned(source: DataSource) -> bool:
    """Returns whether the recipe alone determines the content, so that its origin need not be checked again once
    collected.
    """
    return kind_of(source) in ("hub", "package")


def files_choose_items(source: DataSource) -> bool:
    """Returns whether `files` is a glob of the source's files; otherwise it is one of the members of its archives."""
    return kind_of(source) in ("hub", "package", "folder")


def _find_captured(source: DataSource, _context: SourceContext) -> Iterator[Item]:
    raise UnsupportedError(
        "this version of the kit records no traffic of endpoints",
        where=source.source,
        fix="write lines of `llmops schema capture` to a file *.capture.jsonl, and give its path",
    )


_KINDS: dict[str, _Finder] = {
    "path": find_paths,
    "folder": find_folder,
    **dict.fromkeys(SCHEMES, find_objects),
    "https": find_on_web,
    "hub": find_on_hub,
    "package": find_in_package,
    "capture": _find_captured,
}
