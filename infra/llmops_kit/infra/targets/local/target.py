"""The target `local`: resolves and declares a stack on this machine."""

from llmops_kit.infra.components import ModelEndpointArgs, ModelStoreArgs, TrainingArgs
from llmops_kit.infra.targets.local.components import LocalSettings, ModelEndpoint, ModelStore, Training
from llmops_kit.infra.targets.local.resolve import LocalResolved, resolve
from llmops_kit.infra.targets.local.resources.endpoint import Hosting
from llmops_kit.infra.targets.outputs import OutputFields, TrainingImages, endpoint_output, stack_outputs
from llmops_kit.settings.stack_settings import Settings


class LocalTarget:
    """Everything in `<local_home>/<stack>/`; see llmops_kit.infra.targets.target.Target."""

    def resolve(self, settings: Settings) -> LocalResolved:
        """See llmops_kit.infra.targets.target.Target."""
        return resolve(settings)

    def declare(self, resolved: LocalResolved) -> OutputFields:
        """See llmops_kit.infra.targets.target.Target."""
        settings = resolved.stack.settings
        here = LocalSettings(settings.local_home, settings.local_runtime)
        store = ModelStore("store", ModelStoreArgs(settings=here, signing=settings.signing), resolved=resolved)
        training = Training("training", TrainingArgs(store=store), resolved=resolved)
        hosting = Hosting(resolved.home, settings.endpoints)
        found: OutputFields = {}
        for name, entry in settings.endpoints.items():
            args = ModelEndpointArgs(store=store, endpoint=entry, shared=hosting)
            made = ModelEndpoint(name, args, resolved=resolved)
            found[name] = endpoint_output(entry, made.url, made.image, str(resolved.home.api_key(name)))
        return stack_outputs(
            "local",
            resolved.name,
            str(resolved.project),
            store=store.url,
            private_key=store.signing_key,
            public_key=store.public_key,
            training=TrainingImages(training.image),
            runs=store.runs,
            endpoints=found,
            hosting=hosting.home,
        )
