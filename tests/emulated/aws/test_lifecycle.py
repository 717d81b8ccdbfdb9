"""Day 1 and day 2 of stacks on AWS, by plain `pulumi` commands on a twin."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from contract.twins import TWIN_ACCOUNT
from tests.emulated.aws.conftest import MakeStack
from tests.support.clouds.aws import Account, AwsStack, make_stack
from tests.support.stacks import PROGRAM

KEPT = " (llmops down keeps it)"
EARLIER = """\
from infra.names import CloudNames
from infra.targets.aws.resources import identity

named = CloudNames.of
CloudNames.of = lambda self, thing, *more: named(self, thing.removesuffix("-role"), *more)
identity.role_path = lambda project: "/"

"""
"""What gave roles their names and their path before."""


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
    stack = make_stack(account, tmp_path_factory.mktemp("shared").resolve(), "shared", deploy=False)
    (stack.folder / "__main__.py").write_text(EARLIER + PROGRAM)
    said, earlier = stack.up(), stack.outputs()["aws"]["roles"]
    (stack.folder / "__main__.py").write_text(PROGRAM)
    return Upgraded(stack, said + stack.up(), earlier)


@pytest.fixture(scope="module")
def shared(upgraded: Upgraded) -> AwsStack:
    """A deployed stack, which each test leaves as its settings and entries say."""
    return upgraded.stack


@pytest.fixture(scope="module")
def first(shared: AwsStack) -> str:
    """A version in its store."""
    return shared.add_version("chatbot@1")


def physical(stack: AwsStack, endpoint: str) -> str:
    """The endpoint's name on SageMaker."""
    return stack.outputs()["aws"]["endpoints"][endpoint]


@pytest.mark.long
@pytest.mark.scorecard("destroy-refused")
def test_a_whole_life_leaves_nothing_behind(account: Account, make: MakeStack) -> None:
    before = account.inventory()
    stack = make("life")
    first, second = stack.add_version("chatbot@1"), stack.add_version("chatbot@2", licence="MIT")
    assert stack.changes() == {}
    stack.serve("chat", first)
    held = account.inventory()
    planned = stack.changes()
    assert planned["endpoint-chat"] == planned["model-chat"] == planned["configuration-chat"] == "create"
    assert account.inventory() == held, "a preview changes nothing"
    stack.up()
    assert stack.changes() == {}, "a second up has nothing to do"
    sagemaker = account.client("sagemaker")
    name = physical(stack, "chat")
    live = sagemaker.describe_endpoint(EndpointName=name)
    assert live["EndpointStatus"] == "InService"

    stack.serve("chat", second)
    assert {k: v for k, v in stack.changes().items() if v.startswith(("replace", "create-repl", "delete-repl"))}
    stack.up()
    after = sagemaker.describe_endpoint(EndpointName=name)
    assert after["EndpointConfigName"] != live["EndpointConfigName"]
    assert after["CreationTime"] == live["CreationTime"], "updated in place"
    configurations = sagemaker.list_endpoint_configs(NameContains=name.rpartition("-")[0])["EndpointConfigs"]
    assert [c["EndpointConfigName"] for c in configurations] == [after["EndpointConfigName"]], "the old one is gone"
    assert stack.changes() == {}
    stack.pulumi("refresh", "--yes")
    assert stack.changes() == {}

    assert KEPT in stack.pulumi("destroy", "--yes", refused=True), "plain destroy names the fix"
    stack.llmops("down")
    kept = account.inventory()
    kinds = {name.rpartition(" ")[0] for name in kept}
    assert {"bucket", "key", "repository", "model package group"} <= kinds
    assert not {"endpoint", "model", "configuration", "alarm", "role", "schedule", "topic"} & kinds
    stack.llmops("up")
    assert sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] == "InService"
    stack.llmops("down", "--data", stack.name)
    assert account.inventory() == before


SCALED = {"instances": 2, "max_instances": 5}
SERVED_ANEW = {
    "preparation-chat": "update",
    "configuration-chat": "replace",
    "endpoint-chat": "update",
    "live-chat": "update",
}
# One change at a time, on top of those before: where it is, its value, what it changes.
CHANGES: list[tuple[str, str, Any, dict[str, str]]] = [
    ("aws", "log_retention_days", 30, {"logs-chat": "update"}),
    ("aws", "runs_days", 30, {"work-lifecycle": "update"}),
    (
        "aws",
        "alarms",
        {"latency_seconds": 5.0},
        {"alarm-chat-latency": "update", "alarm-chat-latency-serving": "update"},
    ),
    ("aws", "budget", {"monthly_usd": 50}, {"budget": "update"}),
    (
        "chat",
        "rollout",
        {"strategy": "canary"},
        {"endpoint-chat": "update", "alarm-chat-5xx": "update", "quiet-chat": "update"},  # it is watched twice as long
    ),
    ("chat", "volume_gb", 20, SERVED_ANEW),
    ("chat", "precision", "f32", SERVED_ANEW | {"model-chat": "replace"}),
    ("chat", "size", SCALED, {"scaling-chat": "create", "scaling-chat-load": "create"}),
    ("chat", "size", SCALED | {"concurrent_requests": 8}, {"scaling-chat-load": "update"}),
    (
        "chat",
        "size",
        SCALED | {"instance_type": "ml.c5.2xlarge"},
        SERVED_ANEW | {"scaling-chat": "replace", "scaling-chat-load": "replace"},
    ),
    (
        "aws",
        "network",
        {"mode": "own"},
        SERVED_ANEW | {"model-chat": "replace", "vpc": "create", "private-a": "create"},
    ),
    ("chat", "endpoint", False, dict.fromkeys(("live-chat", "endpoint-chat", "model-chat", "scaling-chat"), "delete")),
]


