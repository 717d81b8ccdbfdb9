"""Tells the folders of this project from all others, whatever a state says.

Pulumi gives a provider the properties that are in the state, and whoever can write the state can put any path there. So
a provider of this machine reads, overwrites and deletes only in a stack's home that is the project's: below `.llmops`
beside Pulumi.yaml, or with a document of the kit that names the project. It deletes keys and stores through a handle of
that folder, and follows no link from there.
"""

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from llmops_kit.core.errors import KitError
from llmops_kit.core.integrity.stack_homes import foreign, is_home_of, project_of, recorded_project

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_claiming = threading.Lock()
"""The engine creates several resources at once."""


def claim(home: Path) -> None:
    """Makes a stack's home and records that it is this project's; idempotent.

    Raises:
        KitError: it is another project's.
    """
    from llmops_kit.core.documents.stack_home import HOME_RECORD, StackHomeDocument

    with _claiming:
        other = project_of(home)
        if other and other != str(_project()) and Path(other).is_dir():
            raise KitError(
                f"belongs to the project in {other}",
                where=str(home),
                fix="choose another folder with local_home, or another name for this stack",
            )
        if recorded_project(home) != str(_project()):
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
            if not is_home_of(home, _project()):
                raise foreign(str(home))
            for name in below:
                path, parent = path / name, folder
                folder = os.open(name, _OPEN, dir_fd=parent)
                os.close(parent)
        except FileNotFoundError:
            yield None
            return
        except OSError as e:
            if e.errno not in (errno.ELOOP, errno.ENOTDIR):  # neither a link nor a file
                raise
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


def _project() -> Path:
    from llmops_kit.infra.settings import project_folder

    return project_folder().resolve()
