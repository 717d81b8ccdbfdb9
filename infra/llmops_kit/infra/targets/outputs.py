"""Builds the stack's outputs, the fields of StackOutputs (core/documents/outputs.py); leaves may be Outputs."""

from dataclasses import dataclass
from typing import Any

import pulumi

from llmops_kit.settings.stack_settings import Endpoint

OutputFields = dict[str, Any]


@dataclass(frozen=True)
class TrainingImages:
    """Images that runs execute."""

    image: pulumi.Input[str]
    tensorflow_image: str = ""


def stack_outputs(
    target: str,
    stack: str,
    project: str,
    *,
    store: pulumi.Input[str],
    private_key: pulumi.Input[str],
    public_key: pulumi.Input[str],
    training: TrainingImages,
    runs: pulumi.Input[str],
    endpoints: OutputFields,
    **own: Any,
) -> OutputFields:
    """Returns the stack's outputs, which the command line reads (core/documents/outputs.py).

    Args:
        target: local, aws or azure.
        stack: its name.
        project: the folder of its project.
        store: URL.
        private_key: a reference, never the key.
        public_key: PEM.
        training: the images of runs.
        runs: folder or URL.
        endpoints: by name; see `endpoint_output`.
        own: the target's own fields of StackOutputs, such as `aws`.
    """
    return {
        "schema": "stack-outputs/1",
        "target": target,
        "stack": stack,
        "project": project,
        "store": {"url": store},
        "signing": {"private_key": private_key, "public_key": public_key},
        "training": {"image": training.image, "tensorflow_image": training.tensorflow_image, "runs": runs},
        "endpoints": endpoints,
        **own,
    }


def endpoint_output(
    entry: Endpoint, url: pulumi.Input[str], image: pulumi.Input[str], key: str = "", **own: Any
) -> OutputFields:
    """Build an endpoint's outputs; `key` is a reference, `own` the target's own fields of EndpointOutput."""
    version = {"model": entry.model, "sha256": entry.version.sha256}
    return {"url": url, **version, "image": image, "key": key, "on": entry.endpoint, **own}