@pytest.mark.long
def test_each_change_is_an_update_or_a_replacement_as_on_aws(make: MakeStack) -> None:
    stack = make("changed")
    stack.serve("chat", stack.add_version("chatbot@1"), size={"instances": 2})
    stack.up()
    for place, key, value, expected in CHANGES:
        (stack.settings["aws"] if place == "aws" else stack.entries["chat"])[key] = value
        planned = stack.changes()
        assert expected.items() <= planned.items(), (key, planned)
        if len(expected) == 1:
            assert planned == expected
        stack.up()
    assert stack.changes() == {}


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
    text = stack.llmops("up", code=1)
    assert "InsufficientInstanceCapacity" in text
    assert "chatbot@2 is not marked rejected" in text, "lack of capacity is no version's fault"
    stack.llmops("up")
    assert sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"] != old

    with _failing(account, name):
        stack.serve("chat", first)
        text = stack.up()
    assert "no longer rings" in text
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


@pytest.mark.long
def test_the_live_count_is_kept(account: Account, make: MakeStack) -> None:
    stack = make("scaled")
    first, second = stack.add_version("chatbot@1"), stack.add_version("chatbot@2", licence="MIT")
    stack.serve("chat", first, size={"instances": 1, "max_instances": 4})
    stack.up()
    name = physical(stack, "chat")
    sagemaker = account.client("sagemaker")
    wanted = [{"VariantName": "main", "DesiredInstanceCount": 3}]
    sagemaker.update_endpoint_weights_and_capacities(EndpointName=name, DesiredWeightsAndCapacities=wanted)
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig={"Delay": 1})
    assert stack.changes() == {}
    stack.serve("chat", second, size={"instances": 1, "max_instances": 4})
    stack.up()
    live = sagemaker.describe_endpoint(EndpointName=name)["ProductionVariants"][0]
    assert live["CurrentInstanceCount"] == 3
    assert stack.changes() == {}

    size = {"instances": 1, "max_instances": 4, "instance_type": "ml.c5.2xlarge"}
    stack.serve("chat", second, size=size)
    stack.up()
    configuration = sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"]
    variant = sagemaker.describe_endpoint_config(EndpointConfigName=configuration)["ProductionVariants"][0]
    assert variant["InstanceType"] == "ml.c5.2xlarge"
    scaling = account.client("application-autoscaling")
    resource = f"endpoint/{name}/variant/main"
    targets = scaling.describe_scalable_targets(ServiceNamespace="sagemaker", ResourceIds=[resource])
    assert [(t["MinCapacity"], t["MaxCapacity"]) for t in targets["ScalableTargets"]] == [(1, 4)]
    policies = scaling.describe_scaling_policies(ServiceNamespace="sagemaker", ResourceId=resource)
    assert len(policies["ScalingPolicies"]) == 1
    assert stack.changes() == {}


@pytest.mark.long
def test_an_interrupted_update_goes_on(account: Account, make: MakeStack) -> None:
    stack = make("cut")
    stack.serve("chat", stack.add_version("chatbot@1"))
    stack.configure()
    process = stack.start("up", "--yes", "--skip-preview")
    sagemaker = account.client("sagemaker")
    deadline = time.monotonic() + 120
    while not any("cut-chat" in e["EndpointName"] for e in sagemaker.list_endpoints()["Endpoints"]):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    stack.llmops("up")
    assert stack.changes() == {}
    assert "pending" not in json.dumps(json.loads(stack.state())["deployment"].get("pending_operations") or "")


@pytest.mark.long
def test_two_stacks_in_one_account_leave_each_other_alone(account: Account, make: MakeStack) -> None:
    dev, prod = make("two-dev"), make("two-" + "p" * 36)
    for stack in (dev, prod):
        stack.serve("chat", stack.add_version("chatbot@1"))
        stack.up()

    def of_prod() -> dict[str, Any]:
        mine = json.dumps(prod.outputs()) + prod.state()
        return {k: v for k, v in account.inventory().items() if k.split(" ")[-1] in mine}

    held, state = of_prod(), prod.state()
    assert len(held) > 20
    dev.serve("chat", dev.add_version("chatbot@2", licence="MIT"))
    dev.up()
    assert of_prod() == held
    dev.llmops("down", "--data", dev.name)
    assert of_prod() == held
    assert prod.state() == state
    assert prod.changes() == {}
    assert not any("two-dev" in k for k in account.inventory())


@pytest.mark.long
def test_a_second_up_at_once_is_refused_with_the_reason(account: Account, make: MakeStack) -> None:
    stack = make("once")
    stack.serve("chat", stack.add_version("chatbot@1"))
    stack.configure()
    first = stack.start("up", "--yes", "--skip-preview")
    lock = account.home / "state/.pulumi/locks"
    deadline = time.monotonic() + 120
    while not any(lock.rglob("*.json")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert "lock" in stack.pulumi("up", "--yes", "--skip-preview", refused=True)
    text, _ = first.communicate(timeout=120)
    assert first.returncode == 0, text


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
    assert json.loads(stack.state())["deployment"]["resources"] == json.loads(held)["deployment"]["resources"]
    stack.pulumi("stack", "import", "--file", "twin.json")
