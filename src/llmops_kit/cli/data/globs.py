"""Globs: `*` within a folder's name, `**` across folders; for paths with slashes of any kind of source."""

import re
from collections.abc import Callable, Iterable

from llmops_kit.core import object_keys
from llmops_kit.core.errors import DataError, require_packages
from llmops_kit.data_pipeline.readers.formats import format_of, is_archive, unknown_format

_WILD = re.compile(r"[*?\[]")


def matcher(glob: str) -> Callable[[str], bool]:
    """Returns a function that tells whether a whole path matches a glob."""
    require_packages("data", "fsspec")
    from fsspec.utils import glob_translate

    pattern = re.compile(glob_translate(glob))
    return lambda path: pattern.match(path) is not None


def is_glob(text: str) -> bool:
    """Returns whether a path has wildcards."""
    return bool(_WILD.search(text))


def fixed_folder(glob: str) -> str:
    """Returns the folder that contains all paths of a glob, with its slash; empty without one."""
    found = _WILD.search(glob)
    return glob[: glob.rfind("/", 0, found.start() if found else len(glob)) + 1]


def choose(names: Iterable[str], glob: str, where: str, *, archives: bool = True) -> list[str]:
    """Returns the names that match a glob; without one, those of a known format.

    Raises:
        DataError: none is left, or the glob matches a file of an unknown format.
        IntegrityError: a name can't be a path.
    """
    matches = matcher(glob) if glob else None
    found = []
    for name in names:
        known = format_of(name) or (archives and is_archive(name))
        if matches is None and known:
            found.append(name)
        elif matches is not None and matches(name):
            if not known:
                raise unknown_format(name, f"{where}: {object_keys.shown(name)}")
            found.append(name)
    if not found:
        what = f"has no file that matches {glob!r}" if glob else "has no file of a known format"
        raise DataError(what, where=where, fix="correct the glob: * stays within a folder, ** crosses folders")
    return sorted(object_keys.check_all(found, where))
