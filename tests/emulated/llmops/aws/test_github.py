"""The roles that bootstrap makes for GitHub's workflows: who may take them, and that each suffices for its commands."""

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from ruamel.yaml import YAML

from contract.twin import owner_headers
from llmops.platforms.aws.bootstrap import Bootstrapped, bootstrap
from llmops.platforms.aws.clients import Clients
from tests.emulated.llmops.aws.test_life import STACK
from tests.emulated.llmops.aws.test_policy import as_somebody, put_version
from tests.emulated.llmops.conftest import Kit
from tests.support.aws import Account

WORKFLOWS = Path(__file__).parents[4] / "docs/how-to/github"
PULL_REQUEST, MAIN, BRANCH = (
    "repo:acme/ci:pull_request",
    "repo:acme/ci:ref:refs/heads/main",
    "repo:acme/ci:ref:refs/heads/x",
)


def token(subject: str) -> str:
    """As GitHub gives one to a workflow: the twin makes it in its place."""
    claims = {
        "iss": "https://token.actions.githubusercontent.com",
        "aud": "sts.amazonaws.com",
        "sub": subject,
    }
    url = f"{os.environ['AWS_ENDPOINT_URL']}/_twin/web-identities"
    asked = urllib.request.Request(url, json.dumps(claims).encode(), owner_headers("aws", os.environ))
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return json.load(answer)["token"]


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


class Workflow:
    """A file of docs/how-to/github: its commands as a runner starts them, with the roles that it takes."""

    def __init__(self, name: str, kit: Kit, made: Bootstrapped, summary: Path) -> None:
        self.document = YAML(typ="safe", pure=True).load(WORKFLOWS / name)
        self._kit, self._made, self._summary = kit, made, summary
        (self._steps,) = (job["steps"] for job in self.document["jobs"].values())

    @property
    def role(self) -> str:
        """preview or deploy."""
        (taken,) = (
            s["with"]["role-to-assume"] for s in self._steps if "configure-aws-credentials" in s.get("uses", "")
        )
        return {"${{ vars.LLMOPS_PREVIEW_ROLE }}": "preview", "${{ vars.LLMOPS_DEPLOY_ROLE }}": "deploy"}[taken]

    def run(self, environ: dict[str, str], code: int = 0) -> str:
        """Run the commands; what they printed."""
        script = "\n".join(s["run"] for s in self._steps if "run" in s and s["name"] != "Set up")
        variables = {
            "LLMOPS_STACK": "ci",
            "LLMOPS_REGION": self._made.names.region,
            "LLMOPS_BACKEND": self._made.names.backend,
        }
        given = {k: variables[v.split("vars.")[1].split()[0]] for k, v in self.document["env"].items()}
        done = subprocess.run(
            ["bash", "-e", "-c", script],
            cwd=self._kit.folder,
            env=environ | given | {"GITHUB_STEP_SUMMARY": str(self._summary)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == code, done.stdout
        return done.stdout


def test_the_workflows_run_under_the_roles_that_they_take(
    kit: Kit, account: Account, clients: Clients, made: Bootstrapped, tmp_path: Path
) -> None:
    bound = f"  llmops:aws: {{region: {made.names.region}, permissions_boundary_arn: {made.names.boundary_arn}}}\n"
    (kit.folder / "Pulumi.ci.yaml").write_text(STACK + bound)
    (kit.folder / ".venv").symlink_to(sys.prefix)
    left_out = ("PULUMI_CONFIG_PASSPHRASE", "PULUMI_BACKEND_URL")
    environ = {k: v for k, v in account.environ.items() if k not in left_out}
    preview, deploy, drift = (
        Workflow(f"{name}.yml", kit, made, tmp_path / "summary.md") for name in ("preview", "deploy", "drift")
    )
    assert (preview.role, deploy.role, drift.role) == ("preview", "deploy", "preview")

    deploy.run(environ | take(clients, made.roles["deploy"], MAIN))
    root = environ | {"PULUMI_BACKEND_URL": made.names.backend, "PULUMI_STACK": "ci"}
    put_version(root, kit, tmp_path / "one", "one")
    as_somebody(root, kit, "promote", "chatbot@1")
    preview.run(environ | take(clients, made.roles["preview"], PULL_REQUEST))
    assert "endpoint chatbot: new -> chatbot@1" in (tmp_path / "summary.md").read_text()
    deploy.run(environ | take(clients, made.roles["deploy"], MAIN))
    drift.run(environ | take(clients, made.roles["preview"], MAIN))
    clients("iam").tag_role(RoleName=_role_of(clients, "ci"), Tags=[{"Key": "llmops:stack", "Value": "drifted"}])
    assert "role-training" in drift.run(environ | take(clients, made.roles["preview"], MAIN), code=2)

    kit.environ = root | take(clients, made.roles["preview"], MAIN)
    assert "is not authorized to perform" in kit.run("up", "--refresh", code=1)
    kit.environ = root | take(clients, made.roles["deploy"], MAIN)
    kit.run("up", "--refresh")
    kit.run("down", "--data", "ci")


def _role_of(clients: Clients, stack: str) -> str:
    roles = clients("iam").list_roles()["Roles"]
    return next(r["RoleName"] for r in roles if r["RoleName"].startswith(f"llmops-{stack}-training"))


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
