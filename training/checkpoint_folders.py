"""Where a training keeps its checkpoints, and where it works."""

import shutil
from dataclasses import dataclass
from pathlib import Path

BEST = "best.safetensors"
"""Of a checkpoint: the adapter with the least validation loss until then."""


@dataclass(frozen=True)
class CheckpointFolders:
    """Where checkpoints are kept, and where what is not complete yet is written."""

    kept: Path
    local: Path
    shared: Path
    """Rank 0's `local` for all ranks of the first host, another one's own elsewhere."""

    @property
    def saved(self) -> Path:
        """Where ranks write a checkpoint together."""
        return self.shared / "saved"

    @property
    def best(self) -> Path:
        """The adapter with the least validation loss; not there while nothing was measured."""
        return self.local / BEST


def emptied(folder: Path) -> Path:
    """Returns the folder, made anew and empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
