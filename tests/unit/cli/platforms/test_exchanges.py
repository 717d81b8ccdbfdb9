"""What a recording keeps of what was asked and answered, and what it never holds."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from llmops_kit.cli.platforms.exchanges import BYTES, TIME, VARIABLE, Recorder, recorded, recorder


def test_nothing_is_recorded_unless_it_was_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert recorder() is None
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert recorder() == Recorder(tmp_path)


def test_a_text_has_one_pseudonym_in_a_recording_and_another_in_the_next(tmp_path: Path) -> None:
    one, again, other = Recorder(tmp_path / "a"), Recorder(tmp_path / "a"), Recorder(tmp_path / "b")
    assert one.mask("123456789012") == again.mask("123456789012") != other.mask("123456789012")
    assert one.mask("123456789012") != one.mask("123456789013")
    assert (tmp_path / "a/key").stat().st_mode & 0o777 == 0o600


def test_values_without_structure(tmp_path: Path) -> None:
    one = Recorder(tmp_path)
    assert [one.plain(v) for v in (True, 3, 0.5, None)] == [True, 3, 0.5, None]
    assert one.plain(datetime.now(UTC)) == TIME
    assert one.plain(b"secret") == BYTES


def test_the_same_exchange_is_kept_once_a_step_and_a_line_that_was_cut_off_is_passed_over(tmp_path: Path) -> None:
    one = Recorder(tmp_path)
    for step in ("train", "serve"):
        one.begin(step)
        for _ in range(3):
            one.add("sagemaker ListEndpoints", {}, 200, "", {"Endpoints": []})
    with (tmp_path / "exchanges.jsonl").open("a") as file:
        file.write('{"call": "sage')
    found = recorded(tmp_path)
    assert [(e["step"], e["call"], e["times"]) for e in found] == [
        ("train", "sagemaker ListEndpoints", 3),
        ("serve", "sagemaker ListEndpoints", 3),
    ]
    assert recorded(tmp_path / "nothing") == []


def test_the_key_is_not_in_what_is_recorded(tmp_path: Path) -> None:
    one = Recorder(tmp_path)
    one.add("s3 PutObject", {"Key": one.mask("a")}, 200, "", {})
    text = (tmp_path / "exchanges.jsonl").read_text()
    assert (tmp_path / "key").read_bytes().hex() not in text
    assert json.loads(text)["call"] == "s3 PutObject"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exchanges.jsonl", "key"]
