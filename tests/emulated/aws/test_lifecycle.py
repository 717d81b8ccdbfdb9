"""Day 1 and day 2 of stacks on AWS, by plain `pulumi` commands on a twin."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from llmops_kit.cli.platforms.aws.bootstrap.bootstrap import bootstrap
from llmops_kit.cli.platforms.aws.bootstrap.given_resources import given_to
from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.cli.platforms.aws.recording.stand_ins import make_given
from llmops_kit.cli.platforms.registry import open_platform
from llmops_kit.cli.stacks.project import Project
from llmops_kit.core.documents.outputs import StackOutputs
from llmops_kit.core.documents.run import Compute, RunSpec
from llmops_kit.core.layout import dataset_key, model_key
from llmops_kit.core.twins import TWIN_ACCOUNT
from tests.emulated.aws.conftest import MakeStack, physical
from tests.emulated.cli.aws.test_github import PULL_REQUEST, take
from tests.support.checkout import EXAMPLES
from tests.support.clouds.aws import REGION, Account, AwsStack, make_stack
from tests.support.clouds.aws_role_outcomes import (
    Deployed,
    a_network,
    actions_of,
    outcome_of_endpoint,
    outcome_of_job,
    outcome_of_schedule,
    without,
)
from tests.support.stacks import PROGRAM

EARLIER = """\
from llmops_kit.infra.resource_names import CloudNames
from llmops_kit.infra.targets.aws.resources import identity

named = CloudNames.of
CloudNames.of = lambda self, thing, *more: named(self, thing.removesuffix("-role"), *more)
identity.role_path = lambda project: "/"

"""
"""What gave roles their names and their path before."""
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


@dataclass
class Upgraded:
    """A stack that an earlier version of the kit deployed, whose roles lie at `/`, and this one updated."""

    stack: AwsStack
    said: str
    """What its updates printed."""
    earlier: dict[str, str]
    """Its roles before."""


@pytest.fixture(scope="module")
def upgraded(account: Account, tmp_path_factory: pytest.TempPathFactory) -> Upgraded:
    aws = {"region": REGION, "network": a_network(account)}
    stack = make_stack(account, tmp_path_factory.mktemp("shared").resolve(), "shared", deploy=False, aws=aws)
    (stack.folder / "__main__.py").write_text(EARLIER + PROGRAM)
    said, earlier = stack.up(), stack.outputs()["aws"]["roles"]
    (stack.folder / "__main__.py").write_text(PROGRAM)
    return Upgraded(stack, said + stack.up(), earlier)


@pytest.fixture(scope="module")
def shared(upgraded: Upgraded) -> AwsStack:
    """A deployed stack in a network that exists, which each test leaves as its settings and entries say."""
    return upgraded.stack


@pytest.fixture(scope="module")
def first(shared: AwsStack) -> str:
    """A version in its store."""
    return shared.add_version("chatbot@1")


def test_roles_of_an_earlier_version_are_replaced_by_roles_on_the_path(account: Account, upgraded: Upgraded) -> None:
    """By one update."""
    before, after = upgraded.earlier, upgraded.stack.outputs()["aws"]["roles"]
    assert all(":role/llmops-shared-" in arn for arn in before.values())
    assert all(":role/llmops-kit/llmops/llmops-shared-" in arn for arn in after.values())
    there = {role["Arn"] for role in account.client("iam").list_roles()["Roles"]}
    assert there >= set(after.values())
    assert not there & set(before.values())


def test_no_secret_gets_into_state_or_output(account: Account, upgraded: Upgraded) -> None:
    state = upgraded.stack.state()
    assert account.environ["AWS_SECRET_ACCESS_KEY"] not in state + upgraded.said
    assert "PRIVATE KEY" not in state


@pytest.fixture(scope="module")
def deployed(account: Account, shared: AwsStack, first: str) -> Deployed:
    """It, with an endpoint whose updates are rolled back by alarms."""
    shared.serve("chat", first)
    shared.up()
    made = Deployed(account, shared, shared.outputs())
    made.whole = {name: made.statements(name) for name in ("endpoint", "training", "scheduler")}
    return made


# CreateModel and CreateTrainingJob look for their data themselves, and answer in these words.
SAID_OTHERWISE = {"s3:ListBucket": ("No S3 objects found", "Could not access model data")}


@pytest.mark.parametrize(
    ("role", "outcome"),
    [
        ("endpoint", outcome_of_endpoint),
        ("training", outcome_of_job),
        pytest.param("scheduler", outcome_of_schedule, marks=pytest.mark.long),
    ],
)
def test_each_action_of_a_role_is_needed(deployed: Deployed, role: str, outcome: Any) -> None:
    # The endpoints here are copies, with names of their own: the role is for the log group of the stack's.
    own = f"/aws/sagemaker/Endpoints/{deployed.outputs['aws']['endpoints']['chat']}"
    whole = json.loads(json.dumps(deployed.whole[role]).replace(own, "/aws/sagemaker/Endpoints/*"))
    unneeded = []
    try:
        deployed.put(role, whole)
        assert "not authorized" not in outcome(deployed, f"{role}-whole")
        for action in actions_of(whole):
            deployed.put(role, without(whole, action))
            said = outcome(deployed, f"{role}-{action.replace(':', '-').lower()}"[:63])
            if not any(words in said for words in (action, *SAID_OTHERWISE.get(action, ()))):
                unneeded.append(action)
    finally:
        deployed.put(role, deployed.whole[role])
    assert unneeded == []


@pytest.mark.scorecard("silent-rollback")
def test_a_silent_rollback_fails_the_update_before_the_old_configuration_goes(
    account: Account, shared: AwsStack, first: str
) -> None:
    stack, second = shared, shared.add_version("chatbot@2", licence="MIT")
    stack.serve("chat", first)
    stack.up()
    name = physical(stack, "chat")
    sagemaker = account.client("sagemaker")
    old = sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"]
    account.fault("rollback", endpoint=name)
    stack.serve("chat", second)
    text = stack.up(refused=True)
    assert "live-chat" in text
    assert "chatbot@2 is not marked rejected" in text, "nothing shows that it is to blame"
    assert first in text, "the line that goes back"
    assert sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"] == old
    sagemaker.describe_endpoint_config(EndpointConfigName=old)
    stack.serve("chat", first)
    stack.up()
    assert stack.changes() == {}

    account.fault("capacity", instance_type="ml.m5.xlarge", times=1)
    stack.serve("chat", second)
    stack.configure()
    text = stack.llmops("up", "--no-build", code=1)
    assert "InsufficientInstanceCapacity" in text
    assert "chatbot@2 is not marked rejected" in text, "lack of capacity is no version's fault"
    stack.llmops("up", "--no-build")
    assert sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"] != old

    with _failing(account, name):
        stack.serve("chat", first)
        text = stack.up()
    assert "is no longer in ALARM" in text
    # Rejections stay: neither was any version rejected before, nor is the good one for the bad one's errors.
    assert "rejected" not in stack.llmops("models", "list")


@contextmanager
def _failing(account: Account, endpoint: str) -> Iterator[None]:
    """What serves answers 5xx meanwhile, so that its alarm rings as long as it watches that."""
    cloudwatch = account.client("cloudwatch")
    configuration = account.client("sagemaker").describe_endpoint(EndpointName=endpoint)["EndpointConfigName"]

    def watching() -> list[str]:
        alarms = cloudwatch.describe_alarms()["MetricAlarms"]
        return [alarm["AlarmName"] for alarm in alarms if configuration in json.dumps(alarm.get("Metrics", []))]

    def ring() -> None:
        while found := watching():
            cloudwatch.set_alarm_state(AlarmName=found[0], StateValue="ALARM", StateReason="it answers 5xx")
            time.sleep(0.5)

    assert watching()
    rings = threading.Thread(target=ring)
    rings.start()
    yield
    rings.join()


def test_an_endpoint_that_failed_to_start_is_removed_by_the_next_up(
    account: Account, shared: AwsStack, first: str
) -> None:
    stack = shared
    stack.serve("failed", first)
    account.fault("silent", image=stack.settings["images"]["serving"])
    assert "endpoint-failed" in stack.up(refused=True)
    sagemaker = account.client("sagemaker")
    names = [e["EndpointName"] for e in sagemaker.list_endpoints(StatusEquals="Failed")["Endpoints"]]
    assert any("shared-failed" in n for n in names)
    account.clear_faults()
    stack.up()
    assert sagemaker.describe_endpoint(EndpointName=physical(stack, "failed"))["EndpointStatus"] == "InService"
    assert stack.changes() == {}


def test_a_stack_of_the_twin_is_not_taken_to_an_account(account: Account, shared: AwsStack, tmp_path: Path) -> None:
    """From a shell with a profile and without the twin's address."""
    (tmp_path / "config").write_text("[profile planted]\nregion = eu-central-1\n")
    (tmp_path / "credentials").write_text("[planted]\naws_access_key_id = AKIAPLANTED\naws_secret_access_key = x\n")
    planted = {
        "AWS_ENDPOINT_URL": "",
        "AWS_ACCESS_KEY_ID": "",
        "AWS_SECRET_ACCESS_KEY": "",
        "AWS_PROFILE": "planted",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        # Whatever tries to reach AWS ends here.
        "HTTPS_PROXY": "http://127.0.0.1:9",
    }
    before = account.inventory()
    for command in ("up", "refresh"):
        text = shared.pulumi(command, "--yes", "--skip-preview", refused=True, **planted)
        assert "twin" in text, text
    assert account.inventory() == before


