"""What another launcher left in the environment does not make this process a rank."""

import os

import pytest

from llmops_kit.training.process import forget_other_launchers


def test_other_launchers_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "10.0.0.1", "ACCELERATE_MIXED_PRECISION": "fp16"}
    for name, value in {**foreign, "TRAINING_JOB_NAME": "job-1"}.items():
        monkeypatch.setenv(name, value)
    forget_other_launchers()
    assert not foreign.keys() & os.environ.keys()
    assert os.environ["TRAINING_JOB_NAME"] == "job-1"
