"""Which GPUs a job uses, and which precision. GPUs stand in here: there is none where tests run."""

from pathlib import Path

import pytest
import torch

from llmops_kit.core.errors import KitError
from llmops_kit.core.models import gpus
from llmops_kit.training.devices import best_device, count_gpus, precision_on

AWS_JOB = {"TRAINING_JOB_ARN": "arn:aws:sagemaker:eu-central-1:123456789012:training-job/x"}
TWIN_JOB = {"TRAINING_JOB_ARN": "arn:aws:sagemaker:eu-central-1:000000000000:training-job/x"}


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without GPUs, whatever this one has: the folder of its device files."""
    monkeypatch.setattr(gpus, "_DEVICE_FILES", tmp_path / "dev")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "dev").mkdir()
    (tmp_path / "bin").mkdir()
    return tmp_path / "dev"


def install_smi(machine: Path, script: str) -> None:
    program = machine.parent / "bin/nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_a_machine_without_gpus_has_none() -> None:
    assert count_gpus({}) == 0
    assert count_gpus({"AZ_BATCHAI_GPU_COUNT_FOUND": "0"} | AWS_JOB, "ml.m5.xlarge") == 0


def test_gpus_that_torch_uses_are_counted(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine / "nvidia0").touch()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert count_gpus({}) == 4


@pytest.mark.parametrize("kind", ["ml.g5.xlarge", "ml.g4dn.12xlarge", "ml.gr6.4xlarge", "ml.p4d.24xlarge"])
def test_an_instance_type_with_gpus_that_torch_does_not_see_ends_the_job(kind: str) -> None:
    with pytest.raises(KitError) as caught:
        count_gpus(AWS_JOB, kind)
    assert caught.value.where == f"instance type {kind}"
    assert count_gpus(TWIN_JOB, kind) == 0, "a twin's machine is this one"


def test_a_device_file_without_cuda_ends_the_job(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NVML counts GPUs with a driver that CUDA can't use."""
    (machine / "nvidia0").touch()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(KitError) as caught:
        count_gpus({})
    assert caught.value.where == str(machine / "nvidia0")


def test_azures_count_ends_the_job() -> None:
    with pytest.raises(KitError) as caught:
        count_gpus({"AZ_BATCHAI_GPU_COUNT_FOUND": "10"})
    assert caught.value.where == "AZ_BATCHAI_GPU_COUNT_FOUND=10"


def test_what_nvidia_smi_lists_ends_the_job(machine: Path) -> None:
    install_smi(machine, "echo 'GPU 0: NVIDIA A10G (UUID: GPU-1)'")
    with pytest.raises(KitError) as caught:
        count_gpus({})
    assert caught.value.where == "nvidia-smi"


@pytest.mark.parametrize("script", ["echo 'GPU 0: lost'; exit 9", "echo 'No devices were found'"])
def test_an_nvidia_smi_that_lists_none_is_no_evidence(script: str, machine: Path) -> None:
    install_smi(machine, script)
    assert count_gpus({}) == 0


@pytest.mark.parametrize("visible", ["", "-1", "-1,0"])
def test_hidden_gpus_are_not_used_on_purpose(visible: str, machine: Path) -> None:
    (machine / "nvidia0").touch()
    assert count_gpus({"CUDA_VISIBLE_DEVICES": visible}) == 0
    with pytest.raises(KitError):
        count_gpus({"CUDA_VISIBLE_DEVICES": "0"})


@pytest.mark.parametrize(
    ("cuda", "message", "what", "fix"),
    [
        (None, "", "without CUDA", "requirements/training.txt"),
        ("13.0", "The NVIDIA driver on your system is too old (found version 11040). Please …", "11040", "CUDA 13.0"),
        ("13.0", "Found no NVIDIA driver on your system. Please …", "no NVIDIA driver", "NVIDIA_VISIBLE_DEVICES"),
        ("13.0", "CUDA unknown error - this may be due to …", "unknown error", "nvidia-smi"),
    ],
)
def test_the_reason_is_named(
    cuda: str | None, message: str, what: str, fix: str, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init() -> None:
        raise RuntimeError(message)

    (machine / "nvidia0").touch()
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "init", init)
    with pytest.raises(KitError) as caught:
        count_gpus({})
    assert what in caught.value.what
    assert fix in caught.value.fix


@pytest.mark.parametrize("native", [True, False])
def test_auto_asks_the_device_that_trains(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host of GPUs may have old processors, and a T4 on a new host emulates bf16."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation or native)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: not native)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: not native)
    gpu, cpu = torch.device("cuda", 0), torch.device("cpu")
    assert precision_on(gpu, "auto") == ("bf16" if native else "f32")
    assert precision_on(cpu, "auto") == ("f32" if native else "bf16")
    assert precision_on(gpu, "f32") == "f32"
    assert precision_on(cpu, "bf16") == "bf16"


def test_the_device_is_this_ranks_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert best_device() == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    assert best_device() == torch.device("cuda", 3)
