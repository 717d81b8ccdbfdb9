"""A store, training and an assistant on Azure, in a Pulumi program of one's own."""

import pulumi

from infra.targets.azure.components import (
    AzureSettings,
    Endpoint,
    Images,
    ModelEndpoint,
    ModelEndpointArgs,
    ModelStore,
    ModelStoreArgs,
    Training,
    TrainingArgs,
    stack_outputs_of,
)

config = pulumi.Config()
images = Images(training=config.require("training"), serving=config.require("serving"))
store = ModelStore("models", ModelStoreArgs(settings=AzureSettings(location="westeurope")))
training = Training("training", TrainingArgs(store=store, images=images))
endpoints = {}
if model := config.get("model"):  # the first update has none: `llmops train` makes it
    entry = Endpoint(model=model, gate="waived" if config.get_bool("waived") else "required")
    endpoints["assistant"] = ModelEndpoint("assistant", ModelEndpointArgs(store=store, endpoint=entry, images=images))
    pulumi.export("url", endpoints["assistant"].url)
for name, value in stack_outputs_of(store, training, endpoints).items():  # for `llmops`
    pulumi.export(name, value)
