"""Specifications of endpoints."""

import pytest
from pydantic import ValidationError

from llmops_kit.local_runtime.spec import EndpointSpec

IMAGE = "process:serving@sha256:" + "0" * 64


def spec(**changes: object) -> EndpointSpec:
    return EndpointSpec.model_validate({"name": "chatbot", "image": IMAGE} | changes)


def test_json_round_trip() -> None:
    wanted = spec(folders={"/opt/ml/model": "/store/models/a"}, rollout={"strategy": "canary", "canary_percent": 5})
    assert EndpointSpec.model_validate_json(wanted.model_dump_json()) == wanted


@pytest.mark.parametrize(
    "change",
    [
        {"image": IMAGE.replace("0", "1")},
        {"command": ["python", "-m", "other"]},
        {"folders": {"/opt/ml/model": "/b"}},
        {"shared": {"/run/llmops/usage": "/c"}},
        {"environ": {"A": "2"}},
        {"key_sha256": "a" * 64},
    ],
)
def test_what_a_worker_runs_makes_the_variant(change: dict[str, object]) -> None:
    assert spec(**change).variant != spec().variant


@pytest.mark.parametrize("change", [{"instances": 2}, {"port": 8000}, {"name": "other"}, {"ready_seconds": 5}])
def test_the_rest_does_not(change: dict[str, object]) -> None:
    assert spec(**change).variant == spec().variant


def test_the_order_of_variables_does_not_matter() -> None:
    assert spec(environ={"A": "1", "B": "2"}).variant == spec(environ={"B": "2", "A": "1"}).variant


@pytest.mark.parametrize("change", [{"instances": 0}, {"port": 70000}, {"name": "../x"}, {"colour": "red"}])
def test_nonsense_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        spec(**change)
