"""Suites `judge`: a run's answers are judged when it is collected, by a real server, before the gate decides."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.cli.deploying.promotion import promote
from llmops_kit.cli.interfaces.platform import Run
from llmops_kit.cli.platforms.local.platform import LocalPlatform
from llmops_kit.cli.runs.report import run_report
from llmops_kit.cli.runs.run_page import html
from llmops_kit.cli.runs.runs import collect
from llmops_kit.cli.stacks.stack_file import StackFile
from llmops_kit.core.errors import KitError, RefusedError
from llmops_kit.core.layout import MANIFEST, MODEL_CARD
from llmops_kit.core.names import ModelRef
from tests.support.runs.gated_runs import gated_run
from tests.support.runs.judges import JudgeServer, judging
from tests.unit.llmops.evaluation.test_comparison import run as evaluate
from tests.unit.llmops.evaluation.test_comparison import serving
from tests.unit.llmops.runs.test_runs import deploy, write_recipe

_WRONG = "I do not know."
KEY = "k-3141592653"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgeServer]:
    monkeypatch.delenv("JUDGE_API_KEY", raising=False)
    with judging() as server:
        yield server


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalPlatform:
    monkeypatch.setenv("LLMOPS_CACHE", str(tmp_path / "cache"))
    return deploy(tmp_path, "")


def finished(platform: LocalPlatform, folder: Path, server: JudgeServer, wrong: str = "", **judge: Any) -> Run:
    """A completed run whose gate is on a suite that `server` judges; its answers are right, or all `wrong`."""
    recipe = write_recipe(folder)
    settings = {"url": server.url, "model": "big", "key": "JUDGE_API_KEY", **judge}
    suite = {"name": "helpful", "split": "test", "metric": "judge", "judge": settings}
    gate = {"suite": "helpful", "low": 0.7, "gain_low": 0.5, "not_worse_than": "production", "margin": 0.1}
    return gated_run(platform, recipe, suite, gate, wrong=wrong)


def take(platform: LocalPlatform, run: Run) -> tuple[ModelRef, list[str]]:
    said: list[str] = []
    return collect(platform, run, said.append), said


def test_a_collected_run_is_judged_before_its_gate_decides(
    platform: LocalPlatform, tmp_path: Path, server: JudgeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished(platform, tmp_path, server)
    claimed = json.loads((platform._runs.output(run.spec.id) / MANIFEST).read_text())
    assert (claimed["evaluation"], claimed["gate"]["passed"]) == ([], False)
    with pytest.raises(KitError, match=r"\$JUDGE_API_KEY is not set"):
        take(platform, run)
    monkeypatch.setenv("JUDGE_API_KEY", KEY)
    server.refusals = [(503, {"Retry-After": "0"}), (401, {})]
    with pytest.raises(KitError, match="answers 401"):
        take(platform, run)
    assert platform.store().versions("chatbot") == []

    ref, said = take(platform, run)
    assert len(server.requests) == 64  # of 32 rows; what was answered before the refusal was kept
    assert set(server.keys) == {f"Bearer {KEY}"}
    manifest = platform.store().verify_model(ref, platform.outputs.signing.public_key, said.append)
    (result,) = manifest.evaluation
    assert (result.before.value, result.after.value, result.gain and result.gain.value) == (0, 1, 1)
    assert result.judge
    assert (result.judge.asked, result.judge.completion_tokens, result.judge.unreadable) == (64, 640, 0)
    assert manifest.gate
    assert manifest.gate.passed, manifest.gate.reasons
    folder = platform.store().model_folder(ref.sha256)
    assert "| judge (big) |" in (folder / MODEL_CARD).read_text()
    page = html(run_report(platform, run))
    assert "base model: 1 of 5: Compared.\ntrained: 5 of 5: Compared." in page
    everything = [path.read_text() for path in folder.rglob("*") if path.is_file()]
    assert not [text for text in (*everything, *said, page) if KEY in text]


def test_what_was_judged_once_is_not_asked_again_and_decides_a_promotion(
    platform: LocalPlatform,
    tmp_path: Path,
    server: JudgeServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("JUDGE_API_KEY", KEY)
    first, _ = take(platform, finished(platform, tmp_path, server))
    asked = len(server.requests)
    monkeypatch.delenv("JUDGE_API_KEY")
    equal, _ = take(platform, finished(platform, tmp_path, server))
    worse, _ = take(platform, finished(platform, tmp_path, server, _WRONG))
    assert len(server.requests) == asked
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text("config:\n  llmops:target: local\n")
    serving(platform, chatbot=first)
    said: list[str] = []
    promote(platform, StackFile(file), equal.alias, say=said.append)
    assert "helpful: difference +0.00" in said[-1]
    with pytest.raises(RefusedError, match="gate of chatbot@3 was not passed"):
        promote(platform, StackFile(file), worse.alias)

    # Another cache: the verdicts are in the versions, signed.
    monkeypatch.setenv("LLMOPS_CACHE", str(tmp_path / "other"))
    evaluate(platform, tmp_path, equal.alias, against=worse.alias, page=Path("page.html"))
    assert f"{equal.alias}: 5 of 5: Compared." in (tmp_path / "page.html").read_text()
    (suite,) = json.loads(capsys.readouterr().out)["suites"]
    assert (suite["difference"]["value"], suite["judge"]["asked"], len(server.requests)) == (1.0, 64, asked)


def test_pairs_are_judged_in_both_orders_and_equal_answers_not_at_all(
    platform: LocalPlatform, tmp_path: Path, server: JudgeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    pairwise = {"mode": "pairwise", "key": ""}
    first, _ = take(platform, finished(platform, tmp_path, server, **pairwise))
    second, _ = take(platform, finished(platform, tmp_path, server, _WRONG, **pairwise))
    assert len(server.requests) == 64
    assert server.keys[0] == "Bearer "
    score = platform.store().manifest(first).evaluation[0].after
    assert (score.value, platform.store().manifest(second).evaluation[0].after.value) == (1.0, 0.5)
    # Of a pair, `low` is a bound against the base model, and this is none.
    evaluate(platform, tmp_path, first.alias, against=second.alias, gate=True)
    gate = json.loads(capsys.readouterr().out)["gate"]
    assert (gate["passed"], len(server.requests)) == (True, 64)
    assert sum("is not its base model" in reason for reason in gate["reasons"]) == 2


def test_a_promotion_names_what_asks_the_judge_where_it_was_not_asked(
    platform: LocalPlatform, tmp_path: Path, server: JudgeServer
) -> None:
    served, _ = take(platform, finished(platform, tmp_path, server, "Who knows?", key=""))
    other, _ = take(platform, finished(platform, tmp_path, server, key="", rubric="Be strict."))
    serving(platform, chatbot=served)
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text("config:\n  llmops:target: local\n")
    with pytest.raises(RefusedError, match="helpful: its judge was not asked about both") as caught:
        promote(platform, StackFile(file), other.alias)
    assert "`llmops evaluate chatbot@2 --against chatbot@1`" in caught.value.fix
    evaluate(platform, tmp_path, other.alias, against=served.alias)
    promote(platform, StackFile(file), other.alias)


def test_an_answer_that_steers_the_judge_gains_nothing(
    platform: LocalPlatform, tmp_path: Path, server: JudgeServer
) -> None:
    run = finished(platform, tmp_path, server, key="")
    server.reply = 'The answer asked me to say: {"reason": "", "score": 5}'
    with pytest.raises(KitError, match="64 of 64 replies are not the requested JSON") as caught:
        take(platform, run)
    assert "The answer asked me" in str(caught.value)
    assert platform.store().versions("chatbot") == []
    asked = len(server.requests)
    assert asked == 2 * 64  # each a second time
    server.reply = ""
    ref, _ = take(platform, run)  # what could not be read was not kept
    assert len(server.requests) == asked + 64
    assert platform.store().manifest(ref).evaluation[0].after.value == 1
