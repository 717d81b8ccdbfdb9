"""The recorded policy is enough: a user who has it and nothing more deploys, changes and removes a stack."""

import json
import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from llmops_kit.cli.platforms.aws.bootstrap.bootstrap import bootstrap
from llmops_kit.cli.platforms.aws.bootstrap.deploy import deploy_boundary
from llmops_kit.cli.platforms.aws.bootstrap.within import require_within
from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.cli.platforms.aws.recording.stand_ins import start_job
from llmops_kit.cli.platforms.registry import open_platform
from llmops_kit.cli.stacks.project import Project
from llmops_kit.cli.stacks.stack import PulumiStack
from llmops_kit.core.twins import TWIN_ACCOUNT
from llmops_twins.aws.policy_evaluator.evaluator import Evaluator
from llmops_twins.aws.policy_evaluator.installation import install
from tests.emulated.cli.aws.test_life import STACK
from tests.emulated.cli.aws.test_policy_search import IAM, REACH, goals, search_of, trust, world
from tests.emulated.cli.conftest import Kit
from tests.support.clouds.aws import Account
from tests.support.clouds.policy_world import ACCOUNT, REGION, Role
from tests.support.tiny_models.versions import write_version


@pytest.mark.long
def test_a_user_with_the_recorded_policy_alone_lives_a_stacks_life(
    kit: Kit, account: Account, clients: AwsClients, tmp_path: Path
) -> None:
    made = bootstrap(clients, "llmops", lambda _: None, github="acme/ci").names
    kit.environ = {k: v for k, v in account.environ.items() if k != "PULUMI_CONFIG_PASSPHRASE"}
    kit.environ |= {"PULUMI_BACKEND_URL": made.backend, "PULUMI_STACK": "exact"}
    entry = f"  llmops:endpoints: {{assistant: {{model: chatbot@1@sha256:{'0' * 64}}}}}\n"
    bounded = f"  llmops:aws: {{permissions_boundary_arn: {made.boundary_arn}}}\n"
    (kit.folder / "Pulumi.exact.yaml").write_text(STACK + bounded + entry)
    kit.run("plan", "--policy", "--out", "policy.json")
    policy = json.loads((kit.folder / "policy.json").read_text())
    assert not [s for s in policy["Statement"] if s["Action"] == "*" or "iam:CreateUser" in s["Action"]]
    _leads_nowhere(policy)
    (kit.folder / "Pulumi.exact.yaml").write_text(STACK + bounded)
    before = account.inventory()

    root, half = dict(kit.environ), len(policy["Statement"]) // 2
    kit.environ |= _user(clients, {**policy, "Statement": policy["Statement"][:half]})
    assert "is not authorized to perform" in kit.run("up", code=1)
    _allow(clients, {**policy, "Statement": policy["Statement"][half:]}, "rest")
    kit.run("up")
    for weights in ("one", "two"):
        put_version(root, kit, tmp_path / weights, weights)
        as_somebody(root, kit, "promote", "chatbot@latest", "--endpoint", "assistant")
        kit.run("up")
    kit.run("up", "--refresh")
    assert kit.json("status")["endpoints"][0]["serves"] == "chatbot@2"
    start_a_job(root, kit)
    assert "stopping job" in kit.run("down")
    kit.run("down", "--data", "exact")
    assert account.inventory().keys() - before.keys() <= {"policy exact-half", "policy exact-rest"}


def _leads_nowhere(policy: dict[str, Any]) -> None:
    """Neither in the deploy role, which is bounded, nor given to somebody who is not, is there a way to another
    principal: roles are made and written with the boundary alone.
    """
    text = json.dumps(policy).replace(TWIN_ACCOUNT, ACCOUNT).replace("us-east-1", REGION)
    recorded = json.loads(text)
    require_within(recorded, deploy_boundary(REACH), "llmops")
    installation = install()
    evaluator = Evaluator(installation)
    try:
        run = search_of(evaluator, goals(installation.data))
        bounded = run(world(recorded))
        assert bounded.way_out() == []
        person = Role(f"{IAM}:role/person", trust({"AWS": "*"}), [text])
        alone = run(world(more=person), person.arn)
        alone.goals = [goal for goal in alone.goals if goal[0].startswith(("iam:", "sts:"))]
        assert alone.way_out() == []
    finally:
        evaluator.close()


def _user(clients: AwsClients, policy: dict[str, Any]) -> dict[str, str]:
    """A new user with a policy: its credentials."""
    clients("iam").create_user(UserName="exact")
    _allow(clients, policy, "half")
    key = clients("iam").create_access_key(UserName="exact")["AccessKey"]
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


def _allow(clients: AwsClients, policy: dict[str, Any], name: str) -> None:
    iam = clients("iam")
    text = json.dumps(policy, separators=(",", ":"))
    arn = iam.create_policy(PolicyName=f"exact-{name}", PolicyDocument=text)["Policy"]["Arn"]
    iam.attach_user_policy(UserName="exact", PolicyArn=arn)


def as_somebody(environ: dict[str, str], kit: Kit, *words: str) -> None:
    """Run a command as somebody else: promoting is not the deployer's work."""
    mine, kit.environ = kit.environ, environ
    try:
        kit.run(*words)
    finally:
        kit.environ = mine


def start_a_job(root: dict[str, str], kit: Kit) -> None:
    with mock.patch.dict(os.environ, root, clear=True):
        start_job(PulumiStack(Project(kit.folder), root["PULUMI_STACK"]).outputs())


def put_version(root: dict[str, str], kit: Kit, folder: Path, weights: str) -> None:
    with mock.patch.dict(os.environ, root, clear=True):
        platform = open_platform(PulumiStack(Project(kit.folder), root["PULUMI_STACK"]).outputs())
        write_version(folder, "chatbot", weights, passed=True, run="")
        platform.store().put_model(folder, platform.sign)
