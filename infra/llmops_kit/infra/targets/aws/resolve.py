"""All look-ups of target aws, and its checks of settings, before anything is declared."""

import json
from dataclasses import dataclass
from functools import partial
from typing import Any

import pulumi

from llmops_kit.clouds.aws.budgets import refusal
from llmops_kit.clouds.aws.errors import explained, find
from llmops_kit.clouds.aws.job_requests import job_name
from llmops_kit.clouds.aws.location import AwsCaller
from llmops_kit.clouds.aws.names import image_repository_arn
from llmops_kit.clouds.aws.objects import S3Bucket
from llmops_kit.clouds.aws.session import StackSession, find_session
from llmops_kit.clouds.aws.traits import TRAITS
from llmops_kit.core.documents.run import SPEC_VARIABLE, RunSpec
from llmops_kit.core.layout import SPEC, run_spec_key, schedule_key
from llmops_kit.infra.engines import PROCESS, require_engine, require_image
from llmops_kit.infra.promoted_versions import require_servable
from llmops_kit.infra.resource_names import CloudNames
from llmops_kit.infra.schedules import proven_spec
from llmops_kit.infra.settings import refuse_set, setting_error, settings_origin
from llmops_kit.infra.targets.aws.limits import require_supported
from llmops_kit.settings.resolved import ResolvedStack, resolve_stack
from llmops_kit.settings.stack_settings import Settings

_LOCAL_ONLY = ("local_home", "local_runtime")
_REPOSITORIES = "repositories"


@dataclass(frozen=True)
class AwsResolved:
    """A stack on AWS: its checked settings, and the results of all look-ups."""

    stack: ResolvedStack
    caller: AwsCaller
    names: CloudNames
    specs: dict[str, RunSpec]
    """The spec of each schedule's run: the run's inputs, with the stack's image and the settings' machines."""
    zones: list[str]
    """The availability zones of the stack's own VPC; empty if it has none."""
    budget: bool
    """Whether it has a budget: it is wanted, and the account has budgets."""


def resolve(settings: Settings, prefix: str = "") -> AwsResolved:
    """Check the settings, and look up all resources that they name; `prefix` is that of names, see `CloudNames`.

    Raises:
        SettingError: naming the key.
    """
    aws, names = settings.aws, CloudNames(pulumi.get_project(), pulumi.get_stack(), prefix)
    stack = resolve_stack(settings, settings_origin(), names.stack, prefix)
    _require_honoured(stack)
    session = find_session(aws.region, aws.profile)
    caller = session.caller
    buckets = {
        thing: S3Bucket(session("s3"), given or names.bucket(thing, caller.account, caller.region), caller.account)
        for thing, given in (("store", aws.store_bucket), ("work", aws.work_bucket))
    }
    _require_servable(stack, caller, buckets["store"])
    if stack.schedules:
        require_image("training", stack.images.training, _REPOSITORIES, bool(caller.twin))
        _require_in_ecr("training", stack.images.training, caller)
    specs = {
        name: _submitted(session, names, buckets["work"], name, schedule.run).model_copy(
            update={"image": stack.images.training, "compute": schedule.compute}
        )
        for name, schedule in stack.schedules.items()
    }
    zones = (aws.network.zones or _first_zones(session)) if aws.network.mode == "own" else []
    budget = bool(aws.budget.monthly_usd) and _has_budgets(session, names)
    return AwsResolved(stack, caller, names, specs, zones, budget)


def _require_honoured(stack: ResolvedStack) -> None:
    """Refuse settings that this target can't honour, before any request to AWS."""
    settings = stack.settings
    refuse_set((), settings, _LOCAL_ONLY, "has no effect on AWS", "remove it, or set `target: local`")
    refuse_set((), settings, ("azure",), "has no effect on AWS", "remove it, or set `target: azure`")
    for endpoint in stack.endpoints.values():
        require_supported(endpoint)


def _require_servable(stack: ResolvedStack, caller: AwsCaller, store: S3Bucket) -> None:
    """Require a version and an image of each endpoint that is on, and an image that uses the machine's GPUs."""
    for name, endpoint in stack.endpoints.items():
        if endpoint.entry.endpoint:
            require_servable(name, endpoint.entry, store.read)
            require_engine(endpoint, TRAITS)
            require_image(endpoint.image_field, endpoint.image, _REPOSITORIES, bool(caller.twin))
            _require_in_ecr(endpoint.image_field, endpoint.image, caller)


def _require_in_ecr(field: str, image: str, caller: AwsCaller) -> None:
    """Require an image that SageMaker pulls, of any account's ECR; a twin also runs images as processes.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ContainerDefinition.html (Image)
    """
    if not image.startswith(PROCESS) and not image_repository_arn(image, caller.partition):
        fix = "copy it into a repository of ECR, in any account, and write that one's digest here"
        raise setting_error(("images", field), f"{image} is not in ECR, from which alone SageMaker pulls", fix)


def _submitted(session: StackSession, names: CloudNames, work: S3Bucket, name: str, run: str) -> RunSpec:
    """Returns the spec of a schedule's run. Jobs may write where runs are stored, so a spec counts only if its sha256
    is in the request of the run's job, or in the schedule that repeats it.
    """
    wanted = (
        (run_spec_key(run), partial(_sha256_of_job, session, job_name(names.of("run", 26), run))),
        (f"{schedule_key(name, run)}/{SPEC}", partial(_sha256_of_schedule, session, names, name)),
    )
    text = proven_spec(("aws", "schedules", name, "run"), run, work.url, work.read, wanted)
    return RunSpec.parse(text, where=f"run {run}")


def _sha256_of_job(session: StackSession, name: str) -> str:
    """Returns the sha256 of a submitted job's spec; empty if there is no such job, or an older kit's."""
    with explained(f"job {name}"):
        job = find(session("sagemaker").describe_training_job, TrainingJobName=name)
    return _named(job or {})


def _sha256_of_schedule(session: StackSession, names: CloudNames, name: str) -> str:
    """Returns the sha256 of the spec that a schedule repeats; empty if there is no such schedule, or an older kit's."""
    with explained(f"schedule {name}"):
        found = find(session("scheduler").get_schedule, GroupName=names.of("schedules"), Name=names.of(name))
    return _named(json.loads(found["Target"]["Input"]) if found else {})


def _named(job: dict[str, Any]) -> str:
    return job.get("Environment", {}).get(SPEC_VARIABLE, "")


def _has_budgets(session: StackSession, names: CloudNames) -> bool:
    """Returns whether the account has budgets, and warns if not. A budget only notifies, so that is no error."""
    with explained("budgets"):
        words = refusal(session("budgets"), session.caller.account, names.of("budget"))
    if words:
        pulumi.log.warn(
            f"this stack has no budget, so nobody is notified of its costs: {words}. Activate IAM access to billing as "
            "the account's root user, or ask who manages its organisation; `llmops:aws.budget.monthly_usd: 0` turns "
            "the budget off"
        )
    return not words


def _first_zones(session: StackSession) -> list[str]:
    """Returns the region's first zones:
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeAvailabilityZones.html
    """
    filters = {"zone-type": "availability-zone", "opt-in-status": "opt-in-not-required"}
    with explained("ec2"):
        answer = session("ec2").describe_availability_zones(
            Filters=[{"Name": name, "Values": [value]} for name, value in filters.items()]
        )
    return sorted(zone["ZoneName"] for zone in answer["AvailabilityZones"])[:2]
