"""The recorded role is enough: an application that has it and nothing more deploys, changes and removes a stack."""

import json
import os
import uuid
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from ruamel.yaml import YAML

from llmops_kit.cli.platforms.azure import given
from llmops_kit.cli.platforms.registry import open_platform
from llmops_kit.cli.runs.runs import require_collected
from llmops_kit.cli.stacks.project import Project
from llmops_kit.cli.stacks.stack import PulumiStack
from llmops_kit.clouds.azure.session import AzureSession
from llmops_kit.core.twins import TWIN_SUBSCRIPTION
from llmops_twins.azure import control
from tests.emulated.cli.azure.conftest import MakePlatform, add_workspace
from tests.emulated.cli.conftest import Kit
from tests.support.clients import client_environ
from tests.support.clouds.azure_twin import LOCATION, SERVING, TRAINING, role_assignment
from tests.support.tiny_models.versions import write_version

STACK = f"""\
config:
  llmops:target: azure
  llmops:azure: {{location: {LOCATION}}}
  llmops:images:
    training: {TRAINING}
    serving: {SERVING}
"""
LINKED = {
    "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action",
    "Microsoft.OperationalInsights/workspaces/sharedKeys/action",
}
SUBSCRIPTION = f"/subscriptions/{TWIN_SUBSCRIPTION}"
ROOT = f"{SUBSCRIPTION}/providers/Microsoft.Authorization"


@pytest.fixture(scope="module")
def environ(twin: Path) -> dict[str, str]:
    """Of the twin's clients, with the engine."""
    return client_environ(control.environment(twin))


def test_the_job_that_the_recording_starts_is_no_run_and_is_stopped(
    session: AzureSession, make_platform: MakePlatform
) -> None:
    """`down` looks for runs that nobody collected, and stops the jobs: both meet it while the role is recorded."""
    platform = add_workspace(make_platform(), {"training": TRAINING}, {"cpu": {"vm_size": "Standard_DS3_v2"}})
    given.start_job(session, platform.outputs)
    require_collected(platform, pytest.fail)
    said: list[str] = []
    platform.halt(said.append)
    assert said == [f"stopping job {platform.azure.job_prefix}-recorded"]


def test_a_role_is_recorded_for_a_new_stack(kit: Kit, environ: dict[str, str]) -> None:
    """Of a stack that was never deployed, as an administrator records it before the first `up`."""
    kit.environ = environ | {"PULUMI_HOME": kit.environ["PULUMI_HOME"], "PULUMI_STACK": "fresh"}
    (kit.folder / "Pulumi.fresh.yaml").write_text(STACK)
    kit.run("plan", "--policy", "--out", "role.json")
    role = json.loads((kit.folder / "role.json").read_text())
    assert role["AssignableScopes"] == [SUBSCRIPTION]
    assert set(role["Actions"]) >= LINKED | {"Microsoft.MachineLearningServices/workspaces/jobs/cancel/action"}
    assert not [action for action in (*role["Actions"], *role["DataActions"]) if "*" in action]


