"""A stack's life on a twin by the command line: the real engine and the real program."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.cli.platforms.aws.platform import AwsPlatform
from llmops_kit.cli.platforms.registry import open_platform
from llmops_kit.cli.stacks.backend import folder_url
from llmops_kit.cli.stacks.project import Project
from llmops_kit.cli.stacks.stack import PulumiStack
from llmops_kit.core.layout import rejection_log
from tests.emulated.cli.conftest import Kit
from tests.support.clouds.aws import SERVING, TRAINING, Account
from tests.support.tiny_models.versions import write_version
from tests.unit.cli.conftest import make_platform as make_local

STACK = f"config:\n  llmops:target: aws\n  llmops:images:\n    training: {TRAINING}\n    serving: {SERVING}\n"


@pytest.fixture
def aws_kit(kit: Kit, account: Account, clients: AwsClients, monkeypatch: pytest.MonkeyPatch) -> Kit:
    """A project with a stack `dev` of target aws, whose program is the kit's own."""
    (kit.folder / "state").mkdir()
    kit.environ = dict(account.environ) | {"PULUMI_BACKEND_URL": folder_url(kit.folder / "state")}
    kit.environ["PULUMI_STACK"] = "dev"
    monkeypatch.setenv("PULUMI_BACKEND_URL", kit.environ["PULUMI_BACKEND_URL"])
    (kit.folder / "Pulumi.dev.yaml").write_text(STACK)
    return kit


def platform_of(kit: Kit, stack: str = "dev") -> AwsPlatform:
    """The deployed stack, in this process, which is a client of the twin."""
    found = open_platform(PulumiStack(Project(kit.folder), stack).outputs())
    assert isinstance(found, AwsPlatform)
    return found


def put(platform: Any, folder: Path, weights: str) -> str:
    """A version in a stack's store; its alias."""
    write_version(folder / weights, "chatbot", weights, passed=True, run="")
    return platform.store().put_model(folder / weights, platform.sign).alias


def endpoint(kit: Kit) -> dict[str, Any]:
    return kit.json("status")["endpoints"][0]


@pytest.mark.long
@pytest.mark.scorecard("drift")
def test_from_the_first_up_to_no_trace(aws_kit: Kit, account: Account, tmp_path: Path) -> None:
    kit = aws_kit
    before = account.inventory()
    assert kit.json("plan")["changes"]
    text = kit.run("up")
    assert f"the twin at {kit.environ['AWS_ENDPOINT_URL']}, region us-east-1" in text
    platform = platform_of(kit)
    assert [put(platform, tmp_path, w) for w in ("one", "two")] == ["chatbot@1", "chatbot@2"]
    kit.run("promote", "chatbot@1")
    assert kit.json("plan")["endpoints"][0]["change"] == "create"
    kit.run("up")
    assert (endpoint(kit)["serves"], endpoint(kit)["state"]) == ("chatbot@1", "ready")
    assert kit.json("plan")["changes"] == []
    kit.run("plan", "--detailed-exitcode")

    kit.run("promote", "chatbot@2")
    plan = kit.json("plan")
    assert plan["versions"] == {"chatbot": {"before": "chatbot@1", "after": "chatbot@2"}}
    assert {c["kind"] for c in plan["changes"] if c["action"] == "replace"} == {"model", "endpoint configuration"}
    assert plan["endpoints"][0]["during_update"] == 2
    assert plan["usd_an_hour"]["idle"] > 0.2
    kit.run("plan", "--detailed-exitcode", code=2)
    assert "not deployed yet: chatbot (chatbot@2)" in kit.run("status")
    kit.run("up")
    assert endpoint(kit)["serves"] == "chatbot@2"
    kit.run("rollback")
    kit.run("up")
    assert endpoint(kit)["serves"] == "chatbot@1"

    platform = platform_of(kit)  # which knows the endpoint
    _drifts(kit, platform)
    _rejects(kit, platform)
    kit.run("down")
    assert "taken down or deleted" in endpoint(kit)["state"]
    assert kit.json("models", "list")
    kit.run("up")
    assert endpoint(kit)["serves"] == "chatbot@1"
    assert "is not the name of the stack" in kit.run("down", "--data", "other", code=1)
    kit.run("down", "--data", "dev")
    assert account.inventory().keys() - before.keys() == set()


def _drifts(kit: Kit, platform: AwsPlatform) -> None:
    """Somebody moves the endpoint to another configuration by hand: status finds it, `up --refresh` mends it."""
    sagemaker, name = platform.clients("sagemaker"), platform.aws.endpoints["chatbot"]
    current = sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"]
    variants = sagemaker.describe_endpoint_config(EndpointConfigName=current)["ProductionVariants"]
    model = sagemaker.describe_model(ModelName=variants[0]["ModelName"])
    container = model["PrimaryContainer"]
    other = platform.store().find("chatbot@2").sha256
    text = json.dumps(container).replace(platform.store().find("chatbot@1").sha256, other)
    sagemaker.create_model(
        ModelName="byhand", PrimaryContainer=json.loads(text), ExecutionRoleArn=model["ExecutionRoleArn"]
    )
    sagemaker.create_endpoint_config(
        EndpointConfigName="byhand", ProductionVariants=[{**variants[0], "ModelName": "byhand"}]
    )
    sagemaker.update_endpoint(EndpointName=name, EndpointConfigName="byhand")
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    assert endpoint(kit)["drift"] == [f"serves sha256:{other[:12]}, which was not deployed"]
    assert "`llmops up --refresh` repairs it" in kit.run("status")
    assert kit.json("plan", "--refresh")["changes"]
    kit.run("up", "--refresh")
    assert endpoint(kit)["drift"] == []
    sagemaker.delete_endpoint_config(EndpointConfigName="byhand")
    sagemaker.delete_model(ModelName="byhand")


