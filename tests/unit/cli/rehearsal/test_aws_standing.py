"""The machines of SageMaker that are billed, in each form in which its API describes them."""

from typing import Any

import pytest
from boto3 import Session
from botocore.exceptions import ClientError

from llmops_kit.cli.rehearsal.clouds.aws_standing import standing

TYPE = "ml.m5.xlarge"


class SageMaker:
    """A region's endpoints and jobs."""

    def __init__(self, endpoints: dict[str, Any], jobs: dict[str, Any]) -> None:
        self.endpoints, self.jobs = endpoints, jobs
        self.described: list[str] = []

    def can_paginate(self, _operation: str) -> bool:
        return False

    def list_endpoints(self) -> dict[str, Any]:
        named = [{"EndpointName": n, "EndpointStatus": e.get("status", "InService")} for n, e in self.endpoints.items()]
        return {"Endpoints": named}

    def describe_endpoint(self, EndpointName: str) -> dict[str, Any]:  # noqa: N803
        self.described.append(EndpointName)
        found = self.endpoints[EndpointName]
        if found.get("gone"):
            raise _missing("DescribeEndpoint")
        return {"EndpointConfigName": EndpointName, **found.get("live", {})}

    def describe_endpoint_config(self, EndpointConfigName: str) -> dict[str, Any]:  # noqa: N803
        found = self.endpoints[EndpointConfigName]
        if "config" not in found:
            raise _missing("DescribeEndpointConfig")
        return found["config"]

    def list_training_jobs(self, StatusEquals: str) -> dict[str, Any]:  # noqa: N803
        return {"TrainingJobSummaries": [{"TrainingJobName": n} for n in self.jobs if StatusEquals == "InProgress"]}

    def describe_training_job(self, TrainingJobName: str) -> dict[str, Any]:  # noqa: N803
        self.described.append(TrainingJobName)
        return {"ResourceConfig": self.jobs[TrainingJobName]}


def _missing(operation: str) -> ClientError:
    return ClientError({"Error": {"Code": "ValidationException", "Message": 'Could not find "x".'}}, operation)


def variant(**fields: Any) -> dict[str, Any]:
    return {"ProductionVariants": [{"VariantName": "main", **fields}]}


POOLS = [{"InstanceType": TYPE, "Priority": 1}, {"InstanceType": "ml.g5.xlarge", "Priority": 2}]


@pytest.mark.parametrize(
    ("endpoint", "machines"),
    [
        ({"config": variant(InstanceType=TYPE), "live": variant(CurrentInstanceCount=2)}, {(TYPE, 2)}),
        ({"config": variant(InstanceType=TYPE), "live": variant(CurrentInstanceCount=0)}, {(TYPE, 0)}),
        ({"config": variant(InstanceType=TYPE, InitialInstanceCount=3)}, {(TYPE, 3)}),
        ({"config": variant(ServerlessConfig={"MaxConcurrency": 1})}, {("serverless inference", 1)}),
        ({"config": variant(InstancePools=POOLS)}, {(TYPE, 1), ("ml.g5.xlarge", 1)}),
        (
            {
                "config": variant(InstancePools=POOLS),
                "live": variant(InstancePools=[{"InstanceType": TYPE, "CurrentInstanceCount": 4}]),
            },
            {(TYPE, 4)},
        ),
        ({"config": variant()}, {("machines of a form that the kit does not know", 1)}),
        ({}, {("an endpoint whose configuration was deleted", 1)}),
        ({"gone": True}, set()),
        ({"status": "Failed", "config": variant(InstanceType=TYPE)}, set()),
        (
            {
                "config": variant(InstanceType=TYPE)
                | {"ShadowProductionVariants": [{"VariantName": "shadow", "InstanceType": "ml.m5.large"}]}
            },
            {(TYPE, 1), ("ml.m5.large", 1)},
        ),
    ],
)
def test_machines_of_an_endpoint(endpoint: dict[str, Any], machines: set[tuple[str, int]]) -> None:
    found = list(standing(SageMaker({"one": endpoint}, {})))
    assert {(each.instance_type, each.count) for each in found} == machines
    assert {(each.name, each.purpose) for each in found} <= {("one", "hosting")}


@pytest.mark.parametrize(
    ("resources", "machines"),
    [
        ({"InstanceType": TYPE, "InstanceCount": 2}, {(TYPE, 2)}),
        (
            {"InstanceGroups": [{"InstanceType": TYPE, "InstanceCount": 1, "InstanceGroupName": "a"},
                                {"InstanceType": "ml.g5.xlarge", "InstanceCount": 3, "InstanceGroupName": "b"}]},
            {(TYPE, 1), ("ml.g5.xlarge", 3)},
        ),
        (
            {"InstancePreferences": POOLS, "SelectedInstanceType": "ml.g5.xlarge", "SelectedInstanceCount": 2},
            {("ml.g5.xlarge", 2)},
        ),
        ({"InstancePreferences": POOLS}, set()),
        ({"VolumeSizeInGB": 1}, {("machines of a form that the kit does not know", 1)}),
    ],
)  # fmt: skip
def test_machines_of_a_job(resources: dict[str, Any], machines: set[tuple[str, int]]) -> None:
    found = list(standing(SageMaker({}, {"one": resources})))
    assert {(each.instance_type, each.count) for each in found} == machines
    assert {(each.name, each.purpose) for each in found} <= {("one", "training")}


def test_what_is_others_is_not_even_described() -> None:
    region = SageMaker({"smoke-1-chat": {"config": variant(InstanceType=TYPE)}, "theirs": {}}, {"theirs-job": {}})
    assert [each.name for each in standing(region, "smoke-1")] == ["smoke-1-chat"]
    assert region.described == ["smoke-1-chat"]


def test_the_forms_are_all_that_sagemaker_has() -> None:
    """A form that a later API adds shows here first: each of these fields says what machines, or how many."""
    shapes = Session(region_name="us-east-1").client("sagemaker").meta.service_model
    told = {
        shape: {name for name in shapes.shape_for(shape).members if name.startswith(("Instance", "Selected", "Server"))}
        for shape in ("ProductionVariant", "ResourceConfig")
    }
    assert told == {
        "ProductionVariant": {"InstanceType", "InstancePools", "ServerlessConfig"},
        "ResourceConfig": {
            *("InstanceType", "InstanceCount", "InstanceGroups", "InstancePlacementConfig"),
            *("InstancePreferences", "SelectedInstanceType", "SelectedInstanceCount"),
        },
    }
