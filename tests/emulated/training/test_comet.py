"""COMET models: what of a checkpoint is imported, and that their scores are unbabel-comet's."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.environments import UNBABEL_COMET, environment
from tests.support.runs.training import PROGRAMS
from tests.support.tiny_models.models import tiny_comet_source, training_environ, training_python

RECORDED = Path(__file__).with_name("comet_scores.json")
"""Sentences, and the scores that unbabel-comet gave them: the last test says whether it still does."""
_SCRIPT = PROGRAMS / "scored.py"
_ORACLE = Path(__file__).parents[2] / "support" / "comet_oracle.py"


@pytest.mark.cve("pickle")
def test_a_checkpoint_gives_comets_scores_and_nothing_of_it_but_weights_is_read(tmp_path: Path) -> None:
    command = [training_python(), _SCRIPT, tiny_comet_source(), RECORDED, tmp_path]
    done = subprocess.run(command, env=training_environ(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    whole, manifest = found["as it is"], found["as it is"]["manifest"]
    assert whole["scores"] == pytest.approx(json.loads(RECORDED.read_text())["scores"], abs=1e-5)
    assert (manifest["task"], manifest["dtype"], manifest["licence"]) == ("translation-scoring", "F32", "Apache-2.0")
    assert manifest["comet"] == {"layer_weights": "sparsemax", "activation": "Tanh", "final_activation": None}
    assert sorted(manifest["files"]) == ["config.json", "head.safetensors", "model.safetensors", "tokenizer.json"]
    assert "checkpoints/model.ckpt" in manifest["lineage"]["origin"]["files"]
    assert found["patch"]["manifest"]["comet"]["layer_weights"] == "softmax"
    assert found["patch"]["scores"] != whole["scores"]

    assert not found["unpickled"]
    for name in ("planted", "planted beside"):
        assert "is no checkpoint of weights alone: it asks for posix.mkdir | write one" in found[name]
    for name in ("no tensor", "old form"):
        assert "is no checkpoint of weights alone" in found[name]
    assert "has unknown other.weight" in found["unknown"]
    assert "has in another shape estimator.ff.0.bias [3], not [12]" in found["shape"]
    assert "has layer_norm: True, which the kit does not compute" in found["settings"]
    assert "has activations: Os" in found["activation"]
    assert "has no form for CPUs" in found["form for CPUs"]
    assert not list(tmp_path.glob(".*.partial"))


@pytest.mark.long
def test_the_recorded_scores_are_those_of_unbabel_comet(tmp_path: Path) -> None:
    recorded, triples = json.loads(RECORDED.read_text()), tmp_path / "triples.json"
    triples.write_text(json.dumps(recorded["triples"]))
    python = environment("comet", UNBABEL_COMET) / "bin" / "python"
    command = [python, _ORACLE, tiny_comet_source(), triples]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == pytest.approx(recorded["scores"], abs=1e-5)
