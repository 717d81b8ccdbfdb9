"""What a twin's state is on disk: what is appended, replaced, read again, and refused."""

from pathlib import Path
from unittest.mock import Mock

import pytest

from llmops_kit.core.errors import KitError
from llmops_twins.core import state_log
from llmops_twins.core.state_log import STATE_FILE, StateLog

WRITER = {"schema": "state/1", "library": "2.0"}


@pytest.fixture
def log(tmp_path: Path) -> StateLog:
    """The log of a twin in `tmp_path`."""
    return StateLog(tmp_path, WRITER, "twins reset")


def read(home: Path, **writer: str) -> dict[str, bytes] | None:
    """Reads the parts from disk, as a new process does; `writer` are its versions."""
    return StateLog(home, WRITER | writer, "twins reset").read()


def test_only_what_changed_is_appended(log: StateLog, tmp_path: Path) -> None:
    file = tmp_path / STATE_FILE
    assert read(tmp_path) is None
    log.write({"large": b"x" * 10_000, "small": b"1", "gone": b""})
    first = file.read_bytes()
    assert file.stat().st_mode & 0o777 == 0o600
    log.write({"large": b"x" * 10_000, "small": b"2", "new": b"{\n}"})
    assert file.read_bytes().startswith(first)
    assert len(file.read_bytes()) < len(first) + 300
    log.write({"large": b"x" * 10_000, "small": b"2", "new": b"{\n}"})
    assert read(tmp_path) == {"large": b"x" * 10_000, "small": b"2", "new": b"{\n}"}
    assert len(file.read_bytes()) < len(first) + 300


@pytest.mark.parametrize("cut", range(1, 140, 6))
def test_a_frame_that_was_not_completed_counts_as_not_written(log: StateLog, tmp_path: Path, cut: int) -> None:
    file = tmp_path / STATE_FILE
    log.write({"a": b"1", "b": b"1"})
    whole = file.stat().st_size
    log.write({"a": b"2" * 40})
    assert file.stat().st_size - whole > cut
    file.write_bytes(file.read_bytes()[:-cut])
    again = StateLog(tmp_path, WRITER, "twins reset")
    assert again.read() == {"a": b"1", "b": b"1"}
    again.write({"a": b"3"})
    assert read(tmp_path) == {"a": b"3"}


def test_a_write_that_fails_leaves_a_log_that_can_be_read(
    log: StateLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.write({"a": b"1"})
    full = OSError(28, "No space left on device")
    with monkeypatch.context() as patch:
        patch.setattr(state_log.os, "fsync", Mock(side_effect=full))
        with pytest.raises(OSError, match="No space left"):
            log.write({"a": b"2"})
    with (tmp_path / STATE_FILE).open("ab") as f:
        f.write(b'{"parts"')
    log.write({"a": b"3"})
    assert read(tmp_path) == {"a": b"3"}


def test_a_file_that_another_folder_has_too_is_replaced_and_never_appended_to(log: StateLog, tmp_path: Path) -> None:
    log.write({"a": b"1"})
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / STATE_FILE).hardlink_to(tmp_path / STATE_FILE)
    log.write({"a": b"2"})
    log.write({"a": b"3"})
    assert (read(tmp_path), read(tmp_path / "snapshot")) == ({"a": b"3"}, {"a": b"1"})


def test_what_is_outdated_is_dropped_before_it_is_many_times_the_state(
    log: StateLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_log, "_SMALL", 4096)
    for number in range(100):
        log.write({"a": str(number).encode() * 500, "b": b"b" * 1000})
        assert (tmp_path / STATE_FILE).stat().st_size < 10_000
    assert read(tmp_path) == {"a": b"99" * 500, "b": b"b" * 1000}


@pytest.mark.parametrize(
    "damage", [(b"kept", b"lost"), (b'"a": 4', b'"a": 3'), (b'"sha256"', b'"sha255"'), (b"{", b"[")]
)
def test_a_state_that_was_changed_is_refused(log: StateLog, tmp_path: Path, damage: tuple[bytes, bytes]) -> None:
    file = tmp_path / STATE_FILE
    log.write({"a": b"kept"})
    log.write({"a": b"kept", "b": b"1"})
    head, _, frames = file.read_bytes().partition(b"\n")
    file.write_bytes(head + b"\n" + frames.replace(*damage, 1))
    with pytest.raises(KitError, match="SHA-256") as refused:
        read(tmp_path)
    assert (refused.value.where, "twins reset" in refused.value.fix) == (str(file), True)


def test_a_state_of_other_versions_is_refused(log: StateLog, tmp_path: Path) -> None:
    log.write({"a": b"1"})
    with pytest.raises(KitError, match=r"library 2\.0, and this is schema state/1, library 3\.0"):
        read(tmp_path, library="3.0")


@pytest.mark.parametrize("name", ["state.pickle", "state.json"])
def test_a_state_of_an_earlier_kit_is_told_and_can_be_dropped(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(KitError, match="an earlier version of the kit") as refused:
        read(tmp_path)
    assert refused.value.where == str(tmp_path / name)
    state_log.drop_state(tmp_path)
    assert read(tmp_path) is None
