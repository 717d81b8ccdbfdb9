"""The roles that bootstrap makes for GitHub's workflows: who may take them, and that each suffices for its commands."""

import base64
import json
import os
import re
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from boto3 import Session
from botocore.exceptions import ClientError
from ruamel.yaml import YAML

from llmops_kit.cli.platforms.aws.bootstrap.bootstrap import Bootstrapped, bootstrap
from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.core.errors import KitError
from llmops_kit.core.twins import TWIN_ACCOUNT, owner_headers
from tests.emulated.cli.aws.test_life import STACK
from tests.emulated.cli.aws.test_policy import put_version
from tests.emulated.cli.conftest import Kit
from tests.support.clouds.aws import Account
from tests.support.workflows import WORKFLOWS, commit, load, outputs

PULL_REQUEST, MAIN, BRANCH, PROMOTE = (
    f"repo:acme/ci:{place}"
    for place in ("pull_request", "ref:refs/heads/main", "ref:refs/heads/x", "environment:promote")
)


def token(subject: str = "", **claims: Any) -> str:
    """As GitHub gives one to a workflow: the twin makes it in its place, with the subject of the claims if none is
    given.
    """
    claims |= {"iss": "https://token.actions.githubusercontent.com", "aud": "sts.amazonaws.com"}
    claims |= {"sub": subject} if subject else {}
    url = f"{os.environ['AWS_ENDPOINT_URL']}/_twin/web-identities"
    asked = urllib.request.Request(url, json.dumps(claims).encode(), owner_headers("aws", os.environ))
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return json.load(answer)["token"]


