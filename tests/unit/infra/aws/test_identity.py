"""The roles: exactly these actions, on the stack's own things, for the service alone."""

import json
from typing import Any

import pytest

from tests.unit.infra.aws.conftest import ACCOUNT, REGION, Account
from tests.unit.infra.program import Declared

PULL = {
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:GetDownloadUrlForLayer",
    "ecr:GetAuthorizationToken",
}
LOGS = {"logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"}
INTERFACES = {
    *(f"ec2:Describe{w}" for w in ("DhcpOptions", "NetworkInterfaces", "SecurityGroups", "Subnets", "Vpcs")),
    "ec2:CreateNetworkInterface",
    "ec2:CreateNetworkInterfacePermission",
    "ec2:DeleteNetworkInterface",
    "ec2:DeleteNetworkInterfacePermission",
}
# What AWS allows on no resource: https://docs.aws.amazon.com/service-authorization/latest/reference/
ON_ALL = {"ecr:GetAuthorizationToken", "cloudwatch:PutMetricData", *(a for a in INTERFACES if "Describe" in a)}
EXPECTED = {
    "training": {
        "s3:GetObject", "s3:PutObject", "s3:ListBucket", *PULL, *LOGS, "cloudwatch:PutMetricData",
        "kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey", "kms:CreateGrant", *INTERFACES,
    },
    "endpoint": {
        "s3:GetObject", "s3:ListBucket", *PULL, *LOGS, "cloudwatch:PutMetricData", "cloudwatch:DescribeAlarms",
        "kms:Decrypt", "kms:CreateGrant", *INTERFACES,
    },
    "scheduler": {"sagemaker:CreateTrainingJob", "sagemaker:AddTags", "iam:PassRole", "kms:Decrypt"},
}  # fmt: skip


@pytest.fixture(scope="module")
def declared(account: Account) -> Declared:
    entry = {"model": account.add_version("chatbot@1")}
    return account.provision({"endpoints": {"chat": entry}, "aws": {"network": {"mode": "own"}}})


def statements(declared: Declared, role: str) -> list[dict[str, Any]]:
    return json.loads(declared.of(f"role-{role}-policy")["policy"])["Statement"]


@pytest.mark.parametrize("role", EXPECTED)
def test_a_role_has_exactly_these_actions(role: str, declared: Declared) -> None:
    found = [action for statement in statements(declared, role) for action in statement["Action"]]
    assert set(found) == EXPECTED[role]
    assert not [a for a in found if "*" in a]
    assert {s["Effect"] for s in statements(declared, role)} == {"Allow"}


@pytest.mark.parametrize("role", EXPECTED)
def test_no_resource_is_everything_but_where_aws_has_no_other(role: str, declared: Declared) -> None:
    for statement in statements(declared, role):
        resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
        if set(statement["Action"]) <= ON_ALL:
            assert resources == ["*"]
        else:
            assert not [r for r in resources if r in ("*", "arn:aws:s3:::*") or r.endswith(":*:*")], statement


