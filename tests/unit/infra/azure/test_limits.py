"""What Azure ML can't do is refused by the setting's name, with the reason and the fix."""

from typing import Any

import pytest

from llmops_kit.clouds.azure.traits import TRAITS
from llmops_kit.core.errors import SettingError
from llmops_kit.infra.engines import require_engine
from llmops_kit.infra.targets.azure.limits import require_machines, require_supported
from llmops_kit.settings.resolved import ResolvedEndpoint, ResolvedStack
from llmops_kit.settings.stack_settings import Images, Settings
from tests.support.clouds.settings import resolved

MODEL = f"chatbot@1@sha256:{'a' * 64}"


def stack(entry: dict[str, Any] | None = None, images: Images | None = None, **azure: Any) -> ResolvedStack:
    endpoints = {"chat": {"model": MODEL, **(entry or {})}}
    given = {"target": "azure", "endpoints": endpoints, "azure": azure, "images": images or Images()}
    return resolved(Settings.model_validate(given))


def endpoint(entry: dict[str, Any] | None = None, images: Images | None = None, **azure: Any) -> ResolvedEndpoint:
    return stack(entry, images, **azure).endpoints["chat"]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"size": {"instances": 0, "max_instances": 2}}, ["size.instances: ", "can't scale to zero", "endpoint: off"]),
        ({"mode": "async"}, ["mode: ", "batch endpoints run jobs"]),
        ({"mode": "serverless"}, ["mode: ", "models of its catalogue"]),
        ({"port": 8080}, ["port: ", "Azure ML chooses"]),
        (
            {"size": {"instance_type": "ml.g5.xlarge"}},
            ["size.instance_type: ml.g5.xlarge is not a VM size", "Standard"],
        ),
        *(
            ({"size": {"instance_type": size}}, [f"size.instance_type: {size} has GPUs of AMD", "NVIDIA"])
            for size in ("Standard_NV8as_v4", "Standard_NG16ads_V620_v1", "Standard_ND96isr_MI300X_v5")
        ),
        ({"rollout": {"strategy": "rolling"}}, ["rollout.strategy: ", "as a whole", "linear"]),
        ({"volume_gb": 40}, ["volume_gb: ", "larger VM size"]),
        ({"download_seconds": 900}, ["download_seconds: "]),
        ({"inference_ami_version": "x"}, ["inference_ami_version: applies to SageMaker's hosts only"]),
    ],
)
def test_an_endpoint_that_azure_cannot_have_is_refused(entry: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(SettingError) as refused:
        require_supported(endpoint(entry))
    for word in (f":endpoints.chat.{words[0]}", *words[1:], "fix: "):
        assert word in str(refused.value)


@pytest.mark.parametrize(
    ("azure", "words"),
    [
        ({"jobs": {"volume_gb": 100}}, [":azure.jobs.volume_gb: ", "azure.computes"]),
        ({"jobs": {"warm_pool_minutes": 5}}, [":azure.jobs.warm_pool_minutes: "]),
        ({"jobs": {"spot": True}}, [":azure.jobs: no cluster has machines of Standard_DS3_v2, spot", "cpu: "]),
        (
            {"computes": {"amd": {"vm_size": "Standard_NV12ads_V710_v5"}}},
            [":azure.computes.amd.vm_size: Standard_NV12ads_V710_v5 has GPUs of AMD"],
        ),
        ({"jobs": {"instances": 2}}, [":azure.jobs: 2 machines", "raise max_nodes"]),
        (
            {"schedules": {"weekly": {"run": "a-run", "cron": "0 3 * * 0", "instance_type": "Standard_NC6s_v3"}}},
            [":azure.schedules.weekly: no cluster has machines of Standard_NC6s_v3"],
        ),
    ],
)
def test_machines_that_no_cluster_has_are_refused(azure: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(SettingError) as refused:
        require_machines(stack(**azure))
    for word in words:
        assert word in str(refused.value)


@pytest.mark.parametrize(
    ("size", "azure", "key"),
    [
        ("Standard_NC4as_T4_v3", {}, ":endpoints.chat.size.instance_type: "),
        ("standard_nd96isr_h100_v5", {}, ":endpoints.chat.size.instance_type: "),
        ("", {"instance_type": "Standard_NV36ads_A10_v5"}, ":azure.instance_type: "),
    ],
)
def test_a_gpu_takes_vllms_image_and_refuses_the_other(size: str, azure: dict[str, Any], key: str) -> None:
    ours = Images(serving=f"r.azurecr.io/serving@sha256:{'5' * 64}")
    auto = endpoint({"size": {"instance_type": size}}, ours, **azure)
    require_engine(auto, TRAITS)
    assert auto.image_field == "serving_vllm"
    given = endpoint({"engine": "openvino", "size": {"instance_type": size}}, ours, **azure)
    with pytest.raises(SettingError, match="would be paid for, and idle") as refused:
        require_engine(given, TRAITS)
    assert key in str(refused.value)
    assert "for the image serving-vllm" in str(refused.value)


@pytest.mark.parametrize("size", ["", "Standard_F8s_v2", "Standard_DS3_v2"])
def test_machines_without_gpus_are_taken(size: str) -> None:
    given = endpoint({"size": {"instance_type": size}})
    require_engine(given, TRAITS)
    assert given.image_field == "serving"
    for engine in ("vllm", "transformers"):
        with pytest.raises(SettingError, match=r"endpoints\.chat\.engine"):
            require_engine(endpoint({"engine": engine, "size": {"instance_type": size}}), TRAITS)


def test_clusters_that_fit_are_taken() -> None:
    computes = {"gpu": {"vm_size": "Standard_NC6s_v3", "spot": True, "max_nodes": 4}}
    jobs = {"instance_type": "Standard_NC6s_v3", "spot": True, "instances": 4}
    require_machines(stack(computes=computes, jobs=jobs))
    require_machines(stack(computes=computes))
