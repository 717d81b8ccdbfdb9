"""Property names and values in an AWS API's own form, and back."""

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.loaders import create_loader
from botocore.model import ServiceModel

from llmops_twins.plugins.aws.equivalence import compact, same, same_json
from llmops_twins.plugins.aws.rules import rules
from llmops_twins.plugins.aws.templates import fill, filled, parse_id, shape_at
from llmops_twins.plugins.aws.translate import find_member, from_api, map_of, pairs_of, to_api


@pytest.fixture(scope="module")
def sagemaker() -> ServiceModel:
    return ServiceModel(create_loader().load_service_model("sagemaker", "service-2"))


def test_a_configuration_there_and_back(sagemaker: ServiceModel) -> None:
    variant = {
        "variantName": "main",
        "modelName": "model",
        "initialInstanceCount": 2,
        "initialVariantWeight": 1,
        "volumeSizeInGb": 100,
        "routingConfigs": [{"routingStrategy": "RANDOM"}],
    }
    inputs = {"name": "one", "kmsKeyArn": "arn", "productionVariants": [variant], "tags": {}, "unset": None}
    renames = {"kmsKeyArn": "KmsKeyId"}
    shape = sagemaker.operation_model("CreateEndpointConfig").input_shape
    parameters = to_api(inputs, shape, renames, "EndpointConfig")
    assert parameters == {
        "EndpointConfigName": "one",
        "KmsKeyId": "arn",
        "ProductionVariants": [
            {
                "VariantName": "main",
                "ModelName": "model",
                "InitialInstanceCount": 2,
                "InitialVariantWeight": 1.0,
                "VolumeSizeInGB": 100,
                "RoutingConfig": {"RoutingStrategy": "RANDOM"},
            }
        ],
    }
    known = rules("aws:sagemaker/endpointConfiguration:EndpointConfiguration")
    back = from_api({**parameters, "CreationTime": datetime.now(UTC)}, known.properties, renames, "EndpointConfig")
    assert back == {n: v for n, v in inputs.items() if n not in ("tags", "unset")}


def test_names_meet_by_letters_number_and_prefix() -> None:
    names = ("ModelName", "Policies", "SSEAlgorithm", "S3Uri", "Tag")
    for name, found in (("policy", "Policies"), ("sseAlgorithm", "SSEAlgorithm"), ("s3Uri", "S3Uri"), ("tags", "Tag")):
        assert find_member(names, name) == found
    assert find_member(names, "name", prefix="Model") == "ModelName"
    assert find_member(names, "name") == ""
    assert find_member(names, "policy", "-") == ""
    assert find_member(names, "policy", "Nothing|Tag") == "Tag"


@pytest.mark.parametrize(
    ("service", "operation", "path", "expected"),
    [
        ("sagemaker", "AddTags", "Tags", [{"Key": "a", "Value": "b"}]),
        ("kms", "TagResource", "Tags", [{"TagKey": "a", "TagValue": "b"}]),
        ("sqs", "TagQueue", "Tags", {"a": "b"}),
    ],
)
def test_tags_take_the_services_form(service: str, operation: str, path: str, expected: Any) -> None:
    model = ServiceModel(create_loader().load_service_model(service, "service-2"))
    shape = shape_of(model, operation, path)
    assert pairs_of({"a": "b"}, shape) == expected
    assert map_of(expected) == {"a": "b"}


def shape_of(model: ServiceModel, operation: str, path: str) -> Any:
    shape: Any = model.operation_model(operation).input_shape
    return shape.members[path]


def test_a_place_in_an_answer_has_a_shape(sagemaker: ServiceModel) -> None:
    answer = sagemaker.operation_model("DescribeEndpoint").output_shape
    assert shape_at(answer, "ProductionVariants[0]").name == "ProductionVariantSummary"
    assert shape_at(answer, "NoSuchThing[0]") is None


def test_ids_are_filled_in_and_read() -> None:
    assert fill("{role}:{name}", {"role": "a", "name": "b"}) == "a:b"
    assert parse_id("{role}:{name}", "a:b") == {"role": "a", "name": "b"}
    assert parse_id("{role}:{name}", "ab") == {}
    assert filled({"Ids": ["{id}"], "Name": "{id}"}, {"id": "x"}) == {"Ids": ["x"], "Name": "x"}


def test_policies_are_compared_as_policies() -> None:
    one = '{"Statement": [{"Action": ["a", "b"]}], "Version": "1"}'
    other = '{"Version": "1", "Statement": {"Action": ["b", "a"]}}'
    assert same_json(one, other, policy=True)
    assert not same_json(one, other, policy=False)
    assert not same_json(one, "no JSON", policy=True)
    assert compact('{"b": 1,\n "a": 2}') == '{"a":2,"b":1}'
    assert compact("no JSON") == "no JSON"


@pytest.mark.parametrize(
    ("token", "path", "old", "new", "equal"),
    [
        ("aws:budgets/budget:Budget", "limitAmount", "100", "100.0", True),
        ("aws:budgets/budget:Budget", "limitAmount", "100", "101", False),
        ("aws:kms/alias:Alias", "targetKeyId", "arn:aws:kms:eu-central-1:000000000000:key/ab", "ab", True),
        ("aws:ec2/securityGroup:SecurityGroup", "ingress[].protocol", "6", "tcp", True),
        ("aws:ec2/securityGroup:SecurityGroup", "ingress[].cidrBlocks", ["a", "b"], ["b", "a"], False),
        ("aws:ec2/vpcEndpoint:VpcEndpoint", "subnetIds", ["a", "b"], ["b", "a"], True),
        ("aws:cloudwatch/metricAlarm:MetricAlarm", "treatMissingData", "notBreaching", "notbreaching", True),
        (
            "aws:budgets/budget:Budget",
            "notifications",
            [{"threshold": 1, "subscriberEmailAddresses": ["a", "b"]}, {"threshold": 2}],
            [{"threshold": 2, "subscriberSnsTopicArns": []}, {"threshold": 1, "subscriberEmailAddresses": ["b", "a"]}],
            True,
        ),
    ],
)
def test_values_that_are_the_same_to_aws(token: str, path: str, old: Any, new: Any, equal: bool) -> None:
    assert same(rules(token), path, old, new) == equal
