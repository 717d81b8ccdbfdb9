"""The list of model versions."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llmops_kit.cli.commands.models import list_models, print_version
from llmops_kit.cli.runs.runs import plan_run
from llmops_kit.core.layout import rejection_log
from tests.support.tiny_models.versions import write_output
from tests.unit.cli.conftest import MakeVersion
from tests.unit.cli.runs.test_runs import deploy, write_recipe


def test_versions_are_listed_with_bytes_and_scores(
    tmp_path: Path, make_version: MakeVersion, capsys: pytest.CaptureFixture[str]
) -> None:
    platform = deploy(tmp_path, "")
    platform.store().put_model(make_version("other", "longer weights"), platform.sign)
    spec = plan_run(platform, write_recipe(tmp_path), lambda _: None).spec
    write_output(tmp_path / "out", spec, platform.store(), right=True)
    platform.store().put_model(tmp_path / "out", platform.sign)
    context: Any = SimpleNamespace(obj=SimpleNamespace(platform=platform))
    list_models(context, as_json=True)
    rows = {row["model"]: row for row in json.loads(capsys.readouterr().out)}
    store = platform.store()
    for model, row in rows.items():
        manifest = store.manifest(store.find(model))
        assert row["bytes"] == sum(each.size for each in manifest.files.values())
        assert {name: score["value"] for name, score in row["scores"].items()} == {
            each.suite: each.after.value for each in manifest.evaluation
        }
    assert {bool(row["scores"]) for row in rows.values()} == {False, True}
    list_models(context)
    lines = capsys.readouterr().out.splitlines()
    assert "scores" in lines[0]
    for line in lines[1:]:
        scores = rows[line.split()[0]]["scores"]
        for name, score in scores.items():
            assert f"{name} {score['value']:.2f}" in line
        assert f"{rows[line.split()[0]]['bytes'] / 1e6:.0f} MB" in line


def test_the_reasons_of_the_gate_follow_it(
    tmp_path: Path, make_version: MakeVersion, capsys: pytest.CaptureFixture[str]
) -> None:
    platform = deploy(tmp_path, "")
    store = platform.store()
    store.put_model(make_version("other", "weights", passed=False), platform.sign)
    ref = store.find("other@1")
    rejection = {"action": "rejected", "why": "5xx alarm", "when": "now"}
    store.append(rejection_log(ref.sha256), rejection)
    print_version(platform, ref, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    gate = next(number for number, line in enumerate(lines) if line.startswith("gate "))
    assert lines[gate + 1].strip() == "new-phrasings 0.10 < 0.80"
    assert [line.split()[0] for line in lines if line.startswith(("signed", "gate", "rejected"))] == [
        "signed",
        "gate",
        "rejected",
    ]
