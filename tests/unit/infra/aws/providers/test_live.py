"""After an update of an endpoint, against moto: what it compares, restores, marks and rejects."""

import json

import boto3
import pytest
from moto.sagemaker.models import sagemaker_backends

from llmops_kit.core.errors import KitError
from llmops_kit.infra.targets.aws.providers.preparation import IN_STATE
from tests.unit.infra.aws.conftest import ACCOUNT, REGION
from tests.unit.infra.aws.endpoints import (
    BUCKET,
    LIVE,
    NAME,
    NEW,
    OLD,
    PREPARATION,
    compared,
    exists,
    known,
    make_endpoint,
    prepared,
    sagemaker,
    update,
)

pytestmark = pytest.mark.usefixtures("moto_account")


def log_of(sha256: str) -> list[dict[str, str]]:
    s3 = boto3.client("s3", region_name=REGION)
    keys = [o["Key"] for o in s3.list_objects_v2(Bucket=BUCKET, Prefix="rejections/").get("Contents", [])]
    assert keys == [f"rejections/{sha256}/{n:06d}.json" for n in range(1, len(keys) + 1)]
    return [json.loads(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()) for key in keys]


def test_an_endpoint_that_lost_its_tag_stays(store: None) -> None:
    """A company's tools may take tags away that they don't know."""
    make_endpoint()
    LIVE.create(compared())
    arn = sagemaker().describe_endpoint(EndpointName=NAME)["EndpointArn"]
    sagemaker().delete_tags(ResourceArn=arn, TagKeys=[IN_STATE])
    assert not PREPARATION.diff("", known(), prepared()).changes
    update(known(), prepared(content="c2"))
    assert exists()
    LIVE.delete(NAME, compared())
    assert PREPARATION.diff("", known(), prepared()).changes, "what is left of it once the state knows it no longer"


def test_what_is_live_as_declared_is_marked_as_known_to_the_state(store: None) -> None:
    make_endpoint()
    assert LIVE.create(compared()).id == NAME
    arn = sagemaker().describe_endpoint(EndpointName=NAME)["EndpointArn"]
    assert {"Key": IN_STATE, "Value": "yes"} in sagemaker().list_tags(ResourceArn=arn)["Tags"]
    assert not PREPARATION.diff("", known(), prepared()).changes


def test_an_endpoint_that_is_not_there_needs_a_refresh() -> None:
    with pytest.raises(KitError, match="not on SageMaker") as refused:
        LIVE.update("", compared(), compared())
    assert "pulumi refresh" in refused.value.fix
    assert LIVE.read("id", compared()).id == ""


UNHEALTHY = (
    "The primary container for production variant main did not pass the ping health check. Please check CloudWatch "
    "logs for this endpoint."
)
NO_CAPACITY = (
    "Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity error. Please retry using a "
    "different ML instance type or after some time."
)
DECLARED = compared(configuration="new", model="chatbot@2", sha256=NEW)
LINE = f"llmops:endpoints.chat.model: chatbot@1@sha256:{OLD}"


def rolled_back(reason: str) -> None:
    """SageMaker gave up an update of the endpoint, for this reason."""
    make_endpoint()
    vars(sagemaker_backends[ACCOUNT][REGION].endpoints[NAME])["failure_reason"] = reason


@pytest.mark.parametrize("reason", ["", NO_CAPACITY], ids=["silent", "no capacity"])
@pytest.mark.scorecard("silent-rollback")
def test_a_rollback_for_an_unknown_reason_or_for_lack_of_capacity_fails_and_rejects_nothing(
    store: None, reason: str
) -> None:
    rolled_back(reason)
    with pytest.raises(KitError, match="old serves, and new was declared; chatbot@2 is not marked rejected") as refused:
        LIVE.update("", compared(), DECLARED)
    assert reason in str(refused.value)
    assert "pulumi up --refresh" in refused.value.fix
    assert f"go back with `{LINE}`" in refused.value.fix
    assert log_of(NEW) == []


def test_a_rollback_because_the_new_container_failed_its_health_check_rejects_the_version(store: None) -> None:
    rolled_back(UNHEALTHY)
    for times in (1, 2):
        with pytest.raises(KitError, match="old serves, and new was declared; chatbot@2 is marked rejected") as refused:
            LIVE.update("", compared(), DECLARED)
        assert f"go back with `{LINE}`" in refused.value.fix
        entries = log_of(NEW)
        assert len(entries) == times
        assert (entries[-1]["action"], entries[-1]["instead"]) == ("rejected", LINE)
        assert UNHEALTHY in entries[-1]["why"]


def test_a_rollback_of_a_setting_rejects_no_version(store: None) -> None:
    make_endpoint()
    with pytest.raises(KitError, match="old serves, and new was declared") as refused:
        LIVE.update("", compared(), compared(configuration="new"))
    assert "revert the changed setting" in refused.value.fix
    assert log_of(OLD) == []


@pytest.mark.scorecard("drift")
def test_refresh_tells_drift_as_changed_inputs() -> None:
    make_endpoint(count=3)
    read = LIVE.read("id", compared(configuration="new"))
    assert read.outs == read.inputs
    assert read.inputs is not None
    assert (read.inputs["configuration"], read.inputs["instances"]) == ("old", 3)
    assert LIVE.diff("", read.inputs, compared(configuration="new")).changes
    same = LIVE.read("id", compared(instances=3))
    assert same.inputs is not None
    assert not LIVE.diff("", same.inputs, compared(instances=3)).changes


def test_a_count_within_the_limits_of_scaling_is_no_drift() -> None:
    make_endpoint(count=3)
    for limits, drift in (
        ({"min_instances": 1, "max_instances": 4}, False),
        ({"min_instances": 1, "max_instances": 2}, True),
    ):
        read = LIVE.read("id", compared(**limits))
        assert read.inputs is not None
        assert (read.inputs["instances"] == 3) is drift


def test_an_update_restores_count_and_weight(store: None) -> None:
    make_endpoint(count=3)
    wanted = [{"VariantName": "main", "DesiredWeight": 0.5, "DesiredInstanceCount": 3}]
    sagemaker().update_endpoint_weights_and_capacities(EndpointName=NAME, DesiredWeightsAndCapacities=wanted)
    LIVE.update("", compared(instances=3, weight=0.5), compared(instances=2))
    (variant,) = sagemaker().describe_endpoint(EndpointName=NAME)["ProductionVariants"]
    assert (variant["DesiredInstanceCount"], variant["DesiredWeight"]) == (2, 1.0)
