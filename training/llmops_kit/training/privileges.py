"""Drops root: a container started as root gives its output folders to an unprivileged user, and becomes that user."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from llmops_kit.core.errors import KitError
from llmops_kit.core.layout import ROOT_VARIABLE, TrainingFolders

USER = 10001
"""User and group id; created by the image's Dockerfile."""
_OUTPUTS = ("model", "checkpoints", "reports")


def give_up_root(environ: Mapping[str, str]) -> None:
    """Drops root's rights in a container; leaves a process image, or a process without root's rights, unchanged.

    SageMaker starts training containers as root, and mounts folders that only root can write
    (https://github.com/aws/sagemaker-python-sdk/issues/4764). Azure ML starts them as root too
    (https://github.com/Azure/AzureML-Containers/issues/24) and mounts its folders by FUSE, where owners can't change.
    The mount's options decide whether another user may write there: this is tried, and if not, the job stays root and
    says so.

    Raises:
        KitError: a folder's owner can't be changed.
    """
    folders = TrainingFolders.of(environ)
    if ROOT_VARIABLE in environ or os.geteuid() != 0:
        return
    if folders.placed:
        if works_as(USER, folders):
            become(USER)
        else:
            print(f"only root can use this platform's folders: the job can't run as user {USER}", flush=True)
        return
    own((folders.model, folders.checkpoints, folders.failure.parent), USER)
    become(USER)


def own(folders: Sequence[Path], user: int) -> None:
    """Creates folders, and changes the owner of all their content to a user and the group of the same number.

    Raises:
        KitError: naming the path whose owner can't be changed.
    """
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for path in (folder, *folder.rglob("*")):
                os.chown(path, user, user, follow_symlinks=False)
        except OSError as e:
            raise KitError(
                f"can't be given to user {user}, who does the job: {e.strerror}",
                where=str(e.filename or folder),
                fix=f"mount it so that root may change its owner, or start the container as user {user}",
            ) from e


def works_as(user: int, folders: TrainingFolders) -> bool:
    """Returns whether a user can read each placed input and write each placed output: a process of that user
    tries it.
    """
    child = os.fork()
    if child == 0:
        try:
            become(user)
            for name, folder in folders.placed.items():
                if name in _OUTPUTS:
                    folder.mkdir(parents=True, exist_ok=True)
                    with tempfile.TemporaryFile(dir=folder) as file:
                        file.write(b"tried")
                else:
                    for path in filter(Path.is_file, folder.iterdir()):
                        path.open("rb").close()
            os._exit(0)
        except BaseException:  # any error here would end the job later
            os._exit(1)
    _, status = os.waitpid(child, 0)
    return status == 0


def become(user: int) -> None:
    """Switches to a user irrevocably, with its group alone, and a home that anybody can write to."""
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    os.environ["HOME"] = "/tmp"
