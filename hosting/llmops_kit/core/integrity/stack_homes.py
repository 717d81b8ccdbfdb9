"""The homes of stacks on this machine: the folders in which they keep everything. Whoever can write a stack's state can
put any path there, so a path in it is used only if it is at its place in a home of the project.
"""

import os
from contextlib import suppress
from pathlib import Path

from llmops_kit.core.errors import KitError

PROJECT_FILE = "Pulumi.yaml"
_DEFAULT = ".llmops"
_HOSTING = "hosting"


def project_around(folder: Path) -> Path:
    """Returns the project's folder: the nearest one with a Pulumi.yaml, upwards from `folder`; `folder` if none has
    one.

    A home belongs to this folder, so that the program and the command line must find the same one.
    """
    return next((each for each in (folder, *folder.parents) if (each / PROJECT_FILE).is_file()), folder)


def home_of(path: str, *below: str) -> Path:
    """Returns the stack's home that a path in a state lies in, without links.

    Args:
        path: of a file or folder.
        below: its place in the home; the kit puts each kind of file at one place.

    Raises:
        KitError: it is at another place.
    """
    found = Path(os.path.normpath(path))
    # Beyond a link, `..` is another folder than in the text.
    if found != Path(path) or not found.is_absolute() or found.parts[-len(below) :] != below:
        raise foreign(path)
    return Path(*found.parts[: -len(below)]).resolve()


def home_of_hosting(path: str) -> Path:
    """Returns the stack's home of a supervisor's folder; an endpoint that is a component of its own has one below
    `hosting`.

    Raises:
        KitError: it is at another place.
    """
    found = Path(path)
    alone = found.parent.name == _HOSTING and found.name != _HOSTING
    return home_of(path, _HOSTING, *([found.name] if alone else []))


def is_home_of(home: Path, project: Path) -> bool:
    """Returns whether a home is a project's: below `.llmops` beside Pulumi.yaml, or with a document that names it.

    Args:
        home: without links.
        project: the folder of Pulumi.yaml, without links.
    """
    default = (project / _DEFAULT).resolve()
    return (home != default and home.is_relative_to(default)) or project_of(home) == str(project)


def project_of(home: Path) -> str:
    """Returns the project in a home's record, else in its store's document, since version 0.1.0 wrote no record; empty
    if neither can be read.
    """
    from llmops_kit.core.documents.store import StoreDocument

    if recorded := recorded_project(home):
        return recorded
    with suppress(KitError):
        project = StoreDocument.load(home / "store" / "store.json").project
        return str(Path(project).resolve()) if project else ""
    return ""


def recorded_project(home: Path) -> str:
    """Returns the project that a home's record names; empty if it has none that can be read."""
    from llmops_kit.core.documents.stack_home import HOME_RECORD, StackHomeDocument

    with suppress(KitError):
        return StackHomeDocument.load(home / HOME_RECORD).project
    return ""


def foreign(path: str) -> KitError:
    """Returns the error for a path in a state that is not the project's."""
    return KitError(
        "the state names a path that is not of this project's making: nothing was read, changed or deleted there",
        where=path,
        fix="if you moved the project's folder, run `llmops up` first; if not, find out who can write the state, and "
        "put back an earlier version of it (`pulumi stack import`)",
    )
