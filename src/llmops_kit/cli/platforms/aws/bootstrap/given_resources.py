"""Resources that stack files name instead of having them made: policies name exactly those, beside the own ones."""

import re
from dataclasses import dataclass

from llmops_kit.cli.stacks.project import Project
from llmops_kit.cli.stacks.stack_file import StackFile
from llmops_kit.clouds.aws.names import repository_arns
from llmops_kit.clouds.aws.settings import AwsSettings
from llmops_kit.core.errors import KitError


@dataclass(frozen=True)
class Given:
    """Exact names and ARNs; nothing in them stands for more than one thing."""

    buckets: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    signing_keys: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    repositories: tuple[str, ...] = ()


def given_to(project: Project, partition: str = "aws") -> Given:
    """Collect the resources that the files of the project's stacks on AWS name.

    Raises:
        KitError: one of them is no stack file, or names a pattern where it must name one thing.
    """
    found: dict[str, set[str]] = {field: set() for field in Given.__dataclass_fields__}
    for stack in project.stacks():
        file = StackFile(project.stack_file(stack), project.name)
        if file.target == "aws":
            _add(found, file.settings("aws").aws, partition)
    for name in (n for names in found.values() for n in names):
        if re.search(r"[*?$]", name):
            raise KitError(
                f"{name!r} stands for more than one thing: policies would allow all of them",
                where="llmops:aws of the project's stack files",
                fix="write the exact name or ARN, then repeat the command",
            )
    return Given(**{field: tuple(sorted(names)) for field, names in found.items()})


def _add(found: dict[str, set[str]], aws: AwsSettings, partition: str) -> None:
    found["buckets"] |= {aws.store_bucket, aws.work_bucket} - {""}
    found["keys"] |= {aws.kms_key_arn} - {""}
    found["signing_keys"] |= {aws.signing_key_arn} - {""}
    found["roles"] |= {aws.roles.training, aws.roles.endpoint, aws.roles.scheduler} - {""}
    found["repositories"] |= set(repository_arns(aws.registry, partition).values())
