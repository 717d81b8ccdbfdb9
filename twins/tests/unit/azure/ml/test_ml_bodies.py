"""The schema of Azure ML's bodies: what it catches, and what a document may keep."""

from typing import Any

import pytest

from llmops_twins.azure.ml import ml_bodies
from llmops_twins.azure.protocol.arm_errors import ArmError

_ENDPOINT = {"location": "x", "properties": {"authMode": "AADToken"}}


@pytest.mark.parametrize(
    ("definition", "body", "target", "message"),
    [
        ("OnlineEndpoint", {**_ENDPOINT, "colour": 1}, "colour", "is not a known member."),
        ("OnlineEndpoint", {**_ENDPOINT, "id": "x"}, "id", "is read-only."),
        ("OnlineEndpoint", {"properties": {"authMode": "Key"}}, "location", "is required."),
        ("OnlineEndpoint", {**_ENDPOINT, "tags": {"a": 1}}, "tags.a", "1 is not of type 'string'."),
        ("OnlineDeployment", {"location": "x", "properties": {}}, "properties.endpointComputeType", "is required."),
        ("JobBase", {"properties": {"jobType": "Walk"}}, "properties.jobType", "'Walk' is not one of"),
        ("JobBase", {"properties": {"jobType": "Command", "command": "a"}}, "properties.environmentId", "is required."),
    ],
)
def test_what_a_body_may_not_have(definition: str, body: dict[str, Any], target: str, message: str) -> None:
    with pytest.raises(ArmError) as caught:
        ml_bodies.judge(definition, body)

    assert (caught.value.status, caught.value.code, caught.value.target) == (400, "ValidationError", target)
    assert caught.value.details[0]["message"].startswith(message)


def test_null_is_nothing_where_nothing_may_be() -> None:
    body = {**_ENDPOINT, "properties": {"authMode": "Key", "traffic": None, "description": None}, "sku": None}

    assert ml_bodies.judge("OnlineEndpoint", body) == body


def test_a_variant_is_judged_as_what_its_discriminator_says() -> None:
    pytorch = {"distributionType": "PyTorch", "processCountPerInstance": 1}
    job: dict[str, Any] = {"jobType": "Command", "command": "a", "environmentId": "e", "distribution": pytorch}
    ml_bodies.judge("JobBase", {"properties": job})

    with pytest.raises(ArmError, match="parameterServerCount: is not a known member"):
        ml_bodies.judge("JobBase", {"properties": {**job, "distribution": {**pytorch, "parameterServerCount": 1}}})


def test_what_is_read_only_or_the_twins_own_is_left_out_of_a_document() -> None:
    document = {
        "id": "x",
        "_own": 1,
        "location": "x",
        "properties": {"authMode": "Key", "scoringUri": "https://x", "traffic": {"_a": 100}},
    }

    assert ml_bodies.writable("OnlineEndpoint", document) == {
        "location": "x",
        "properties": {"authMode": "Key", "traffic": {"_a": 100}},
    }


def test_what_is_set_once_is_found_behind_variants() -> None:
    def deployment(**properties: Any) -> dict[str, Any]:
        return {"location": "x", "properties": {"endpointComputeType": "Managed", **properties}}

    ml_bodies.refuse_changes("OnlineDeployment", deployment(model="a"), deployment(model="b"), "it")
    with pytest.raises(ArmError) as caught:
        ml_bodies.refuse_changes("OnlineDeployment", deployment(instanceType="a"), deployment(instanceType="b"), "it")
    assert caught.value.target == "properties.instanceType"
