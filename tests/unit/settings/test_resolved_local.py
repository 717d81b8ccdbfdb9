"""The image and the engine of an endpoint on this machine, by its settings and by the machine's GPUs."""

from pathlib import Path
from typing import Any

import pytest

from llmops_kit.core.models import gpus
from llmops_kit.settings.resolved_local import ResolvedLocalStack, resolve_local_stack
from llmops_kit.settings.stack_settings import Settings

MODEL = f"chatbot@1@sha256:{'a' * 64}"
HIDDEN = {"CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of device files of a machine without GPUs."""
    monkeypatch.setattr(gpus, "_DEVICE_FILES", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))  # without nvidia-smi
    return tmp_path


@pytest.fixture
def gpu(machine: Path) -> None:
    """A GPU in the machine."""
    (machine / "nvidia0").touch()


def resolve(entry: dict[str, Any], runtime: str = "process", **environ: str) -> ResolvedLocalStack:
    given = {"local_runtime": runtime, "endpoints": {"chat": {"model": MODEL} | entry}}
    return resolve_local_stack(Settings.model_validate(given), environ)


def chosen(stack: ResolvedLocalStack) -> tuple[bool, str, str]:
    endpoint = stack.endpoints["chat"]
    return stack.gpus, endpoint.image, endpoint.engine


@pytest.mark.parametrize(
    ("engine", "image"),
    [
        ("auto", "serving"),
        ("openvino", "serving"),
        ("transformers", "serving-torch"),
        ("vllm", "serving-vllm"),  # which the target refuses
    ],
)
@pytest.mark.usefixtures("machine")
def test_without_a_gpu_the_engine_chooses_the_image(engine: str, image: str) -> None:
    assert chosen(resolve({"engine": engine})) == (False, image, engine)


@pytest.mark.parametrize(
    ("engine", "image", "told"),
    [
        ("auto", "serving-vllm", "vllm"),
        ("openvino", "serving", "openvino"),
        ("transformers", "serving-torch", "transformers"),
        ("vllm", "serving-vllm", "vllm"),
    ],
)
@pytest.mark.usefixtures("gpu")
def test_with_a_gpu_vllm_is_preferred_and_told(engine: str, image: str, told: str) -> None:
    assert chosen(resolve({"engine": engine})) == (True, image, told)


@pytest.mark.usefixtures("gpu")
def test_containers_and_processes_from_which_they_are_hidden_have_no_gpus() -> None:
    assert chosen(resolve({}, "docker")) == chosen(resolve({}, **HIDDEN)) == (False, "serving", "auto")


@pytest.mark.usefixtures("machine")
def test_each_image_that_runs_and_endpoints_need_is_named_once() -> None:
    entries = {name: {"model": MODEL} for name in ("one", "two")} | {
        "other": {"model": MODEL, "engine": "transformers"}
    }
    found = resolve_local_stack(Settings.model_validate({"endpoints": entries}), {})
    assert found.images == ("training", "serving", "serving-torch")


def test_a_stack_without_endpoints_looks_for_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmops_kit.settings.resolved_local.usable_gpus", lambda _: pytest.fail("looked"))
    assert not resolve_local_stack(Settings(), {}).gpus
