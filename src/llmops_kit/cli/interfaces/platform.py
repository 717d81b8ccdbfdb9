"""The protocol for operating a deployed stack. Each target implements it; commands use nothing else of a target."""

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
    from llmops_kit.cli.interfaces.issued_keys import IssuedKeys
    from llmops_kit.cli.interfaces.quotas import Hire
    from llmops_kit.core.integrity.envelopes import SigningKey


@dataclass(frozen=True)
class Run:
    """A run: its submitted spec and its state."""

    spec: RunSpec
    state: RunState
    doubt: str = ""
    """Why `spec` may differ from the submitted one, so that the run's output is not signed; empty: it can't."""


@dataclass(frozen=True)
class Live:
    """State of an endpoint as the endpoint itself reports it."""

    ready: bool
    models: dict[str, float] = field(default_factory=dict)  # identity (sha256) -> share of the traffic, 0 to 1
    workers: int = 0
    restarts: int = 0
    problem: str = ""
    drift: tuple[str, ...] = ()  # live configuration that differs from the deployed one, though it serves
    undone: str = ""  # why its last rollout was rolled back, or is being; empty: it was not
    memory: dict[str, Any] = field(default_factory=dict)  # limit of a server and how often it was passed, if watched
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
    """Returns a stack's output of an endpoint that is on.

    Raises:
        KitError: there is none of this name, or it is off.
    """
    output = endpoint_of(outputs, name)
    if not output.on:
        fix = "set its `endpoint: on` in the stack file, then `llmops up`"
        raise KitError(f"endpoint {name} is off", where=f"stack {outputs.stack}", fix=fix)
    return output


def doubtful(run: Run) -> RunError:
    """Returns the error for a run whose spec may differ from the submitted one."""
    again = "`llmops train RECIPE --again` trains again"
    if run.state.status != "completed":
        again = f"`llmops train RECIPE` resumes it, if your recipe has the same inputs; {again}"
    return RunError(f"its spec may differ from the submitted one: {run.doubt}", where=f"run {run.spec.id}", fix=again)


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

    @property
    def signing_key(self) -> "SigningKey":
        """The stack's key, which may be in a cloud's key service."""
        ...

    def sign(self, folder: Path) -> None:
        """Signs the manifest of a folder with the stack's key, which may be in a cloud's key service."""
        ...

    def require_runs(self) -> Compute | None:
        """Checks that runs can be started here, before anything is prepared.

        Returns:
            The machines of a run that names none; None: this one.

        Raises:
            KitError: something is missing.
        """
        ...

    def require_machines(self, machines: Compute) -> None:
        """Checks that a run can have the machines that its caller chose, before anything is prepared.

        Raises:
            KitError: the target has no such machines, or they don't support the request.
        """
        ...

    def hire(self, machines: Compute) -> "Hire | None":
        """Looks up the price and the quotas of a run's machines; None if runs use this machine."""
        ...

    def submit(self, spec: RunSpec, say: Say) -> None:
        """Start a run, which continues unwatched. Calls `say` before slow operations."""
        ...

    def find(self, run: str = "") -> list[Run]:
        """Returns the runs, newest first; with an id or the beginning of one, only those."""
        ...

    def follow(self, run: str) -> Iterator[str]:
        """Yields a run's lines from the first, and new ones as they come, until it ends."""
        ...

    def stop(self, run: str) -> None:
        """Stops a run gracefully; its last checkpoint stays."""
        ...

    def halt(self, say: Say) -> None:
        """Stops all runs gracefully; machines kept for later ones are released, now or after their idle time."""
        ...

    def resume(self, run: str, say: Say, compute: Compute | None = None, asked: RunSpec | None = None) -> None:
        """Start an ended run again, on other machines if given; it resumes from its last checkpoint.

        `asked` is the spec that the caller would submit. A run whose own spec is in doubt resumes only if the two are
        equal.
        """
        ...

    def job_request(self, run: str) -> dict[str, Any]:
        """Returns the request that starts a run's job, in the form of the target's own API.

        Raises:
            KitError: runs of this target are not jobs.
        """
        ...

    def output(self, run: str) -> Version:
        """Returns the unsigned model version of a completed run."""
        ...

    def register(self, ref: ModelRef, say: Say) -> None:
        """Write a version of the store into the target's own registry, if it has one; once."""
        ...

    def unregistered(self) -> list[ModelRef]:
        """Returns the versions of runs that the target's own registry lacks, because writing them failed."""
        ...

    def secret(self, name: str) -> str:
        """Returns a secret by its name; only this process sees it."""
        ...

    def invoke(self, endpoint: str, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Send an OpenAI chat request; the answer's chunks as they come (one, unless the request says `stream`)."""
        ...

    def access(self, endpoint: str, hours: float) -> Access:
        """Returns URL and key of an endpoint for OpenAI clients, valid for `hours` if the target's keys expire."""
        ...

    def issued_keys(self, endpoint: str) -> "IssuedKeys":
        """Returns the API keys of an endpoint's callers.

        Raises:
            KitError: the target authenticates callers by other means, which the error names.
        """
        ...

    def live(self, endpoint: str) -> Live:
        """Returns the endpoint's live state."""
        ...

    def version_fault(self, endpoint: str, since: float) -> str:
        """Returns the evidence that a version caused its rollback by the cloud; empty if there is none.

        Args:
            endpoint: rolled back by the cloud itself.
            since: when the update began, in seconds since 1970.
        """
        ...

    def set_traffic(self, endpoint: str, shares: dict[str, float]) -> None:
        """Splits an endpoint's traffic between the identities that it has loaded."""
        ...

    def logs(self, endpoint: str, follow: bool) -> Iterator[str]:
        """Yields the endpoint's log lines; with `follow`, also new ones."""
        ...

    def audit_log(self) -> str:
        """Returns where the cloud still keeps the stack's audit log; empty: nowhere."""
        ...

    def remove_data(self) -> None:
        """Remove every version and run for good, so that the stack's resources are empty and can be destroyed."""
        ...
