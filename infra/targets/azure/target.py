"""The target `azure`: which resources a stack on Azure has."""

from dataclasses import dataclass, replace
from functools import partial

import pulumi

from infra.names import CloudNames
from infra.settings import Settings, refuse_set
from infra.targets.azure import endpoint as endpoints
from infra.targets.azure import identity, images, network, observe, storage, training, vault, workspace
from infra.targets.azure.here import Ground, Here, group_name, make_here, resource_id
from infra.targets.azure.identity import Things
from infra.targets.azure.limits import require_machines, require_no_accelerators, require_supported
from infra.targets.azure.session import Caller, find_caller
from infra.targets.target import OutputFields
from infra.versions import require_servable

_ELSEWHERE = {"local_home": "local", "local_runtime": "local", "aws": "aws"}


@dataclass(frozen=True)
class Resolved:
    """A stack on Azure: its settings, checked, and everything that was looked up."""

    settings: Settings
    caller: Caller
    specs: dict[str, str]
    """The specs of runs by schedule."""


class AzureTarget:
    """Everything in one subscription, resource group and location; see infra.targets.target.Target."""

    def resolve(self, settings: Settings) -> Resolved:
        """See infra.targets.target.Target."""
        _require_ours(settings)
        given = settings.azure
        caller = find_caller(given.subscription, given.location, given.resource_group)
        return Resolved(settings, caller, _require_ready(settings, caller))

    def declare(self, resolved: Resolved) -> OutputFields:
        """See infra.targets.target.Target."""
        settings, given = resolved.settings, resolved.settings.azure
        here = make_here(resolved.caller, settings)
        ground = _provide_ground(here)
        clusters = training.provide_computes(here, ground)
        environments = training.provide_environments(here, ground)
        training.provide_schedules(here, ground, resolved.specs, environments, clusters)
        observe.provide_budget(here, ground.action_group)
        return {
            "schema": "stack-outputs/1",
            "target": settings.target,
            "stack": here.stack,
            "project": here.project,
            "expires": settings.expires,
            "store": {"url": ground.storage.store_url},
            "signing": {"private_key": ground.signing.reference, "public_key": ground.signing.public_key},
            "training": {
                "image": settings.images.training,
                "runs": pulumi.Output.concat(ground.storage.work_url, "/runs"),
            },
            "endpoints": _endpoints(here, ground, environments),
            "azure": {
                **_place(here, ground),
                **_parts(ground),
                "repositories": images.repositories(ground.registry),
                "computes": {name: cluster.model_dump() for name, cluster in clusters.items()},
                "environments": {name: environment.id for name, environment in environments.items()},
                "jobs": given.jobs.model_dump(),
                "job_prefix": training.job_prefix(here),
                "tags": here.all_tags,
                "serving_image": settings.images.serving,
            },
        }


def _provide_ground(here: Here) -> Ground:
    """What clusters, endpoints and schedules stand on, from the group to the workspace."""
    given = here.settings.azure
    records = observe.provide_records(here)
    ids = {name: identity.provide_identity(here, name, getattr(given.identities, name)) for name in _identities(here)}
    keeper = identity.grant_encryption(here, ids["workspace"]) if given.encryption.key else None
    doors = network.Doors(here)
    data = doors.open("storage", storage.provide_storage(here, keeper))
    scratch = doors.open("scratch", storage.provide_scratch(here, keeper, data))
    secrets = doors.open("vault", vault.provide_vault(here))
    registry = doors.open("registry", images.provide_registry(here, keeper))
    things = Things(data, scratch, secrets, registry, records.plain_metrics, records.plain_logs, records.ready)
    rights = identity.grant_deployer(here, things)
    signing = vault.provide_signing_key(here, secrets, rights)
    made = None if given.workspace else identity.grant_workspace(here, keeper or ids["workspace"], things)
    place = workspace.provide_workspace(
        here, storage=data, scratch=scratch, vault=secrets, registry=registry, metrics=records.metrics, identity=made
    )
    place = doors.open("workspace", identity.grant_on_workspace(here, made, place) if made else place)
    identity.grant_operators(here, things, place.plain_id, place.ready)
    _record(here, things, place.id, place.plain_id, records)
    return Ground(
        resource_group=here.group,
        location=here.location,
        storage=replace(data, ready=[*data.ready, *rights]),
        vault=secrets,
        signing=signing,
        registry=registry,
        training=identity.grant_training(here, ids["training"], things, place),
        endpoint=identity.grant_endpoint(here, ids["endpoint"], things, place),
        workspace=place,
        logs=records.logs,
        metrics=records.metrics,
        action_group=observe.provide_action_group(here),
    )


