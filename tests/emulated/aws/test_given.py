"""A company gives everything that stands: a deployer who may make no role, key, network, bucket or repository."""

import json
from typing import Any

from llmops.platforms.aws.given import make_given
from tests.emulated.aws.conftest import MakeStack
from tests.support.aws import REGION, Account

ELSEWHERE = "111111111111"
GIVEN = {
    "kms_key_arn": f"arn:aws:kms:{REGION}:{ELSEWHERE}:key/data",
    "signing_key_arn": f"arn:aws:kms:{REGION}:{ELSEWHERE}:key/signing",
    "store_bucket": "acme-models-5b2f",
    "work_bucket": "acme-runs-5b2f",
    "registry": f"{ELSEWHERE}.dkr.ecr.{REGION}.amazonaws.com/acme",
    "roles": {r: f"arn:aws:iam::{ELSEWHERE}:role/acme-{r}" for r in ("training", "endpoint", "scheduler")},
    "network": {"mode": "existing", "subnet_ids": ["subnet-a", "subnet-b"], "security_group_ids": ["sg-a"]},
}
MAKES_NOTHING = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {
            "Effect": "Deny",
            "Action": [
                *(f"iam:{verb}*" for verb in ("Create", "Put", "Attach", "Update", "Delete", "Tag")),
                *(f"kms:{verb}*" for verb in ("CreateKey", "CreateAlias", "Put", "Schedule", "TagResource")),
                *(f"ec2:{verb}*" for verb in ("Create", "Modify", "Authorize", "Delete")),
                *("s3:CreateBucket", "s3:PutBucket*", "s3:PutLifecycle*", "s3:PutEncryption*", "ecr:CreateRepository"),
            ],
            "Resource": "*",
        },
    ],
}


def test_with_all_given_nothing_of_iam_kms_or_ec2_is_made(account: Account, make: MakeStack) -> None:
    with account.entered():
        settings, _ = make_given(GIVEN)
        settings["region"] = REGION
    iam = account.client("iam")
    account_before = _made(account.inventory())

    stack = make("given", aws=settings, deploy=False)
    stack.environ = dict(stack.environ) | _user(iam)
    stack.up()
    stack.serve("chat", stack.add_version("chatbot@1"))
    stack.up()
    name = stack.outputs()["aws"]["endpoints"]["chat"]
    assert account.client("sagemaker").describe_endpoint(EndpointName=name)["EndpointStatus"] == "InService"
    assert _made(account.inventory()) == account_before
    types = {r["type"].split("/")[0] for r in json.loads(stack.state())["deployment"]["resources"]}
    assert not {"aws:iam", "aws:kms", "aws:ec2", "aws:vpc", "aws:s3", "aws:ecr"} & types
    stack.entries.clear()
    stack.up()

    # The same user can't make what is not given.
    del stack.settings["aws"]["roles"]
    assert "is not authorized to perform: iam:CreateRole" in stack.up(refused=True)


def _made(inventory: dict[str, Any]) -> set[str]:
    """Names of what a company keeps for itself."""
    kinds = ("role", "policy", "key", "alias", "vpc", "subnet", "security group", "bucket", "repository")
    return {name for name in inventory if name.rpartition(" ")[0] in kinds}


def _user(iam: Any) -> dict[str, str]:
    iam.create_user(UserName="makes-nothing")
    iam.put_user_policy(UserName="makes-nothing", PolicyName="all-but", PolicyDocument=json.dumps(MAKES_NOTHING))
    key = iam.create_access_key(UserName="makes-nothing")["AccessKey"]
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
