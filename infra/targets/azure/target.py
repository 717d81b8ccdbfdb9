"""The target `azure`: which resources a stack on Azure has."""

import pulumi

from infra.components import ModelEndpointArgs, ModelStoreArgs, TrainingArgs
from infra.settings import Settings
from infra.targets.azure.components import ModelEndpoint, ModelStore, Training
from infra.targets.azure.resolve import AzureResolved, resolve
from infra.targets.azure.resources import images
from infra.targets.azure.resources.stack import AzureStack, SharedResources
from infra.targets.azure.resources.training import ImageName
from infra.targets.outputs import OutputFields, endpoint_output, stack_outputs


class AzureTarget:
    """Everything in one subscription, resource group and location; see infra.targets.target.Target."""

    def resolve(self, settings: Settings) -> AzureResolved:
        """See infra.targets.target.Target."""
        return resolve(settings)

    def declare(self, resolved: AzureResolved) -> OutputFields:
        """See infra.targets.target.Target."""
        settings, ids = resolved.inventory.settings, resolved.inventory
        store_args = ModelStoreArgs(settings=settings.azure, expires=settings.expires)
        store = ModelStore("store", store_args, resolved=resolved)
        training = Training("training", TrainingArgs(store=store, images=settings.images), resolved=resolved)
        return stack_outputs(
            settings,
            ids.stack,
            ids.project,
            store=store.url,
            private_key=store.signing_key,
            public_key=store.public_key,
            training_image=training.image,
            runs=store.runs,
            endpoints=_endpoints(resolved, store),
            expires=settings.expires,
            azure={
                **_outputs(store.context, store.shared),
                "twin": bool(resolved.twin),
                "repositories": images.repositories(store.shared.registry),
                "computes": {name: cluster.model_dump() for name, cluster in training.clusters.items()},
                "environments": _environments(settings, store),
            },
        )


def _environments(settings: Settings, store: ModelStore) -> dict[str, pulumi.Output[str]]:
    """Returns the ids of the environments of all images that the settings have."""
    images = settings.images
    wanted: dict[ImageName, str] = {
        "training": images.training,
        "serving": images.serving,
        "serving_vllm": images.serving_vllm,
    }
    return {field: store.environment(field, image).id for field, image in wanted.items() if image}


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


def _endpoints(resolved: AzureResolved, store: ModelStore) -> OutputFields:
    """Declares the endpoints and returns their stack outputs."""
    settings = resolved.inventory.settings
    found: OutputFields = {}
    for name, entry in settings.endpoints.items():
        args = ModelEndpointArgs(store=store, endpoint=entry, images=settings.images)
        made = ModelEndpoint(name, args, resolved=resolved)
        found[name] = endpoint_output(entry, made.url, made.image, mode=entry.mode)
    return found
