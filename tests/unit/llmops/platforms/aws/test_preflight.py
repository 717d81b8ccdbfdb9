"""What is refused before anything is touched. Callers are given: no account is needed to tell a twin from a cloud."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.cli.platforms.aws.bootstrap.boundary import boundary
from llmops_kit.cli.platforms.aws.bootstrap.deploy import deploy_boundary, deploy_policy
from llmops_kit.cli.platforms.aws.bootstrap.managed_policies import LIMIT
from llmops_kit.cli.platforms.aws.bootstrap.names import AwsNames
from llmops_kit.cli.platforms.aws.bootstrap.policies import preview_policy, promote_policy
from llmops_kit.cli.platforms.aws.bootstrap.reach import Reach
from llmops_kit.cli.platforms.aws.bootstrap.within import INLINE_LIMIT
from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.cli.platforms.aws.preflight import PLUGIN, require_same_place
from llmops_kit.cli.platforms.plugin import attached_port, require_plugin
from llmops_kit.cli.platforms.shared_state import require_shared_state
from llmops_kit.cli.stacks.project import Project
from llmops_kit.cli.stacks.stack import PulumiStack
from llmops_kit.clouds.aws.location import AwsCaller
from llmops_kit.core.errors import KitError

CLOUD = AwsCaller("111111111111", "arn:aws:iam::111111111111:user/a", "us-east-1", "")
TWIN = AwsCaller("000000000000", "arn:aws:iam::000000000000:root", "us-east-1", "http://127.0.0.1:1")


def state(*arns: str) -> dict[str, Any]:
    return {"resources": [{"urn": f"urn:pulumi:d::p::t::r{i}", "id": arn} for i, arn in enumerate(arns)]}


@pytest.fixture
def stack(tmp_path: Path) -> PulumiStack:
    (tmp_path / "Pulumi.yaml").write_text("name: llmops\nruntime: python\n")
    (tmp_path / "Pulumi.dev.yaml").write_text("config:\n  llmops:target: aws\n")
    return PulumiStack(Project(tmp_path), "dev")


@pytest.mark.parametrize(
    ("caller", "account", "words"),
    [
        (CLOUD, "000000000000", "is of a twin, but this shell talks to account 111111111111"),
        (TWIN, "111111111111", "is of account 111111111111, but this shell talks to a twin"),
        (CLOUD, "222222222222", "is of account 222222222222, but this shell talks to account 111111111111"),
    ],
)
def test_a_state_of_another_place_is_refused(caller: AwsCaller, account: str, words: str) -> None:
    with pytest.raises(KitError, match=words) as caught:
        require_same_place("dev", state("bucket", f"arn:aws:iam::{account}:role/x"), caller)
    assert caught.value.where == "r1"


def test_a_state_of_this_place_passes() -> None:
    managed = "arn:aws:iam::aws:policy/ReadOnlyAccess"
    require_same_place("dev", state("name", managed, "arn:aws:iam::111111111111:role/x"), CLOUD)
    require_same_place("dev", {}, TWIN)


def test_a_state_on_this_machine_alone_is_refused_for_a_cloud(
    stack: PulumiStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(stack.__dict__, "backend", "file:///home/me/state")
    with pytest.raises(KitError, match="on this machine only") as caught:
        require_shared_state(stack, {}, "aws", "AWS")
    assert "llmops bootstrap aws" in caught.value.fix
    assert "--dev" in caught.value.fix
    monkeypatch.setitem(stack.__dict__, "backend", "s3://state?region=us-east-1")
    require_shared_state(stack, {"secrets_providers": {"type": "cloud"}}, "aws", "AWS")
    with pytest.raises(KitError, match="a passphrase protects"):
        require_shared_state(stack, {"secrets_providers": {"type": "passphrase"}}, "aws", "AWS")


def test_a_stand_in_never_shadows_the_real_plugin(stack: PulumiStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_DEBUG_PROVIDERS", "aws:5")
    with pytest.raises(KitError, match="and this shell talks to AWS"):
        require_plugin(stack, PLUGIN, CLOUD.twin, print)


def test_on_a_twin_the_stand_in_must_answer_and_is_named(
    stack: PulumiStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setenv("PULUMI_DEBUG_PROVIDERS", f"other:1,aws:{port}")
        require_plugin(stack, PLUGIN, TWIN.twin, said.append)
    assert said == [f"aws plugin: the twin's stand-in, at port {port}"]
    with pytest.raises(KitError, match="does not answer at port"):
        require_plugin(stack, PLUGIN, TWIN.twin, print)
    monkeypatch.delenv("PULUMI_DEBUG_PROVIDERS")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path))
    with pytest.raises(KitError, match="neither the aws plugin nor the twin's stand-in"):
        require_plugin(stack, PLUGIN, TWIN.twin, print)
    plugin = tmp_path / "plugins/resource-aws-v7.51.1/pulumi-resource-aws"
    plugin.parent.mkdir(parents=True)
    plugin.touch(mode=0o755)
    require_plugin(stack, PLUGIN, TWIN.twin, said.append)
    assert said[-1] == f"aws plugin: the real one, {plugin}"


def test_the_port_of_a_stand_in() -> None:
    assert [attached_port(t, "aws") for t in ("", "aws:12", "x:1, aws:7", "aws:", "awsx:3")] == [0, 12, 7, 0, 0]


def test_a_planted_profile_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(KitError, match="AWS profile planted does not exist"):
        AwsClients(profile="planted")


def test_without_a_region_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(KitError, match="no AWS region is set"):
        _ = AwsClients().caller


def test_policies_keep_the_limits_of_iam() -> None:
    names = AwsNames("a-project-with-a-long-name", "111111111111", "ap-southeast-2")
    reach = Reach(names, f"arn:aws:kms:ap-southeast-2:111111111111:key/{'0' * 36}")
    for document in (boundary(reach), deploy_boundary(reach)):
        assert len(json.dumps(document, separators=(",", ":"))) <= LIMIT
    for document in (preview_policy(reach), deploy_policy(reach), promote_policy(reach)):
        assert len(json.dumps(document, separators=(",", ":"))) <= INLINE_LIMIT


def test_no_policy_has_a_wildcard_in_the_type_of_a_resource() -> None:
    """IAM matches nothing by it.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html
    """
    reach = Reach(AwsNames("llmops", "111111111111", "us-east-1"), "arn:aws:kms:us-east-1:111111111111:key/0")
    for make in (boundary, deploy_boundary, preview_policy, deploy_policy, promote_policy):
        for statement in make(reach)["Statement"]:
            named = statement.get("Resource", "*")
            for arn in [named] if isinstance(named, str) else named:
                *_, resource = arn.split(":", 5)
                kind, separator, _ = resource.partition("/")
                assert arn == "*" or not separator or "*" not in kind or arn.startswith("arn:aws:s3:::"), arn


def test_names_of_bootstrap_keep_the_limits_of_aws() -> None:
    long = AwsNames("p" * 60, "111111111111", "ap-southeast-2")
    assert len(long.bucket) <= 63
    assert len(long.role("preview", "owner/" + "r" * 80)) <= 64
    assert long.role("preview", "owner/" + "r" * 80) != long.role("preview", "owner/" + "r" * 81)
