"""What the harness's results say, and its part of the page."""

import json
from pathlib import Path

import pytest

from llmops_kit.cli.evaluation.comparison_page import html
from llmops_kit.cli.evaluation.lm_eval import TaskScore, _scores, image_for
from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.errors import KitError
from tests.support.tiny_models.versions import write_version

# As lm-eval 0.4.13 writes it, shortened.
RESULTS = {
    "results": {
        "numbers": {
            "name": "numbers",
            "alias": "numbers",
            "sample_len": 5,
            "exact_match,none": 0.8,
            "exact_match_stderr,none": 0.2,
            "errors,strict": 2,
            "errors_stderr,strict": "N/A",
        }
    },
    "higher_is_better": {"numbers": {"exact_match": True, "errors": False}},
    "n-samples": {"numbers": {"original": 5, "effective": 5}},
}


def test_each_metric_of_each_task_is_read_and_shown(tmp_path: Path) -> None:
    with pytest.raises(KitError, match="wrote no results"):
        _scores(tmp_path)
    (tmp_path / "chatbot").mkdir()
    (tmp_path / "chatbot" / "results_2026.json").write_text(json.dumps(RESULTS))
    found = _scores(tmp_path)
    assert found == [
        TaskScore("numbers", "exact_match", 0.8, 0.2, True, 5),
        TaskScore("numbers", "errors,strict", 2.0, None, False, 5),
    ]
    page = html("chatbot@3", None, found)
    assert "<td>0.8 ± 0.2</td>" in page
    assert "errors,strict, lower is better" in page


def test_the_image_is_the_one_that_an_endpoint_of_this_machine_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho 'GPU 0: made up'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent), prepend=":")
    chosen = {}
    for openvino in (True, False):
        folder = tmp_path / str(openvino)
        write_version(folder, "chatbot", "w", None, "", openvino=openvino)
        manifest = ModelManifest.load(folder / "manifest.json")
        chosen[openvino] = [image_for(manifest, environ) for environ in ({}, {"CUDA_VISIBLE_DEVICES": ""})]
    assert chosen == {True: ["serving-vllm", "serving"], False: ["serving-vllm", "serving-torch"]}
