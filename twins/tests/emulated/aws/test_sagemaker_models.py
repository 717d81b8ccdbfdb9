"""Models, configurations, packages and their tags: what is created is described with every member, and listed."""

import itertools
from typing import Any

import pytest
from botocore.exceptions import ClientError

from twins.tests.support.aws import IMAGE, RunningTwin, made_config, made_model

ARN = "arn:aws:sagemaker:us-east-1:000000000000"
ECR = "000000000000.dkr.ecr.us-east-1.amazonaws.com/serving"


def refusal(call: Any, **parameters: Any) -> ClientError:
    with pytest.raises(ClientError) as refused:
        call(**parameters)
    return refused.value


def subset(given: Any, found: Any) -> bool:
    """Is everything that was given found again, whatever else is there?"""
    if isinstance(given, dict):
        return all(name in found and subset(value, found[name]) for name, value in given.items())
    if isinstance(given, list):
        return len(given) == len(found) and all(itertools.starmap(subset, zip(given, found, strict=True)))
    return given == found


def test_a_model_keeps_every_member(twin: RunningTwin, model: str, role: str) -> None:
    sagemaker, ec2 = twin.client("sagemaker"), twin.client("ec2")
    subnet, group = ec2.describe_subnets()["Subnets"][0], ec2.describe_security_groups()["SecurityGroups"][0]
    given = {
        "ModelName": "Full-Model",
        "ExecutionRoleArn": role,
        "EnableNetworkIsolation": True,
        "VpcConfig": {"Subnets": [subnet["SubnetId"]], "SecurityGroupIds": [group["GroupId"]]},
        "InferenceExecutionConfig": {"Mode": "Direct"},
        "Containers": [
            {
                "Image": IMAGE,
                "ContainerHostname": name,
                "Environment": {"LLMOPS_AUTH": "platform"},
                "ModelDataSource": {
                    "S3DataSource": {
                        "S3Uri": "s3://models-of-tests/models/1/",
                        "S3DataType": "S3Prefix",
                        "CompressionType": "None",
                        "ModelAccessConfig": {"AcceptEula": True},
                    }
                },
            }
            for name in ("first", "second")
        ],
    }
    answer = sagemaker.create_model(**given)
    assert answer["ModelArn"] == f"{ARN}:model/full-model"
    found = sagemaker.describe_model(ModelName="Full-Model")
    assert subset(given, found)
    assert found["Containers"][0]["Mode"] == "SingleModel"
    error = refusal(sagemaker.create_model, **given)
    assert error.response["Error"]["Code"] == "ValidationException"
    assert error.response["Error"]["Message"] == f'Cannot create already existing model "{ARN}:model/full-model".'
    sagemaker.delete_model(ModelName="Full-Model")
    for call in (sagemaker.describe_model, sagemaker.delete_model):
        error = refusal(call, ModelName="Full-Model")
        assert error.response["Error"]["Message"] == f'Could not find model "{ARN}:model/full-model".'


def test_a_model_with_a_role_that_is_not_there(twin: RunningTwin) -> None:
    role = "arn:aws:iam::000000000000:role/nobody"
    error = refusal(made_model, twin=twin, name="no-role", role=role)
    assert f"Could not assume role {role}." in str(error)


def test_images_that_sagemaker_does_not_take(twin: RunningTwin, model: str, role: str) -> None:
    error = refusal(made_model, twin=twin, name="foreign", role=role, image="docker.io/library/python:3.12")
    assert 'Using non-ECR image "docker.io/library/python:3.12" without Vpc repository access mode' in str(error)
    ecr = twin.client("ecr")
    ecr.create_repository(repositoryName="serving")
    oci = '{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}'
    kind = "application/vnd.oci.image.index.v1+json"
    ecr.put_image(repositoryName="serving", imageManifest=oci, imageManifestMediaType=kind, imageTag="oci")
    error = refusal(made_model, twin=twin, name="oci", role=role, image=f"{ECR}:oci")
    assert f"Unsupported manifest media type {kind} for image {ECR}:oci" in str(error)


