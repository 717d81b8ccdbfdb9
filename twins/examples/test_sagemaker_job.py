"""Tests of sagemaker_job.py on an emulated AWS account: the job really runs the container."""

import json
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError
from sagemaker_job import train

from llmops_twins.pytest_plugin import EmulatedAccount

ROLE = "arn:aws:iam::000000000000:role/training"
ROWS = b"1,2\n2,4\n3,6\n"


@pytest.fixture(scope="session")
def aws_twin_baseline() -> None:
    """Creates a bucket, and a role for training jobs."""
    boto3.client("s3").create_bucket(Bucket="line-data")
    trust = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    rights = {"Effect": "Allow", "Action": ["s3:*", "logs:*", "cloudwatch:PutMetricData"], "Resource": "*"}
    iam = boto3.client("iam")
    iam.create_role(RoleName="training", AssumeRolePolicyDocument=_policy(trust))
    iam.put_role_policy(RoleName="training", PolicyName="data", PolicyDocument=_policy(rights))


@pytest.fixture
def image(aws_twin: EmulatedAccount) -> str:
    """Returns the container's image; with Docker, push it to the twin's ECR instead."""
    return aws_twin.process_image(Path(__file__).with_name("trainer"))


def test_the_model_fits_the_data(image: str) -> None:
    assert train("line-data", ROLE, image, ROWS) == {"slope": 2.0}


@pytest.mark.twin(faults=["throttle service=sagemaker operation=CreateTrainingJob times=2"])
def test_throttling_is_retried(aws_twin: EmulatedAccount, image: str) -> None:
    assert train("line-data", ROLE, image, ROWS) == {"slope": 2.0}
    assert aws_twin.control.faults(aws_twin.home)["throttle"] == []


@pytest.mark.twin(permissions=["s3:*", "sagemaker:*"])
def test_the_caller_must_be_allowed_to_pass_the_role(aws_twin: EmulatedAccount, image: str) -> None:
    with pytest.raises(ClientError, match="iam:PassRole"):
        train("line-data", ROLE, image, ROWS)
    assert "iam:PassRole" in [each["action"] for each in aws_twin.permissions_used() if not each["allowed"]]


def _policy(statement: dict[str, object]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})
