"""Every look-up of target aws, and what it refuses before anything is declared."""

import json
from dataclasses import dataclass
from functools import partial
from typing import Any

import pulumi
from pydantic import ValidationError

from clouds.aws.errors import explained, find
from clouds.aws.jobs import is_accelerated, job_name
from clouds.aws.location import AwsCaller
from clouds.aws.objects import S3Bucket
from clouds.aws.session import StackSession, find_session
from clouds.aws.settings import AwsScheduleSettings
from contract.documents.run import SPEC_VARIABLE, Compute, RunSpec
from contract.documents.validation import first_message
from contract.layout import SPEC, run_spec_key, schedule_key
from infra.names import CloudNames
from infra.schedules import proven_spec
from infra.settings import Settings, refuse_set, setting_error
from infra.targets.aws.limits import instance_type_of, require_supported
from infra.versions import require_servable

_LOCAL_ONLY = ("local_home", "local_runtime")
_PROCESS = "process:"


@dataclass(frozen=True)
class AwsResolved:
    """A stack on AWS: its settings, checked, and everything that was looked up."""

    settings: Settings
    caller: AwsCaller
    project: str
    stack: str
    specs: dict[str, RunSpec]
    """The run of each schedule: a run's inputs, in the stack's image, on the machines that the settings name."""
    zones: list[str]
    """The availability zones of a VPC of the stack's own."""


def resolve(settings: Settings) -> AwsResolved:
    """Check the settings and look everything up.

    Raises:
        SettingError: naming the key.
    """
    _require_honoured(settings)
    aws, names = settings.aws, CloudNames(pulumi.get_project(), pulumi.get_stack())
    session = find_session(aws.region, aws.profile)
    caller = session.caller
    buckets = {
        thing: S3Bucket(session("s3"), given or names.bucket(thing, caller.account, caller.region))
        for thing, given in (("store", aws.store_bucket), ("work", aws.work_bucket))
    }
    _require_servable(settings, caller, names, buckets["store"])
    if aws.schedules:
        _require_image("training", settings.images.training, caller)
    specs = {
        name: _spec(settings, name, schedule, _submitted(session, names, buckets["work"], name, schedule))
        for name, schedule in aws.schedules.items()
    }
    zones = (aws.network.zones or _first_zones(session)) if aws.network.mode == "own" else []
    return AwsResolved(settings, caller, *names, specs, zones)


def _require_honoured(settings: Settings) -> None:
    """Refuse what this target can't honour, before AWS is asked for anything."""
    refuse_set((), settings, _LOCAL_ONLY, "has no effect on AWS", "remove it, or set `target: local`")
    refuse_set((), settings, ("azure",), "has no effect on AWS", "remove it, or set `target: azure`")
    for name in settings.endpoints:
        require_supported(settings, name)


def _require_servable(settings: Settings, caller: AwsCaller, names: CloudNames, store: S3Bucket) -> None:
    """Require the versions and the image of the endpoints that are on, and machines that the image makes use of."""
    serving = {name: entry for name, entry in settings.endpoints.items() if entry.endpoint}
    for name, entry in serving.items():
        require_servable(name, entry, store.read)
    image = settings.images.serving
    if serving:
        _require_image("serving", image, caller)
    if _is_the_kits(image, names, settings.aws.registry):
        for name in serving:
            _require_no_accelerators(*instance_type_of(settings, name))


def _require_image(name: str, reference: str, caller: AwsCaller) -> None:
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


def _require_no_accelerators(kind: str, key: tuple[str, ...]) -> None:
    if is_accelerated(kind):
        raise setting_error(
            key,
            f"the kit's serving image computes on processors: the accelerators of {kind} would be paid for, and idle",
            "write a type without them, such as ml.c5.2xlarge; or name an image of your own in `llmops:images.serving`,"
            " from another repository",
        )


def _is_the_kits(image: str, names: CloudNames, registry: str) -> bool:
    """Returns whether an image is the serving image for processors that `llmops images` builds and pushes."""
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