def test_training_writes_its_runs_alone_and_endpoints_write_nothing(declared: Declared, account: Account) -> None:
    store, work = (f"arn:aws:s3:::{account.bucket(t)}" for t in ("store", "work"))
    reach = {role: _reach(statements(declared, role)) for role in EXPECTED}
    assert reach["training"]["s3:PutObject"] == {f"{work}/runs/*"}
    assert reach["training"]["s3:GetObject"] == {
        f"{store}/datasets/*", f"{store}/models/*", f"{work}/runs/*", f"{work}/schedules/*"
    }  # fmt: skip
    assert reach["endpoint"]["s3:GetObject"] == {f"{store}/models/*"}
    for role, name in (("endpoint", "serving"), ("training", "training")):
        own = f"arn:of:repository-{name} (llmops down keeps it)"
        assert reach[role]["ecr:BatchGetImage"] == {own, f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{name}"}
    assert reach["endpoint"]["kms:Decrypt"] == {"arn:of:data-key (llmops down keeps it)"}
    assert reach["scheduler"]["iam:PassRole"] == {"arn:of:role-training"}
    alarm = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{account.names.of('chat-5xx')}"
    assert alarm in reach["endpoint"]["cloudwatch:DescribeAlarms"]
    assert len(reach["endpoint"]["cloudwatch:DescribeAlarms"]) == 3


def test_conditions_narrow_what_resources_can_not(declared: Declared) -> None:
    conditions = {
        (role, action): statement.get("Condition")
        for role in EXPECTED
        for statement in statements(declared, role)
        for action in statement["Action"]
        if action in ("s3:ListBucket", "cloudwatch:PutMetricData", "kms:CreateGrant", "iam:PassRole")
    }
    own = {"StringEquals": {"aws:ResourceAccount": ACCOUNT}}
    assert conditions["endpoint", "s3:ListBucket"] == {**own, "StringLike": {"s3:prefix": ["models/*"]}}
    namespaces = {
        role: f"/aws/sagemaker/{what}" for role, what in (("training", "TrainingJobs"), ("endpoint", "Endpoints"))
    }
    for role, namespace in namespaces.items():
        condition = conditions[role, "cloudwatch:PutMetricData"]
        assert condition == {"StringEquals": {"cloudwatch:namespace": namespace}}
        assert conditions[role, "kms:CreateGrant"] == {"Bool": {"kms:GrantIsForAWSResource": "true"}}
    passed = conditions["scheduler", "iam:PassRole"]
    assert passed == {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}


def test_every_statement_on_buckets_names_their_owner(account: Account) -> None:
    entries = {
        "chat": {"model": account.add_version("chatbot@1")},
        "batch": {"model": account.add_version("chatbot@1"), "mode": "async"},
    }
    declared = account.provision({"endpoints": entries, "aws": {"network": {"mode": "own"}}})
    documents = [json.loads(text) for inputs in declared.resources.values() if (text := inputs.get("policy"))]
    found = [s for d in documents for s in d.get("Statement", []) if "Principal" not in s and "s3:" in str(s["Action"])]
    assert len(found) > 6
    for statement in found:
        assert statement["Condition"]["StringEquals"]["aws:ResourceAccount"] == ACCOUNT, statement


def test_without_a_vpc_and_endpoints_there_are_no_actions_for_them(account: Account) -> None:
    declared = account.provision({})
    for role in ("training", "endpoint"):
        actions = {a for s in statements(declared, role) for a in s["Action"]}
        assert not actions & {*INTERFACES, "cloudwatch:DescribeAlarms"}


def test_an_async_endpoint_reads_and_writes_its_files(account: Account) -> None:
    entry = {"model": account.add_version("chatbot@1"), "mode": "async"}
    reach = _reach(statements(account.provision({"endpoints": {"chat": entry}}), "endpoint"))
    files = f"arn:aws:s3:::{account.bucket('work')}/async/*"
    assert reach["s3:PutObject"] == {files}
    assert files in reach["s3:GetObject"]
    assert {"kms:Encrypt", "kms:GenerateDataKey"} <= reach.keys()


@pytest.mark.parametrize(
    ("role", "service", "source"),
    [
        ("training", "sagemaker", f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:*"),
        ("endpoint", "sagemaker", f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:*"),
        ("scheduler", "scheduler", f"arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule-group/llmops-demo-schedules-"),
    ],
)
def test_a_role_trusts_its_service_for_this_account_alone(
    role: str, service: str, source: str, declared: Declared
) -> None:
    (statement,) = json.loads(declared.of(f"role-{role}")["assumeRolePolicy"])["Statement"]
    assert statement["Principal"] == {"Service": f"{service}.amazonaws.com"}
    assert statement["Action"] == ["sts:AssumeRole"]
    assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": ACCOUNT}
    assert statement["Condition"]["ArnLike"]["aws:SourceArn"].startswith(source)
    assert "Resource" not in statement


@pytest.mark.vulnerability(2)
def test_vulnerability_2_every_role_is_on_the_projects_path_under_a_name_of_its_own(declared: Declared) -> None:
    """Earlier versions had the roles at `/`, and names of roles are unique whatever their path: both are there at once
    while an update replaces them.
    """
    for role in EXPECTED:
        found = declared.of(f"role-{role}")
        assert found["path"] == "/llmops-kit/llmops/"
        assert found["name"].startswith(f"llmops-demo-{role}-role-")


@pytest.mark.scorecard("role-actions")
@pytest.mark.parametrize("role", EXPECTED)
def test_a_role_has_at_most_26_actions(role: str, account: Account) -> None:
    """Of a stack with all that it can have; the workflows' roles are bootstrap's, and are bounded, not counted."""
    entries = {
        "chat": {"model": account.add_version("chatbot@1")},
        "batch": {"model": account.add_version("chatbot@2"), "mode": "async"},
    }
    whole = account.provision({"endpoints": entries, "aws": {"network": {"mode": "own"}}})
    assert len({action for statement in statements(whole, role) for action in statement["Action"]}) <= 26


def test_a_boundary_goes_on_every_role(account: Account) -> None:
    boundary = f"arn:aws:iam::{ACCOUNT}:policy/boundary"
    declared = account.provision({"aws": {"permissions_boundary_arn": boundary}})
    assert {declared.of(f"role-{r}").get("permissionsBoundary") for r in EXPECTED} == {boundary}


def test_signatures_are_made_by_a_key_that_only_signs(declared: Declared) -> None:
    key = declared.of("signing-key (llmops down keeps it)")
    assert (key["keyUsage"], key["customerMasterKeySpec"]) == ("SIGN_VERIFY", "ECC_NIST_P256")
    (statement,) = json.loads(key["policy"])["Statement"]
    assert statement["Principal"] == {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    assert "kms:Sign" in statement["Action"]
    assert "kms:*" not in statement["Action"]


def test_a_second_key_signs_and_versions_of_the_first_stay_valid(account: Account) -> None:
    declared = account.provision({"signing": {"keys": 2}})
    keys = [declared.of(f"{name}-key (llmops down keeps it)") for name in ("signing", "signing-2")]
    assert [key["keyUsage"] for key in keys] == ["SIGN_VERIFY"] * 2
    assert keys[0]["policy"] == keys[1]["policy"]
    aliases = [declared.of(f"{name}-key-alias (llmops down keeps it)")["name"] for name in ("signing", "signing-2")]
    assert len(set(aliases)) == 2
    assert "signing-2" in declared.outputs["signing"]["private_key"]


def _reach(found: list[dict[str, Any]]) -> dict[str, set[str]]:
    """Action -> all resources that it is allowed on."""
    reach: dict[str, set[str]] = {}
    for statement in found:
        resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
        for action in statement["Action"]:
            reach.setdefault(action, set()).update(resources)
    return reach


def test_images_are_pulled_from_each_repository_that_the_stack_names(account: Account) -> None:
    own = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{account.names.of('serving')}@sha256:{'1' * 64}"
    amazons = f"763104351884.dkr.ecr.{REGION}.amazonaws.com/djl-inference:0.33@sha256:{'2' * 64}"
    trainer = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/team/trainer@sha256:{'3' * 64}"
    entry = {"model": account.add_version("chatbot@1")}
    images = {"serving": own, "serving_vllm": amazons, "training": trainer}
    declared = account.provision({"endpoints": {"chat": entry}, "images": images})
    reach = {role: _reach(statements(declared, role))["ecr:BatchGetImage"] for role in ("endpoint", "training")}
    assert reach == {
        "endpoint": {
            "arn:of:repository-serving (llmops down keeps it)",
            f"arn:aws:ecr:{REGION}:763104351884:repository/djl-inference",
        },
        "training": {
            "arn:of:repository-training (llmops down keeps it)",
            f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository/team/trainer",
        },
    }
