"""What keys use, counted by several processes in one file."""

import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from llmops_kit.core.network import key_usage
from llmops_kit.core.network.key_usage import KeyUsage, tokens_of_day
from tests.support.checkout import IMPORT_PATH

DAY, NEXT_DAY = "2026-12-02", "2026-12-03"
NOON = 1_764_676_800.0
ADDS = """\
import sys
import threading
from pathlib import Path
from llmops_kit.core.network.key_usage import KeyUsage
usage = KeyUsage(Path(sys.argv[1]), print)
for number in range(int(sys.argv[2])):
    usage.add("search", "2026-12-02", 3)
    if len(sys.argv) > 3:
        print(number + 1, flush=True)
"""


def usage(path: Path | None, said: list[str] | None = None) -> KeyUsage:
    return KeyUsage(path, (said if said is not None else []).append)


def adding(path: Path, *arguments: str) -> "subprocess.Popen[str]":
    """A process that adds 3 tokens again and again."""
    command = [sys.executable, "-c", ADDS, str(path), *arguments]
    return subprocess.Popen(command, env={"PYTHONPATH": IMPORT_PATH}, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "usage.sqlite"


@pytest.mark.scorecard("api-keys")
def test_processes_that_begin_at_once_lose_no_token(path: Path) -> None:
    processes = [adding(path, "200") for _ in range(4)]
    assert [process.communicate()[0] for process in processes] == [""] * 4, "none counted for itself"
    assert usage(path).tokens("search", DAY) == 4 * 200 * 3
    assert tokens_of_day(path, DAY) == {"search": 2400}


def test_opening_waits_for_a_server_that_is_creating_the_file(path: Path) -> None:
    """Its lock is one for which SQLite doesn't wait where the mode of the journal is changed."""
    said = list[str]()
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    created = threading.Timer(0.1, other.close)
    created.start()
    usage(path, said).add("search", DAY, 3)
    created.join()
    assert said == []
    assert tokens_of_day(path, DAY) == {"search": 3}


@pytest.mark.scorecard("api-keys")
def test_a_killed_process_loses_no_token_that_it_has_counted(path: Path) -> None:
    with adding(path, "1000000", "print") as process:
        assert process.stdout
        for _ in range(50):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        counted = 50 + process.stdout.read().count("\n")
    assert usage(path).tokens("search", DAY) in (3 * counted, 3 * (counted + 1))


def test_a_day_begins_at_zero_and_names_are_apart(path: Path) -> None:
    for each in (usage(None), usage(path)):
        each.add("search", DAY, 5)
        each.add("search", DAY, 5)
        each.add("reports", DAY, 1)
        assert (each.tokens("search", DAY), each.tokens("reports", DAY), each.tokens("search", NEXT_DAY)) == (10, 1, 0)
        each.add("search", NEXT_DAY, 2)
        assert (each.tokens("search", NEXT_DAY), each.tokens("search", DAY)) == (2, 0)
    assert tokens_of_day(path, NEXT_DAY) == {"search": 2}


def test_a_rate_is_shared_and_outlives_a_restart(path: Path) -> None:
    first, second = usage(path), usage(path)
    assert [each.take("search", 3, NOON) for each in (first, second, first)] == [0, 0, 0]
    assert [each.take("search", 3, NOON) for each in (first, second, usage(path))] == [20, 20, 20]
    assert second.take("reports", 3, NOON) == 0
    assert second.take("search", 3, NOON + 20) == 0
    assert first.take("search", 3, NOON + 20) == 20


def test_a_process_of_its_own_has_the_same_rates() -> None:
    own = usage(None)
    assert [own.take("search", 2, NOON) for _ in range(3)] == [0, 0, 30]
    assert [own.take("search", 2, NOON + 3600) for _ in range(3)] == [0, 0, 30]


def test_a_clock_that_was_set_back_begins_a_minute_anew(path: Path) -> None:
    for each in (usage(None), usage(path)):
        assert [each.take("search", 2, NOON + 86_400) for _ in range(3)] == [0, 0, 30]
        assert [each.take("search", 2, NOON) for _ in range(3)] == [0, 0, 30]


@pytest.mark.parametrize("rate", [1, 7, 59, 61, 600])
def test_a_whole_minutes_requests_may_come_at_once(rate: int) -> None:
    own = usage(None)
    assert [own.take("search", rate, NOON + 0.1) for _ in range(rate)] == [0] * rate
    assert own.take("search", rate, NOON + 0.1) == pytest.approx(60 / rate, abs=0.001)


def damage(path: Path) -> Callable[[], object]:
    path.write_bytes(b"not a database" * 1000)
    return path.unlink


def lock(path: Path) -> Callable[[], object]:
    """As a process that hangs within a transaction."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    return other.close


def no_folder(path: Path) -> Callable[[], object]:
    path.parent.rename(path.parent.with_name("gone"))
    return lambda: path.parent.with_name("gone").rename(path.parent)


@pytest.mark.parametrize("fault", [damage, lock, no_folder])
def test_while_the_file_cant_be_used_each_counts_for_itself_and_adds_it_later(
    path: Path, monkeypatch: pytest.MonkeyPatch, fault: Callable[[Path], Callable[[], object]]
) -> None:
    monkeypatch.setattr(key_usage, "_RETRY_SECONDS", 0.0)
    monkeypatch.setattr(key_usage, "_BUSY_SECONDS", 0.001)
    repair, said = fault(path), list[str]()
    counted = usage(path, said)
    counted.add("search", DAY, 5)
    counted.add("search", DAY, 5)
    assert counted.tokens("search", DAY) == 10
    assert [counted.take("search", 2, NOON) for _ in range(3)] == [0, 0, 30]
    assert len(said) == 1
    assert "this server counts the use of keys for itself" in said[0]
    repair()
    counted.add("search", DAY, 1)
    assert said[1:] == [f"{path}: can be used again"]
    assert usage(path).tokens("search", DAY) == counted.tokens("search", DAY) == 11


def test_a_file_that_cant_be_used_is_not_tried_for_each_request(path: Path) -> None:
    damage(path)
    counted = usage(path)
    counted.add("search", DAY, 5)
    path.unlink()
    counted.add("search", DAY, 5)
    assert not path.exists()
    assert counted.tokens("search", DAY) == 10


def test_reading_makes_no_file_and_tells_a_damaged_one(path: Path) -> None:
    assert tokens_of_day(path, DAY) == {}
    assert not path.exists()
    damage(path)
    with pytest.raises(sqlite3.Error):
        tokens_of_day(path, DAY)
