"""Parameters are judged by botocore's own models, in AWS's words."""

from typing import Any

import pytest

from llmops_twins.aws.calls import AwsApiError
from llmops_twins.aws.wire import validation
from llmops_twins.aws.wire.reading import Reading, model_of


def reading(service: str, operation: str, **parameters: Any) -> Reading:
    model = model_of(service)
    return Reading(service, model.operation_model(operation), str(model.protocol), parameters)


def refused(service: str, operation: str, **parameters: Any) -> AwsApiError:
    with pytest.raises(AwsApiError) as refusal:
        validation.check(reading(service, operation, **parameters))
    return refusal.value


def test_a_good_request_passes() -> None:
    tags = [{"Key": "llmops:project", "Value": "übung 1/2 @home"}]
    validation.check(reading("sagemaker", "CreateEndpoint", EndpointName="a-b", EndpointConfigName="c", Tags=tags))


def test_a_pattern() -> None:
    error = refused("sagemaker", "DescribeEndpoint", EndpointName="under_score")
    assert error.code == "ValidationException"
    assert error.message == (
        "1 validation error detected: Value 'under_score' at 'endpointName' failed to satisfy constraint: "
        "Member must satisfy regular expression pattern: [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"
    )


def test_all_violations_are_told_with_their_paths() -> None:
    variant = {"VariantName": "main", "InstanceType": "ml.nonsense", "InitialInstanceCount": 0}
    error = refused("sagemaker", "CreateEndpointConfig", EndpointConfigName="x" * 64, ProductionVariants=[variant])
    assert error.message.startswith("4 validation errors detected: ")
    assert "at 'endpointConfigName' failed to satisfy constraint: Member must have length less than or equal" in str(
        error
    )
    assert "Value '0' at 'productionVariants.1.member.initialInstanceCount'" in error.message
    assert "Value 'ml.nonsense' at 'productionVariants.1.member.instanceType' failed to satisfy constraint: " in str(
        error
    )
    assert "Member must satisfy enum value set: [ml.t2.medium, " in error.message


def test_a_missing_member() -> None:
    error = refused("sagemaker", "CreateModel", ModelName="m", VpcConfig={"Subnets": ["subnet-1"]})
    assert "Value null at 'vpcConfig.securityGroupIds' failed to satisfy constraint: Member must not be null" in str(
        error
    )


def test_a_wrong_type() -> None:
    error = refused("sagemaker", "ListEndpoints", MaxResults="ten")
    assert error.code == "SerializationException"
    assert "STRING_VALUE can not be converted to an Integer" in error.message


@pytest.mark.parametrize(
    ("service", "operation", "parameters", "code"),
    [
        ("iam", "CreateRole", {"RoleName": "a b", "AssumeRolePolicyDocument": "{}"}, "ValidationError"),
        ("logs", "CreateLogGroup", {"logGroupName": "a b"}, "InvalidParameterException"),
        ("kms", "DescribeKey", {"KeyId": ""}, "ValidationException"),
    ],
)
def test_services_have_codes_of_their_own(service: str, operation: str, parameters: dict[str, str], code: str) -> None:
    assert refused(service, operation, **parameters).code == code


def test_what_a_model_says_in_java_is_judged_too() -> None:
    tag = {"Key": "a%b", "Value": ""}
    assert (
        "at 'tags.1.member.key'"
        in refused("sagemaker", "AddTags", ResourceArn="arn:aws:sagemaker:x", Tags=[tag]).message
    )


@pytest.mark.parametrize("value", ["at least 0.50, which", "a; b", "a\nb", "(1)"])
def test_metadata_of_a_model_package_hold_letters_numbers_and_separators_alone(value: str) -> None:
    """https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateModelPackage.html"""
    error = refused("sagemaker", "CreateModelPackage", CustomerMetadataProperties={"gate": value})
    assert "at 'customerMetadataProperties.gate.member' failed to satisfy constraint: Member must satisfy regular" in (
        error.message
    )


def test_metadata_of_a_model_package_may_be_in_any_script() -> None:
    facts = {"größe": "0.5 - 1 für/за:=+-@", "木": "林"}
    validation.check(reading("sagemaker", "CreateModelPackage", CustomerMetadataProperties=facts))
