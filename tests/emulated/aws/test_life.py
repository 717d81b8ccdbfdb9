"""Day 1 and day 2 of stacks on AWS, whole, by plain `pulumi` commands on a twin; by `make nightly` alone."""

import json
import signal
import time
from typing import Any

import pytest

from tests.emulated.aws.conftest import MakeStack, physical
from tests.support.clouds.aws import Account

KEPT = " (llmops down keeps it)"


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
    stack.llmops("up", "--no-build")
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
    assert "`pulumi cancel --stack cut` frees the stack" in stack.llmops("up", "--no-build", code=1)
    stack.pulumi("cancel", "--yes")
    stack.llmops("up", "--no-build")
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
