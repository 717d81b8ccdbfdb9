"""The target `azure`: resolves and declares a stack on Azure."""

from llmops_kit.infra.components import ModelEndpointArgs, ModelStoreArgs, TrainingArgs
from llmops_kit.infra.targets.azure.components import ModelEndpoint, ModelStore, Training, stack_outputs_of
from llmops_kit.infra.targets.azure.resolve import AzureResolved, resolve
from llmops_kit.infra.targets.outputs import OutputFields
from llmops_kit.settings.stack_settings import Settings


class AzureTarget:
    """Everything in one subscription, resource group and location; see llmops_kit.infra.targets.target.Target."""

    def resolve(self, settings: Settings) -> AzureResolved:
        """See llmops_kit.infra.targets.target.Target."""
        return resolve(settings)

    def declare(self, resolved: AzureResolved) -> OutputFields:
        """See llmops_kit.infra.targets.target.Target."""
        settings = resolved.inventory.resolved.settings
        store_args = ModelStoreArgs(settings=settings.azure, expires=settings.expires, signing=settings.signing)
        store = ModelStore("store", store_args, resolved=resolved)
        training = Training("training", TrainingArgs(store=store, images=settings.images), resolved=resolved)
        endpoints = {
            name: ModelEndpoint(
                name, ModelEndpointArgs(store=store, endpoint=entry, images=settings.images), resolved=resolved
            )
            for name, entry in settings.endpoints.items()
        }
        return stack_outputs_of(store, training, endpoints)
