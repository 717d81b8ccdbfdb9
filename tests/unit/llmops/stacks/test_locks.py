import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from llmops_kit.cli.stacks.lock_records import LockRecords, Record, sees_all_processes
from llmops_kit.cli.stacks.lock_watch import LockWatch
from llmops_kit.cli.stacks.locks import Lock, locks_of, parse, take_over
from llmops_kit.contract.errors import KitError
from tests.support.clock import set_clock

sees_all = pytest.mark.skipif(not sees_all_processes(), reason="in a namespace that doesn't see all processes")


def write_lock(state: Path, pid: int, host: str = "", age_s: float = 0, stack: str = "dev") -> Path:
    """A lock file as Pulumi's folder backend writes it, with nanoseconds."""
    path = state / ".pulumi/locks/organization/llmops" / stack / f"{uuid.uuid4()}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    since = (datetime.now(UTC) - timedelta(seconds=age_s)).strftime("%Y-%m-%dT%H:%M:%S.%f") + "123Z"
    lock = {"pid": pid, "username": "u", "hostname": host or socket.gethostname(), "timestamp": since}
    path.write_text(json.dumps(lock))
    return path


def in_bucket(state: Path) -> list[Lock]:
    """The locks of a folder, as if a bucket held them."""
    return [replace(lock, folder=None) for lock in locks_of(state, "dev", "llmops")]


@pytest.fixture
def records(tmp_path: Path) -> LockRecords:
    made = LockRecords.of(tmp_path / "project", "dev")
    made.make()
    return made


@pytest.fixture
def find(tmp_path: Path) -> Callable[[], list[Lock]]:
    return partial(locks_of, tmp_path, "dev", "llmops")