def test_with_all_given_nothing_of_iam_kms_or_ec2_is_made(account: Account, make: MakeStack) -> None:
    """A company gives everything that stands: a deployer who may make no role, key, network, bucket or repository."""
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
    spec = spec.model_copy(
        update={"compute": Compute(instance_type="ml.m5.xlarge"), "image": stack.outputs()["training"]["image"]}
    )
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


def _cloud_resources(state: str) -> list[dict[str, Any]]:
    """Returns the resources of a state without components, whose outputs an update that fails leaves out."""
    return [each for each in json.loads(state)["deployment"]["resources"] if each["custom"]]


def test_a_stack_of_an_account_is_not_taken_to_the_twin(account: Account, shared: AwsStack) -> None:
    """From a shell with the twin's address: its state tells of another account, which is never touched or forgotten."""
    stack = shared
    (stack.folder / "twin.json").write_text(stack.state())
    state = json.loads(stack.state().replace(TWIN_ACCOUNT, "123456789012"))
    for resource in state["deployment"]["resources"]:
        if resource["type"] == "pulumi:providers:aws":
            del resource["inputs"]["endpoints"]
    (stack.folder / "real.json").write_text(json.dumps(state))
    stack.pulumi("stack", "import", "--file", "real.json")
    before, held = account.inventory(), stack.state()
    for command in (["up"], ["refresh"], ["destroy", "--exclude-protected"]):
        text = stack.pulumi(*command, "--yes", "--skip-preview", refused=True)
        assert "123456789012" in text or f"AWS account ID not allowed: {TWIN_ACCOUNT}" in text, text
    assert account.inventory() == before
    assert _cloud_resources(stack.state()) == _cloud_resources(held)
    stack.pulumi("stack", "import", "--file", "twin.json")
