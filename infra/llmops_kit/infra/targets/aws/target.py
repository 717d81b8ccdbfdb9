"""The target `aws`: resolves and declares a stack on AWS."""

from llmops_kit.infra.components import ModelEndpointArgs, ModelStoreArgs, TrainingArgs
from llmops_kit.infra.targets.aws.components import ModelEndpoint, ModelStore, Training, stack_outputs_of
from llmops_kit.infra.targets.aws.resolve import AwsResolved, resolve
from llmops_kit.infra.targets.aws.resources.identity import declare_endpoint_role
from llmops_kit.infra.targets.aws.resources.observe import declare_dashboard
from llmops_kit.infra.targets.outputs import OutputFields
from llmops_kit.settings.stack_settings import Settings


class AwsTarget:
    """Everything in one account and region; see llmops_kit.infra.targets.target.Target."""

    def resolve(self, settings: Settings) -> AwsResolved:
        """See llmops_kit.infra.targets.target.Target."""
        return resolve(settings)

    def declare(self, resolved: AwsResolved) -> OutputFields:
        """See llmops_kit.infra.targets.target.Target."""
        settings = resolved.stack.settings
        store_args = ModelStoreArgs(settings=settings.aws, expires=settings.expires, signing=settings.signing)
        store = ModelStore("store", store_args, resolved=resolved)
        training = Training("training", TrainingArgs(store=store, images=settings.images), resolved=resolved)
        of_endpoints = store.context.below(None)  # shared by all of them
        role = declare_endpoint_role(of_endpoints, settings.aws, store.scope(settings))
        declare_dashboard(of_endpoints, list(settings.endpoints))
        endpoints = {
            name: ModelEndpoint(
                name,
                ModelEndpointArgs(store=store, endpoint=entry, images=settings.images, shared=role),
                resolved=resolved,
            )
            for name, entry in settings.endpoints.items()
        }
        return stack_outputs_of(store, training, endpoints, role)