@pytest.mark.long
def test_an_application_with_the_recorded_role_alone_lives_a_stacks_life(
    kit: Kit, environ: dict[str, str], session: AzureSession, tmp_path: Path
) -> None:
    kit.environ = environ | {"PULUMI_HOME": kit.environ["PULUMI_HOME"], "PULUMI_STACK": "exact"}
    kit.environ["PULUMI_BACKEND_URL"] = kit.json("bootstrap", "azure")["backend"]
    entry = f"  llmops:endpoints: {{assistant: {{model: chatbot@1@sha256:{'0' * 64}}}}}\n"
    (kit.folder / "Pulumi.exact.yaml").write_text(STACK + entry)
    kit.run("plan", "--policy", "--out", "role.json")
    role = json.loads((kit.folder / "role.json").read_text())
    assert role["AssignableScopes"] == [SUBSCRIPTION]
    assert not [action for action in (*role["Actions"], *role["DataActions"]) if "*" in action]
    assert set(role["Actions"]) >= LINKED, "without them LinkedAuthorizationFailed, whatever the role writes"
    (kit.folder / "Pulumi.exact.yaml").write_text(STACK)

    root, half = dict(kit.environ), len(role["Actions"]) // 2
    variables, principal = given.application("exact")
    kit.environ |= variables
    allow(session, principal, {**role, "Actions": role["Actions"][:half]}, "half")
    assert "does not have authorization to perform action" in kit.run("up", code=1)
    allow(session, principal, {**role, "Actions": role["Actions"][half:]}, "rest")
    kit.run("up")
    for weights in ("one", "two"):
        put_version(root, kit, tmp_path / weights, weights)
        as_somebody(root, kit, "promote", "chatbot@latest", "--endpoint", "assistant")
        roll_out_at_once(kit.folder / "Pulumi.exact.yaml")
        kit.run("up")
    use(kit, root, session)
    kit.run("up", "--refresh")
    assert kit.json("status")["endpoints"][0]["serves"] == "chatbot@2"
    with mock.patch.dict(os.environ, root, clear=True):
        given.start_job(AzureSession(), PulumiStack(Project(kit.folder), "exact").outputs())
    assert "stopping job" in kit.run("down")
    kit.run("down", "--data", "exact")


def use(kit: Kit, root: dict[str, str], session: AzureSession) -> None:
    """Do what a user does, with the role of `--use` and the state's place, which is the project's."""
    variables, principal = given.application("user")
    role = json.loads(kit.run("plan", "--policy", "--use"))
    (group,) = role["AssignableScopes"]
    assert group.rpartition("/")[0].endswith("/resourceGroups")
    allow(session, principal, role, "use")
    for words in (("models", "list"), ("runs", "list"), ("status",), ("logs", "assistant")):
        as_somebody(root | variables, kit, *words)
    as_somebody(root | variables, kit, "promote", "chatbot@latest", "--endpoint", "assistant")
    recorded = given.admin("GET", "recorded")["recorded"]
    assert not [r["action"] for r in recorded if r["principal"] == principal and not r["allowed"]]


def allow(session: AzureSession, principal: str, role: dict[str, Any], name: str) -> None:
    """Let a principal have a custom role on the subscription."""
    guid = str(uuid.uuid4())
    blocks = [{"actions": role["Actions"], "dataActions": role["DataActions"]}]
    properties = {"roleName": f"exact-{name}", "permissions": blocks, "assignableScopes": [SUBSCRIPTION]}
    session.arm.put(f"{ROOT}/roleDefinitions/{guid}", {"properties": properties}, "2022-04-01")
    assigned = role_assignment(principal, f"{ROOT}/roleDefinitions/{guid}")
    session.arm.put(f"{ROOT}/roleAssignments/{uuid.uuid4()}", assigned)


def roll_out_at_once(path: Path) -> None:
    """Let no rollout of a stack wait: by default each takes five minutes, on the twin too."""
    yaml = YAML()
    document = yaml.load(path)
    for entry in document["config"]["llmops:endpoints"].values():
        entry["rollout"] = {"bake_seconds": 1}
    yaml.dump(document, path)


def as_somebody(environ: dict[str, str], kit: Kit, *words: str) -> None:
    """Run a command as somebody else: promoting is not the deployer's work."""
    mine, kit.environ = kit.environ, environ
    try:
        kit.run(*words)
    finally:
        kit.environ = mine


def put_version(root: dict[str, str], kit: Kit, folder: Path, weights: str) -> None:
    with mock.patch.dict(os.environ, root, clear=True):
        platform = open_platform(PulumiStack(Project(kit.folder), root["PULUMI_STACK"]).outputs())
        write_version(folder, "chatbot", weights, passed=True, run="")
        platform.store().put_model(folder, platform.sign)