@pytest.fixture
def dead() -> Record:
    """A process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    record = Record.of(psutil.Process(process.pid))
    process.kill()
    process.communicate()
    return record


@sees_all
def test_the_lock_of_a_dead_process_is_taken_over(
    tmp_path: Path, dead: Record, find: Callable[[], list[Lock]], records: LockRecords
) -> None:
    lock = write_lock(tmp_path, dead.pid)
    other = write_lock(tmp_path, dead.pid, stack="other")
    said: list[str] = []
    assert take_over(find, records, "dev", said.append)
    assert not lock.exists()
    assert other.exists()
    assert str(dead.pid) in said[0]


def test_a_free_stack_needs_nothing(find: Callable[[], list[Lock]], records: LockRecords) -> None:
    assert not take_over(find, records, "dev", print)


@sees_all
def test_a_number_that_a_later_process_got_counts_as_ended(
    tmp_path: Path, find: Callable[[], list[Lock]], records: LockRecords
) -> None:
    age = datetime.now(UTC).timestamp() - psutil.Process().create_time() + 60
    write_lock(tmp_path, os.getpid(), age_s=age)
    assert find()[0].ended(records)
    assert take_over(find, records, "dev", print)


@sees_all
def test_a_lock_from_before_this_boot_counts_as_ended(
    tmp_path: Path, find: Callable[[], list[Lock]], records: LockRecords
) -> None:
    write_lock(tmp_path, 1, age_s=datetime.now(UTC).timestamp() - psutil.boot_time() + 60)
    assert find()[0].ended(records)


@sees_all
def test_a_killed_process_that_nobody_reaped_counts_as_ended(
    tmp_path: Path, find: Callable[[], list[Lock]], records: LockRecords
) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    write_lock(tmp_path, process.pid)
    recorded = write_lock(tmp_path, process.pid)
    records.write(recorded.stem, Record.of(psutil.Process(process.pid)))
    assert [lock.ended(records) for lock in find()] == [False, False]
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and still in the process table
    assert [lock.ended(records) for lock in find()] == [True, True]
    process.communicate()


@sees_all
def test_a_living_process_is_waited_for(tmp_path: Path, find: Callable[[], list[Lock]], records: LockRecords) -> None:
    lock = write_lock(tmp_path, os.getpid())
    told = threading.Event()

    def say(line: str) -> None:
        assert "waiting" in line
        told.set()

    def finish() -> None:
        told.wait(60)
        lock.unlink()

    ending = threading.Thread(target=finish)
    ending.start()
    assert not take_over(find, records, "dev", say)
    ending.join()


def test_a_living_process_that_takes_too_long_and_another_host_are_errors(
    tmp_path: Path, find: Callable[[], list[Lock]], records: LockRecords
) -> None:
    lock = write_lock(tmp_path, os.getpid())
    with pytest.raises(KitError, match=rf"is being changed by process {os.getpid()} of u on \S+ since 20"):
        take_over(find, records, "dev", print, wait_s=0)
    lock.unlink()
    lock = write_lock(tmp_path, 1, host="elsewhere")
    with pytest.raises(KitError, match=r"(?s)on elsewhere since .*pulumi cancel") as caught:
        take_over(find, records, "dev", print)
    assert "can't be proven" in str(caught.value)
    assert lock.exists()


@pytest.mark.vulnerability(6)
def test_vulnerability_6_on_a_shared_backend_host_and_number_prove_nothing(
    tmp_path: Path, dead: Record, records: LockRecords
) -> None:
    """Two machines or containers of one host name: the number is free here, and in use there."""
    lock = write_lock(tmp_path, dead.pid)
    for wait_s in (0, 600):
        with pytest.raises(KitError, match="can't be proven") as caught:
            take_over(partial(in_bucket, tmp_path), records, "dev", print, wait_s)
    assert f"of u on {socket.gethostname()} since 20" in str(caught.value)
    assert "`pulumi cancel`" in str(caught.value)
    assert lock.exists()


@pytest.mark.vulnerability(6)
def test_vulnerability_6_on_a_shared_backend_the_recorded_lock_alone_is_taken_over(
    tmp_path: Path, dead: Record, records: LockRecords
) -> None:
    mine = write_lock(tmp_path, dead.pid)
    records.write(mine.stem, dead)
    assert (records.folder / f"{mine.stem}.json").stat().st_mode & 0o777 == 0o600
    assert records.folder.stat().st_mode & 0o777 == 0o700
    assert take_over(partial(in_bucket, tmp_path), records, "dev", print)
    assert not mine.exists()
    assert not list(records.folder.iterdir())
    theirs = write_lock(tmp_path, dead.pid)
    with pytest.raises(KitError, match="can't be proven"):
        take_over(partial(in_bucket, tmp_path), records, "dev", print)
    assert theirs.exists()


@pytest.mark.vulnerability(6)
@pytest.mark.parametrize("change", [{"namespace": 7}, {"started": 1.0}])
def test_vulnerability_6_a_record_is_of_one_process_of_one_namespace(
    change: dict[str, Any], tmp_path: Path, records: LockRecords
) -> None:
    mine = write_lock(tmp_path, os.getpid())
    record = Record.of(psutil.Process())
    records.write(mine.stem, record)
    (lock,) = in_bucket(tmp_path)
    assert lock.ended(records) is False
    records.write(mine.stem, replace(record, **change))
    assert lock.ended(records) is (None if "namespace" in change else True)


def test_a_clock_that_is_set_ends_no_process(
    tmp_path: Path, records: LockRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = write_lock(tmp_path, os.getpid())
    records.write(mine.stem, Record.of(psutil.Process()))
    set_clock(monkeypatch, 3600)
    assert in_bucket(tmp_path)[0].ended(records) is False


def test_a_record_of_an_earlier_boot_is_of_an_ended_process(tmp_path: Path, records: LockRecords) -> None:
    mine = write_lock(tmp_path, os.getpid())
    records.write(mine.stem, replace(Record.of(psutil.Process()), boot="before"))
    assert in_bucket(tmp_path)[0].ended(records)


# The process says its number in the namespace that it believes to be the machine.
CONTAINER = """\
import json, os, socket, sys
from datetime import UTC, datetime
now = datetime.now(UTC).isoformat()
lock = {"pid": os.getpid(), "username": "u", "hostname": socket.gethostname(), "timestamp": now}
open(sys.argv[1], "w").write(json.dumps(lock))
print("locked", flush=True)
input()
"""
TAKE_OVER = """\
import sys
from functools import partial
from pathlib import Path
from llmops_kit.cli.stacks.lock_records import LockRecords
from llmops_kit.cli.stacks.locks import locks_of, take_over
take_over(partial(locks_of, Path(sys.argv[1]), "dev", "llmops"), LockRecords(Path(sys.argv[2])), "dev", print, wait_s=0)
"""
NAMESPACE = ["unshare", "--pid", "--uts", "--fork", "--mount-proc", "--kill-child"]


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Path]:
    """The lock of a living process in another namespace of numbers, whose host name is this machine's."""
    if os.geteuid() != 0 or not shutil.which("unshare") or subprocess.run([*NAMESPACE, "true"]).returncode:
        pytest.skip("namespaces need root")
    lock = write_lock(tmp_path, 1)
    command = [*NAMESPACE, sys.executable, "-c", CONTAINER, str(lock)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "locked\n"
    yield lock
    process.kill()
    process.communicate()


@pytest.mark.vulnerability(6)
def test_vulnerability_6_the_lock_of_another_container_of_the_same_name_is_not_taken(
    container: Path, tmp_path: Path, find: Callable[[], list[Lock]], records: LockRecords
) -> None:
    """In a folder that both reach: seen from outside, the process has another number."""
    number = json.loads(container.read_text())["pid"]
    assert psutil.Process(number).create_time() < datetime.now(UTC).timestamp() - 5, "an old process has the number"
    assert find()[0].ended(records) is False
    with pytest.raises(KitError, match="is being changed"):
        take_over(find, records, "dev", print, wait_s=0)
    with pytest.raises(KitError, match="can't be proven"):
        take_over(partial(in_bucket, tmp_path), records, "dev", print)
    assert container.exists()


@pytest.mark.vulnerability(6)
def test_vulnerability_6_a_container_does_not_take_the_lock_of_its_host(
    container: Path, tmp_path: Path, records: LockRecords
) -> None:
    """From inside, no process has the number of one outside."""
    container.unlink()
    lock = write_lock(tmp_path, os.getpid())
    command = [*NAMESPACE, sys.executable, "-c", TAKE_OVER, str(tmp_path), str(records.folder)]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert "can't be proven" in answer.stderr
    assert lock.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"pid": 1',
        b"[" * 60_000,
        b'{"pid": NaN}',
        b'{"pid": -1}',
        b'{"pid": true}',
        b'{"pid": 1e3}',
        b'{"pid": "7"}',
        b'{"pid": ' + b"9" * 5000 + b"}",
        b'{"username": null}',
        b'{"hostname": "h\\u001b[2J"}',
        b'{"hostname": "' + b"h" * 5000 + b'"}',
        b'{"timestamp": "yesterday"}',
        b'{"timestamp": "0001-01-01T00:00:00Z"}',
        b'{"timestamp": "9999-12-31T23:59:59Z"}',
        b'{"timestamp": "2026-01-01T00:00:00"}',
        b'{"timestamp": 7}',
        b'{"pid": 1, "filler": "' + b"x" * 100_000 + b'"}',
        b"\xff\xfe",
    ],
)
def test_a_malformed_lock_is_one_clear_error(
    content: bytes, tmp_path: Path, find: Callable[[], list[Lock]], records: LockRecords
) -> None:
    lock = write_lock(tmp_path, os.getpid())
    good = json.loads(lock.read_text())
    try:
        changed = json.loads(content)
        mixed = json.dumps(good | changed).encode() if isinstance(changed, dict) else content
    except (ValueError, RecursionError):
        mixed = content
    lock.write_bytes(mixed)
    with pytest.raises(KitError, match="no lock of Pulumi's") as caught:
        take_over(find, records, "dev", print)
    assert str(lock) in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert "\x1b" not in str(caught.value)
    assert lock.exists()


