"""Base of the clouds' platforms: runs as jobs, and the stack's outputs."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from llmops_kit.cli.interfaces.platform import Run, Say, serving_endpoint
from llmops_kit.cli.platforms.cloud_runs import CloudRuns
from llmops_kit.cli.store.versions import Version
from llmops_kit.core.documents.outputs import AwsOutput, AzureOutput, EndpointOutput, StackOutputs
from llmops_kit.core.documents.run import Compute, RunSpec
from llmops_kit.core.errors import KitError
from llmops_kit.core.integrity.envelopes import SigningKey
from llmops_kit.core.integrity.signing import sign_manifest
from llmops_kit.core.names import ModelRef

Place = TypeVar("Place", AwsOutput, AzureOutput)


class CloudPlatform(ABC):
    """See llmops_kit.cli.interfaces.platform.Platform. Subclasses add a cloud's store, signing and endpoints."""

    def __init__(self, outputs: StackOutputs) -> None:
        self.outputs = outputs

    @property
    @abstractmethod
    def place(self) -> AwsOutput | AzureOutput:
        """The stack's outputs of this cloud."""

    @property
    @abstractmethod
    def signing_key(self) -> SigningKey:
        """The stack's key in the cloud's key service."""

    def sign(self, folder: Path) -> None:
        """Signs the manifest of a folder with the stack's key."""
        sign_manifest(folder, self.signing_key)

    @abstractmethod
    def _make_runs(self) -> CloudRuns:
        """Returns the stack's jobs."""

    @cached_property
    def runs(self) -> CloudRuns:
        """The stack's jobs.

        Raises:
            KitError: another version of the kit deployed the stack.
        """
        if not self.place.job_prefix:
            raise KitError(
                "the stack's outputs lack training jobs: another version of the kit deployed it",
                where=f"stack {self.outputs.stack}",
                fix=f"`llmops up --stack {self.outputs.stack}` writes them",
            )
        return self._make_runs()

    def require_runs(self) -> Compute:
        """Checks that the stack has a training image; returns its default machines of runs."""
        image = self.outputs.training.image
        stack, verb = self.outputs.stack, "build" if self.place.twin else "push"
        fix = f"`llmops images {verb} training --stack {stack}`, then `llmops up --stack {stack}`"
        if not image:
            raise KitError("the stack has no training image", where="llmops:images.training", fix=fix)
        if image.startswith("process:") and not self.place.twin:
            raise KitError(f"{image} runs on a twin only", where="llmops:images.training", fix=fix)
        return self.place.jobs

    def version_fault(self, endpoint: str, since: float) -> str:
        """Returns "", for clouds that don't roll back by themselves."""
        del endpoint, since
        return ""

    def unregistered(self) -> list[ModelRef]:
        """Returns [], for targets without their own registry."""
        return []

    def submit(self, spec: RunSpec, say: Say) -> None:
        self.runs.submit(spec, say)

    def find(self, run: str = "") -> list[Run]:
        """Returns runs from the cloud's jobs and the bucket or container of runs."""
        return self.runs.find(run) if self.place.job_prefix else []  # without a prefix, no run can have been started

    def follow(self, run: str) -> Iterator[str]:
        """Yields the lines of the run's containers, changes of its jobs' states, and its cost."""
        return self.runs.follow(run)

    def stop(self, run: str) -> None:
        """Stops a run through the cloud, which sends SIGTERM and later SIGKILL."""
        self.runs.stop(run)

    def halt(self, say: Say) -> None:
        """Stops all jobs, and releases machines that are kept for the next one."""
        if self.place.job_prefix:
            self.runs.halt(say)

    def resume(self, run: str, say: Say, compute: Compute | None = None, asked: RunSpec | None = None) -> None:
        """Creates another job, which continues from the run's checkpoints."""
        self.runs.resume(run, compute, say, asked)

    def job_request(self, run: str) -> dict[str, Any]:
        """Returns the request in the form of the cloud's API."""
        return self.runs.request(run)

    def output(self, run: str) -> Version:
        return self.runs.output(run)

    def serving(self, endpoint: str) -> EndpointOutput:
        """See llmops_kit.cli.interfaces.platform.serving_endpoint."""
        return serving_endpoint(self.outputs, endpoint)


def require_place(found: Place | None, cloud: str, outputs: StackOutputs) -> Place:
    """Returns the cloud's own part of a stack's outputs.

    Raises:
        KitError: they lack that part.
    """
    if found is None:
        raise KitError(
            f"the stack's outputs lack {cloud}'s part",
            where=f"stack {outputs.stack}",
            fix=f"`llmops up --stack {outputs.stack}` writes them",
        )
    return found
