"""Platform: how to operate a deployed stack. A target implements it; everything else of `llmops` uses it alone."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from llmops_kit.cli.store.objects import Say
from llmops_kit.cli.store.store import Store
from llmops_kit.cli.store.versions import Version
from llmops_kit.core.documents.outputs import EndpointOutput, StackOutputs
from llmops_kit.core.documents.run import Compute, RunSpec, RunState
from llmops_kit.core.errors import KitError, NotFoundError, RunError
from llmops_kit.core.names import ModelRef
from llmops_kit.core.validation import did_you_mean

if TYPE_CHECKING:
    from llmops_kit.cli.interfaces.quotas import Hire


@dataclass(frozen=True)
class Run:
    """A run: what was asked for, and what has come of it."""

    spec: RunSpec
    state: RunState
    doubt: str = ""
    """Why `spec` may not be what its caller submitted, so that nothing of the run is signed; empty: it is."""


@dataclass(frozen=True)
class Live:
    """State of an endpoint as the endpoint itself reports it."""

    ready: bool
    models: dict[str, float] = field(default_factory=dict)  # identity (sha256) -> share of the traffic, 0 to 1
    workers: int = 0
    restarts: int = 0
    problem: str = ""
    drift: tuple[str, ...] = ()  # what differs from what was deployed, though it serves
    undone: str = ""  # why its last rollout was rolled back, or is being; empty: it was not
    changed: float = 0.0  # when it was changed last, in seconds since 1970


def endpoint_of(outputs: StackOutputs, name: str) -> EndpointOutput:
    """Returns a stack's output of an endpoint.

    Raises:
        KitError: it has none of this name.
    """
    if name not in outputs.endpoints:
        known = ", ".join(outputs.endpoints)
        others = f"there are: {known}" if known else "`llmops promote NAME@N && llmops up` makes one"
        raise NotFoundError(
            f"there is no endpoint {name}",
            where=f"stack {outputs.stack}",
            fix=did_you_mean(name, outputs.endpoints) or others,
        )
    return outputs.endpoints[name]


def serving_endpoint(outputs: StackOutputs, name: str) -> EndpointOutput:
    """Returns what the stack says of an endpoint that can be asked.

    Raises:
        KitError: there is none of this name, or it is off.
    """
    output = endpoint_of(outputs, name)
    if not output.on:
        fix = "set its `endpoint: on` in the stack file, then `llmops up`"
        raise KitError(f"endpoint {name} is off", where=f"stack {outputs.stack}", fix=fix)
    return output


def doubtful(run: Run) -> RunError:
    """Error for a run whose spec may not be what its caller submitted."""
    again = "`llmops train RECIPE --again` trains again"
    if run.state.status != "completed":
        again = f"`llmops train RECIPE` resumes it, if your recipe has the same inputs; {again}"
    return RunError(f"what was submitted is not certain: {run.doubt}", where=f"run {run.spec.id}", fix=again)


@dataclass(frozen=True)
class Access:
    """URL, key and model name with which an OpenAI client reaches an endpoint."""

    url: str
    key: str = field(repr=False)
    model: str


class Platform(Protocol):
    """A deployed stack in operation. Errors are KitErrors that name the run or endpoint."""

    outputs: StackOutputs

    def store(self) -> Store:
        """Returns the stack's store of dataset and model versions."""
        ...

    def sign(self, folder: Path) -> None:
        """Sign the manifest of a folder with the stack's key, which this machine may not hold itself."""
        ...

    def require_runs(self) -> Compute | None:
        """Check that runs can be started here, before anything is made ready for one.

        Returns:
            The machines of a run that names none; None: this one.

        Raises:
            KitError: what is missing.
        """
        ...

    def require_machines(self, machines: Compute) -> None:
        """Check that a run can have machines that its caller chose, before anything is made ready for it.

        Raises:
            KitError: the target has no such machines, or can't do with them what is asked for.
        """
        ...

    def hire(self, machines: Compute) -> "Hire | None":
        """Looks up the price and the quotas of a run's machines; None if runs use this machine."""
        ...

    def submit(self, spec: RunSpec, say: Say) -> None:
        """Start a run, which continues unwatched. Calls `say` before slow operations."""
        ...

    def find(self, run: str = "") -> list[Run]:
        """Runs, newest first; with an id or the beginning of one: only those."""
        ...

    def follow(self, run: str) -> Iterator[str]:
        """Yields a run's lines from the first, and new ones as they come, until it ends."""
        ...

    def stop(self, run: str) -> None:
        """Stop a run in order; its last checkpoint stays."""
        ...

    def halt(self, say: Say) -> None:
        """Stop all runs in order, and keep no machine for the next one."""
        ...

    def resume(self, run: str, say: Say, compute: Compute | None = None, asked: RunSpec | None = None) -> None:
        """Start an ended run again, on other machines if given; it resumes from its last checkpoint.

        `asked` is what the caller would submit by itself. Where a run's own spec is in doubt, it resumes only if
        that is equal.
        """
        ...

    def job_request(self, run: str) -> dict[str, Any]:
        """Returns the request that starts a run's job, in the form of the target's own API.

        Raises:
            KitError: runs of this target are no jobs.
        """
        ...

    def output(self, run: str) -> Version:
        """Returns the model version that a completed run made, unsigned."""
        ...

    def register(self, ref: ModelRef, say: Say) -> None:
        """Write a version of the store into the target's own registry, if it has one; once."""
        ...

    def unregistered(self) -> list[ModelRef]:
        """Returns the versions of runs that the target's own registry lacks, because writing them failed."""
        ...

    def secret(self, name: str) -> str:
        """Returns a secret by its name; nothing but this process gets it."""
        ...

    def invoke(self, endpoint: str, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Send an OpenAI chat request; the answer's chunks as they come (one, unless the request says `stream`)."""
        ...

    def access(self, endpoint: str, hours: float) -> Access:
        """Returns what OpenAI clients need to call the endpoint, valid for `hours` where the target's keys expire."""
        ...

    def live(self, endpoint: str) -> Live:
        """Returns what the endpoint really serves."""
        ...

    def version_fault(self, endpoint: str, since: float) -> str:
        """Returns what shows that the version that a cloud rolled back is to blame; empty if nothing does.

        Args:
            endpoint: rolled back by the cloud itself.
            since: when the update began, in seconds since 1970.
        """
        ...

    def set_traffic(self, endpoint: str, shares: dict[str, float]) -> None:
        """Shares an endpoint's traffic between the identities that it has loaded."""
        ...

    def logs(self, endpoint: str, follow: bool) -> Iterator[str]:
        """Yields the endpoint's log lines; with `follow`, also new ones."""
        ...

    def remove_data(self) -> None:
        """Remove every version and run for good, so that the stack's resources are empty and can be destroyed."""
        ...
