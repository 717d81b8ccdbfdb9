"""Be one of two ranks that pass a checkpoint's files to each other. Run in the training image.

python exchange.py FOLDER   with torchrun's variables; rank 0 has a checkpoint in FOLDER/0, FOLDER/1 is empty
"""

import os
import sys
from pathlib import Path

from training.process import prepare_process

prepare_process()

from torch.distributed import distributed_c10d  # noqa: E402

from training.ranks import Team  # noqa: E402


def refuse(*_: object) -> None:
    """In the place of torch's own pickling."""
    raise AssertionError("an object was pickled for the wire, or unpickled from it")


def main(folder: Path) -> None:
    """Share nothing, share a checkpoint, and collect each rank's file."""
    distributed_c10d._object_to_tensor = distributed_c10d._tensor_to_object = refuse  # type: ignore[assignment]
    ranks = Team(os.environ)
    ranks.connect()
    assert ranks.share(None, folder / "1") is None
    checkpoint = ranks.share(folder / "0/checkpoint-5" if ranks.first else None, folder / "1")
    assert checkpoint
    assert checkpoint == folder / str(ranks.rank) / "checkpoint-5"
    (checkpoint / f"rng_state_{ranks.rank}.pth").write_text(f"of rank {ranks.rank}")
    ranks.collect(checkpoint, "rng_state_*.pth")
    ranks.together()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