def take(clients: AwsClients, role: str, subject: str = "", **claims: Any) -> dict[str, str]:
    """A role's credentials, by a workflow's token."""
    answer = clients("sts").assume_role_with_web_identity(
        RoleArn=role, RoleSessionName="workflow", WebIdentityToken=token(subject, **claims), **_as_long_as_asked()
    )["Credentials"]
    return {
        "AWS_ACCESS_KEY_ID": answer["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": answer["SecretAccessKey"],
        "AWS_SESSION_TOKEN": answer["SessionToken"],
    }


def _as_long_as_asked() -> dict[str, int]:
    """As configure-aws-credentials asks STS in the workflow that deploys."""
    (seconds,) = re.findall(r"role-duration-seconds: (\d+)", (WORKFLOWS / "deploy.yml").read_text())
    return {"DurationSeconds": int(seconds)}


@pytest.fixture(scope="module")
def made(account: Account) -> Bootstrapped:
    with account.entered():
        return bootstrap(AwsClients(), "llmops", lambda _: None, github="acme/ci")


@pytest.mark.parametrize(
    ("kind", "subject"),
    [
        ("deploy", PULL_REQUEST),
        ("deploy", BRANCH),
        ("deploy", PROMOTE),
        ("preview", BRANCH),
        ("preview", "repo:evil/ci:pull_request"),
        ("promote", MAIN),
        ("promote", PULL_REQUEST),
    ],
)
def test_no_other_workflow_takes_a_role(made: Bootstrapped, clients: AwsClients, kind: str, subject: str) -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        take(clients, made.roles[kind], subject)


def test_a_repository_is_known_by_its_ids_and_by_its_names_on_request(made: Bootstrapped, clients: AwsClients) -> None:
    claims: dict[str, Any] = {
        "repository": "acme/new",
        "repository_owner_id": "11",
        "repository_id": "22",
        "ref": "refs/heads/main",
    }
    by_name = claims | {"use_immutable_subject": False}
    others = [claims | {"repository_id": "23"}, claims | {"repository_owner_id": "12"}, claims | {"ref": "refs/x"}]
    for named, accepted, refused in (
        (False, [claims], [by_name, *others]),
        (True, [claims, by_name], others),
    ):
        github = "acme@11/new@22"
        role = bootstrap(clients, "llmops", lambda _: None, github=github, by_name=named).roles["deploy"]
        for each in accepted:
            assert take(clients, role, **each)
        for each in refused:
            with pytest.raises(ClientError, match="AccessDenied"):
                take(clients, role, **each)
        with pytest.raises(ClientError, match="AccessDenied"):
            take(clients, made.roles["deploy"], **claims | {"repository": "acme/ci"})


def given(made: Bootstrapped, document: dict[str, Any]) -> dict[str, str]:
    """The environment of a workflow, with the variables that bootstrap prints."""
    variables = {
        "LLMOPS_STACK": "ci",
        "LLMOPS_REGION": made.names.region,
        "LLMOPS_BACKEND": made.names.backend,
    }
    return {k: variables[v.split("vars.")[1].split()[0]] for k, v in document["env"].items()}


ALL_OF_IT = "network: {mode: own}, budget: {monthly_usd: 100, emails: [a@example.com]}"


@pytest.mark.long
def test_the_workflows_run_under_the_roles_that_they_take(
    kit: Kit, account: Account, clients: AwsClients, made: Bootstrapped, tmp_path: Path
) -> None:
    aws = f"region: {made.names.region}, permissions_boundary_arn: {made.names.boundary_arn}, {ALL_OF_IT}"
    (kit.folder / "Pulumi.ci.yaml").write_text(f"{STACK}  llmops:aws: {{{aws}}}\n")
    (kit.folder / ".venv").symlink_to(sys.prefix)
    commit(kit.folder, "Pulumi.ci.yaml")
    left_out = ("PULUMI_CONFIG_PASSPHRASE", "PULUMI_BACKEND_URL")
    said = {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"), "GITHUB_OUTPUT": str(tmp_path / "output")}
    environ = {k: v for k, v in account.environ.items() if k not in left_out} | said

    def run(workflow: str, job: str, subject: str, code: int = 0, **more: str) -> str:
        file = load(f"{workflow}.yml")
        role = take(clients, made.roles[file.job(job).identity], subject)
        return file.job(job).run(kit.folder, environ | given(made, file.document) | role | more, code)

    run("deploy", "deploy", MAIN)
    root = environ | {"PULUMI_BACKEND_URL": made.names.backend, "PULUMI_STACK": "ci"}
    with pytest.raises(KitError, match="kms:Sign") as e:
        put_version(root | take(clients, made.roles["deploy"], MAIN), kit, tmp_path / "none", "none")
    assert "promote" in e.value.fix
    put_version(root | take(clients, made.roles["promote"], PROMOTE), kit, tmp_path / "one", "one")
    run("promote", "review", MAIN, VERSION="chatbot@latest")
    assert "## Promote `chatbot@1`" in (tmp_path / "summary.md").read_text()
    seen = outputs(tmp_path / "output")
    other = seen["identity"][:-1] + ("0" if seen["identity"][-1] != "0" else "1")
    assert "is not in the store" in run("promote", "promote", PROMOTE, code=4, IDENTITY=other, RUN="")
    run("promote", "promote", PROMOTE, IDENTITY=seen["identity"], RUN=seen["run"])
    assert b"+      model: chatbot@1@sha256:" in base64.b64decode(outputs(tmp_path / "output")["patch"])
    scale(kit.folder / "Pulumi.ci.yaml")
    run("preview", "preview", PULL_REQUEST)
    assert "endpoint chatbot: new -> chatbot@1" in (tmp_path / "summary.md").read_text()
    run("deploy", "deploy", MAIN)
    run("drift", "drift", MAIN)
    clients("iam").tag_role(RoleName=_role_of(clients, "ci"), Tags=[{"Key": "llmops:stack", "Value": "drifted"}])
    assert "role-training" in run("drift", "drift", MAIN, code=2)

    kit.environ = root | take(clients, made.roles["preview"], MAIN)
    assert "is not authorized to perform" in kit.run("up", "--refresh", code=1)
    kit.environ = root | take(clients, made.roles["deploy"], MAIN)
    kit.run("up", "--refresh")
    kit.run("down", "--data", "ci")


def scale(file: Path) -> None:
    """Let the endpoint grow by its load."""
    document = YAML().load(file)
    document["config"]["llmops:endpoints"]["chatbot"]["size"] = {"instances": 1, "max_instances": 3}
    YAML().dump(document, file)


def _role_of(clients: AwsClients, stack: str) -> str:
    roles = clients("iam").list_roles()["Roles"]
    return next(r["RoleName"] for r in roles if r["RoleName"].startswith(f"llmops-{stack}-training"))


EVERYTHING = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})


def trusting(principal: dict[str, Any]) -> str:
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture
def session() -> Iterator[type[Session]]:
    """boto3's Session, whose clients are closed at the end of the test."""
    with ExitStack() as opened:

        class Closed(Session):
            def client(self, *args: Any, **options: Any) -> Any:
                return opened.enter_context(closing(super().client(*args, **options)))

        yield Closed


