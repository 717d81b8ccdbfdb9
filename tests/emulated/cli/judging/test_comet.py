"""Suites `comet`: a stored COMET model scores a run's translations when it is collected."""

import json
from pathlib import Path

import pytest

from llmops_kit.cli.importing.importing import import_model, parse_source
from llmops_kit.cli.interfaces.platform import Run
from llmops_kit.cli.platforms.local.platform import LocalPlatform
from llmops_kit.cli.runs.report import run_report
from llmops_kit.cli.runs.run_page import html
from llmops_kit.cli.runs.runs import collect
from llmops_kit.core.errors import IntegrityError, KitError
from llmops_kit.core.layout import JUDGEMENTS, MODEL_CARD
from llmops_kit.core.names import ModelRef
from tests.emulated.cli.evaluation.test_answers import platform
from tests.support.runs.gated_runs import gated_run
from tests.support.tiny_models.models import tiny_comet_source
from tests.unit.cli.evaluation.test_comparison import run as evaluate
from tests.unit.cli.runs.test_runs import write_recipe

__all__ = ["platform"]
ENGLISH, GERMAN = ("the dog barks", "a cat sleeps"), ("der hund bellt", "im garten schläft a katze")


@pytest.fixture(scope="module")
def source() -> Path:
    """A COMET model, in the machine's cache, which `platform` leaves."""
    return tiny_comet_source()


def finished(platform: LocalPlatform, folder: Path, model: str, wrong: str = "") -> Run:
    """A completed run whose gate is on translations that a COMET model scores."""
    recipe = write_recipe(folder)
    rows = [{"en": f"{ENGLISH[n % 2]} {n}", "de": f"{GERMAN[n % 2]} {n}"} for n in range(32)]
    (folder / "held-out.jsonl").write_text("".join(json.dumps({"translation": row}) + "\n" for row in rows))
    suite = {"name": "german", "split": "test", "metric": "comet", "languages": ["en", "de"], "comet": {"model": model}}
    gate = {"suite": "german", "low": 0.4, "not_worse_than": "production", "margin": 0.1}
    return gated_run(platform, recipe, suite, gate, wrong=wrong)


def bring_in(platform: LocalPlatform, source: Path, said: list[str]) -> ModelRef:
    wanted = parse_source("comet-tiny", f"folder:{source}", "", "")
    return import_model(platform, wanted, said.append, Path("/"))


def test_a_stored_comet_model_scores_translations_once_and_decides_the_gate(
    source: Path, platform: LocalPlatform, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    comet = bring_in(platform, source, said)
    assert bring_in(platform, source, said) == comet
    assert said[-1] == "base model comet-tiny@1 is in the store"
    with pytest.raises(KitError, match="is a model for text-generation, not for translation-scoring"):
        finished(platform, tmp_path, "tiny@1")
    with pytest.raises(KitError, match="comet-tiny@2 is not in the store"):
        finished(platform, tmp_path, "comet-tiny@2")

    run = finished(platform, tmp_path, "comet-tiny@latest")
    (suite,) = run.spec.recipe.evaluation.suites
    assert suite.comet
    assert suite.comet.model == str(comet)
    ref = collect(platform, run, said.append)
    manifest = platform.store().verify_model(ref, platform.outputs.signing.public_key, said.append)
    (result,) = manifest.evaluation
    folder = platform.store().model_folder(ref.sha256)
    verdicts = json.loads((folder / JUDGEMENTS).read_text())["verdicts"].values()
    scores = [each["score"] for each in verdicts]
    assert len(scores) == 64  # of 32 rows, before and after
    assert all(0 < score < 1 for score in scores)
    assert result.before.value + result.after.value == pytest.approx(sum(scores) / 32, abs=1e-3)
    assert result.before.value != result.after.value
    assert result.judge
    assert (result.judge.model, result.judge.asked) == (str(comet), 64)
    assert manifest.gate
    assert "german: score" in manifest.gate.reasons[0]
    assert "COMET by comet-tiny@1; 64 translations" in html(run_report(platform, run))
    assert "| comet (comet-tiny@1@sha256:" in (folder / MODEL_CARD).read_text()

    # Equal answers need no model, which is damaged from here on; others do.
    head = platform.store().model_folder(comet.sha256) / "head.safetensors"
    head.chmod(0o644)
    head.write_bytes(head.read_bytes()[:-1] + b"!")
    equal = collect(platform, finished(platform, tmp_path, "comet-tiny@1"), said.append)
    evaluate(platform, tmp_path, equal.alias, against=ref.alias)
    (compared,) = json.loads(capsys.readouterr().out)["suites"]
    assert (compared["difference"]["value"], compared["rows"][0]["judged"][0]["words"]) == (
        0,
        f"{min(scores[1::2]):.4f}",
    )
    with pytest.raises(IntegrityError):
        collect(platform, finished(platform, tmp_path, "comet-tiny@1", wrong="katze"), said.append)
