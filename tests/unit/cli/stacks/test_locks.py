import json
import os
import socket
import subprocess
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from llmops_kit.cli.stacks.locks import locks_of, parse, require_free
from llmops_kit.core.errors import KitError


def write_lock(state: Path, pid: int, host: str = "", age_s: float = 0, stack: str = "dev") -> Path:
    """A lock file as Pulumi's folder backend writes it, with nanoseconds."""
    path = state / ".pulumi/locks/organization/llmops" / stack / f"{uuid.uuid4()}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    since = (datetime.now(UTC) - timedelta(seconds=age_s)).strftime("%Y-%m-%dT%H:%M:%S.%f") + "123Z"
    lock = {"pid": pid, "username": "u", "hostname": host or socket.gethostname(), "timestamp": since}
    path.write_text(json.dumps(lock))
    return path


@pytest.mark.vulnerability(6)
@pytest.mark.parametrize("host", ["", "another"])
def test_vulnerability_6_no_lock_is_taken_over_however_dead_its_process_looks(tmp_path: Path, host: str) -> None:
    """Another machine or container may have this host's name and hold the lock."""
    with subprocess.Popen(["true"]) as dead:
        lock = write_lock(tmp_path, dead.pid, host, age_s=10 * 24 * 3600)
    with pytest.raises(KitError) as refused:
        require_free(locks_of(tmp_path, "dev", "llmops"), "dev")
    assert (
        f"stack dev is being changed by process {dead.pid} of u on {host or socket.gethostname()}" in refused.value.what
    )
    assert refused.value.where == str(lock)
    assert "`pulumi cancel --stack dev` frees the stack" in refused.value.fix
    assert lock.exists()


def test_locks_of_other_stacks_are_no_hindrance(tmp_path: Path) -> None:
    write_lock(tmp_path, os.getpid(), stack="prod")
    require_free(locks_of(tmp_path, "dev", "llmops"), "dev")


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
def test_a_malformed_lock_is_one_clear_error(content: bytes, tmp_path: Path) -> None:
    lock = write_lock(tmp_path, os.getpid())
    good = json.loads(lock.read_text())
    try:
        changed = json.loads(content)
        mixed = json.dumps(good | changed).encode() if isinstance(changed, dict) else content
    except (ValueError, RecursionError):
        mixed = content
    lock.write_bytes(mixed)
    with pytest.raises(KitError, match="not a lock of Pulumi's") as caught:
        locks_of(tmp_path, "dev", "llmops")
    assert str(lock) in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert "\x1b" not in str(caught.value)
    assert lock.exists()


def test_a_lock_whose_name_is_no_id_or_that_is_a_folder_is_one_clear_error(tmp_path: Path) -> None:
    lock = write_lock(tmp_path, os.getpid())
    with pytest.raises(KitError, match=r"name is not a lock's id") as caught:
        parse(lock.read_bytes(), "s3://bucket/.pulumi/locks/../\x1b[2J.json")
    assert "\x1b" not in str(caught.value)
    lock.unlink()
    lock.mkdir()
    with pytest.raises(KitError, match="Is a directory"):
        locks_of(tmp_path, "dev", "llmops")
