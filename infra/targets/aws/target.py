"""The target `aws`: which resources a stack on AWS has."""

from dataclasses import dataclass
from functools import partial

import pulumi

from infra.names import CloudNames
from infra.settings import Settings, refuse_set
from infra.targets.aws.limits import instance_type_of, require_supported
from infra.targets.aws.resources import endpoint as endpoints
from infra.targets.aws.resources import observe, storage, training
from infra.targets.aws.resources.identity import Things, job_prefix, provide_roles, provide_signing_key
from infra.targets.aws.resources.images import is_the_kits, provide_images, require_image, require_no_accelerators
from infra.targets.aws.resources.network import provide_network
from infra.targets.aws.resources.stack import Here, make_here, place_of
from infra.targets.aws.session import Caller, find_caller
from infra.targets.target import OutputFields
from infra.versions import require_servable

_LOCAL_ONLY = ("local_home", "local_runtime")


@dataclass(frozen=True)
class Resolved:
    """A stack on AWS: its settings, checked, and everything that was looked up."""

    settings: Settings
    caller: Caller
    specs: dict[str, str]
    """The specs of runs by schedule."""


class AwsTarget:
    """Everything in one account and region; see infra.targets.target.Target."""

    def resolve(self, settings: Settings) -> Resolved:
        """See infra.targets.target.Target."""
        _require_ours(settings)
        caller = find_caller(settings.aws.region, settings.aws.profile)
        return Resolved(settings, caller, _require_ready(settings, caller))

    def declare(self, resolved: Resolved) -> OutputFields:
        """See infra.targets.target.Target."""
        settings = resolved.settings
        here = make_here(resolved.caller, settings)
        data = storage.provide_storage(here)
        repositories = provide_images(here, data.key_arn)
        network = provide_network(here, data)
        signing = provide_signing_key(here)
        roles = provide_roles(here, Things(data, repositories, network))
        group = training.provide_group(here)
        training.provide_schedules(here, data, network, roles, resolved.specs)
        topic = observe.provide_topic(here, data.key_arn)
        observe.provide_budget(here, topic)
        observe.provide_dashboard(here)
        ground = endpoints.Ground(data, network, roles.endpoint, signing.public_key, settings.images.serving, topic.arn)
        runs = pulumi.Output.concat("s3://", data.work.name, "/runs")
        return {
            "schema": "stack-outputs/1",
            "target": settings.target,
            "stack": here.stack,
            "project": here.project,
            "expires": settings.expires,
            "store": {"url": pulumi.Output.concat("s3://", data.store.name)},
            "signing": {
                "private_key": pulumi.Output.concat("awskms:///", signing.arn),
                "public_key": signing.public_key,
            },
            "training": {"image": settings.images.training, "runs": runs},
            "endpoints": _endpoints(here, ground),
            "aws": {
                **_place(here),
                "kms_key": data.key_arn,
                "roles": roles.arns,
                "repositories": repositories.urls,
                "network": network.ids,
                "model_package_group": group.model_package_group_name,
                "work_bucket": data.work.name,
                "alarms_topic": topic.arn,
                "jobs": settings.aws.jobs.model_dump(),
                "job_prefix": job_prefix(here),
                "tags": here.job_tags,
                "serving_image": settings.images.serving,
            },
        }


def _place(here: Here) -> OutputFields:
    return {
        "account": here.account,
        "region": here.region,
        "partition": here.caller.partition,
        "twin": bool(here.caller.twin),
        "endpoints": {name: here.names.of(name) for name in here.settings.endpoints},
    }


def _require_ours(settings: Settings) -> None:
    """Refuse what this target can't honour, before AWS is asked for anything.

    Raises:
        SettingError: naming the key.
    """
    refuse_set((), settings, _LOCAL_ONLY, "has no effect on AWS", "remove it, or set `target: local`")
    refuse_set((), settings, ("azure",), "has no effect on AWS", "remove it, or set `target: azure`")
    for name in settings.endpoints:
        require_supported(settings, name)


def _require_ready(settings: Settings, caller: Caller) -> dict[str, str]:
    """See that versions, images and runs are there; the runs' specs by schedule.

    Raises:
        SettingError: naming the key.
    """
    place = place_of(caller, settings)
    names = CloudNames(pulumi.get_project(), pulumi.get_stack())
    store = storage.store_name(names, place, settings.aws.store_bucket)
    serving = [(name, entry) for name, entry in settings.endpoints.items() if entry.endpoint]
    for name, entry in serving:
        require_servable(name, entry, partial(storage.read_object, place, store))
    if serving:
        require_image("serving", settings.images.serving, caller)
    if is_the_kits(settings.images.serving, names, settings.aws.registry):
        for name, _ in serving:
            require_no_accelerators(*instance_type_of(settings, name))
    if settings.aws.schedules:
        require_image("training", settings.images.training, caller)
    work = storage.work_name(names, place, settings.aws.work_bucket)
    return training.read_specs(place, work, settings.aws.schedules, names)


def _endpoints(here: Here, ground: endpoints.Ground) -> OutputFields:
    """What belongs to each entry, and what the stack says of it."""
    found: OutputFields = {}
    for name, entry in here.settings.endpoints.items():
        log = observe.provide_log(here, name, ground.storage.key_arn)
        made = endpoints.provide_endpoint(here, name, entry, ground, log) if entry.endpoint else None
        found[name] = {
            "url": made.url if made else "",
            "model": entry.model,
            "sha256": entry.version.sha256,
            "image": ground.image,
            "key": "",
            "on": entry.endpoint,
            "mode": entry.mode,
        }
    return found
