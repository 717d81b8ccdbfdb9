"""The kit's rules, by the real engine on both twins: its own stacks keep them, and programs made worse are refused."""

import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from llmops_kit.policies import aws_rules as aws
from llmops_kit.policies import azure_rules as azure
from tests.emulated.scanners.conftest import Deployed, state_of
from tests.support.checkout import PACKAGES
from tests.support.clouds.azure_twin import AzureStack
from tests.support.stacks import PROGRAM, Stack

PACK = ("--policy-pack", str(PACKAGES["llmops_kit.policies"]))
WORSE = """
import pulumi

CHANGES = {changes!r}


def worse(args):
    found = CHANGES.get(args.type_, {{}}).items()
    props = {{**args.props, **{{key: value for key, value in found if key != "protect"}}}}
    if "protect" in dict(found):
        args.opts.protect = False
    return pulumi.ResourceTransformResult(props=props, opts=args.opts)


pulumi.runtime.register_resource_transform(worse)
"""
ALLOW_ALL = '{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}]}'
ON_AWS: dict[str, dict[str, Any]] = {
    aws.ACCESS_BLOCK: {"blockPublicAcls": False},
    aws.BUCKET_POLICY: {"policy": ALLOW_ALL},
    aws.KEY: {"enableKeyRotation": False},
    aws.ROLE_POLICY: {"policy": ALLOW_ALL},
    aws.MODEL: {"enableNetworkIsolation": False},
    aws.VERSIONING: {"versioningConfiguration": {"status": "Suspended"}},
    aws.LOG_GROUP: {"retentionInDays": None},
}
BROKEN_ON_AWS = {
    *("no-public-store", "tls-only", "encrypted", "no-wildcard-principal", "least-privilege", "endpoint-isolated"),
    *("data-protected", "retention-set"),
}
ON_AZURE: dict[str, dict[str, Any]] = {
    azure.CONTAINER: {"publicAccess": "Blob"},
    azure.STORAGE: {"minimumTlsVersion": "TLS1_0", "encryption": {}, "allowSharedKeyAccess": True},
    azure.ASSIGNMENT: {"principalType": None},
    azure.COMPUTE: {"properties": {"computeType": "AmlCompute", "properties": {}}},
    azure.BLOBS: {"isVersioningEnabled": False},
    azure.LOGS: {"retentionInDays": None},
}
BROKEN_ON_AZURE = {
    *("no-public-store", "tls-only", "encrypted", "no-shared-secret", "least-privilege", "endpoint-isolated"),
    *("data-protected", "retention-set"),
}


def make_worse(stack: Stack, changes: Mapping[str, Mapping[str, Any]]) -> None:
    """Change what the stack's program declares; nothing: the kit's program."""
    text = WORSE.format(changes=changes) if changes else ""
    (stack.folder / "__main__.py").write_text(f"{text}\n{PROGRAM}")


def broken(text: str, how: str) -> set[str]:
    """Rules that a text calls broken: `[mandatory]  tls-only  (…)`, `broken rule tls-only: …`."""
    lines = (line.strip().removeprefix("- ") for line in text.splitlines())
    return {line.removeprefix(how).split()[0].rstrip(":") for line in lines if line.startswith(how)}


def declared(stack: Stack, types: Iterable[str]) -> dict[str, Any]:
    """What the state holds of resources of some types: their inputs by URN."""
    return {each["urn"]: each["inputs"] for each in state_of(stack)["deployment"]["resources"] if each["type"] in types}


def plan(stack: Stack, code: int) -> str:
    """Run `llmops plan`, which ends with a code."""
    done = subprocess.run(
        [sys.executable, "-m", "llmops_kit.cli", "plan", "--stack", stack.name],
        cwd=stack.folder,
        env=dict(stack.environ),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def refused(stack: Stack, changes: Mapping[str, Mapping[str, Any]], rules: set[str]) -> None:
    """Program and stack file as they are but for `changes`: Pulumi and `llmops plan` refuse, naming the rules."""
    make_worse(stack, changes)
    try:
        before = declared(stack, changes)
        previewed = stack.pulumi("preview", *PACK, refused=True)
        assert broken(previewed, "[mandatory]") == rules
        updated = stack.pulumi("up", "--yes", "--skip-preview", refused=True, PULUMI_OPTION_POLICY_PACK=PACK[1])
        assert broken(updated, "[mandatory]") & rules
        assert declared(stack, changes) == before, "refused before anything is changed"
        planned = plan(stack, 3)
        assert broken(planned, "broken rule ") == rules
        stack.settings["accepted_rules"] = dict.fromkeys(rules, "a test")
        stack.configure()
        accepted = stack.pulumi("preview", *PACK)
        assert "accepted: a test" in accepted
        assert broken(accepted, "[mandatory]") == set()
    finally:
        stack.settings.pop("accepted_rules", None)
        stack.configure()
        make_worse(stack, {})


def test_the_kits_stacks_keep_the_rules_on_aws(deployed: Deployed) -> None:
    text = deployed.stack.pulumi("preview", *PACK)
    assert broken(text, "[mandatory]") == set()
    assert broken(text, "[advisory]") == {"boundary"}


@pytest.mark.scorecard("policy-pack")
def test_a_program_that_breaks_the_rules_is_refused_on_aws(deployed: Deployed) -> None:
    refused(deployed.stack, ON_AWS, BROKEN_ON_AWS)


@pytest.mark.scorecard("quota-explained")
def test_a_missing_quota_is_explained_by_the_same_plan(deployed: Deployed) -> None:
    size = deployed.stack.entries["chat"]["size"]
    try:
        deployed.stack.entries["chat"]["size"] = {"instances": 12, "instance_type": "ml.m5.4xlarge"}
        deployed.stack.configure()
        text = plan(deployed.stack, 0)
    finally:
        deployed.stack.entries["chat"]["size"] = size
        deployed.stack.configure()
    assert re.search(r"warning: quota L-\w+: ml\.m5\.4xlarge for endpoint usage allows 10, the update needs \d+", text)


@pytest.mark.parametrize(("which", "advice"), [("open", {"endpoint-isolated"}), ("private", set())])
def test_the_kits_stacks_keep_the_rules_on_azure(on_azure: dict[str, AzureStack], which: str, advice: set[str]) -> None:
    text = on_azure[which].pulumi("preview", *PACK)
    assert broken(text, "[mandatory]") == set()
    assert broken(text, "[advisory]") == advice


@pytest.mark.scorecard("policy-pack")
def test_a_program_that_breaks_the_rules_is_refused_on_azure(on_azure: dict[str, AzureStack]) -> None:
    refused(on_azure["open"], ON_AZURE, BROKEN_ON_AZURE)