def test_a_configuration_keeps_every_member(twin: RunningTwin, model: str, role: str) -> None:
    sagemaker = twin.client("sagemaker")
    given: dict[str, Any] = {
        "EndpointConfigName": "full-config",
        "ExecutionRoleArn": role,
        "EnableNetworkIsolation": True,
        "VpcConfig": {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]},
        "KmsKeyId": "alias/some",
        "AsyncInferenceConfig": {
            "OutputConfig": {"S3OutputPath": "s3://models-of-tests/out", "NotificationConfig": {}},
            "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 4},
        },
        "DataCaptureConfig": {
            "EnableCapture": True,
            "InitialSamplingPercentage": 100,
            "DestinationS3Uri": "s3://models-of-tests/captures",
            "CaptureOptions": [{"CaptureMode": "Input"}],
        },
        "ProductionVariants": [
            {
                "VariantName": "main",
                "ModelName": model,
                "InstanceType": "ml.p5.48xlarge",
                "InitialInstanceCount": 2,
                "VolumeSizeInGB": 64,
                "ModelDataDownloadTimeoutInSeconds": 600,
                "ContainerStartupHealthCheckTimeoutInSeconds": 900,
                "InferenceAmiVersion": "al2-ami-sagemaker-inference-gpu-3-1",
                "RoutingConfig": {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"},
                "ManagedInstanceScaling": {"Status": "ENABLED", "MinInstanceCount": 1, "MaxInstanceCount": 3},
                "EnableSSMAccess": False,
            }
        ],
        "ShadowProductionVariants": [
            {"VariantName": "shadow", "ModelName": model, "InstanceType": "ml.g6e.xlarge", "InitialInstanceCount": 1}
        ],
    }
    answer = sagemaker.create_endpoint_config(**given, Tags=[{"Key": "llmops:stack", "Value": "dev"}])
    found = sagemaker.describe_endpoint_config(EndpointConfigName="full-config")
    assert subset(given, found)
    assert found["ProductionVariants"][0]["InitialVariantWeight"] == 1.0
    assert sagemaker.list_tags(ResourceArn=answer["EndpointConfigArn"])["Tags"] == [
        {"Key": "llmops:stack", "Value": "dev"}
    ]


def test_a_configuration_of_a_model_that_is_not_there(twin: RunningTwin) -> None:
    error = refusal(made_config, twin=twin, name="lost", model="no-such")
    assert error.response["Error"]["Message"] == f'Could not find model "{ARN}:model/no-such".'


def test_lists_page_filter_and_sort(twin: RunningTwin, model: str) -> None:
    sagemaker = twin.client("sagemaker")
    names = [f"listed-{number:02}" for number in range(25)]
    for name in names:
        made_config(twin, name, model)
    pages = sagemaker.get_paginator("list_endpoint_configs").paginate(
        NameContains="LISTED", SortBy="Name", SortOrder="Ascending", PaginationConfig={"PageSize": 7}
    )
    found = [[config["EndpointConfigName"] for config in page["EndpointConfigs"]] for page in pages]
    assert [len(page) for page in found] == [7, 7, 7, 4]
    assert list(itertools.chain(*found)) == names
    by_default = sagemaker.list_endpoint_configs(NameContains="listed-")
    assert [c["EndpointConfigName"] for c in by_default["EndpointConfigs"]] == names[:-11:-1]
    middle = sagemaker.describe_endpoint_config(EndpointConfigName=names[12])["CreationTime"]
    earlier = sagemaker.get_paginator("list_endpoint_configs").paginate(
        NameContains="listed-", CreationTimeBefore=middle
    )
    assert len(earlier.build_full_result()["EndpointConfigs"]) in (12, 11)  # the service counts in milliseconds
    error = refusal(sagemaker.list_endpoint_configs, NextToken="nonsense")
    assert error.response["Error"]["Code"] == "ValidationException"


def test_tags_are_added_changed_and_removed(twin: RunningTwin, model: str) -> None:
    sagemaker = twin.client("sagemaker")
    arn = f"{ARN}:model/{model}"
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "1"}])
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "b", "Value": "2"}])
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["a"])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "b", "Value": "2"}]
    error = refusal(sagemaker.list_tags, ResourceArn=f"{ARN}:model/no-such")
    assert f'Could not find model "{ARN}:model/no-such".' in str(error)
    many = [{"Key": f"key-{number}", "Value": ""} for number in range(50)]
    assert refusal(sagemaker.add_tags, ResourceArn=arn, Tags=many).response["Error"]["Code"] == "ResourceLimitExceeded"


