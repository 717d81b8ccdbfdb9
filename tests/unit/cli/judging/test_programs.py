"""Suites `program`: a Python file of the user's, in a process of its own, scores the answers of a collected run."""

from pathlib import Path

import pytest

from llmops_kit.cli.interfaces.platform import Run
from llmops_kit.cli.platforms.local.platform import LocalPlatform
from llmops_kit.cli.runs.report import run_report
from llmops_kit.cli.runs.run_page import html
from llmops_kit.cli.runs.runs import collect, parse_recipe
from llmops_kit.core.documents.judgements import Judgements
from llmops_kit.core.errors import KitError, NotFoundError
from llmops_kit.core.layout import JUDGEMENTS
from tests.support.runs.gated_runs import gated_run
from tests.unit.cli.conftest import MakeVersion
from tests.unit.cli.runs.test_runs import write_recipe

SCORE = '''
import socket
from pathlib import Path


def score(row):
    """1 if the answer is the reference, and this process reaches nothing."""
    try:
        socket.create_connection(("192.0.2.1", 9), timeout=60)
        return 0
    except OSError:
        pass
    if Path(KEY).exists() and open(KEY).read():
        return 0
    assert set(row) == {"prompt", "answer", "reference", "expect", "tools", "metadata"}
    return row["answer"] == row["reference"] and row["prompt"][-1]["role"] == "user"
'''


def finished(platform: LocalPlatform, folder: Path, program: str, wrong: str = "") -> Run:
    recipe = write_recipe(folder)
    (folder / "score.py").write_text(program)
    suite = {"name": "own", "split": "test", "metric": "program", "program": {"file": "score.py"}}
    return gated_run(platform, recipe, suite, {"suite": "own", "low": 0.8, "gain_low": 0.8}, wrong=wrong)


@pytest.fixture
def stack(
    platform: LocalPlatform, make_version: MakeVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> LocalPlatform:
    monkeypatch.setenv("LLMOPS_CACHE", str(tmp_path / "cache"))
    platform.store().put_model(make_version("tiny"), platform.sign)
    return platform


def test_a_program_scores_each_answer_once_and_decides_the_gate(stack: LocalPlatform, tmp_path: Path) -> None:
    key = stack.outputs.signing.private_key
    run = finished(stack, tmp_path, f"KEY = {key!r}\n{SCORE}")
    (program,) = [suite.program for suite in run.spec.recipe.evaluation.suites]
    assert program is not None
    assert len(program.sha256) == 64
    said: list[str] = []
    ref = collect(stack, run, said.append)
    manifest = stack.store().manifest(ref)
    (result,) = manifest.evaluation
    assert (result.before.value, result.after.value) == (0, 1), said
    assert manifest.gate is not None
    assert manifest.gate.passed, manifest.gate.reasons
    verdicts = Judgements.load(stack.store().model_folder(ref.sha256) / JUDGEMENTS).verdicts
    assert {each.score for each in verdicts.values()} == {0, 1}
    assert "score.py scores 64 answers, 0 known already" in "\n".join(said)
    assert "scored by score.py; 64 answers" in html(run_report(stack, run))


def test_a_machine_that_never_read_the_program_runs_nothing(stack: LocalPlatform, tmp_path: Path) -> None:
    run = finished(stack, tmp_path, "def score(row): return 1\n")
    for kept in (tmp_path / "cache" / "programs").iterdir():
        kept.write_text("raise SystemExit('another one')")
    with pytest.raises(NotFoundError, match="was never read on this machine"):
        collect(stack, run, lambda _: None)
    parse_recipe(tmp_path / "recipe.yaml")  # as `llmops train` does
    assert collect(stack, run, lambda _: None)


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("def score(row): return 1.5", "gave 1.5 for row 1 of 64"),
        ("def score(row): return float('nan')", "not a finite number"),
        ("def score(row): raise ValueError('no luck')", "ended with 1: ValueError: no luck"),
        ("import os; os._exit(0)", "left no scores"),
        ("x = 1", "KeyError: 'score'"),
    ],
)
def test_a_program_that_gives_no_scores_is_named(
    stack: LocalPlatform, tmp_path: Path, program: str, words: str
) -> None:
    run = finished(stack, tmp_path, program)
    with pytest.raises(KitError, match=words) as caught:
        collect(stack, run, lambda _: None)
    assert caught.value.where == "suite own: program score.py"
    assert stack.store().of_run("chatbot", run.spec.id) is None


def test_a_recipe_that_names_no_program_or_another_one_is_refused(stack: LocalPlatform, tmp_path: Path) -> None:
    finished(stack, tmp_path, "def score(row): return 1\n")
    recipe = tmp_path / "recipe.yaml"
    text = recipe.read_text()
    recipe.write_text(text.replace('"file": "score.py"', f'"file": "score.py", "sha256": "{"0" * 64}"'))
    with pytest.raises(KitError, match="remove `sha256`"):
        parse_recipe(recipe)
    recipe.write_text(text.replace("score.py", "missing.py"))
    with pytest.raises(KitError, match="is not a file") as caught:
        parse_recipe(recipe)
    assert caught.value.where == f"{recipe}: suite own: program.file"
