"""The policies of the roles that bootstrap makes for GitHub's workflows: put back when changed, else left alone."""

import json

import pytest

from llmops_kit.cli.platforms.aws.bootstrap.bootstrap import Bootstrapped, bootstrap
from llmops_kit.cli.platforms.aws.clients import AwsClients

POLICY = "llmops"
SUBJECT = "token.actions.githubusercontent.com:sub"
NAME, IDS = "repo:acme/ci:ref:refs/heads/main", "repo:acme@11/ci@22:ref:refs/heads/main"


def make(clients: AwsClients, github: str = "acme/ci", by_name: bool = False) -> Bootstrapped:
    return bootstrap(clients, "llmops", lambda _: None, github=github, by_name=by_name)


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


def trusted(clients: AwsClients, made: Bootstrapped) -> list[str]:
    """The subjects that may take the deploy role."""
    role = clients("iam").get_role(RoleName=made.roles["deploy"].rpartition("/")[2])["Role"]
    return role["AssumeRolePolicyDocument"]["Statement"][0]["Condition"]["StringEquals"][SUBJECT]


def test_a_repository_moves_to_its_ids_and_not_back(clients: AwsClients) -> None:
    before = make(clients)
    assert trusted(clients, before) == [NAME]
    both = make(clients, "acme@11/ci@22", by_name=True)
    assert both.roles == before.roles
    assert trusted(clients, both) == [IDS, NAME]
    assert trusted(clients, make(clients, "acme@11/ci@22")) == [IDS]
    again = make(clients)
    assert trusted(clients, again) == [IDS], "names alone are weaker"
    kept = {row["what"] for row in again.rows if row["state"].startswith("kept: it names the repository's ids")}
    assert len(kept) == 3
    assert trusted(clients, make(clients, "acme@11/ci@33")) == [IDS.replace("22", "33")]


@pytest.mark.parametrize("github", ["acme@11/other@22", "acme@11/ci"])
def test_ids_of_another_repository_are_not_kept(clients: AwsClients, github: str) -> None:
    role = make(clients, "acme@11/ci@22").roles["deploy"].rpartition("/")[2]
    policy = clients("iam").get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]
    policy["Statement"][0]["Condition"]["StringEquals"][SUBJECT] = [f"repo:{github}:ref:refs/heads/main"]
    clients("iam").update_assume_role_policy(RoleName=role, PolicyDocument=json.dumps(policy))
    assert trusted(clients, make(clients)) == [NAME]
