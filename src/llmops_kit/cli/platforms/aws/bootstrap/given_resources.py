"""Collects existing resources that stack files name; policies name exactly those, besides the project's own."""

import re
from dataclasses import dataclass

from llmops_kit.cli.stacks.project import Project
from llmops_kit.cli.stacks.stack_file import StackFile
from llmops_kit.clouds.aws.names import image_repository_arn, repository_arns
from llmops_kit.core.errors import KitError
from llmops_kit.settings.stack_settings import Settings


@dataclass(frozen=True)
class Given:
    """Exact names and ARNs, without patterns."""

    buckets: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    signing_keys: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    repositories: tuple[str, ...] = ()
    pulled: tuple[str, ...] = ()
    """Repositories of ECR, in any account, from which stacks only pull images."""


def given_to(project: Project, partition: str = "aws") -> Given:
    """Returns the resources that the files of the project's stacks on AWS name.

    Raises:
        KitError: a file is not a stack file, or names a pattern.
    """
    found: dict[str, set[str]] = {field: set() for field in Given.__dataclass_fields__}
    for stack in project.stacks():
        file = StackFile(project.stack_file(stack), project.name)
        if file.target == "aws":
            _add(found, file.settings("aws", "images"), partition)
    found["pulled"] -= {"", *found["repositories"]}
    for name in (n for names in found.values() for n in names):
        if re.search(r"[*?$]", name):
            raise KitError(
                f"{name!r} is a pattern: policies would allow everything that it matches",
                where="llmops:aws of the project's stack files",
                fix="write the exact name or ARN, then repeat the command",
            )
    return Given(**{field: tuple(sorted(names)) for field, names in found.items()})


def _add(found: dict[str, set[str]], settings: Settings, partition: str) -> None:
    aws = settings.aws
    found["buckets"] |= {aws.store_bucket, aws.work_bucket} - {""}
    found["keys"] |= {aws.kms_key_arn} - {""}
    found["signing_keys"] |= {aws.signing_key_arn} - {""}
    found["roles"] |= {aws.roles.training, aws.roles.endpoint, aws.roles.scheduler} - {""}
    found["repositories"] |= set(repository_arns(aws.registry, partition).values())
    images = settings.images.model_dump().values()
    found["pulled"] |= {image_repository_arn(image, partition) for image in images}
