"""Each statement of the kit on S3 names the account: a bucket's ARN names none, and its name may be a stranger's."""

import inspect
import pkgutil
from collections.abc import Iterator
from fnmatch import fnmatchcase
from importlib import import_module
from typing import Any

import pytest

from llmops_kit.cli.platforms.aws import bootstrap, use_policy
from llmops_kit.cli.platforms.aws.bootstrap.given_resources import Given
from llmops_kit.cli.platforms.aws.bootstrap.names import AwsNames
from llmops_kit.cli.platforms.aws.bootstrap.reach import Reach
from llmops_kit.cli.platforms.aws.recording.recording import conditioned
from llmops_kit.clouds.aws.policies import Policy
from llmops_kit.core.documents.outputs import StackOutputs

ACCOUNT = "123456789012"
REACH = Reach(
    AwsNames("llmops", ACCOUNT, "us-east-1"), f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1", Given(buckets=("given-store",))
)
_OF_S3 = ("s3:getobject", "s3:putobject", "s3:listbucket", "s3:deleteobject", "s3:putbucketpolicy")
_NEW = "s3:createbucket"
"""Goes without: the bucket is the caller's own."""


def of_reach() -> Iterator[Any]:
    """Every function of bootstrap's modules that makes a policy of what a project reaches."""
    for module in pkgutil.iter_modules(bootstrap.__path__, f"{bootstrap.__name__}."):
        for name, function in inspect.getmembers(import_module(module.name), inspect.isfunction):
            signature = inspect.signature(function)
            of_it = [each.annotation for each in signature.parameters.values()] == [Reach]
            if function.__module__ == module.name and of_it and signature.return_annotation == Policy:
                yield pytest.param(function, id=name)


def unowned(policy: Policy) -> list[dict[str, Any]]:
    """Statements that allow actions of S3 on buckets of any account."""
    found = []
    for statement in policy["Statement"]:
        patterns = statement.get("Action", ["*"])
        patterns = [each.lower() for each in ([patterns] if isinstance(patterns, str) else patterns)]
        reaching = [a for a in _OF_S3 if any(fnmatchcase(a, pattern) for pattern in patterns)]
        reaching += [each for each in patterns if each.startswith("s3:") and each != _NEW]
        owners = [pairs.get("aws:ResourceAccount") for pairs in statement.get("Condition", {}).values()]
        if statement["Effect"] == "Allow" and reaching and ACCOUNT not in owners:
            found.append(statement)
    return found


def test_statements_without_an_owner_are_found() -> None:
    careless = {"Effect": "Allow", "Action": ["s3:Get*"], "Resource": "arn:aws:s3:::llmops-*"}
    other = {"StringEquals": {"aws:ResourceAccount": "999999999999"}}
    new = careless | {"Action": ["s3:CreateBucket"]}
    for statement in (careless, careless | {"Action": "*"}, careless | {"Condition": other}):
        assert unowned({"Statement": [statement]}) == [statement]
    assert unowned({"Statement": [new, careless | {"Effect": "Deny"}, careless | {"Action": ["ecr:*"]}]}) == []


@pytest.mark.parametrize("policy", list(of_reach()))
def test_bootstraps_policies_reach_the_accounts_buckets_alone(policy: Any) -> None:
    assert unowned(policy(REACH)) == []


def test_all_policies_of_bootstrap_are_looked_at() -> None:
    names = {each.id for each in of_reach()}
    assert names == {"boundary", "deploy_boundary", "deploy_policy", "preview_policy", "promote_policy"}


def test_the_policy_of_a_stacks_users_reaches_its_accounts_buckets_alone() -> None:
    outputs = StackOutputs.new(
        target="aws",
        stack="dev",
        project="llmops",
        store={"url": "s3://llmops-dev-store-1"},
        signing={"private_key": "awskms:///key", "public_key": "-"},
        training={"image": "", "runs": "s3://llmops-dev-work-1/runs"},
        aws={
            "account": ACCOUNT,
            "region": "us-east-1",
            "twin": False,
            "work_bucket": "llmops-dev-work-1",
            "roles": {"training": "role"},
            "jobs": {"instance_type": "ml.m5.xlarge"},
        },
    )
    found = use_policy.use_policy(outputs)
    assert "llmops-dev-store-1" in str(found)
    assert unowned(found) == []


@pytest.mark.parametrize(("account", "owner"), [(ACCOUNT, ACCOUNT), ("*", "${aws:PrincipalAccount}")])
def test_recorded_statements_get_the_owner(account: str, owner: str) -> None:
    actions = ["s3:CreateBucket", "s3:GetObject", "s3:PutObject"]
    recorded = {"Effect": "Allow", "Action": actions, "Resource": ["arn:aws:s3:::llmops-dev-store"]}
    new, rest = conditioned(recorded, "", account)
    assert (new["Action"], "Condition" in new) == (actions[:1], False)
    assert (rest["Action"], rest["Condition"]) == (actions[1:], {"StringEquals": {"aws:ResourceAccount": owner}})
    assert rest["Resource"] == recorded["Resource"]
