"""The memory of trees of processes, and how long a replacement waits."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from llmops_kit.local_runtime import memory
from llmops_kit.local_runtime.memory_watch import delay

SIZE = 64 << 20
PROGRAM = """
import mmap, subprocess, sys
depth, path = int(sys.argv[1]), sys.argv[2]
with open(path, "rb") as file:
    mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
sum(mapped[i] for i in range(0, len(mapped), 4096))
if depth:
    child = subprocess.Popen([sys.executable, "-c", sys.argv[3], str(depth - 1), path, sys.argv[3]])
else:
    print(flush=True)
sys.stdin.read()
"""


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[list[int]]:
    """Three processes, each the child of the one before, that map one file."""
    weights = tmp_path / "weights"
    weights.write_bytes(os.urandom(SIZE))
    command = [sys.executable, "-c", PROGRAM, "2", str(weights), PROGRAM]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout
        first.stdout.readline()
        found = memory.trees([first.pid])[first.pid]
        yield found
        memory.kill(found)


def test_this_system_is_watched() -> None:
    assert memory.unwatched() == ""


def test_mapped_weights_count_once(tree: list[int]) -> None:
    assert len(tree) == 3
    used = sum(map(memory.pss, tree))
    assert SIZE < used < 2 * SIZE
    assert sum(psutil.Process(pid).memory_info().rss for pid in tree) > 3 * SIZE
    assert memory.memory_above(tree, SIZE) == pytest.approx(used, rel=0.2)
    assert memory.memory_above(tree, 2 * SIZE) == 0


def test_a_killed_tree_uses_nothing(tree: list[int]) -> None:
    memory.kill(tree)
    psutil.wait_procs([psutil.Process(pid) for pid in tree if psutil.pid_exists(pid)], timeout=60)
    assert sum(map(memory.pss, tree)) == 0
    assert memory.memory_above(tree, 0) == 0


def test_a_process_that_has_ended_is_its_own_tree() -> None:
    assert memory.trees([2**22 + 1]) == {2**22 + 1: [2**22 + 1]}


def test_replacements_in_a_row_wait_longer_up_to_an_hour() -> None:
    assert [delay(count) for count in (1, 2, 3, 7, 8, 100)] == [30, 60, 120, 1920, 3600, 3600]
