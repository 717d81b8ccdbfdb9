"""A company gives everything that stands: a deployer who may make no role, key, network, bucket or repository."""

import json
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from contract.documents.outputs import StackOutputs
from contract.documents.run import Compute, RunSpec
from contract.layout import dataset_key, model_key
from llmops.platforms.aws.bootstrap.bootstrap import bootstrap
from llmops.platforms.aws.bootstrap.given_resources import given_to
from llmops.platforms.aws.clients import AwsClients
from llmops.platforms.aws.recording.stand_ins import make_given
from llmops.platforms.registry import open_platform
from llmops.stacks.project import Project
from tests.emulated.aws.conftest import MakeStack
from tests.emulated.llmops.aws.test_github import PULL_REQUEST, take
from tests.support.checkout import EXAMPLES
from tests.support.clouds.aws import REGION, Account, AwsStack

EXAMPLE = EXAMPLES / "run-2.json"

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
    stack.settings["aws"]["schedules"] = {"weekly": {"run": _submitted(account, stack), "cron": "rate(7 days)"}}
    _preview_identity_previews_and_no_more(account, stack)
    stack.entries.clear()
    stack.settings["aws"]["schedules"] = {}
    stack.up()

    # The same user can't make what is not given.
    del stack.settings["aws"]["roles"]
    assert "is not authorized to perform: iam:CreateRole" in stack.up(refused=True)


def _submitted(account: Account, stack: AwsStack) -> str:
    """The id of a run in the given work bucket; its job ends at once, as the twin runs no containers here."""
    spec = RunSpec.load(EXAMPLE)
    spec = spec.model_copy(update={"compute": Compute(), "image": stack.outputs()["training"]["image"]})
    for folder in (dataset_key(spec.dataset.sha256), model_key(spec.base_model.sha256)):
        account.client("s3").put_object(Bucket=GIVEN["store_bucket"], Key=f"{folder}/manifest.json", Body=b"{}")
    with account.entered():
        outputs = StackOutputs.parse(json.dumps(stack.outputs()), where="outputs")
        open_platform(outputs).submit(spec, lambda _: None)
    return spec.id


def _preview_identity_previews_and_no_more(account: Account, stack: AwsStack) -> None:
    """A schedule and given buckets and keys are read through the role that bootstrap makes for pull requests."""
    deployer = dict(stack.environ)
    stack.configure()
    with account.entered():
        clients = AwsClients()
        project = Project(stack.folder)
        given = given_to(project)
        assert set(given.buckets) == {GIVEN["store_bucket"], GIVEN["work_bucket"]}
        made = bootstrap(clients, project.name, lambda _: None, github="acme/ci", given=given)
        previews = deployer | take(clients, made.roles["preview"], PULL_REQUEST)
    stack.environ = previews
    new = {"schedules": "create", "schedule-weekly": "create", "schedule-weekly-spec": "create"}
    assert stack.changes("--refresh") == new
    stack.environ = deployer
    stack.up()
    stack.environ = previews
    assert stack.changes("--refresh") == {}
    stack.settings["aws"]["schedules"]["weekly"]["cron"] = "rate(1 day)"
    assert "is not authorized to perform: scheduler:UpdateSchedule" in stack.up(refused=True)
    stack.settings["aws"]["schedules"]["weekly"]["cron"] = "rate(7 days)"
    reader = boto3.Session(
        previews["AWS_ACCESS_KEY_ID"], previews["AWS_SECRET_ACCESS_KEY"], previews["AWS_SESSION_TOKEN"], REGION
    ).client("s3", endpoint_url=deployer["AWS_ENDPOINT_URL"])
    for bucket, key in ((GIVEN["store_bucket"], "datasets/x/data.jsonl"), (GIVEN["work_bucket"], "runs/x/output.tar")):
        account.client("s3").put_object(Bucket=bucket, Key=key, Body=b"data")
        for call in (reader.get_object, reader.put_object, reader.delete_object):
            with pytest.raises(ClientError, match="AccessDenied"):
                call(Bucket=bucket, Key=key)
    stack.environ = deployer


def _made(inventory: dict[str, Any]) -> set[str]:
    """Names of what a company keeps for itself."""
    kinds = ("role", "policy", "key", "alias", "vpc", "subnet", "security group", "bucket", "repository")
    return {name for name in inventory if name.rpartition(" ")[0] in kinds}


def _user(iam: Any) -> dict[str, str]:
    iam.create_user(UserName="makes-nothing")
    iam.put_user_policy(UserName="makes-nothing", PolicyName="all-but", PolicyDocument=json.dumps(MAKES_NOTHING))
    key = iam.create_access_key(UserName="makes-nothing")["AccessKey"]
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
