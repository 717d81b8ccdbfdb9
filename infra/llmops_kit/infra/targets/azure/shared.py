"""Resources that clusters, endpoints and schedules of a stack on Azure depend on."""

from collections.abc import Sequence
from dataclasses import replace

import pulumi

from llmops_kit.infra.targets.azure import grants
from llmops_kit.infra.targets.azure.resources import audit, identity, images, observe, storage, vault, workspace
from llmops_kit.infra.targets.azure.resources.context import AzureStack, SharedResources
from llmops_kit.infra.targets.azure.resources.network import PrivateLinks
from llmops_kit.settings.signing import SigningSettings


def declare_shared(stack: AzureStack, keys: SigningSettings) -> SharedResources:
    """Declare the shared resources, with their private endpoints, role assignments and audit logs."""
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
    signing = vault.declare_signing_keys(stack, secrets, rights, keys)
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
    archive = audit.declare_archive(stack, encrypts) if given.audit else None
    observe.declare_diagnostics(stack, {**targets, **blobs}, records, archive)
    action_group = observe.declare_action_group(stack)
    if given.audit:
        audit.declare_key_alerts(stack, records, action_group)
    return SharedResources(
        storage=replace(data, ready=[*data.ready, *rights]),
        vault=secrets,
        signing=signing,
        registry=registry,
        training=identity.grant(stack, identities["training"], grants.training(ids), ready),
        endpoint=identity.grant(stack, identities["endpoint"], grants.endpoint(ids), ready),
        workspace=place,
        records=records,
        action_group=action_group,
    )
