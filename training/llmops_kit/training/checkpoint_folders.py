"""Folders in which a training keeps its checkpoints, and working folders."""

import shutil
from dataclasses import dataclass
from pathlib import Path

RESULT = "trained"
"""The folder of a finished training's adapter, weights or model."""
LOCAL_PREFIX = "training-"
"""Prefix of temporary folders, whose names end in random characters."""
BEST = "best.safetensors"
"""File in a checkpoint: the trained weights with the lowest validation loss so far."""


@dataclass(frozen=True)
class CheckpointFolders:
    """The folder of checkpoints, and those in which incomplete ones are written."""

    kept: Path
    local: Path
    shared: Path
    """Rank 0's `local` for all ranks of the first host; a rank's own elsewhere."""

    @property
    def saved(self) -> Path:
        """The folder in which ranks write a checkpoint together."""
        return self.shared / "saved"

    @property
    def best(self) -> Path:
        """The trained weights with the lowest validation loss; missing until the first measurement."""
        return self.local / BEST


def cleared(folder: Path) -> Path:
    """Removes a folder's content, and returns the folder, which stays because a platform may have mounted it."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return folder


def emptied(folder: Path) -> Path:
    """Recreates a folder, empty, and returns it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