def refused(call: Any, **arguments: Any) -> None:
    with pytest.raises(ClientError, match=r"AccessDenied|not authorized"):
        call(**arguments)


@pytest.fixture
def admin(clients: AwsClients) -> Iterator[str]:
    """The name of a role that may do everything and that the account's own principals may take."""
    iam, name = clients("iam"), "administrators"
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=trusting({"AWS": f"arn:aws:iam::{TWIN_ACCOUNT}:root"}))
    iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=EVERYTHING)
    yield name
    iam.delete_role_policy(RoleName=name, PolicyName="all")
    iam.delete_role(RoleName=name)


@pytest.mark.vulnerability(2)
def test_vulnerability_2_a_bounded_role_of_the_deployers_making_becomes_nobody_else(
    clients: AwsClients, made: Bootstrapped, admin: str, session: type[Session]
) -> None:
    """The way that was out: a bounded role that may do everything rewrites an administrator's trust, and takes it."""
    deploy = session(*take(clients, made.roles["deploy"], MAIN).values())
    iam, path, bound = deploy.client("iam"), made.names.role_path, made.names.boundary_arn
    role: dict[str, Any] = {"RoleName": "llmops-ci-escape", "AssumeRolePolicyDocument": trusting({"AWS": "*"})}
    refused(iam.create_role, **role, Path=path)
    refused(iam.create_role, **role, PermissionsBoundary=bound)
    refused(iam.create_role, **role, Path=made.names.ci_path, PermissionsBoundary=bound)
    refused(iam.create_role, **role, Path=path, PermissionsBoundary=made.names.deploy_boundary_arn)
    escape = iam.create_role(**role, Path=path, PermissionsBoundary=bound)["Role"]["Arn"]
    try:
        iam.put_role_policy(RoleName=role["RoleName"], PolicyName="all", PolicyDocument=EVERYTHING)
        _leaves_nothing(deploy, made, admin)
        refused(
            deploy.client("sts").assume_role, RoleArn=escape, RoleSessionName="attacker"
        )  # SageMaker does, for a job
        taken = clients("sts").assume_role(RoleArn=escape, RoleSessionName="attacker")["Credentials"]
        bounded = session(taken["AccessKeyId"], taken["SecretAccessKey"], taken["SessionToken"])
        _leaves_nothing(bounded, made, admin)
        refused(
            bounded.client("iam").create_role, **role | {"RoleName": "second"}, Path=path, PermissionsBoundary=bound
        )
        refused(bounded.client("s3").get_object, Bucket=made.names.bucket, Key=".pulumi/meta.yaml")
    finally:
        iam.delete_role_policy(RoleName=role["RoleName"], PolicyName="all")
        iam.delete_role(RoleName=role["RoleName"])


def _leaves_nothing(session: Session, made: Bootstrapped, admin: str) -> None:
    """Each step of the ways out is refused."""
    iam, sts, s3, kms = (session.client(name) for name in ("iam", "sts", "s3", "kms"))
    names = made.names
    for name in (admin, *(names.role(kind, "acme/ci") for kind in made.roles)):
        refused(iam.update_assume_role_policy, RoleName=name, PolicyDocument=trusting({"AWS": "*"}))
        refused(iam.put_role_policy, RoleName=name, PolicyName="x", PolicyDocument=EVERYTHING)
        refused(iam.delete_role_permissions_boundary, RoleName=name)
    refused(sts.assume_role, RoleArn=f"arn:aws:iam::{TWIN_ACCOUNT}:role/{admin}", RoleSessionName="attacker")
    refused(iam.delete_role_permissions_boundary, RoleName="llmops-ci-escape")
    refused(
        iam.put_role_permissions_boundary, RoleName="llmops-ci-escape", PermissionsBoundary=names.deploy_boundary_arn
    )
    everything = "arn:aws:iam::aws:policy/AdministratorAccess"
    refused(iam.attach_role_policy, RoleName="llmops-ci-escape", PolicyArn=everything)
    refused(iam.create_user, UserName="escape")
    for arn in (names.boundary_arn, names.deploy_boundary_arn):
        refused(iam.create_policy_version, PolicyArn=arn, PolicyDocument=EVERYTHING, SetAsDefault=True)
        refused(iam.delete_policy, PolicyArn=arn)
    refused(s3.put_bucket_versioning, Bucket=names.bucket, VersioningConfiguration={"Status": "Suspended"})
    refused(s3.put_bucket_policy, Bucket=names.bucket, Policy="{}")
    refused(s3.delete_bucket, Bucket=names.bucket)
    refused(kms.schedule_key_deletion, KeyId=names.alias)
    refused(kms.disable_key, KeyId=names.alias)
    refused(kms.put_key_policy, KeyId=names.alias, PolicyName="default", Policy=EVERYTHING)


