"""What stack files of a project name instead of having it made: policies name exactly that, beside its own things."""

import re
from dataclasses import dataclass
from typing import Any

from contract.errors import KitError
from llmops.stacks.project import Project
from llmops.stacks.stack_file import StackFile

_REGISTRY = re.compile(
    r"^(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com[^/]*(?:/(?P<path>.+))?$"
)


@dataclass(frozen=True)
class Given:
    """Exact names and ARNs; nothing in them stands for more than one thing."""

    buckets: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    signing_keys: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    repositories: tuple[str, ...] = ()


def given_to(project: Project, partition: str = "aws") -> Given:
    """What the files of the project's stacks on AWS name.

    Raises:
        KitError: one of them is no stack file, or names a pattern where it must name one thing.
    """
    found: dict[str, set[str]] = {field: set() for field in Given.__dataclass_fields__}
    for stack in project.stacks():
        file = StackFile(project.stack_file(stack), project.name)
        config = file.config()
        if config.get("target") == "aws":
            _add(found, config.get("aws") or {}, partition)
    for name in (n for names in found.values() for n in names):
        if re.search(r"[*?$]", name):
            raise KitError(
                f"{name!r} stands for more than one thing: policies would allow all of them",
                where="llmops:aws of the project's stack files",
                fix="write the exact name or ARN, then repeat the command",
            )
    return Given(**{field: tuple(sorted(names)) for field, names in found.items()})


def _add(found: dict[str, set[str]], aws: dict[str, Any], partition: str) -> None:
    found["buckets"] |= {str(aws[k]) for k in ("store_bucket", "work_bucket") if aws.get(k)}
    found["keys"] |= {str(aws[k]) for k in ("kms_key_arn",) if aws.get(k)}
    found["signing_keys"] |= {str(aws[k]) for k in ("signing_key_arn",) if aws.get(k)}
    found["roles"] |= {str(arn) for arn in (aws.get("roles") or {}).values() if arn}
    if match := _REGISTRY.match(str(aws.get("registry") or "")):
        path = f"{match['path']}/" if match["path"] else ""
        base = f"arn:{partition}:ecr:{match['region']}:{match['account']}:repository/{path}"
        found["repositories"] |= {f"{base}training", f"{base}serving"}
