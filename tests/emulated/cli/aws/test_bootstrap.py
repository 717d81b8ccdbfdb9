"""bootstrap on a twin's account: new, again, and where somebody changed something."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.cli.platforms.aws.bootstrap.bootstrap import Bootstrapped, bootstrap, key_url
from llmops_kit.cli.platforms.aws.bootstrap.given_resources import given_to
from llmops_kit.cli.platforms.aws.bootstrap.names import AwsNames
from llmops_kit.cli.platforms.aws.bootstrap.policies import trust
from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.cli.stacks.project import Project
from llmops_kit.clouds.aws.names import COST_TAG
from llmops_kit.core.errors import KitError

Run = Callable[..., Bootstrapped]
COSTS = f"cost allocation tag {COST_TAG}"


@pytest.fixture
def project(tmp_path: Path) -> str:
    """A name of this test's own, so that tests share an account and nothing in it."""
    return f"kit{abs(hash(str(tmp_path))) % 10**8}"


@pytest.fixture
def run(clients: AwsClients, project: str) -> Run:
    return lambda **options: bootstrap(clients, project, lambda _: None, **options)


def states(done: Bootstrapped) -> dict[str, str]:
    return {row["what"]: row["state"] for row in done.rows}


def test_a_dry_run_makes_nothing(run: Run, clients: AwsClients, project: str) -> None:
    done = run(dry_run=True, github="acme/bot")
    assert all("would be" in state or state == "is there" or what == COSTS for what, state in states(done).items())
    assert len(done.rows) >= 5
    assert not [b for b in clients("s3").list_buckets()["Buckets"] if b["Name"].startswith(project)]
    with pytest.raises(KitError) as missed:
        key_url(clients, project)
    assert "llmops bootstrap aws" in missed.value.fix


def test_the_account_is_made_ready_and_a_second_time_nothing_changes(
    run: Run, clients: AwsClients, project: str
) -> None:
    done = run()
    s3, bucket = clients("s3"), done.names.bucket
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    rule = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    assert all(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values())
    statement = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"][0]
    assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    key = clients("kms").describe_key(KeyId=done.names.alias)["KeyMetadata"]["KeyId"]
    assert clients("kms").get_key_rotation_status(KeyId=key)["KeyRotationEnabled"]
    assert key_url(clients, project) == f"awskms://alias/{project}-state?region=us-east-1"
    assert {state for what, state in states(run()).items() if what != COSTS} == {"is there"}


def test_the_tag_of_budgets_is_activated_once_something_carries_it(run: Run, clients: AwsClients, project: str) -> None:
    def tag() -> list[dict[str, str]]:
        return clients("ce").list_cost_allocation_tags(TagKeys=[COST_TAG])["CostAllocationTags"]

    if not tag():  # tests share the account
        assert states(run())[COSTS].startswith("kept: AWS does not offer it yet")
    queue = clients("sqs").create_queue(QueueName=project, tags={COST_TAG: f"{project}/dev"})["QueueUrl"]
    try:
        assert states(run(dry_run=True))[COSTS] == "would be changed: Inactive -> Active"
        assert states(run())[COSTS] == "changed: Inactive -> Active"
        assert [found["Status"] for found in tag()] == ["Active"]
        assert states(run())[COSTS] == "is there"
    finally:
        clients("sqs").delete_queue(QueueUrl=queue)
        inactive = [{"TagKey": COST_TAG, "Status": "Inactive"}]
        clients("ce").update_cost_allocation_tags_status(CostAllocationTagsStatus=inactive)


def test_what_somebody_weakened_is_put_right_and_what_they_added_stays(run: Run, clients: AwsClients) -> None:
    names = run().names
    s3, bucket = clients("s3"), names.bucket
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    s3.delete_public_access_block(Bucket=bucket)
    theirs = {
        "Sid": "Theirs",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:DeleteObject",
        "Resource": f"arn:aws:s3:::{bucket}/*",
        "Condition": {"StringEquals": {"aws:PrincipalTag/team": "guests"}},
    }
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [theirs]}))
    changed = {what: state for what, state in states(run()).items() if state.startswith("changed")}
    assert changed[f"bucket {bucket}: versions"] == "changed: Suspended -> Enabled"
    assert "off -> on" in changed[f"bucket {bucket}: public access"]
    assert len(changed) == 3
    statements = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
    assert [s["Sid"] for s in statements] == ["Theirs", "DenyPlainHttp"]


def test_a_bucket_with_a_key_of_somebody_elses_keeps_it(run: Run, clients: AwsClients) -> None:
    bucket = run().names.bucket
    other = clients("kms").create_key()["KeyMetadata"]["Arn"]
    encryption = {
        "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": other}}]
    }
    clients("s3").put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=encryption)
    assert "kept: by another key" in states(run())[f"bucket {bucket}: encryption"]
    rule = clients("s3").get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert rule["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"] == other


