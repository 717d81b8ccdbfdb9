"""Be one of three ranks, two of them on the first host, that pass files to each other. Run in the training image.

python exchange.py FOLDER   with torchrun's variables; rank 0 has a checkpoint in FOLDER/0
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

from llmops_kit.training.process import prepare_process

prepare_process()

from torch.distributed import distributed_c10d  # noqa: E402

from llmops_kit.training.evaluation.pooling import LOSSES, TEXTS, pooled  # noqa: E402
from llmops_kit.training.ranks import PeerError, Team  # noqa: E402


def refuse(*_: object) -> None:
    """In the place of torch's own pickling."""
    raise AssertionError("an object was pickled for the wire, or unpickled from it")


def main(folder: Path) -> None:
    """Share nothing, share a checkpoint, bring each rank's file to the first host, and ask those who don't come."""
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
    assert pooled({ranks.rank: f"answer {ranks.rank}"}, 3, ranks, TEXTS) == {n: f"answer {n}" for n in range(3)}
    assert pooled({ranks.rank: ranks.rank / 3}, 3, ranks, LOSSES) == {n: n / 3 for n in range(3)}
    assert ranks.any_asks_soon(ranks.rank == 1, 60)
    if not ranks.first:
        ranks.wait_for("alone")  # and never come to what the first one asks
        return
    with suppress(PeerError):
        ranks.any_asks_soon(True, 0.5)
        raise AssertionError("nobody else was asked")
    ranks.reached("alone")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