def _rejects(kit: Kit, platform: AwsPlatform) -> None:
    """A version whose rollout was rolled back is refused until it is cleared."""
    ref = platform.store().find("chatbot@2")
    platform.store().append(rejection_log(ref.sha256), {"action": "rejected", "why": "5xx alarm", "when": "now"})
    assert "5xx alarm" in kit.run("models", "list")
    assert "5xx alarm" in kit.run("models", "show", "chatbot@2")
    assert "chatbot@2 was rejected: 5xx alarm" in kit.run("promote", "chatbot@2", code=3)
    kit.run("models", "clear", "chatbot@2", "--why", "a full disk")
    kit.run("promote", "chatbot@2")
    kit.run("promote", "chatbot@1")


def test_a_stack_without_images_or_jobs_says_so(aws_kit: Kit) -> None:
    (aws_kit.folder / "__main__.py").write_text("import pulumi\n" + _outputs(_aws_outputs()))
    aws_kit.run("up")
    text = aws_kit.run("train", "recipe.yaml", code=1)
    assert text.startswith("error: the stack has no training image")
    assert "llmops images build" in text
    assert aws_kit.json("runs", "list") == []
    assert "there is no run x" in aws_kit.run("runs", "show", "x", code=4)
    assert "has no image registry" in _local_images(aws_kit)


def _local_images(kit: Kit) -> str:
    (kit.folder / "Pulumi.here.yaml").write_text("config:\n  llmops:target: local\n")
    return kit.run("images", "build", "--stack", "here", code=1)


def test_a_version_is_copied_from_a_local_stack_to_one_on_aws(
    aws_kit: Kit, account: Account, make_platform: Any, tmp_path: Path
) -> None:
    """Local stacks keep their state in the project, also in a shell that talks to a twin."""
    kit, there = aws_kit, make_platform()
    for environ in (kit.environ, os.environ):
        environ["PULUMI_BACKEND_URL"] = account.environ["PULUMI_BACKEND_URL"]
    here = make_local(tmp_path / "home", "here")
    (kit.folder / "Pulumi.here.yaml").write_text("config:\n  llmops:target: local\n")
    program = "import pulumi\nif pulumi.Config().get('target') == 'aws':\n"
    lines = [f"    {line}" for line in _outputs(there.outputs.model_dump(by_alias=True, mode="json")).splitlines()]
    other = [f"    {line}" for line in _outputs(here.outputs.model_dump(by_alias=True, mode="json")).splitlines()]
    (kit.folder / "__main__.py").write_text(program + "\n".join([*lines, "else:", *other, ""]))
    kit.run("up")
    PulumiStack(Project(kit.folder), "here").create()
    PulumiStack(Project(kit.folder), "here").run("up", "--yes", "--skip-preview")
    assert put(here, tmp_path, "weights") == "chatbot@1"
    copied = kit.json("models", "copy", "chatbot@1", "--from", "here", "--to", "dev")
    assert copied["sha256"] == here.store().find("chatbot@1").sha256
    assert kit.json("models", "verify")[0]["verified"]
    assert (kit.folder / ".llmops/state/.pulumi").is_dir()


def test_images_are_written_into_the_stack_file(aws_kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """The images themselves are the local runtime's, and are tested there."""
    from llmops_kit.cli.images.stack_images import build_for
    from llmops_kit.local_runtime import process_images

    monkeypatch.setattr(process_images, "build", lambda name, say: f"process:{name}@sha256:{'0' * 64}")
    built = build_for(PulumiStack(Project(aws_kit.folder), "dev"), print)
    assert built == {n: f"process:{n}@sha256:{'0' * 64}" for n in ("training", "serving")}


def _aws_outputs() -> dict[str, Any]:
    return {
        "schema": "stack-outputs/1",
        "target": "aws",
        "stack": "dev",
        "project": "",
        "store": {"url": "s3://store"},
        "signing": {"private_key": "awskms:///k", "public_key": "PEM"},
        "training": {"image": "", "runs": "s3://work/runs"},
        "aws": {"account": "000000000000", "region": "us-east-1", "twin": True},
    }


def _outputs(outputs: dict[str, Any]) -> str:
    """A program's lines that export them."""
    return "\n".join(f"pulumi.export({name!r}, {value!r})" for name, value in outputs.items()) + "\n"
