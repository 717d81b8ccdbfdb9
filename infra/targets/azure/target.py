"""The target `azure`: which resources a stack on Azure has."""

from collections.abc import Sequence
from dataclasses import replace

import pulumi
from pulumi.runtime import register_stack_transformation

from infra.engines import serving_image
from infra.settings import Settings
from infra.targets.azure import grants
from infra.targets.azure.resolve import AzureResolved, resolve
from infra.targets.azure.resources import endpoint as endpoints
from infra.targets.azure.resources import identity, images, observe, storage, training, vault, workspace
from infra.targets.azure.resources.network import PrivateLinks
from infra.targets.azure.resources.stack import AzureStack, SharedResources, declare_stack
from infra.targets.outputs import OutputFields, endpoint_output, stack_outputs


class AzureTarget:
    """Everything in one subscription, resource group and location; see infra.targets.target.Target."""

    def resolve(self, settings: Settings) -> AzureResolved:
        """See infra.targets.target.Target."""
        return resolve(settings)

    def declare(self, resolved: AzureResolved) -> OutputFields:
        """See infra.targets.target.Target."""
        settings, ids = resolved.inventory.settings, resolved.inventory
        register_stack_transformation(_drop_aliases)
        stack = declare_stack(ids, resolved.twin, resolved.known, resolved.left)
        shared = _declare_shared(stack)
        clusters = training.declare_computes(stack, shared)
        environments = training.declare_environments(stack, shared)
        training.declare_schedules(stack, shared, resolved.specs, environments, clusters)
        observe.declare_budget(stack, shared.action_group)
        return stack_outputs(
            settings,
            ids.stack,
            ids.project,
            store=shared.storage.store_url,
            private_key=shared.signing.reference,
            public_key=shared.signing.public_key,
            training_image=settings.images.training,
            runs=pulumi.Output.concat(shared.storage.work_url, "/runs"),
            endpoints=_declare_endpoints(stack, shared, environments),
            expires=settings.expires,
            azure={
                **_outputs(stack, shared),
                "twin": bool(resolved.twin),
                "repositories": images.repositories(shared.registry),
                "computes": {name: cluster.model_dump() for name, cluster in clusters.items()},
                "environments": {name: environment.id for name, environment in environments.items()},
            },
        )


def _drop_aliases(resource: pulumi.ResourceTransformationArgs) -> None:
    """Drop the aliases that pulumi-azure-native gives a resource, up to 50: its type in each version of Azure's API.

    The kit never declared those types. The SDK works out a URN for each of them, a third of a preview's time.
    """
    if resource.opts.aliases:
        resource.opts.aliases = [a for a in resource.opts.aliases if not _is_api_version(a)]


def _is_api_version(alias: object) -> bool:
    return isinstance(alias, pulumi.Alias) and str(alias.type_).startswith("azure-native:")


def _declare_shared(stack: AzureStack) -> SharedResources:
    """Declares what clusters, endpoints and schedules depend on, from the resource group to the workspace."""
    ids, given = stack.inventory, stack.azure
    records = observe.declare_records(stack)
    words = ("training", "endpoint", *([] if given.workspace else ["workspace"]))
    identities = {name: identity.declare_identity(stack, name) for name in words}
    ready: dict[str, Sequence[pulumi.Resource]] = {"metrics": records.ready}
    encrypts = None
    if given.encryption.key:
        ready["encryption"] = identities["workspace"].ready
        encrypts = identity.grant(stack, identities["workspace"], grants.encryption(ids), ready)
    links = PrivateLinks(stack)
    data = links.link("storage", storage.declare_storage(stack, encrypts))
    scratch = links.link("scratch", storage.declare_scratch(stack, encrypts, data))
    secrets = links.link("vault", vault.declare_vault(stack))
    registry = links.link("registry", images.declare_registry(stack, encrypts))
    ready |= {"storage": data.ready, "store": data.ready, "work": data.ready, "scratch": scratch.ready}
    ready |= {"vault": secrets.ready, "registry": registry.ready}
    rights = identity.grant_deployer(stack, data, ready)
    signing = vault.declare_signing_key(stack, secrets, rights)
    works_as = None
    if not given.workspace:
        works_as = identity.grant(stack, encrypts or identities["workspace"], grants.workspace(ids), ready)
    place = workspace.declare_workspace(
        stack, storage=data, scratch=scratch, vault=secrets, registry=registry, records=records, identity=works_as
    )
    if works_as:
        ready["workspace"] = place.ready
        itself = identity.grant(stack, replace(works_as, ready=[]), grants.on_workspace(ids), ready)
        place = replace(place, ready=[*place.ready, *itself.ready])
    place = links.link("workspace", place)
    ready |= {"workspace": place.ready, "logs": place.ready}
    identity.grant_operators(stack, ready)
    targets = {"vault": secrets.id, "registry": registry.id, "workspace": place.id}
    blobs = {
        word: pulumi.Output.concat(id_, "/blobServices/default")
        for word, id_ in (("storage", data.id), ("scratch", scratch.id))
    }
    observe.declare_diagnostics(stack, {**targets, **blobs}, records)
    return SharedResources(
        storage=replace(data, ready=[*data.ready, *rights]),
        vault=secrets,
        signing=signing,
        registry=registry,
        training=identity.grant(stack, identities["training"], grants.training(ids), ready),
        endpoint=identity.grant(stack, identities["endpoint"], grants.endpoint(ids), ready),
        workspace=place,
        records=records,
        action_group=observe.declare_action_group(stack),
    )


def _outputs(stack: AzureStack, shared: SharedResources) -> OutputFields:
    ids, settings = stack.inventory, stack.settings
    return {
        "subscription": ids.location.subscription,
        "tenant": ids.location.tenant,
        "location": ids.location.location,
        "resource_group": shared.workspace.group,
        "workspace": shared.workspace.name,
        "endpoints": {name: ids.endpoint(name).name for name in settings.endpoints},
        "storage_account": shared.storage.account,
        "blob_url": shared.storage.blob_url,
        "store_container": shared.storage.store,
        "work_container": shared.storage.work,
        "datastores": shared.workspace.datastores,
        "vault_url": shared.vault.url,
        "registry": shared.registry.login_server,
        "identities": {"training": shared.training.id, "endpoint": shared.endpoint.id},
        "client_ids": {"training": shared.training.client_id, "endpoint": shared.endpoint.client_id},
        "logs": shared.records.logs,
        "metrics": shared.records.metrics,
        "jobs": settings.azure.jobs.model_dump(),
        "job_prefix": ids.job_prefix,
        "tags": ids.all_tags,
        "serving_image": settings.images.serving,
    }


def _declare_endpoints(
    stack: AzureStack, shared: SharedResources, environments: dict[str, training.AzureEnvironment]
) -> OutputFields:
    """Declares the resources of each endpoint and returns their stack outputs."""
    entries = stack.settings.endpoints
    versions = endpoints.declare_versions(stack, shared, {name: e for name, e in entries.items() if e.endpoint})
    found: OutputFields = {}
    for name, entry in entries.items():
        url: pulumi.Input[str] = ""
        if entry.endpoint:
            environment = environments[stack.inventory.image_field(name)]
            url = endpoints.declare_endpoint(stack, name, entry, shared, environment, versions[name])
        image = serving_image(stack.settings, stack.inventory.image_field(name))
        found[name] = endpoint_output(entry, url, image, mode=entry.mode)
    return found
