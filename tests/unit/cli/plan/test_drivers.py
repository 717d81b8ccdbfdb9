"""Which NVIDIA driver the plan says that a machine has."""

from typing import Any

import pytest

from llmops_kit.cli.interfaces.endpoint_plans import EndpointPlan
from llmops_kit.cli.interfaces.quotas import Machines
from llmops_kit.cli.plan.drivers import host_drivers
from llmops_kit.cli.plan.plan import _warnings
from llmops_kit.settings.stack_settings import Settings
from tests.support.clouds.settings import resolved
from tests.unit.cli.plan.test_plan import blue_green, planned

NEW = "al2023-ami-sagemaker-inference-gpu-4-1"


def plan_of(instance_type: str, host_image: str = "") -> EndpointPlan:
    return EndpointPlan("chat", "create", "", "a@1", instance_type, 1, 1, 1, "", 0, 1, host_image)


def drivers(target: str, endpoint: EndpointPlan, *runs: Machines) -> Any:
    return host_drivers([endpoint], runs, resolved(Settings.model_validate({"target": target})))


@pytest.mark.parametrize(
    ("instance_type", "host_image", "version", "fix"),
    [
        ("ml.g5.xlarge", NEW, 580, ""),
        ("ml.g5.xlarge", "", 470, f"set `inference_ami_version: {NEW}`"),
        ("ml.g6.xlarge", "al2-ami-sagemaker-inference-gpu-3-1", 550, f"set `inference_ami_version: {NEW}`"),
        ("ml.p5en.48xlarge", "", 550, f"set `inference_ami_version: {NEW}`"),
        ("ml.g7e.2xlarge", "", None, "no NVIDIA driver is documented for ml.g7e.2xlarge"),
        ("ml.g5.xlarge", "an-ami-of-next-year", None, "no NVIDIA driver is documented for ml.g5.xlarge"),
    ],
)
def test_an_endpoints_driver_is_that_of_its_host_image_or_family(
    instance_type: str, host_image: str, version: int | None, fix: str
) -> None:
    endpoint = plan_of(instance_type, host_image)
    (found,) = drivers("aws", endpoint)
    assert found.version == version
    warned = [line for line in _warnings([endpoint], [], [], [found]) if "NVIDIA" in line]
    assert (fix in warned[0]) if fix else not warned


def test_a_run_on_gpus_has_no_documented_driver_and_others_need_none() -> None:
    runs = [Machines("training job", "ml.g5.xlarge"), Machines("spot training job", "ml.m5.xlarge")]
    (found,) = drivers("aws", plan_of("ml.c5.xlarge"), *runs)
    assert (found.what, found.version) == ("training job", None)
    assert "580" in found.warning
    (found,) = drivers("azure", plan_of("Standard_NC24ads_A100_v4"), Machines("training job", "Standard_DS3_v2"))
    assert (found.what, found.version) == ("endpoint chat", None)
    assert not drivers("azure", plan_of("Standard_NV8as_v4")), "AMD's"


def test_what_a_users_own_image_needs_is_not_known() -> None:
    size = {"instance_type": "ml.g5.xlarge"}
    entries = {"chat": {"model": f"a@1@sha256:{'1' * 64}", "size": size}}
    images = {"serving": f"registry.example/own@sha256:{'5' * 64}"}
    stack = resolved(Settings.model_validate({"target": "aws", "endpoints": entries, "images": images}))
    (found,) = host_drivers([plan_of("ml.g5.xlarge")], [], stack)
    assert "470" in found.words
    assert not found.warning


def test_the_host_image_comes_from_the_previewed_configuration() -> None:
    assert planned(blue_green("ALL_AT_ONCE")).host_image == ""
    assert planned(blue_green("ALL_AT_ONCE"), ami=NEW).host_image == NEW