def test_a_key_that_is_to_be_deleted_is_named(run: Run, clients: AwsClients) -> None:
    alias = run().names.alias
    key = clients("kms").describe_key(KeyId=alias)["KeyMetadata"]["KeyId"]
    clients("kms").schedule_key_deletion(KeyId=key)
    with pytest.raises(KitError, match="PendingDeletion"):
        run()


def test_roles_for_github_trust_one_repository_and_the_deploy_role_is_bounded(run: Run, clients: AwsClients) -> None:
    done = run(github="acme/bot")
    iam = clients("iam")
    roles = {kind: iam.get_role(RoleName=arn.rpartition("/")[2])["Role"] for kind, arn in done.roles.items()}
    subjects = {k: _condition(r)["token.actions.githubusercontent.com:sub"] for k, r in roles.items()}
    main = "repo:acme/bot:ref:refs/heads/main"
    promote = ["repo:acme/bot:environment:promote"]
    assert subjects == {"preview": ["repo:acme/bot:pull_request", main], "deploy": [main], "promote": promote}
    assert roles["deploy"]["PermissionsBoundary"]["PermissionsBoundaryArn"] == done.names.deploy_boundary_arn
    assert {role["Path"] for role in roles.values()} == {f"/llmops-ci/{done.names.project}/"}
    assert {role["MaxSessionDuration"] for role in roles.values()} == {7200}  # as docs/how-to/github/deploy.yml asks
    read = iam.get_role_policy(RoleName=roles["preview"]["RoleName"], PolicyName="llmops")["PolicyDocument"]
    allowed = [a for s in read["Statement"] if s["Effect"] == "Allow" for a in s["Action"]]
    verbs = {a.partition(":")[2] for a in allowed}
    assert all(v.startswith(("Describe", "List", "Get", "View", "Decrypt")) for v in verbs)
    assert {state for what, state in states(run(github="acme/bot")).items() if what != COSTS} == {"is there"}


def test_a_trust_that_was_opened_is_closed_and_a_stricter_one_is_kept(run: Run, clients: AwsClients) -> None:
    iam, name = clients("iam"), run(github="acme/bot").roles["deploy"].rpartition("/")[2]
    trusted = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
    opened = json.loads(json.dumps(trusted).replace("repo:acme/bot:ref:refs/heads/main", "repo:*"))
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(opened))
    assert "changed" in states(run(github="acme/bot"))[f"role {name}: trust"]
    assert iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"] == trusted
    trusted["Statement"][0]["Condition"]["StringLike"] = {"token.actions.githubusercontent.com:actor": "lead"}
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(trusted))
    assert "kept" in states(run(github="acme/bot"))[f"role {name}: trust"]


def test_another_boundary_is_not_taken_away_and_a_missing_one_is_put_back(run: Run, clients: AwsClients) -> None:
    iam, done = clients("iam"), run(github="acme/bot")
    name = done.roles["deploy"].rpartition("/")[2]
    iam.delete_role_permissions_boundary(RoleName=name)
    assert "changed: none ->" in states(run(github="acme/bot"))[f"role {name}: boundary"]
    document = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]})
    other = iam.create_policy(PolicyName=f"{name}-theirs"[:120], PolicyDocument=document)["Policy"]["Arn"]
    iam.put_role_permissions_boundary(RoleName=name, PermissionsBoundary=other)
    with pytest.raises(KitError) as refused:
        run(github="acme/bot")
    assert refused.value.where == f"{name}: {other}"


def test_the_recorded_policy_becomes_the_deploy_roles(run: Run, clients: AwsClients, project: str) -> None:
    statement = {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": f"arn:aws:s3:::{project}-dev-store-1"}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    name = run(github="acme/bot", policy=policy).roles["deploy"].rpartition("/")[2]
    assert clients("iam").get_role_policy(RoleName=name, PolicyName="llmops")["PolicyDocument"] == policy


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ({"Action": ["s3:ListBucket"], "Resource": "arn:aws:s3:::another-dev-store-1"}, "s3:ListBucket on .*another"),
        ({"Action": ["iam:CreateRole"], "Resource": "*"}, r"iam:CreateRole on \*"),
        ({"Action": "*", "Resource": "*"}, r"\* on \*"),
        ({"NotAction": "iam:*", "Resource": "*"}, "allows all but something"),
        (
            {"Action": [f"s3:Get{'x' * 11_000}"], "Resource": "*"},
            "a role's inline policies have at most 10240 together",
        ),
    ],
)
def test_a_policy_that_is_not_the_projects_is_refused(
    run: Run, clients: AwsClients, project: str, statement: dict[str, Any], words: str
) -> None:
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]}
    with pytest.raises(KitError, match=words) as e:
        run(github="acme/bot", policy=policy)
    assert e.value.where.startswith("--policy")
    assert e.value.fix
    assert not [r for r in clients("iam").list_roles()["Roles"] if project in r["RoleName"]]


