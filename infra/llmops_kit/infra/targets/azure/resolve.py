"""All look-ups of the program on Azure and in the engine's state, before it declares anything."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pulumi

from llmops_kit.clouds.azure.endpoint_documents import state_of
from llmops_kit.clouds.azure.job_requests import job_name
from llmops_kit.clouds.azure.location import AzureLocation
from llmops_kit.clouds.azure.objects import AzureContainer
from llmops_kit.clouds.azure.session import AzureSession, location_of, open_session
from llmops_kit.clouds.azure.traits import TRAITS
from llmops_kit.core.documents.run import SPEC_VARIABLE
from llmops_kit.core.errors import KitError
from llmops_kit.core.layout import SPEC, run_spec_key, schedule_key
from llmops_kit.core.tags import made_for
from llmops_kit.infra.engines import require_engine, require_image
from llmops_kit.infra.promoted_versions import require_servable
from llmops_kit.infra.resource_names import CloudNames
from llmops_kit.infra.schedules import proven_spec
from llmops_kit.infra.settings import settings_origin
from llmops_kit.infra.targets.azure.given import GivenIdentity, GivenResources
from llmops_kit.infra.targets.azure.grants import assignment, grants
from llmops_kit.infra.targets.azure.inventory import AzureEntry, AzureInventory
from llmops_kit.infra.targets.azure.limits import require_ours
from llmops_kit.infra.targets.azure.online import BROKEN, has_traffic
from llmops_kit.settings.resolved import resolve_stack
from llmops_kit.settings.stack_settings import Settings

_HALF_WRITTEN = "failed to load checkpoint"
_STATE_PAUSES = (0.1, 0.5, 2.0)  # seconds
_AT_ONCE = 8
_REGISTRY = "registry"


@dataclass(frozen=True)
class AzureResolved:
    """A stack on Azure: its checked settings, and the results of all look-ups."""

    inventory: AzureInventory
    twin: str
    """Address of the twin; empty on Azure."""
    specs: dict[str, str]
    """The specs of runs by schedule."""
    known: frozenset[str] | None
    """Keys of the entries in the state; None: nothing of the stack exists."""
    left: frozenset[str]
    """Ids, in lower case, of resources that an interrupted update left: they exist, but not in the state."""


def resolve(settings: Settings, prefix: str = "") -> AzureResolved:
    """Check the settings, and look up all resources that they name or that an interrupted update left.

    `prefix` is that of names, see `CloudNames`.

    Raises:
        KitError: naming the key, or the resource that conflicts.
    """
    given, names = settings.azure, CloudNames(pulumi.get_project(), pulumi.get_stack(), prefix)
    stack = resolve_stack(settings, settings_origin(), names.stack, prefix)
    require_ours(stack)
    session = AzureSession(given.subscription)
    session.require(session.subscription)
    at = AzureLocation(session.subscription, session.caller.tenant, location_of(session, given))
    session = open_session(at)
    inventory = AzureInventory(names, at, stack)
    _require_vault_name(session, inventory)
    read = _reader(session, inventory)
    _require_servable(session, inventory, partial(read, "store"))
    specs = _read_specs(session, inventory, partial(read, "work"))
    inventory = replace(inventory, found=_find_given(session, inventory))
    known, left = _find_left(session, inventory)
    return AzureResolved(inventory, session.twin, specs, known, left)


def _require_vault_name(session: AzureSession, of: AzureInventory) -> None:
    """Check that no deleted vault has the name: with purge protection, it is reserved until the retention is over.

    https://learn.microsoft.com/azure/key-vault/general/key-vault-recovery

    Raises:
        KitError: one has.
    """
    name, at = of.vault.name, of.location
    if of.given.vault or session.arm.find(of.vault.id) is not None:
        return
    locations = f"/subscriptions/{at.subscription}/providers/Microsoft.KeyVault/locations"
    found = session.arm.find(f"{locations}/{at.location}/deletedVaults/{name}")
    if found is None:
        return
    until = str(found["properties"].get("scheduledPurgeDate", "its retention is over"))
    raise KitError(
        f"vault {name} was deleted, and its name is reserved until {until}",
        where="Key Vault",
        fix=f"`az keyvault recover --name {name}` (with group {of.group_name}) restores it with its keys, and "
        "`pulumi up` adopts it; or create a stack of another name with `pulumi stack init`; or set llmops:azure.vault",
    )


def _reader(session: AzureSession, of: AzureInventory) -> Callable[[str, str], bytes | None]:
    """Returns a reader of blobs by container and key; it returns None if blob or account do not exist (yet)."""
    containers: dict[str, AzureContainer | None] = {}

    def read(word: str, key: str) -> bytes | None:
        if word not in containers:
            account = session.arm.find(of.account_id)
            blobs = account["properties"]["primaryEndpoints"]["blob"] if account else ""
            url = f"{blobs}{of.container_name(word)}"
            containers[word] = AzureContainer(session, url) if blobs else None
        container = containers[word]
        return container.read(key) if container else None

    return read


def _require_servable(session: AzureSession, of: AzureInventory, read: Callable[[str], bytes | None]) -> None:
    stack, twin = of.resolved, bool(session.twin)
    for name, endpoint in stack.endpoints.items():
        if endpoint.entry.endpoint:
            require_servable(name, endpoint.entry, read)
            require_engine(endpoint, TRAITS)
            require_image(endpoint.image_field, endpoint.image, _REGISTRY, twin)
    if stack.schedules:
        require_image("training", stack.images.training, _REGISTRY, twin)


def _read_specs(session: AzureSession, of: AzureInventory, read: Callable[[str], bytes | None]) -> dict[str, str]:
    """Returns the spec of each schedule's run, as JSON. Jobs can write to the runs' container, so a spec counts only if
    its sha256 is in the request of the run's job, or in the schedule that repeats it.

    Raises:
        SettingError: there is no such run, or its spec is not the one that was submitted.
    """

    def of_job(id_: str) -> str:
        return _named((session.arm.find(id_) or {}).get("properties", {}))

    def of_schedule(id_: str) -> str:
        properties = (session.arm.find(id_) or {}).get("properties", {})
        return _named((properties.get("action") or {}).get("jobDefinition") or {})

    found = {}
    for name, schedule in of.resolved.schedules.items():
        job = f"{of.id_of('workspace')}/jobs/{job_name(of.job_prefix, schedule.run)}"
        wanted = (
            (run_spec_key(schedule.run), partial(of_job, job)),
            (f"{schedule_key(name, schedule.run)}/{SPEC}", partial(of_schedule, of.schedule(name).id)),
        )
        setting = ("azure", "schedules", name, "run")
        found[name] = proven_spec(setting, schedule.run, f"container {of.container_name('work')}", read, wanted)
    return found


def _named(job: dict[str, Any]) -> str:
    """Returns the sha256 of the spec in a job's request; empty for jobs of older kits, which have none."""
    return (job.get("environmentVariables") or {}).get(SPEC_VARIABLE, "")


