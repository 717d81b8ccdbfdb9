"""Every look-up of target aws, and what it refuses before anything is declared."""

import json
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import pulumi
from pydantic import ValidationError

from llmops_kit.clouds.aws.errors import explained, find
from llmops_kit.clouds.aws.jobs import has_gpus, is_accelerated, job_name
from llmops_kit.clouds.aws.location import AwsCaller
from llmops_kit.clouds.aws.objects import S3Bucket
from llmops_kit.clouds.aws.session import StackSession, find_session
from llmops_kit.clouds.aws.settings import AwsScheduleSettings
from llmops_kit.contract.documents.run import SPEC_VARIABLE, Compute, RunSpec
from llmops_kit.contract.documents.validation import first_message
from llmops_kit.contract.layout import SPEC, run_spec_key, schedule_key
from llmops_kit.infra.engines import ImageField, Machine, missing_image, require_engine, serving_field, serving_image
from llmops_kit.infra.names import CloudNames
from llmops_kit.infra.schedules import proven_spec
from llmops_kit.infra.settings import refuse_set, setting_error
from llmops_kit.infra.targets.aws.limits import instance_type_of, require_supported
from llmops_kit.infra.versions import require_servable
from llmops_kit.settings.stack_settings import Settings

_LOCAL_ONLY = ("local_home", "local_runtime")
_PROCESS = "process:"


@dataclass(frozen=True)
class AwsResolved:
    """A stack on AWS: its settings, checked, and everything that was looked up."""

    settings: Settings
    caller: AwsCaller
    names: CloudNames
    specs: dict[str, RunSpec]
    """The run of each schedule: a run's inputs, in the stack's image, on the machines that the settings name."""
    zones: list[str]
    """The availability zones of a VPC of the stack's own."""
    images: dict[str, ImageField]
    """The field of `images` of each endpoint."""


def resolve(settings: Settings, prefix: str = "") -> AwsResolved:
    """Check the settings and look everything up; `prefix`: of names, see `CloudNames`.

    Raises:
        SettingError: naming the key.
    """
    _require_honoured(settings)
    aws, names = settings.aws, CloudNames(pulumi.get_project(), pulumi.get_stack(), prefix)
    session = find_session(aws.region, aws.profile)
    caller = session.caller
    buckets = {
        thing: S3Bucket(session("s3"), given or names.bucket(thing, caller.account, caller.region), caller.account)
        for thing, given in (("store", aws.store_bucket), ("work", aws.work_bucket))
    }
    images = _require_servable(settings, caller, names, buckets["store"])
    if aws.schedules:
        _require_image("training", settings.images.training, caller)
    specs = {
        name: _spec(settings, name, schedule, _submitted(session, names, buckets["work"], name, schedule))
        for name, schedule in aws.schedules.items()
    }
    zones = (aws.network.zones or _first_zones(session)) if aws.network.mode == "own" else []
    return AwsResolved(settings, caller, names, specs, zones, images)


def _require_honoured(settings: Settings) -> None:
    """Refuse what this target can't honour, before AWS is asked for anything."""
    refuse_set((), settings, _LOCAL_ONLY, "has no effect on AWS", "remove it, or set `target: local`")
    refuse_set((), settings, ("azure",), "has no effect on AWS", "remove it, or set `target: azure`")
    for name in settings.endpoints:
        require_supported(settings, name)


def _require_servable(
    settings: Settings, caller: AwsCaller, names: CloudNames, store: S3Bucket
) -> dict[str, ImageField]:
    """Require the versions and the images of the endpoints that are on, and machines that these make use of.

    Returns:
        The field of `images` of each endpoint, those that are off too.
    """
    ours = _is_the_kits(settings.images.serving, names, settings.aws.registry)
    fields: dict[str, ImageField] = {}
    for name, entry in settings.endpoints.items():
        machine = _machine(*instance_type_of(settings, name))
        fields[name] = serving_field(settings, name, machine.gpus, ours)
        if entry.endpoint:
            require_servable(name, entry, store.read)
            require_engine(settings, name, machine, ours)
            _require_image(fields[name], serving_image(settings, fields[name]), caller)
    return fields


def _machine(kind: str, key: tuple[str, ...]) -> Machine:
    return Machine(kind, key, has_gpus(kind), is_accelerated(kind), "ml.c5.2xlarge", "ml.g5.xlarge")


def _require_image(name: Literal["training"] | ImageField, reference: str, caller: AwsCaller) -> None:
    key = ("images", name)
    if not reference:
        raise setting_error(key, "is missing", missing_image(name))
    if reference.startswith(_PROCESS) and not caller.twin:
        raise setting_error(
            key,
            f"{reference} runs on a twin alone",
            "`llmops images push` pushes an image of the kit to the stack's repositories, and writes its digest here",
        )


def _is_the_kits(image: str, names: CloudNames, registry: str) -> bool:
    """Returns whether `images.serving` is what `llmops images` builds and pushes, for processors alone, or not set."""
    if not image:
        return True
    repository = image.partition("@")[0]
    pushed = f"{registry}/serving" if registry else f"/{names.of('serving')}"
    return repository == f"{_PROCESS}serving" or repository.endswith(pushed)


def _submitted(
    session: StackSession, names: CloudNames, work: S3Bucket, name: str, schedule: AwsScheduleSettings
) -> RunSpec:
    """Returns the spec of a schedule's run. Jobs may write where runs are stored, so a spec counts only if its sha256
    is in the request of the run's job, or in the schedule that repeats it.
    """
    run = schedule.run
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


def _spec(settings: Settings, name: str, schedule: AwsScheduleSettings, submitted: RunSpec) -> RunSpec:
    own = {"instance_type": schedule.instance_type, "max_hours": schedule.max_hours}
    given = settings.aws.jobs.model_dump() | {key: value for key, value in own.items() if value}
    try:
        compute = Compute.model_validate(given)
    except ValidationError as e:
        what = f"with `jobs`: {first_message(e)}"
        raise setting_error(("aws", "schedules", name), what, "change one of the two") from None
    return submitted.model_copy(update={"image": settings.images.training, "compute": compute})


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
