"""The roles that bootstrap makes for GitHub's workflows: who may take them, and that each suffices for its commands."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from llmops.platforms.aws.bootstrap import Bootstrapped, bootstrap
from llmops.platforms.aws.clients import Clients
from tests.emulated.llmops.aws.test_life import STACK
from tests.emulated.llmops.aws.test_policy import as_somebody, put_version
from tests.emulated.llmops.conftest import Kit
from tests.support.aws import Account

PULL_REQUEST, MAIN, BRANCH = (
    "repo:acme/ci:pull_request",
    "repo:acme/ci:ref:refs/heads/main",
    "repo:acme/ci:ref:refs/heads/x",
)


def token(subject: str) -> str:
    """As GitHub gives one to a workflow; the twin, which has no issuer, doesn't look at its signature."""
    claims = {
        "iss": "https://token.actions.githubusercontent.com",
        "aud": "sts.amazonaws.com",
        "sub": subject,
    }
    parts = [base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in ({"alg": "RS256"}, claims)]
    return ".".join([*parts, "c2lnbmF0dXJl"])


def take(clients: Clients, role: str, subject: str) -> dict[str, str]:
    """A role's credentials, by a workflow's token."""
    answer = clients("sts").assume_role_with_web_identity(
        RoleArn=role, RoleSessionName="workflow", WebIdentityToken=token(subject)
    )["Credentials"]
    return {
        "AWS_ACCESS_KEY_ID": answer["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": answer["SecretAccessKey"],
        "AWS_SESSION_TOKEN": answer["SessionToken"],
    }


@pytest.fixture(scope="module")
def made(account: Account) -> Bootstrapped:
    with account.entered():
        return bootstrap(Clients(), "llmops", lambda _: None, github="acme/ci")


@pytest.mark.parametrize(
    ("kind", "subject"),
    [("deploy", PULL_REQUEST), ("deploy", BRANCH), ("preview", BRANCH), ("preview", "repo:evil/ci:pull_request")],
)
def test_no_other_workflow_takes_a_role(made: Bootstrapped, clients: Clients, kind: str, subject: str) -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        take(clients, made.roles[kind], subject)


def test_each_role_suffices_for_its_workflow_and_no_more(
    kit: Kit, account: Account, clients: Clients, made: Bootstrapped, tmp_path: Path
) -> None:
    bound = f"  llmops:aws: {{permissions_boundary_arn: {made.names.boundary_arn}}}\n"
    (kit.folder / "Pulumi.ci.yaml").write_text(STACK + bound)
    environ = {k: v for k, v in account.environ.items() if k != "PULUMI_CONFIG_PASSPHRASE"}
    environ |= {"PULUMI_BACKEND_URL": made.names.backend, "PULUMI_STACK": "ci"}
    deploy, preview = made.roles["deploy"], made.roles["preview"]

    kit.environ = environ | take(clients, deploy, MAIN)
    kit.run("up")
    put_version(environ, kit, tmp_path / "one", "one")
    as_somebody(environ, kit, "promote", "chatbot@1")
    kit.environ = environ | take(clients, preview, PULL_REQUEST)
    assert kit.json("plan")["endpoints"][0]["change"] == "create"
    kit.environ = environ | take(clients, deploy, MAIN)
    kit.run("up")
    kit.environ = environ | take(clients, preview, MAIN)
    kit.run("plan", "--refresh", "--detailed-exitcode")
    kit.run("status")
    assert "is not authorized to perform" in kit.run("up", "--refresh", code=1)
    kit.environ = environ | take(clients, deploy, MAIN)
    kit.run("up")
    kit.run("down", "--data", "ci")


def test_what_a_deployer_makes_can_not_leave_the_boundary(clients: Clients, made: Bootstrapped) -> None:
    from boto3 import Session

    taken = take(clients, made.roles["deploy"], MAIN)
    iam = Session(*taken.values()).client("iam")
    statement = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    nobody: dict[str, Any] = {"Version": "2012-10-17", "Statement": [statement]}
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    role = {"RoleName": "llmops-ci-escape", "AssumeRolePolicyDocument": json.dumps(nobody)}
    for call, arguments in (
        (iam.create_role, role),
        (iam.create_user, {"UserName": "escape"}),
        (iam.delete_role_permissions_boundary, {"RoleName": made.roles["deploy"].rpartition("/")[2]}),
        (
            iam.put_role_policy,
            {
                "RoleName": made.roles["deploy"].rpartition("/")[2],
                "PolicyName": "x",
                "PolicyDocument": json.dumps(everything),
            },
        ),
        (iam.create_policy_version, {"PolicyArn": made.names.boundary_arn, "PolicyDocument": json.dumps(everything)}),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            call(**arguments)
    bounded = iam.create_role(**role, PermissionsBoundary=made.names.boundary_arn)["Role"]["RoleName"]
    iam.delete_role(RoleName=bounded)
