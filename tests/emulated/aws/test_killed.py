"""Updates that are killed while AWS creates something: the next one puts everything right."""

import os
import signal
import time

from tests.emulated.aws.conftest import MakeStack
from tests.support.clouds.aws import REGION, Account, AwsStack

OWN = {"mode": "own", "zones": [f"{REGION}a", f"{REGION}b"]}
AT_ONCE = {
    "kms CreateKey": 2,
    "ec2 CreateVpc": 1,
    "s3 CreateBucket": 2,
    "iam CreateRole": 1,
    "sagemaker CreateModelPackageGroup": 1,
}
"""Calls of an update -> how many of them had their effect, and no answer, when it was killed."""
AFTER_THEM = {
    "kms CreateAlias": 2,
    "ec2 CreateSubnet": 2,
    "ec2 CreateRouteTable": 1,
    "ec2 CreateSecurityGroup": 1,
    "ecr CreateRepository": 2,
}
AT_LAST = {
    "ec2 AssociateRouteTable": 2,
    "ec2 AuthorizeSecurityGroupIngress": 1,
    "ec2 AuthorizeSecurityGroupEgress": 1,
    "ec2 CreateVpcEndpoint": 1,
    "ec2 CreateFlowLogs": 1,
    "budgets CreateBudget": 1,
}
OF_AN_ENDPOINT = ("logs CreateLogGroup", "sagemaker CreateModel", "sagemaker CreateEndpointConfig")


def kill_during(account: Account, stack: AwsStack, calls: dict[str, int]) -> None:
    """Kill an update, with its engine, once calls have had their effect, before the engine knows of it."""
    for call, times in calls.items():
        service, operation = call.split()
        account.fault("late", service=service, operation=operation, seconds=20, times=times)
    stack.configure()
    update = stack.start("up", "--yes", "--skip-preview", "--parallel", "64")
    while left := account.control.faults(account.home)["late"]:
        assert update.poll() is None, (left, update.communicate()[0])
        time.sleep(0.05)
    os.killpg(update.pid, signal.SIGKILL)
    update.communicate()
    account.clear_faults()
    stack.pulumi("cancel", "--yes")


def test_an_update_killed_at_any_moment_is_put_right_by_the_next(account: Account, make: MakeStack) -> None:
    """Nothing is left twice, and nothing stays when the stack goes."""
    stack = make("killed", deploy=False, aws={"region": REGION, "network": OWN})
    before = account.inventory()
    for calls in (AT_ONCE, AFTER_THEM, AT_LAST):
        kill_during(account, stack, calls)
    said = stack.up()
    assert "an interrupted update left it" in said
    assert "failed:" not in said, "no hook has warned"
    stack.serve("chat", stack.add_version("chatbot@1"))
    for call in OF_AN_ENDPOINT:
        kill_during(account, stack, {call: 1})
    stack.up()
    assert stack.changes() == {}
    stack.llmops("down", "--data", stack.name)
    gone = {name: there for name, there in account.inventory().items() if name not in before}
    assert gone == {}
