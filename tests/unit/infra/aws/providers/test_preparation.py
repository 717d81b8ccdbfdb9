"""Before an update of an endpoint, against moto: what it removes, reads, numbers and refuses."""

from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse

from llmops_kit.clouds.aws.location import AwsLocation
from llmops_kit.clouds.aws.names import scalable_target
from llmops_kit.clouds.aws.session import client
from llmops_kit.core.errors import KitError
from llmops_kit.infra.targets.aws.providers.preparation import IN_STATE
from llmops_kit.infra.targets.dynamic import Properties
from tests.unit.infra.aws.conftest import REGION
from tests.unit.infra.aws.endpoints import (
    NAME,
    OURS,
    PREPARATION,
    exists,
    known,
    make_endpoint,
    prepared,
    sagemaker,
    update,
)

pytestmark = pytest.mark.usefixtures("moto_account")


def numbers(outs: Properties | None) -> tuple[int, int, int]:
    assert outs
    return outs["model_number"], outs["number"], outs["initial_instances"]


def create(news: Properties) -> Properties | None:
    """As the engine does."""
    return PREPARATION.create(PREPARATION.check({}, news).inputs).outs


@pytest.mark.parametrize(("instances", "first"), [(1, 1), (3, 3), (0, 1)])
def test_a_new_endpoint_begins_with_the_declared_count(instances: int, first: int) -> None:
    assert numbers(create(prepared(instances=instances))) == (1, 1, first)


@pytest.mark.parametrize("status", ["Failed", "InService"])
def test_what_an_interrupted_update_left_is_a_change_and_removed(
    status: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_endpoint(status)
    assert PREPARATION.diff("", known(), prepared()).changes
    update(known(), prepared())
    assert not exists()
    assert f"removing endpoint {NAME}, {status}" in capsys.readouterr().out
    assert not PREPARATION.diff("", known(), prepared()).changes


def test_creation_removes_what_was_left_too() -> None:
    make_endpoint("Failed")
    assert numbers(create(prepared())) == (1, 1, 1)
    assert not exists()


@pytest.mark.parametrize("tags", [{}, {"llmops:project": "llmops", "llmops:stack": "prod"}, OURS | {IN_STATE: "yes"}])
def test_an_endpoint_of_somebody_else_or_of_the_state_stays(tags: dict[str, str]) -> None:
    make_endpoint(tags=tags)
    assert not PREPARATION.diff("", known(), prepared()).changes
    update(known(), prepared(content="c2"))
    assert exists()


def test_the_live_count_is_read_when_the_content_changes_and_never_otherwise() -> None:
    make_endpoint(count=3, tags=OURS | {IN_STATE: "yes"})
    assert numbers(update(known(), prepared(profile=""))) == (1, 1, 1)
    assert numbers(update(known(), prepared(content="c2"))) == (1, 2, 3)
    assert numbers(update(known(), prepared(content="c2", model="m2"))) == (2, 2, 3)
    scaled = {"max_instances": 2}
    assert numbers(update(known(**scaled), prepared(content="c2", **scaled))) == (1, 2, 2)


def test_a_preview_knows_the_numbers() -> None:
    """Numbers are inputs: the engine has them before anything is done."""
    news = PREPARATION.check(known(), prepared(content="c2")).inputs
    assert (news["model_number"], news["number"]) == (1, 2)
    assert PREPARATION.check(news, prepared(content="c2")).inputs == news
    back = PREPARATION.check(news, prepared()).inputs
    assert back["number"] == 3, "a content that comes back gets another name"


def test_a_changed_count_is_obeyed_unless_scaling_sets_it() -> None:
    make_endpoint(count=3, tags=OURS | {IN_STATE: "yes"})
    assert numbers(update(known(), prepared(instances=2))) == (1, 2, 2)
    scaled = prepared(instances=2, max_instances=4)
    assert numbers(update(known(max_instances=4), scaled)) == (1, 1, 1), "its target says it"


def test_another_instance_type_takes_the_scalable_target_off() -> None:
    make_endpoint(tags=OURS | {IN_STATE: "yes"})
    scaling = boto3.client("application-autoscaling", region_name=REGION)
    scaling.register_scalable_target(**scalable_target(NAME), MinCapacity=1, MaxCapacity=2)
    update(known(), prepared(content="c2"))
    assert scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    for _ in range(2):  # what is gone counts as done
        update(known(), prepared(content="c2", instance_type="ml.m5.xlarge"))
        assert not scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]


def test_scaling_that_is_declared_no_longer_goes_before_the_count_is_set() -> None:
    """The engine removes the target last, and it would bring its own count back until then."""
    make_endpoint(count=3, tags=OURS | {IN_STATE: "yes"})
    scaling = boto3.client("application-autoscaling", region_name=REGION)
    scaling.register_scalable_target(**scalable_target(NAME), MinCapacity=3, MaxCapacity=4)
    scaled = known(instances=3, max_instances=4)
    assert numbers(update(scaled, prepared(instances=3, max_instances=5))) == (1, 1, 1)
    assert scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    assert numbers(update(scaled, prepared(instances=2))) == (1, 2, 2)
    assert not scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]


def test_another_list_of_alarms_is_refused() -> None:
    with pytest.raises(KitError, match="list of alarms would change") as refused:
        PREPARATION.diff("", known(), prepared(alarms=["a"]))
    assert "new endpoint name" in refused.value.fix


def test_a_failed_endpoint_of_the_state_is_refused_with_the_way_out() -> None:
    make_endpoint("Failed", tags=OURS | {IN_STATE: "yes"})
    with pytest.raises(KitError, match="has failed") as refused:
        update(known(), prepared(content="c2"))
    assert "endpoint: off" in refused.value.fix
    assert exists()


@pytest.mark.parametrize(("tags", "stays"), [(OURS, False), ({}, True)])
def test_the_end_leaves_nothing_of_ours(tags: dict[str, str], stays: bool) -> None:
    make_endpoint("Failed", tags=tags)
    PREPARATION.delete("", known())
    assert exists() is stays


def test_an_endpoint_that_goes_between_two_questions_is_gone() -> None:
    """One that is being deleted may still be described, and have no tags to list a moment later."""
    make_endpoint("Failed")

    def delete(**_: Any) -> tuple[AWSResponse, dict[str, Any]]:
        """Delete, then refuse as SageMaker does; moto fails instead."""
        sagemaker().delete_endpoint(EndpointName=NAME)
        error = {"Code": "ValidationException", "Message": f'Could not find endpoint "{NAME}".'}
        return AWSResponse("", 400, {}, None), {"Error": error}

    events = client("sagemaker", AwsLocation.of(known())).meta.events
    events.register("before-call.sagemaker.ListTags", delete)
    try:
        PREPARATION.delete("", known())
    finally:
        events.unregister("before-call.sagemaker.ListTags", delete)
    assert not exists()
