"""Files arrive from another rank as they were sent, or not at all."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from llmops_kit.core.errors import IntegrityError
from llmops_kit.training import wire
from llmops_kit.training.wire import give, give_nothing, take


class Line:
    """What one rank has sent, and another has not received yet."""

    def __init__(self) -> None:
        self.sent: list[torch.Tensor] = []

    def send(self, tensor: torch.Tensor) -> None:
        self.sent.append(tensor.clone())

    def receive(self, tensor: torch.Tensor) -> None:
        sent = self.sent.pop(0)
        assert (sent.shape, sent.dtype) == (tensor.shape, tensor.dtype)
        tensor.copy_(sent)

    def replace_list(self, content: bytes) -> None:
        self.sent[:2] = [torch.tensor([len(content)]), torch.frombuffer(bytearray(content), dtype=torch.uint8)]

    def change_list(self, change: Callable[[Any], object]) -> None:
        document = json.loads(self.sent[1].numpy().tobytes())
        change(document)
        self.replace_list(json.dumps(document).encode())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a rank; a piece is shorter than its files."""
    monkeypatch.setattr(wire, "_PIECE", 4)
    found = tmp_path / "first/checkpoint-5"
    (found / "below").mkdir(parents=True)
    (found / "optimizer.pt").write_bytes(b"0123456789")
    (found / "below/empty").touch()
    return found


@pytest.fixture
def line(folder: Path) -> Line:
    """On which the folder was sent."""
    made = Line()
    give(folder, ["optimizer.pt", "below/empty"], made.send)
    return made


def test_files_arrive_in_pieces(line: Line, tmp_path: Path) -> None:
    assert [len(tensor) for tensor in line.sent[2:]] == [4, 4, 2]
    taken = take(tmp_path / "second", line.receive, lambda listed: listed.folder == "checkpoint-5")
    assert taken
    assert taken == tmp_path / "second/checkpoint-5"
    assert (taken / "optimizer.pt").read_bytes() == b"0123456789"
    assert (taken / "below/empty").read_bytes() == b""
    assert line.sent == []


def test_nothing_arrives_as_nothing(tmp_path: Path) -> None:
    line = Line()
    give_nothing(line.send)
    assert take(tmp_path, line.receive, lambda _: True) is None


def test_a_changed_byte_is_noticed_and_not_kept(line: Line, tmp_path: Path) -> None:
    line.sent[3][1] ^= 1
    with pytest.raises(IntegrityError) as caught:
        take(tmp_path / "second", line.receive, lambda _: True)
    assert caught.value.where == str(tmp_path / "second/checkpoint-5/optimizer.pt")
    assert not (tmp_path / "second/checkpoint-5/optimizer.pt").exists()


def _rename(listed: Any, name: str) -> None:
    listed["files"][name] = listed["files"].pop("optimizer.pt")


@pytest.mark.parametrize(
    "change",
    [
        lambda listed: _rename(listed, "../../optimizer.pt"),
        lambda listed: _rename(listed, "/tmp/optimizer.pt"),
        lambda listed: listed.update(folder=".."),
        lambda listed: listed["files"]["optimizer.pt"].update(size=-1),
        lambda listed: listed["files"]["optimizer.pt"].update(sha256="x"),
        lambda listed: listed.update(more=1),
    ],
)
def test_a_hostile_list_is_refused(change: Callable[[Any], object], line: Line, tmp_path: Path) -> None:
    line.change_list(change)
    with pytest.raises(IntegrityError):
        take(tmp_path / "second", line.receive, lambda _: True)
    assert not (tmp_path / "second").exists()


@pytest.mark.parametrize("content", [b"\x80\x04K\x01.", b"[" * 9999, b"null"])
def test_what_is_no_list_is_refused(content: bytes, line: Line, tmp_path: Path) -> None:
    line.replace_list(content)
    with pytest.raises(IntegrityError):
        take(tmp_path / "second", line.receive, lambda _: True)


@pytest.mark.parametrize("length", [-1, 1 << 40])
def test_a_list_too_long_is_refused_before_it_is_received(length: int, line: Line, tmp_path: Path) -> None:
    line.sent[0] = torch.tensor([length])
    with pytest.raises(IntegrityError):
        take(tmp_path / "second", line.receive, lambda _: True)


def test_files_that_are_not_expected_are_refused_before_any_is_written(line: Line, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError):
        take(tmp_path / "second", line.receive, lambda listed: "optimizer.pt" not in listed.files)
    assert not (tmp_path / "second").exists()
