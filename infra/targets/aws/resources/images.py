"""Repositories of the kit's images, and where a stack's images come from."""

from dataclasses import dataclass

import pulumi
from pulumi_aws import ecr

from clouds.aws.jobs import is_accelerated
from infra import names
from infra.names import CloudNames
from infra.settings import setting_error
from infra.targets.aws.resources.stack import Here
from infra.targets.aws.session import Caller

NAMES = ("training", "serving")
_UNTAGGED_DAYS = 14
_PROCESS = "process:"


@dataclass(frozen=True)
class Repositories:
    """Image -> URL of its repository, and its ARN."""

    urls: dict[str, pulumi.Input[str]]
    arns: dict[str, pulumi.Input[str]]


def require_image(name: str, reference: str, caller: Caller) -> None:
    """See that the stack has an image, which this place can run.

    Raises:
        SettingError: there is none, or it is a process that stands for one, on a real account.
    """
    key = ("images", name)
    if not reference:
        raise setting_error(
            key, "is missing", "`llmops images push` pushes and writes it; on a twin `llmops images build` will do"
        )
    if reference.startswith(_PROCESS) and not caller.twin:
        raise setting_error(
            key,
            f"{reference} runs on a twin alone",
            "`llmops images push` pushes an image of the kit to the stack's repositories, and writes its digest here",
        )


def require_no_accelerators(kind: str, key: tuple[str, ...]) -> None:
    """See that the kit's serving image is not put on a machine of which it would use the processors alone.

    Args:
        kind: an endpoint's instance type.
        key: of the setting that says so.

    Raises:
        SettingError: it has GPUs or other accelerators, which would be paid for and idle.
    """
    if is_accelerated(kind):
        raise setting_error(
            key,
            f"the kit's serving image computes on processors: the accelerators of {kind} would be paid for, and idle",
            "write a type without them, such as ml.c5.2xlarge; or name an image of your own in `llmops:images.serving`,"
            " from another repository",
        )


def is_the_kits(image: str, names: CloudNames, registry: str) -> bool:
    """Whether an endpoint's image is the one that `llmops images` builds and pushes, for processors alone."""
    repository = image.partition("@")[0]
    pushed = f"{registry}/serving" if registry else f"/{names.of('serving')}"
    return repository == f"{_PROCESS}serving" or repository.endswith(pushed)


def provide_images(here: Here, key: pulumi.Input[str]) -> Repositories:
    """Declare a repository for each image, unless a registry is given."""
    if registry := here.settings.aws.registry:
        host, _, path = registry.partition("/")
        account, _, _, region, *_ = host.split(".")
        prefix = f"arn:{here.caller.partition}:ecr:{region}:{account}:repository/{f'{path}/' if path else ''}"
        return Repositories({n: f"{registry}/{n}" for n in NAMES}, {n: f"{prefix}{n}" for n in NAMES})
    made = {name: _repository(here, name, key) for name in NAMES}
    return Repositories(
        {name: repository.repository_url for name, repository in made.items()},
        {name: repository.arn for name, repository in made.items()},
    )


def _repository(here: Here, name: str, key: pulumi.Input[str]) -> ecr.Repository:
    repository = ecr.Repository(
        names.kept(f"repository-{name}"),
        name=here.names.of(name),
        image_tag_mutability="IMMUTABLE",
        image_scanning_configuration=ecr.RepositoryImageScanningConfigurationArgs(scan_on_push=True),
        encryption_configurations=[
            ecr.RepositoryEncryptionConfigurationArgs(encryption_type="KMS", kms_key=key),
        ],
        opts=here.options(protect=True),
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
        names.kept(f"repository-{name}-lifecycle"),
        repository=repository.name,
        policy=pulumi.Output.json_dumps({"rules": [rule]}),
        opts=here.options(protect=True),
    )
    return repository
