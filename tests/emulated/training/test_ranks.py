"""Ranks pass each other files over a real connection."""

import os
import subprocess
from pathlib import Path

from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from tests.support.checkout import IMPORT_PATH
from tests.support.runs.training import PROGRAMS
from tests.support.tiny_models.models import training_python

LARGE = os.urandom(40 << 20)  # more than a piece


def test_checkpoints_are_passed_on_as_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "0/checkpoint-5", tmp_path / "1/checkpoint-5"
    written = tmp_path / "0/checkpoint-6"
    (first / "below").mkdir(parents=True)
    (first / "optimizer.pt").write_bytes(LARGE)
    (first / "below/complete.json").write_text("{}")
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = {"WORLD_SIZE": "3", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "LLMOPS_FIRST_HOST": "one"}
    ranks = [
        subprocess.Popen(
            [training_python(), str(PROGRAMS / "exchange.py"), str(tmp_path)],
            env={**os.environ, "PYTHONPATH": IMPORT_PATH, **shared, "RANK": rank, "LOCAL_RANK": rank}
            | {"LLMOPS_HOST": "two" if rank == "2" else "one"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1", "2")
    ]
    try:
        errors = [rank.communicate(timeout=600)[1] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0, 0], errors
    assert (second / "optimizer.pt").read_bytes() == LARGE
    assert (second / "below/complete.json").read_text() == "{}"
    assert not (second.parent.parent / "2/checkpoint-5").exists()
    assert sorted(path.read_text() for path in (written / "shards").iterdir()) == [f"of rank {n}" for n in range(3)]
    assert not (written / "other-2").exists()