def _identities(here: Here) -> list[str]:
    return ["training", "endpoint", *([] if here.settings.azure.workspace else ["workspace"])]


def _record(here: Here, things: Things, workspace_id: pulumi.Input[str], plain: str, records: observe.Records) -> None:
    """What is recorded of the stack's own things; of what is given, its owner says it."""
    given, data, scratch = here.settings.azure, things.storage, things.scratch
    blobs = "/blobServices/default"
    wanted = {
        "storage": (given.storage_account, pulumi.Output.concat(data.id, blobs), f"{data.plain_id}{blobs}"),
        "scratch": (given.storage_account, pulumi.Output.concat(scratch.id, blobs), f"{scratch.plain_id}{blobs}"),
        "vault": (given.vault, things.vault.id, things.vault.plain_id),
        "registry": (given.registry, things.registry.id, things.registry.plain_id),
        "workspace": (given.workspace, workspace_id, plain),
    }
    for thing, (had, target, plain_id) in wanted.items():
        if not had:
            observe.provide_diagnostics(here, thing, target, plain_id, records)


def _place(here: Here, ground: Ground) -> OutputFields:
    return {
        "subscription": here.caller.subscription,
        "tenant": here.caller.tenant,
        "location": here.location,
        "twin": bool(here.caller.twin),
        "resource_group": ground.workspace.group,
        "workspace": ground.workspace.name,
        "endpoints": {name: endpoints.endpoint_name(here, name) for name in here.settings.endpoints},
    }


def _parts(ground: Ground) -> OutputFields:
    return {
        "storage_account": ground.storage.account,
        "blob_url": ground.storage.blob_url,
        "store_container": ground.storage.store,
        "work_container": ground.storage.work,
        "datastores": ground.workspace.datastores,
        "vault_url": ground.vault.url,
        "registry": ground.registry.login_server,
        "identities": {"training": ground.training.id, "endpoint": ground.endpoint.id},
        "client_ids": {"training": ground.training.client_id, "endpoint": ground.endpoint.client_id},
        "logs": ground.logs,
        "metrics": ground.metrics,
    }


def _require_ours(settings: Settings) -> None:
    """Refuse what this target can't honour, before Azure is asked for anything.

    Raises:
        SettingError: naming the key.
    """
    for field, target in _ELSEWHERE.items():
        refuse_set((), settings, (field,), "has no effect on Azure", f"remove it, or set `target: {target}`")
    require_machines(settings)
    for name in settings.endpoints:
        require_supported(settings, name)


def _require_ready(settings: Settings, caller: Caller) -> dict[str, str]:
    """See that versions, images, runs and names are there; the runs' specs by schedule.

    Raises:
        KitError: naming the key, or what is in the way.
    """
    given, own = settings.azure, CloudNames(pulumi.get_project(), pulumi.get_stack())
    group = group_name(own, given)
    vault.require_name(own, caller.place, given, group)
    account = given.storage_account or resource_id(
        caller.subscription, group, storage.KIND, storage.account_name(own, caller.subscription)
    )
    read = partial(storage.read_object, caller.place, account)
    serving = [(name, entry) for name, entry in settings.endpoints.items() if entry.endpoint]
    for name, entry in serving:
        require_servable(name, entry, partial(read, storage.container_name(own, given, "store")))
    if serving:
        images.require_image("serving", settings.images.serving, caller)
    if images.is_the_kits(settings.images.serving):
        for name, _ in serving:
            require_no_accelerators(settings, name)
    if given.schedules:
        images.require_image("training", settings.images.training, caller)
    place = given.workspace or resource_id(caller.subscription, group, workspace.KIND, workspace.workspace_name(own))
    return training.read_specs(caller.place, account, place, own, given)


def _endpoints(here: Here, ground: Ground, environments: dict[str, training.Environment]) -> OutputFields:
    """What belongs to each entry, and what the stack says of it."""
    serving = {name: entry for name, entry in here.settings.endpoints.items() if entry.endpoint}
    versions = endpoints.provide_versions(here, ground, serving)
    found: OutputFields = {}
    for name, entry in here.settings.endpoints.items():
        made = (
            endpoints.provide_endpoint(here, name, entry, ground, environments["serving"], versions[name])
            if entry.endpoint
            else None
        )
        found[name] = {
            "url": made.url if made else "",
            "model": entry.model,
            "sha256": entry.version.sha256,
            "image": here.settings.images.serving,
            "key": "",
            "on": entry.endpoint,
            "mode": entry.mode,
        }
    return found
