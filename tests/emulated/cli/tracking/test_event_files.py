"""An exported run as TensorBoard itself reads it."""

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llmops_kit.cli.commands.export import export_run
from llmops_kit.cli.platforms.local.platform import LocalPlatform
from llmops_kit.cli.runs.runs import collect
from llmops_kit.cli.tracking.event_files import write_events
from llmops_kit.cli.tracking.records import run_record
from llmops_kit.core.documents.training_metrics import metrics_text
from tests.support.environments import TENSORBOARD, environment
from tests.support.runs.gated_runs import gated_run
from tests.support.tiny_models.versions import STEPS
from tests.unit.cli.runs.test_runs import deploy, write_recipe


@pytest.fixture(scope="module")
def python() -> Path:
    return environment("tensorboard", TENSORBOARD) / "bin" / "python"


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalPlatform:
    monkeypatch.setenv("LLMOPS_CACHE", str(tmp_path / "cache"))
    return deploy(tmp_path, "")


def test_tensorboard_reads_an_exported_run(python: Path, platform: LocalPlatform, tmp_path: Path) -> None:
    suite, gate = {"name": "new", "split": "test"}, {"suite": "new", "low": 0.5}
    run = gated_run(platform, write_recipe(tmp_path), suite, gate)
    record = run_record(platform, collect(platform, run, lambda _: None))
    path = write_events(record, tmp_path / "events")
    content = path.read_bytes()
    context: Any = SimpleNamespace(obj=SimpleNamespace(platform=platform, cwd=tmp_path))
    export_run(context, run.spec.id, Path("events"), Path("metrics.jsonl"))
    assert (tmp_path / "metrics.jsonl").read_text() == metrics_text(STEPS)
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]
    assert path.parent.name == run.spec.id

    script = Path(__file__).with_name("read_events.py")
    done = subprocess.run([python, script, path.parent], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["scalars"]["train/loss"] == [[s.time, s.step, pytest.approx(s.loss)] for s in STEPS]
    assert found["scalars"]["train/validation_loss"] == [[STEPS[2].time, 3, 1.25]]
    assert found["scalars"]["eval/new/after"] == [[record.ended, 3, 1.0]]
    assert "training.lora.r: 16" in found["recipe"]