@pytest.mark.vulnerability(12)
def test_vulnerability_12_the_deploy_role_signs_nothing_and_touches_no_keys_of_others(
    clients: AwsClients, made: Bootstrapped, session: type[Session]
) -> None:
    kms = clients("kms")
    signs = {"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}
    ours = kms.create_key(**signs, Tags=[{"TagKey": "llmops:project", "TagValue": "llmops"}])["KeyMetadata"]["KeyId"]
    theirs = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName="alias/payroll", TargetKeyId=theirs)
    digest = {"Message": b"0" * 32, "MessageType": "DIGEST", "SigningAlgorithm": "ECDSA_SHA_256"}

    deploy = session(*take(clients, made.roles["deploy"], MAIN).values()).client("kms")
    refused(deploy.sign, KeyId=ours, **digest)
    refused(deploy.put_key_policy, KeyId=ours, PolicyName="default", Policy=EVERYTHING)
    refused(deploy.create_grant, KeyId=ours, GranteePrincipal=made.roles["deploy"], Operations=["Sign"])
    refused(deploy.tag_resource, KeyId=theirs, Tags=[{"TagKey": "llmops:project", "TagValue": "llmops"}])
    refused(deploy.encrypt, KeyId=theirs, Plaintext=b"x")

    promote = session(*take(clients, made.roles["promote"], PROMOTE).values()).client("kms")
    assert promote.sign(KeyId=ours, **digest)["Signature"]
    refused(promote.schedule_key_deletion, KeyId=ours)
    kms.delete_alias(AliasName="alias/payroll")


@pytest.mark.vulnerability(12)
def test_vulnerability_12_no_workflows_role_writes_or_reads_a_strangers_bucket(
    account: Account, clients: AwsClients, made: Bootstrapped, session: type[Session]
) -> None:
    """A bucket of another account whose name begins as the project's do, and that lets everybody in."""
    evil = account.strangers_bucket("llmops-evil")
    ours = f"{made.names.prefix}-ours"
    clients("s3").create_bucket(Bucket=ours)
    for kind, subject in (("deploy", MAIN), ("promote", PROMOTE), ("preview", MAIN)):
        s3 = session(*take(clients, made.roles[kind], subject).values()).client("s3")
        refused(s3.put_object, Bucket=evil, Key="runs/stolen", Body=b"x")
        refused(s3.get_object, Bucket=evil, Key="aliases/planted.json")
        refused(s3.list_objects_v2, Bucket=evil)
        if kind != "preview":
            s3.put_object(Bucket=ours, Key="runs/kept", Body=b"x")
    deploy = session(*take(clients, made.roles["deploy"], MAIN).values()).client("s3")
    refused(deploy.put_bucket_policy, Bucket=evil, Policy="{}")
    deploy.create_bucket(Bucket=f"{ours}-new")


@pytest.mark.scorecard("audit-log")
def test_the_deploy_role_neither_stops_nor_redirects_a_trail_nor_opens_its_bucket(
    clients: AwsClients, made: Bootstrapped, session: type[Session]
) -> None:
    """Of `audit: true`, which an administrator turns on. Two trails, one of another project."""
    bucket, service = f"{made.names.prefix}-dev-audit-0123456789ab", {"Service": "cloudtrail.amazonaws.com"}
    arns = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    granted = {"Effect": "Allow", "Principal": service, "Action": "s3:*", "Resource": arns}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [granted]})
    clients("s3").create_bucket(Bucket=bucket)
    clients("s3").put_bucket_policy(Bucket=bucket, Policy=policy)
    trails = [f"{made.names.prefix}-dev-audit", "payroll-audit"]
    for name in trails:
        clients("cloudtrail").create_trail(Name=name, S3BucketName=bucket)
        clients("cloudtrail").start_logging(Name=name)
    deploy = session(*take(clients, made.roles["deploy"], MAIN).values())
    everything = [{"ReadWriteType": "WriteOnly", "IncludeManagementEvents": False}]
    for name in trails:
        refused(deploy.client("cloudtrail").stop_logging, Name=name)
        refused(deploy.client("cloudtrail").delete_trail, Name=name)
        refused(deploy.client("cloudtrail").update_trail, Name=name, S3BucketName=f"{made.names.prefix}-ours")
        refused(deploy.client("cloudtrail").put_event_selectors, TrailName=name, EventSelectors=everything)
        assert clients("cloudtrail").get_trail_status(Name=name)["IsLogging"]
    s3 = deploy.client("s3")
    refused(s3.delete_bucket_policy, Bucket=bucket)
    refused(s3.put_bucket_policy, Bucket=bucket, Policy=policy)
    refused(s3.put_object, Bucket=bucket, Key="AWSLogs/forged", Body=b"x")
    refused(s3.delete_bucket, Bucket=bucket)
    for name in trails:
        clients("cloudtrail").delete_trail(Name=name)
    clients("s3").delete_bucket(Bucket=bucket)


