"""The policies of the roles that bootstrap makes for GitHub's workflows: put back when changed, else left alone."""

import json

import pytest

from llmops.platforms.aws.bootstrap.bootstrap import Bootstrapped, bootstrap
from llmops.platforms.aws.clients import AwsClients

POLICY = "llmops"


def make(clients: AwsClients) -> Bootstrapped:
    return bootstrap(clients, "llmops", lambda _: None, github="acme/ci")


def test_roles_that_are_as_they_should_be_are_left_alone(clients: AwsClients) -> None:
    make(clients)
    again = {row["what"]: row["state"] for row in make(clients).rows if row["what"].startswith("role ")}
    assert set(again.values()) == {"is there"}
    assert len(again) == 3


@pytest.mark.parametrize("kind", ["preview", "deploy", "promote"])
def test_a_policy_that_somebody_changed_is_put_back(clients: AwsClients, kind: str) -> None:
    iam = clients("iam")
    role = make(clients).roles[kind].rpartition("/")[2]
    before = iam.get_role_policy(RoleName=role, PolicyName=POLICY)["PolicyDocument"]
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam.put_role_policy(RoleName=role, PolicyName=POLICY, PolicyDocument=json.dumps(everything))
    make(clients)
    assert iam.get_role_policy(RoleName=role, PolicyName=POLICY)["PolicyDocument"] == before