def test_tags_of_what_moto_keeps_are_motos(twin: RunningTwin, role: str) -> None:
    sagemaker = twin.client("sagemaker")
    arn = sagemaker.create_pipeline(
        PipelineName="p",
        PipelineDefinition="{}",
        ClientRequestToken="t" * 32,
        RoleArn=role,
        Tags=[{"Key": "a", "Value": "1"}],
    )["PipelineArn"]
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "a", "Value": "1"}]


def test_model_packages_are_versions_of_a_group(twin: RunningTwin) -> None:
    sagemaker = twin.client("sagemaker")
    group = sagemaker.create_model_package_group(ModelPackageGroupName="chat", ModelPackageGroupDescription="ours")
    error = refusal(sagemaker.create_model_package_group, ModelPackageGroupName="chat")
    assert "Model Package Group already exists" in str(error)
    specification = {
        "Containers": [{"Image": "1.dkr/x", "ModelDataUrl": "s3://models-of-tests/m.tar.gz"}],
        "SupportedContentTypes": ["application/json"],
        "SupportedResponseMIMETypes": ["application/json"],
    }
    arns = [
        sagemaker.create_model_package(
            ModelPackageGroupName="chat", InferenceSpecification=specification, CustomerMetadataProperties={"sha": "1"}
        )["ModelPackageArn"]
        for _ in range(2)
    ]
    assert arns == [f"{ARN}:model-package/chat/1", f"{ARN}:model-package/chat/2"]
    found = sagemaker.describe_model_package(ModelPackageName=arns[1])
    assert (found["ModelPackageVersion"], found["ModelApprovalStatus"]) == (2, "PendingManualApproval")
    sagemaker.update_model_package(
        ModelPackageArn=arns[1], ModelApprovalStatus="Approved", CustomerMetadataProperties={"who": "me"}
    )
    found = sagemaker.describe_model_package(ModelPackageName=arns[1])
    assert (found["ModelApprovalStatus"], found["CustomerMetadataProperties"]) == (
        "Approved",
        {"sha": "1", "who": "me"},
    )
    approved = sagemaker.list_model_packages(ModelPackageGroupName="chat", ModelApprovalStatus="Approved")
    assert [each["ModelPackageArn"] for each in approved["ModelPackageSummaryList"]] == [arns[1]]
    error = refusal(sagemaker.delete_model_package_group, ModelPackageGroupName="chat")
    assert error.response["Error"]["Code"] == "ConflictException"
    for arn in arns:
        sagemaker.delete_model_package(ModelPackageName=arn)
    sagemaker.delete_model_package_group(ModelPackageGroupName="chat")
    error = refusal(sagemaker.describe_model_package_group, ModelPackageGroupName="chat")
    assert f"ModelPackageGroup {group['ModelPackageGroupArn']} does not exist." in str(error)


def test_a_package_of_the_same_token_is_made_once(twin: RunningTwin) -> None:
    sagemaker = twin.client("sagemaker")
    sagemaker.create_model_package_group(ModelPackageGroupName="once")
    given = {"ModelPackageGroupName": "once", "ModelPackageDescription": "a", "ClientToken": "token-1"}
    first = sagemaker.create_model_package(**given)["ModelPackageArn"]
    assert sagemaker.create_model_package(**given)["ModelPackageArn"] == first
    assert sagemaker.create_model_package(**{**given, "ClientToken": "token-2"})["ModelPackageArn"] == f"{first[:-1]}2"
    described = sagemaker.describe_model_package(ModelPackageName=first)
    assert "ClientToken" not in described
    error = refusal(sagemaker.create_model_package, **{**given, "ModelPackageDescription": "b"})
    assert error.response["Error"]["Code"] == "ConflictException"
    sagemaker.delete_model_package(ModelPackageName=first)
    assert sagemaker.create_model_package(**given)["ModelPackageArn"] == f"{first[:-1]}3"


def test_tags_of_amazon_are_not_set_by_others(twin: RunningTwin, model: str) -> None:
    sagemaker = twin.client("sagemaker")
    arn = sagemaker.describe_model(ModelName=model)["ModelArn"]
    for key in ("aws:x", "AWS:cloudformation:stack-name"):
        error = refusal(sagemaker.add_tags, ResourceArn=arn, Tags=[{"Key": key, "Value": "a"}])
        assert error.response["Error"]["Code"] == "ValidationException"
    assert not {tag["Key"] for tag in sagemaker.list_tags(ResourceArn=arn)["Tags"]} & {"aws:x"}
