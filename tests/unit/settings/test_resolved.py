"""Each rule of precedence: an endpoint's or a schedule's own setting, else its cloud's, else the default."""

from typing import Any

import pytest

from llmops_kit.clouds.account_names import named_after
from llmops_kit.core.errors import SettingError
from llmops_kit.settings.resolved import ResolvedEndpoint, ResolvedStack
from llmops_kit.settings.stack_settings import Settings
from tests.support.clouds.settings import resolved

MODEL = f"chatbot@1@sha256:{'a' * 64}"
VLLM = f"r.example/serving-vllm@sha256:{'5' * 64}"
OWN_REPOSITORY = named_after("llmops", "dev", "serving")
TYPES = {"aws": ("ml.c5.xlarge", "ml.g5.xlarge"), "azure": ("Standard_F8s_v2", "Standard_NC6s_v3")}
DEFAULTS = {"aws": "ml.m5.xlarge", "azure": "Standard_DS3_v2"}
CLOUDS = pytest.mark.parametrize("target", ["aws", "azure"])


def stack(target: str, entry: dict[str, Any] | None = None, cloud: dict[str, Any] | None = None) -> ResolvedStack:
    given = {"target": target, "endpoints": {"chat": {"model": MODEL} | (entry or {})}, target: cloud or {}}
    return resolved(Settings.model_validate(given))


def endpoint(target: str, entry: dict[str, Any] | None = None, cloud: dict[str, Any] | None = None) -> ResolvedEndpoint:
    return stack(target, entry, cloud).endpoints["chat"]


@CLOUDS
def test_an_endpoint_has_its_own_instance_type_else_its_clouds(target: str) -> None:
    plain, other = TYPES[target]
    for entry, cloud, kind, key in (
        ({}, {}, DEFAULTS[target], (target, "instance_type")),
        ({}, {"instance_type": other}, other, (target, "instance_type")),
        (
            {"size": {"instance_type": plain}},
            {"instance_type": other},
            plain,
            ("endpoints", "chat", "size", "instance_type"),
        ),
    ):
        machine = endpoint(target, entry, cloud).machine
        assert (machine.kind, machine.key, machine.gpus) == (kind, key, kind == other)


@CLOUDS
def test_a_cloud_watches_longer_unless_the_endpoint_says(target: str) -> None:
    assert endpoint(target).bake_seconds == 300
    assert endpoint(target, {"rollout": {"bake_seconds": 30}}).bake_seconds == 30


@CLOUDS
@pytest.mark.parametrize(
    ("engine", "gpu", "image", "field", "told"),
    [
        ("auto", False, "", "serving", None),
        ("auto", True, "", "serving_vllm", "vllm"),
        ("auto", True, "theirs/gpu@sha256:0", "serving", None),
        ("vllm", True, "theirs/gpu@sha256:0", "serving_vllm", "vllm"),
        ("openvino", True, "", "serving", "openvino"),
    ],
)
def test_the_engine_the_machine_and_whose_image_it_is_choose_the_image(
    target: str, engine: str, gpu: bool, image: str, field: str, told: str | None
) -> None:
    entry = {"model": MODEL, "engine": engine, "size": {"instance_type": TYPES[target][gpu]}}
    images = {"serving": image.replace("@sha256:0", f"@sha256:{'0' * 64}"), "serving_vllm": VLLM}
    given = Settings.model_validate({"target": target, "endpoints": {"chat": entry}, "images": images})
    found = resolved(given).endpoints["chat"]
    assert found.image_field == field
    assert found.image == (VLLM if field == "serving_vllm" else images["serving"])
    assert found.variables.get("LLMOPS_ENGINE") == told


@pytest.mark.parametrize(
    ("target", "image", "is_the_kits"),
    [
        ("azure", "process:serving", True),
        ("azure", "team.azurecr.io/serving", True),
        ("azure", "localhost:5000/serving", True),
        ("azure", "team.azurecr.io/vllm/serving", False),
        ("azure", "team.azurecr.io/vllm", False),
        ("azure", "", True),
        ("aws", "process:serving", True),
        ("aws", f"1.dkr.ecr.eu-west-1.amazonaws.com/{OWN_REPOSITORY}", True),
        ("aws", "1.dkr.ecr.eu-west-1.amazonaws.com/serving", False),
        ("aws", "", True),
    ],
)
def test_an_image_of_the_kit_is_known_by_its_repository(target: str, image: str, is_the_kits: bool) -> None:
    images = {"serving": f"{image}@sha256:{'0' * 64}"} if image else {}
    given = {"target": target, "endpoints": {"chat": {"model": MODEL}}, "images": images}
    assert resolved(Settings.model_validate(given)).endpoints["chat"].is_kits_image == is_the_kits


@CLOUDS
def test_a_server_is_told_what_was_set(target: str) -> None:
    assert endpoint(target).variables == {"LLMOPS_PRECISION": "auto"}
    entry = {"precision": "f32", "prefix_cache": True, "gate": "waived", "limits": {"max_queue": 3}}
    assert endpoint(target, entry).variables == {
        "LLMOPS_PRECISION": "f32",
        "LLMOPS_PREFIX_CACHE": "true",
        "LLMOPS_GOLDEN": "reported",
        "LLMOPS_MAX_QUEUE": "3",
    }


@CLOUDS
def test_a_schedule_has_its_own_machines_else_those_of_jobs(target: str) -> None:
    plain, other = TYPES[target]
    cron = {"aws": "rate(1 day)", "azure": "0 3 * * 0"}[target]
    weekly = {"run": "chatbot-1", "cron": cron}
    jobs = {"instance_type": plain, "instances": 2, "max_hours": 5}
    own = {"instance_type": other, "max_hours": 7}
    computes = {"cpu": {"vm_size": plain, "max_nodes": 2}} if target == "azure" else None
    cloud = {"jobs": jobs, "schedules": {"as-jobs": weekly, "own": weekly | own}}
    found = stack(target, cloud=cloud | ({"computes": computes} if computes else {})).schedules
    assert found["as-jobs"].compute.model_dump(include=set(jobs)) == jobs
    assert found["own"].compute.model_dump(include=set(jobs)) == jobs | own


def test_a_schedule_that_contradicts_jobs_is_refused_by_name() -> None:
    jobs = {"spot": True, "max_hours": 5, "max_wait_hours": 6}
    schedules = {"weekly": {"run": "chatbot-1", "cron": "rate(7 days)", "max_hours": 7}}
    with pytest.raises(SettingError, match="with `jobs`: max_wait_hours") as refused:
        stack("aws", cloud={"jobs": jobs, "schedules": schedules})
    assert refused.value.where == "llmops:aws.schedules.weekly"


@pytest.mark.parametrize(("target", "key"), [("aws", "alarms"), ("azure", "alerts")])
def test_alarms_have_the_clouds_limits(target: str, key: str) -> None:
    assert stack(target).alarms.error_rate == 0.05
    cloud = {key: {"error_rate": 0.2}, "budget": {"emails": ["a@b.c"]}}
    found = stack(target, cloud=cloud)
    assert (found.alarms.error_rate, found.alarms.latency_seconds, found.told) == (0.2, 20.0, ("a@b.c",))
