"""Images of other repositories, which the boundary lets stacks' roles pull, and nobody push."""

import json
from pathlib import Path
from typing import Any

from llmops_kit.cli.platforms.aws.bootstrap.boundary import boundary
from llmops_kit.cli.platforms.aws.bootstrap.deploy import deploy_policy
from llmops_kit.cli.platforms.aws.bootstrap.given_resources import given_to
from llmops_kit.cli.platforms.aws.bootstrap.names import AwsNames
from llmops_kit.cli.platforms.aws.bootstrap.reach import Reach
from llmops_kit.cli.stacks.project import Project

ACCOUNT, OTHER = "123456789012", "763104351884"
HOST = "dkr.ecr.us-east-1.amazonaws.com"


def _actions_on(policy: dict[str, Any], arn: str) -> set[str]:
    found = [s for s in policy["Statement"] if s["Effect"] == "Allow" and arn in s.get("Resource", [])]
    return {action for statement in found for action in statement["Action"]}


def test_images_that_stack_files_name_are_pulled_and_not_pushed(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: llmops\n")
    images = {
        "serving": f"{OTHER}.{HOST}/djl-inference@sha256:{'1' * 64}",
        "serving_vllm": f"{ACCOUNT}.{HOST}/llmops-dev-serving@sha256:{'2' * 64}",
        "training": f"quay.io/team/trainer@sha256:{'3' * 64}",
    }
    config = f"config:\n  llmops:target: aws\n  llmops:images: {json.dumps(images)}\n"
    (tmp_path / "Pulumi.dev.yaml").write_text(config)
    given = given_to(Project(tmp_path))
    reach = Reach(AwsNames("llmops", ACCOUNT, "us-east-1"), f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1", given)
    foreign = f"arn:aws:ecr:us-east-1:{OTHER}:repository/djl-inference"
    assert reach.pulled == [foreign]
    pull = {"ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"}
    assert _actions_on(boundary(reach), foreign) == pull
    assert _actions_on(deploy_policy(reach), foreign) == set()