def test_a_lock_whose_name_is_no_id_or_that_is_a_folder_is_one_clear_error(
    tmp_path: Path, find: Callable[[], list[Lock]]
) -> None:
    lock = write_lock(tmp_path, os.getpid())
    with pytest.raises(KitError, match=r"name is no lock's id") as caught:
        parse(lock.read_bytes(), "s3://bucket/.pulumi/locks/../\x1b[2J.json", lock.unlink)
    assert "\x1b" not in str(caught.value)
    lock.unlink()
    lock.mkdir()
    with pytest.raises(KitError, match="Is a directory"):
        find()


# Takes the lock and then opens its log of events, as Pulumi's engine does.
ENGINE = """\
import os, pathlib, sys
lock, events = map(pathlib.Path, sys.argv[1:3])
lock.write_text(lock.with_suffix(".draft").read_text().replace("4242", str(os.getpid())))
events.write_text("{}")
print("updating", flush=True)
ended = input()
lock.unlink()
"""


@pytest.mark.parametrize("end", ["killed", "in order"])
@pytest.mark.vulnerability(6)
def test_vulnerability_6_a_lock_is_recorded_while_the_engine_holds_it(
    end: str, tmp_path: Path, find: Callable[[], list[Lock]], records: LockRecords
) -> None:
    lock = write_lock(tmp_path, 4242)
    lock.rename(lock.with_suffix(".draft"))
    with LockWatch(records, find) as watch:
        option, events = watch.arguments
        assert option == "--event-log"
        command = [sys.executable, "-c", ENGINE, str(lock), events]
        engine = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        watch.start(engine)
        assert engine.stdout
        engine.stdout.readline()
        if end == "killed":
            engine.kill()
        else:
            while not records.find(lock.stem):
                assert engine.poll() is None
        engine.communicate("\n" if end == "in order" else None)
    assert bool(records.find(lock.stem)) == (end == "killed")
    assert not list(records.folder.glob("temporary-*"))
    assert take_over(partial(in_bucket, tmp_path), records, "dev", print) == (end == "killed")