def _find_given(session: AzureSession, of: AzureInventory) -> GivenResources:
    """Returns Azure's description of the resources that settings name.

    Raises:
        KitError: one of them is missing; names its key.
    """
    given = of.given

    def properties(key: str, id_: str) -> dict[str, Any]:
        return _look_up(session, key, id_)["properties"] if id_ else {}

    workspace = properties("workspace", given.workspace)
    if given.logs:
        _look_up(session, "logs", given.logs)
    identities = {name: id_ for name, id_ in given.identities.model_dump().items() if id_}
    return GivenResources(
        blob_url=str(properties("storage_account", given.storage_account).get("primaryEndpoints", {}).get("blob", "")),
        vault_url=str(properties("vault", given.vault).get("vaultUri", "")).rstrip("/"),
        login_server=str(properties("registry", given.registry).get("loginServer", "")),
        logs=str(properties("metrics", given.metrics).get("WorkspaceResourceId", "")),
        default_account=workspace.get("storageAccount") or "",
        identities={name: _find_identity(session, of, name, id_) for name, id_ in identities.items()},
    )


def _find_identity(session: AzureSession, of: AzureInventory, name: str, id_: str) -> GivenIdentity:
    document = _look_up(session, f"identities.{name}", id_)
    found, tags = document["properties"], document.get("tags") or {}
    has_roles = not made_for(of.project, of.stack).items() <= tags.items()
    return GivenIdentity(found["clientId"], found["principalId"], has_roles)


def _look_up(session: AzureSession, key: str, id_: str) -> dict[str, Any]:
    found = session.arm.find(id_)
    if found is None:
        raise KitError(
            f"{id_} does not exist, or these credentials may not read it",
            where=f"llmops:azure.{key}",
            fix="correct the id, or remove the setting, so that the kit creates one",
        )
    return found


def _find_left(session: AzureSession, of: AzureInventory) -> tuple[frozenset[str] | None, frozenset[str]]:
    """Returns the keys in the state, and the ids that an interrupted update left outside of it: the plugin fails to
    create those again.

    Raises:
        KitError: a resource of that name exists, and does not belong to this stack.
    """
    if not of.given.resource_group and not _is_left(session, of, of.group):
        return None, frozenset()
    known = _keys_in_state(of.project, of.stack)
    entries = (*of.entries(), *(assignment(of, each) for each in grants(of)))
    unknown = [entry for entry in entries if entry.key not in known]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = list(pool.map(partial(_is_left, session, of), unknown))
    return known, frozenset(entry.id.lower() for entry, left in zip(unknown, found, strict=True) if left)


def _is_left(session: AzureSession, of: AzureInventory, entry: AzureEntry) -> bool:
    """Returns whether a resource exists, except a failed deployment without requests, which the preparation removes."""
    found = session.arm.find(entry.id)
    if found is None:
        return False
    if "tags" in found and not of.tags.items() <= (found["tags"] or {}).items():
        raise KitError(
            "exists already, and does not belong to this stack",
            where=entry.id,
            fix="remove or rename it; or, if the stack may use it, set its id in llmops:azure",
        )
    endpoint, deployment, name = entry.id.partition("/deployments/")
    broken = deployment and state_of(found) in BROKEN
    return not broken or has_traffic(session.arm.find(endpoint), name)


def _keys_in_state(project: str, stack: str) -> frozenset[str]:
    """Returns the keys in this stack's state, which a program can't learn otherwise. Asks the engine again if it read
    only a part, from a state file that it was just writing.
    """
    name = f"{pulumi.get_organization()}/{project}/{stack}"
    for pause in _STATE_PAUSES:
        try:
            return _read_keys(name)
        except Exception as e:  # Pulumi raises nothing narrower
            if _HALF_WRITTEN not in str(e):
                raise
        time.sleep(pause)
    return _read_keys(name)


def _read_keys(stack: str) -> frozenset[str]:
    found = pulumi.runtime.invoke("pulumi:pulumi:readStackResourceOutputs", {"stackName": stack})
    urns = (urn.split("::", 3) for urn in found.value["outputs"])
    return frozenset(f"{type_.rpartition('$')[2]}::{name}" for _, _, type_, name in urns)
