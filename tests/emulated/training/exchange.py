"""Be one of three ranks, two of them on the first host, that pass files to each other. Run in the training image.

python exchange.py FOLDER   with torchrun's variables; rank 0 has a checkpoint in FOLDER/0
"""

import os
import sys
from pathlib import Path

from training.process import prepare_process

prepare_process()

from torch.distributed import distributed_c10d  # noqa: E402

from training.pooling import pooled  # noqa: E402
from training.ranks import Team  # noqa: E402


def refuse(*_: object) -> None:
    """In the place of torch's own pickling."""
    raise AssertionError("an object was pickled for the wire, or unpickled from it")


def main(folder: Path) -> None:
    """Share nothing, share a checkpoint, and bring each rank's file to the first host."""
    distributed_c10d._object_to_tensor = distributed_c10d._tensor_to_object = refuse  # type: ignore[assignment]
    ranks = Team(os.environ)
    ranks.connect()
    ranks.connect()  # once more changes nothing
    assert ranks.share(None, folder / "1") is None
    own = folder / ("0" if ranks.host == ranks.first_host else "1")
    checkpoint = ranks.share(folder / "0/checkpoint-5" if ranks.first else None, own)
    assert checkpoint == own / "checkpoint-5"
    (folder / str(ranks.rank)).mkdir(exist_ok=True)
    work = ranks.beside_first(folder / str(ranks.rank)) / "checkpoint-6"
    (work / "shards").mkdir(parents=True, exist_ok=True)
    (work / f"shards/rank-{ranks.rank}").write_text(f"of rank {ranks.rank}")
    (work / f"other-{ranks.rank}").touch()
    ranks.collect(work, "*/rank-{}")
    assert ranks.largest(ranks.rank) == 2
    assert pooled({ranks.rank: f"answer {ranks.rank}"}, 3, ranks) == {n: f"answer {n}" for n in range(3)}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
