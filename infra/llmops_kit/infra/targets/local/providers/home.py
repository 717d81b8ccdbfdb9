"""Tells the folders of this project from all others, whatever a state says.

Pulumi gives a provider the properties that are in the state, and whoever can write the state can put any path there. So
a provider of this machine reads, overwrites and deletes only in a stack's home that is the project's: below `.llmops`
beside Pulumi.yaml, or with a record that names the project. It deletes through a handle of that folder, and follows no
link from there.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from llmops_kit.core.errors import KitError

_DEFAULT = ".llmops"
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_claiming = threading.Lock()
"""The engine creates several resources at once."""


def home_of(path: str, *below: str) -> Path:
    """Returns the stack's home that a path in a resource's properties lies in, without links.

    Args:
        path: of a file or folder.
        below: its place in the home; the kit puts each kind of file at one place.

    Raises:
        KitError: it is at another place.
    """
    found = Path(os.path.normpath(path))
    if not found.is_absolute() or found.parts[-len(below) :] != below:
        raise foreign(path)
    return Path(*found.parts[: -len(below)]).resolve()


def claim(home: Path) -> None:
    """Makes a stack's home and records that it is this project's; idempotent.

    Raises:
        KitError: it is another project's.
    """
    from llmops_kit.core.documents.stack_home import HOME_RECORD, StackHomeDocument

    with _claiming:
        other = _recorded(home)
        if other and other != str(_project()) and Path(other).is_dir():
            raise KitError(
                f"belongs to the project in {other}",
                where=str(home),
                fix="choose another folder with local_home, or another name for this stack",
            )
        if other != str(_project()):
            StackHomeDocument.new(project=str(_project())).write(home / HOME_RECORD)


def is_there(home: Path) -> bool:
    """Returns whether a home exists.

    Raises:
        KitError: it exists, and is not this project's.
    """
    with opened(home) as folder:
        return folder is not None


@contextmanager
def opened(home: Path, *below: str) -> Iterator[int | None]:
    """Yields a handle of a home, or of a folder below it; None if there is none.

    Raises:
        KitError: the home is not this project's, or a link leads out of it.
    """
    folder: int | None = None
    path = home
    try:
        try:
            folder = os.open(home, _OPEN)
            if not _is_own(home):
                raise foreign(str(home))
            for name in below:
                path, parent = path / name, folder
                folder = os.open(name, _OPEN, dir_fd=parent)
                os.close(parent)
        except FileNotFoundError:
            yield None
            return
        except OSError:  # a link, or a file
            raise foreign(str(path)) from None
        yield folder
    finally:
        if folder is not None:
            os.close(folder)


def remove_file(home: Path, *below: str) -> None:
    """Removes a file of a home; harmless when it is gone.

    Raises:
        KitError: as of `opened`.
    """
    *folders, name = below
    with opened(home, *folders) as folder:
        if folder is not None:
            try:
                os.unlink(name, dir_fd=folder)
            except FileNotFoundError:
                return


def remove_folder(home: Path, *below: str) -> None:
    """Removes an empty folder of a home; leaves one that is not empty, and is harmless when it is gone.

    Raises:
        KitError: as of `opened`.
    """
    *folders, name = below
    with opened(home, *folders) as folder:
        if folder is not None:
            with suppress(OSError):
                os.rmdir(name, dir_fd=folder)


def _is_own(home: Path) -> bool:
    default = (_project() / _DEFAULT).resolve()
    return (home != default and home.is_relative_to(default)) or _recorded(home) == str(_project())


def _recorded(home: Path) -> str:
    """Returns the project that a home's record names; empty if it has none that can be read."""
    from llmops_kit.core.documents.stack_home import HOME_RECORD, StackHomeDocument

    try:
        return StackHomeDocument.load(home / HOME_RECORD).project
    except KitError:
        return ""


def _project() -> Path:
    from llmops_kit.infra.settings import project_folder

    return project_folder().resolve()


def foreign(path: str) -> KitError:
    """Returns the error for a path in a state that is not this project's."""
    return KitError(
        "the state names a path that is not of this project's making: nothing was read, changed or deleted there",
        where=path,
        fix="find out who can write the state, and put back an earlier version of it (`pulumi stack import`)",
    )
