"""Repositories of the kit's images."""

from dataclasses import dataclass

import pulumi
from pulumi_aws import ecr

from llmops_kit.clouds.aws.names import IMAGES, repository_arns
from llmops_kit.infra.targets.aws.resources.context import AwsContext

_UNTAGGED_DAYS = 14


@dataclass(frozen=True)
class Repositories:
    """URLs and ARNs of the repositories, by image."""

    urls: dict[str, pulumi.Input[str]]
    arns: dict[str, pulumi.Input[str]]


def declare_images(stack: AwsContext, registry: str, key: pulumi.Input[str]) -> Repositories:
    """Declare a repository for each image, unless a registry is given."""
    if registry:
        return Repositories(
            {n: f"{registry}/{n}" for n in IMAGES}, {**repository_arns(registry, stack.caller.partition)}
        )
    made = {name: _repository(stack, name, key) for name in IMAGES}
    return Repositories(
        {name: repository.repository_url for name, repository in made.items()},
        {name: repository.arn for name, repository in made.items()},
    )


def _repository(stack: AwsContext, name: str, key: pulumi.Input[str]) -> ecr.Repository:
    repository = ecr.Repository(
        stack.names.kept(f"repository-{name}"),
        name=stack.names.of(name),
        image_tag_mutability="IMMUTABLE",
        image_scanning_configuration={"scan_on_push": True},
        encryption_configurations=[{"encryption_type": "KMS", "kms_key": key}],
        opts=stack.options(protect=True),
    )
    rule = {
        "rulePriority": 1,
        "description": f"untagged for {_UNTAGGED_DAYS} days",
        "selection": {
            "tagStatus": "untagged",
            "countType": "sinceImagePushed",
            "countUnit": "days",
            "countNumber": _UNTAGGED_DAYS,
        },
        "action": {"type": "expire"},
    }
    ecr.LifecyclePolicy(
        stack.names.kept(f"repository-{name}-lifecycle"),
        repository=repository.name,
        policy=pulumi.Output.json_dumps({"rules": [rule]}),
        opts=stack.options(protect=True),
    )
    return repository
