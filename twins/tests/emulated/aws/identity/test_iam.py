"""Documents and references that are checked, AWS's policies by name, simulation, a role that works later."""

import csv
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from twins.tests.support.aws import TRUST, RunningTwin

DENY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}


@pytest.fixture
def iam(twin: RunningTwin) -> Any:
    """A client."""
    return twin.client("iam")


@pytest.mark.parametrize(
    ("trust", "text"),
    [
        ({}, "Statement"),
        ({"Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole"}]}, "Principal"),
        (
            {
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Action": "sts:AssumeRole",
                        "Principal": {"AWS": "arn:aws:iam::000000000000:role/none"},
                    }
                ]
            },
            'Invalid principal in policy: "AWS":"arn:aws:iam::000000000000:role/none"',
        ),
        ({**TRUST, "Statement": [{**TRUST["Statement"][0], "Resource": "*"}]}, "Has prohibited field Resource"),  # type: ignore[dict-item]
    ],
)
def test_trust_policy_that_can_not_be_is_refused(iam: Any, trust: dict[str, Any], text: str) -> None:
    with pytest.raises(iam.exceptions.MalformedPolicyDocumentException, match=text):
        iam.create_role(RoleName="bad", AssumeRolePolicyDocument=json.dumps(trust))


def test_boundary_must_be_there_and_stays_while_it_bounds(iam: Any) -> None:
    arn = "arn:aws:iam::000000000000:policy/boundary"
    trust = json.dumps(TRUST)
    with pytest.raises(iam.exceptions.NoSuchEntityException, match="does not exist or is not attachable"):
        iam.create_role(RoleName="bounded", AssumeRolePolicyDocument=trust, PermissionsBoundary=arn)
    made = iam.create_policy(PolicyName="boundary", PolicyDocument=json.dumps(DENY))["Policy"]
    assert made["PolicyId"].startswith("ANPA")
    iam.create_role(RoleName="bounded", AssumeRolePolicyDocument=trust, PermissionsBoundary=arn)
    with pytest.raises(iam.exceptions.DeleteConflictException, match="attached to entities"):
        iam.delete_policy(PolicyArn=arn)
    iam.delete_role(RoleName="bounded")
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(DENY), SetAsDefault=True)
    with pytest.raises(iam.exceptions.DeleteConflictException, match="more than one version"):
        iam.delete_policy(PolicyArn=arn)
    iam.delete_policy_version(PolicyArn=arn, VersionId="v1")
    iam.delete_policy(PolicyArn=arn)


def test_policies_of_aws_are_there_when_they_are_asked_for(iam: Any) -> None:
    iam.create_role(RoleName="managed", AssumeRolePolicyDocument=json.dumps(TRUST))
    iam.attach_role_policy(RoleName="managed", PolicyArn="arn:aws:iam::aws:policy/AmazonSageMakerFullAccess")
    assert (
        iam.get_policy(PolicyArn="arn:aws:iam::aws:policy/AmazonSageMakerFullAccess")["Policy"]["AttachmentCount"] == 1
    )
    with pytest.raises(iam.exceptions.NoSuchEntityException):
        iam.attach_role_policy(RoleName="managed", PolicyArn="arn:aws:iam::aws:policy/NoSuchPolicy")


def test_simulation_of_policies_and_principals(iam: Any) -> None:
    found = iam.simulate_custom_policy(
        PolicyInputList=[json.dumps(DENY)],
        ActionNames=["s3:GetObject", "s3:PutObject"],
        ResourceArns=["arn:aws:s3:::b/k"],
    )["EvaluationResults"]
    assert [each["EvalDecision"] for each in found] == ["allowed", "implicitDeny"]
    condition = {"StringEquals": {"aws:PrincipalTag/team": "kit"}}
    bound = json.dumps({**DENY, "Statement": [{**DENY["Statement"][0], "Condition": condition}]})  # type: ignore[dict-item]
    for team, decision in (("kit", "allowed"), ("other", "implicitDeny")):
        entry = {"ContextKeyName": "aws:PrincipalTag/team", "ContextKeyValues": [team], "ContextKeyType": "string"}
        answer = iam.simulate_custom_policy(
            PolicyInputList=[bound],
            ActionNames=["s3:GetObject"],
            ResourceArns=["arn:aws:s3:::b/k"],
            ContextEntries=[entry],
        )
        assert answer["EvaluationResults"][0]["EvalDecision"] == decision
    with pytest.raises(iam.exceptions.NoSuchEntityException):
        iam.simulate_principal_policy(
            PolicySourceArn="arn:aws:iam::000000000000:role/none", ActionNames=["s3:GetObject"]
        )


def test_credential_report_has_the_root(iam: Any) -> None:
    iam.generate_credential_report()
    rows = list(csv.DictReader(iam.get_credential_report()["Content"].decode().splitlines()))
    assert rows[0]["user"] == "<root_account>"
    assert rows[0]["access_key_1_active"] == "false"


@pytest.mark.usefixtures("no_faults")
def test_role_works_only_after_it_was_propagated(twin: RunningTwin, iam: Any) -> None:
    twin.fault("role_propagation", seconds=60)
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "arn:aws:iam::000000000000:root"}}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    arn = iam.create_role(RoleName="late", AssumeRolePolicyDocument=document)["Role"]["Arn"]
    sts = twin.client("sts")
    with pytest.raises(ClientError, match="is not authorized to perform: sts:AssumeRole"):
        sts.assume_role(RoleArn=arn, RoleSessionName="test")
    twin.ask("DELETE", "faults")
    assert sts.assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]


def test_a_role_of_a_service_is_made_once_and_has_its_own_name(iam: Any) -> None:
    service = "sagemaker.application-autoscaling.amazonaws.com"
    made = iam.create_service_linked_role(AWSServiceName=service)["Role"]
    assert made["RoleName"] == "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
    assert made["Path"] == f"/aws-service-role/{service}/"
    with pytest.raises(iam.exceptions.InvalidInputException, match="has been taken in this account"):
        iam.create_service_linked_role(AWSServiceName=service)
    assert iam.get_role(RoleName=made["RoleName"])["Role"]["Arn"] == made["Arn"]