@pytest.mark.vulnerability(2)
def test_vulnerability_2_the_boundary_keeps_a_role_out_of_a_strangers_bucket(
    account: Account, clients: AwsClients, made: Bootstrapped, session: type[Session]
) -> None:
    evil, name = account.strangers_bucket("llmops-evil-too"), "llmops-ci-thief"
    root = trusting({"AWS": f"arn:aws:iam::{TWIN_ACCOUNT}:root"})
    iam, role = clients("iam"), {"RoleName": name, "AssumeRolePolicyDocument": root}
    arn = iam.create_role(**role, PermissionsBoundary=made.names.boundary_arn)["Role"]["Arn"]
    iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=EVERYTHING)
    taken = clients("sts").assume_role(RoleArn=arn, RoleSessionName="thief")["Credentials"]
    s3 = session(taken["AccessKeyId"], taken["SecretAccessKey"], taken["SessionToken"]).client("s3")
    refused(s3.put_object, Bucket=evil, Key="runs/stolen", Body=b"x")
    clients("s3").create_bucket(Bucket="llmops-thiefs-own")
    s3.put_object(Bucket="llmops-thiefs-own", Key="runs/kept", Body=b"x")
    iam.delete_role_policy(RoleName=name, PolicyName="all")
    iam.delete_role(RoleName=name)


@pytest.mark.vulnerability(12)
def test_vulnerability_12_a_review_reads_manifests_and_neither_rows_nor_weights(
    clients: AwsClients, made: Bootstrapped, session: type[Session]
) -> None:
    bucket = f"{made.names.prefix}-reviewed"
    clients("s3").create_bucket(Bucket=bucket)
    manifests = ("models/a/manifest.json", "datasets/a/manifest.json", "runs/r/output/j/output/model/manifest.json")
    files = ("models/a/model.safetensors", "datasets/a/train.parquet", "runs/r/output/j/output/model/evaluation.json")
    for key in (*manifests, "runs/r/input/spec/run.json", *files):
        clients("s3").put_object(Bucket=bucket, Key=key, Body=b"x")
    preview = session(*take(clients, made.roles["preview"], MAIN).values())
    s3 = preview.client("s3")
    for key in (*manifests, "runs/r/input/spec/run.json"):
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == b"x"
        refused(s3.put_object, Bucket=bucket, Key=key, Body=b"y")
    for key in files:
        refused(s3.get_object, Bucket=bucket, Key=key)


def test_a_recorded_policy_of_another_project_is_refused_and_nothing_is_made(clients: AwsClients) -> None:
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": "arn:aws:s3:::fresh-dev-store-1/*"},
            {"Effect": "Allow", "Action": ["iam:PassRole"], "Resource": "arn:aws:iam::1:role/llmops-kit/other/x"},
        ],
    }
    with pytest.raises(KitError, match=r"iam:PassRole on .*llmops-kit/other/x is not of project") as e:
        bootstrap(clients, "fresh", lambda _: None, github="acme/ci", policy=policy)
    assert e.value.where == "--policy, statement 2"
    names = {r["RoleName"] for r in clients("iam").list_roles()["Roles"]}
    assert not [name for name in names if name.startswith("fresh")]


def test_two_projects_whose_names_begin_alike_are_refused(clients: AwsClients, made: Bootstrapped) -> None:
    with pytest.raises(KitError, match="project llmops is in this account too"):
        bootstrap(clients, "llmops-prod", lambda _: None, github="acme/ci")