def test_what_stack_files_name_is_in_the_policies_by_its_exact_name(
    run: Run, clients: AwsClients, tmp_path: Path, project: str
) -> None:
    (tmp_path / "Pulumi.yaml").write_text(f"name: {project}\n")
    given = "{store_bucket: acme-models, roles: {training: 'arn:aws:iam::000000000000:role/team/llm'}}"
    (tmp_path / "Pulumi.dev.yaml").write_text(f"config:\n  {project}:target: aws\n  {project}:aws: {given}\n")
    (tmp_path / "Pulumi.local.yaml").write_text(f"config:\n  {project}:target: local\n")
    name = run(github="acme/bot", given=given_to(Project(tmp_path))).roles["deploy"].rpartition("/")[2]
    written = clients("iam").get_role_policy(RoleName=name, PolicyName="llmops")["PolicyDocument"]["Statement"]
    (passed,) = (s for s in written if "iam:PassRole" in s.get("Action", []))
    path = f"arn:aws:iam::000000000000:role/llmops-kit/{project}/*"
    assert passed["Resource"] == [path, "arn:aws:iam::000000000000:role/team/llm"]
    assert any("arn:aws:s3:::acme-models/*" in s["Resource"] for s in written)

    (tmp_path / "Pulumi.dev.yaml").write_text(
        f"config:\n  {project}:target: aws\n  {project}:aws: {{roles: {{training: 'arn:aws:iam::0:role/*'}}}}\n"
    )
    with pytest.raises(KitError) as refused:
        given_to(Project(tmp_path))
    assert refused.value.where.startswith("llmops:aws ")
    assert "role/*" in refused.value.what


def test_what_an_earlier_version_made_is_replaced_and_denials_of_others_stay(
    run: Run, clients: AwsClients, project: str
) -> None:
    """Roles at `/` with wide policies, and the boundary that could be left, with a statement of somebody's own."""
    iam, names = clients("iam"), AwsNames(project, "000000000000", "us-east-1")
    text = (Path(__file__).parent / "vulnerable_policies.json").read_text()
    old = json.loads(text.replace("llmops-", f"{project}-").replace("123456789012", names.account))
    old = json.loads(json.dumps(old).replace("eu-central-1", "us-east-1"))
    theirs = {"Effect": "Deny", "Action": "ec2:*", "Resource": "*"}
    old["boundary"]["Statement"].append(theirs)
    arn = iam.create_policy(PolicyName=names.boundary, PolicyDocument=json.dumps(old["boundary"]))["Policy"]["Arn"]
    assert arn == names.boundary_arn
    name, tag = names.role("deploy", "acme/bot"), [{"Key": "llmops:managed-by", "Value": "bootstrap"}]
    trusted = json.dumps(trust(names, ["repo:acme/bot:ref:refs/heads/main"]))
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=trusted, PermissionsBoundary=arn, Tags=tag)
    iam.put_role_policy(RoleName=name, PolicyName="llmops", PolicyDocument=json.dumps(old["deploy"]))

    done = run(github="acme/bot")
    assert "give the workflows its new ARN" in states(done)[f"role {name}"]
    assert "1 denials that the kit did not write" in next(r["state"] for r in done.rows if "kept" in r["state"])
    assert iam.get_role(RoleName=name)["Role"]["Arn"] == done.roles["deploy"]
    (version,) = iam.list_policy_versions(PolicyArn=arn)["Versions"]  # nobody goes back to the old one
    found = iam.get_policy_version(PolicyArn=arn, VersionId=version["VersionId"])["PolicyVersion"]["Document"]
    assert found["Statement"][-1] == theirs
    assert not [s for s in found["Statement"] if s["Effect"] == "Allow" and "iam:*" in s["Action"]]
    assert not [s for s in states(run(github="acme/bot")).values() if s.startswith(("made", "changed"))]


def test_a_role_of_somebody_elses_under_the_name_stays(run: Run, clients: AwsClients, project: str) -> None:
    name = AwsNames(project, "0", "r").role("deploy", "acme/bot")
    trusted = {"Version": "2012-10-17", "Statement": []}
    statement = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    trusted["Statement"] = [statement]
    clients("iam").create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trusted))
    with pytest.raises(KitError) as refused:
        run(github="acme/bot")
    assert refused.value.where.endswith(f":role/{name}")


def test_no_repository(run: Run) -> None:
    with pytest.raises(KitError) as refused:
        run(github="acme")
    assert refused.value.where == "--github"


def _condition(role: dict[str, Any]) -> dict[str, str]:
    return role["AssumeRolePolicyDocument"]["Statement"][0]["Condition"]["StringEquals"]
