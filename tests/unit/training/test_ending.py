"""Exit codes and reasons: the first one that is known stands."""

import json
from pathlib import Path

import pytest
import torch

from llmops_kit.core.layout import ROOT_VARIABLE, TrainingFolders
from llmops_kit.training.ending import FAILED, described, ended_without_a_word, exit_code, report_failure
from llmops_kit.training.job import end_reported
from llmops_kit.training.ranks import Alone
from llmops_kit.training.stopping import StopRequest
from tests.support.checkout import EXAMPLES


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        ({143}, 143),
        ({3}, 3),
        ({3, 143}, 3),
        ({-15, 143}, 143),
        # One failed, and the agent asked the others to stop.
        ({1, 143}, 1),
        ({-9, 143}, 1),
        ({1, 3}, 1),
    ],
)
def test_a_hosts_exit_code(codes: set[int], code: int) -> None:
    assert exit_code(codes) == code


def test_a_killed_rank_is_named() -> None:
    text = ended_without_a_word("algo-2", {2: 143, 3: -9})
    assert text.startswith("rank 3 on algo-2: was ended by SIGKILL, without a message\n  fix: ")
    assert "ended with exit code 7" in ended_without_a_word("algo-1", {0: 7})


def test_the_first_reason_stands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "output" / "failure"
    report_failure(path, "the disk is full")
    report_failure(path, "the other rank has gone")
    assert path.read_text() == "the disk is full\n"
    assert "the other rank has gone" in capsys.readouterr().err


def test_a_batch_that_is_too_large_says_what_to_change() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    for error in (caught.value, torch.OutOfMemoryError("CUDA out of memory"), MemoryError()):
        fix = described(error, may_quantize=True).partition("fix: ")[2]
        assert all(word in fix for word in ("training.max_tokens", "training.adapter: qlora", "machine"))
        assert "qlora" not in described(error, may_quantize=False)
    assert "qlora" not in described(RuntimeError("shapes"), may_quantize=True)


@pytest.mark.parametrize(
    ("options", "proposed"), [({}, True), ({"adapter": "qlora"}, False), ({"framework": "tensorflow"}, False)]
)
def test_a_job_without_memory_proposes_4_bits_where_they_would_be_a_change(
    tmp_path: Path, options: dict[str, str], proposed: bool
) -> None:
    folders = TrainingFolders.of({ROOT_VARIABLE: str(tmp_path)})
    spec = json.loads((EXAMPLES / "run-2.json").read_text())
    spec["recipe"]["training"] = options
    folders.spec.parent.mkdir(parents=True)
    folders.spec.write_text(json.dumps(spec))

    def work(_: StopRequest) -> int:
        raise MemoryError

    assert end_reported(work, folders, Alone()) == FAILED
    assert ("qlora" in folders.failure.read_text()) == proposed
