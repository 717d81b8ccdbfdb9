"""Operates a stack on this machine: folders, processes, and the local runtime's endpoints."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from llmops_kit.cli.chat_http import ask, loaded_model
from llmops_kit.cli.interfaces.platform import Access, Live, Run, Say, endpoint_of, serving_endpoint
from llmops_kit.cli.platforms.local.runs import LocalRuns
from llmops_kit.cli.store.objects import open_objects
from llmops_kit.cli.store.store import Store
from llmops_kit.cli.store.versions import FolderVersion, Version
from llmops_kit.core.documents.outputs import EndpointOutput, StackOutputs
from llmops_kit.core.documents.run import Compute, RunSpec
from llmops_kit.core.errors import KitError
from llmops_kit.core.names import ModelRef

if TYPE_CHECKING:
    from llmops_kit.cli.interfaces.issued_keys import IssuedKeys
    from llmops_kit.core.integrity.envelopes import SigningKey
    from llmops_kit.local_runtime.host import Host
    from llmops_kit.local_runtime.spec import EndpointState, VariantState


class LocalPlatform:
    """A stack of target local."""

    def __init__(self, outputs: StackOutputs) -> None:
        self.outputs = outputs
        self._runs = LocalRuns(Path(outputs.training.runs))

    def store(self) -> Store:
        """Returns the store in the stack's folder."""
        return Store(open_objects(self.outputs.store.url))

    @property
    def signing_key(self) -> "SigningKey":
        """The key in a file of this machine."""
        from llmops_kit.core.integrity.signing import key_of_file

        return key_of_file(Path(self.outputs.signing.private_key))

    def sign(self, folder: Path) -> None:
        """Signs the manifest of a folder with the stack's key."""
        from llmops_kit.core.integrity.signing import sign_manifest

        sign_manifest(folder, self.signing_key)

    def require_runs(self) -> Compute | None:
        """Returns None: this machine can always run."""

    def require_machines(self, machines: Compute) -> None:
        """Accepts any machines: on this one they can't be chosen."""

    def hire(self, machines: Compute) -> None:
        """Returns None: this machine has no quota and no price."""

    def submit(self, spec: RunSpec, say: Say) -> None:
        self._runs.submit(spec, self.store(), say)

    def find(self, run: str = "") -> list[Run]:
        """Returns runs as their folders describe them."""
        return self._runs.find(run)

    def follow(self, run: str) -> Iterator[str]:
        """Yields the lines of log.txt."""
        return self._runs.follow(run)

    def stop(self, run: str) -> None:
        """Sends SIGTERM to a run, and later SIGKILL."""
        self._runs.stop(run)

    def halt(self, say: Say) -> None:
        """Stops every run that is still running."""
        for run in self.find():
            if run.state.status == "running":
                say(f"stopping run {run.spec.id}")
                self.stop(run.spec.id)

    def resume(self, run: str, say: Say, compute: Compute | None = None, asked: RunSpec | None = None) -> None:
        """Starts the process again."""
        self._runs.start(run, say)

    def job_request(self, run: str) -> dict[str, Any]:
        """Raises KitError: a run is a process of this machine."""
        raise KitError(
            "runs of target local are processes of this machine, not jobs",
            where=f"stack {self.outputs.stack}",
            fix="name a run of a stack of target aws: `llmops runs list --stack NAME`",
        )

    def output(self, run: str) -> Version:
        return FolderVersion(self._runs.output(run))

    def register(self, ref: ModelRef, say: Say) -> None:
        """Does nothing: this machine has no registry but the store."""

    def unregistered(self) -> list[ModelRef]:
        """Returns []: this machine has no registry but the store."""
        return []

    def secret(self, name: str) -> str:
        """Returns a secret from this process's environment."""
        variable = f"LLMOPS_SECRET_{re.sub('[^A-Z0-9]', '_', name.upper())}"
        if value := os.environ.get(variable):
            return value
        raise KitError(f"there is no secret {name}", where=f"${variable}", fix="set it in this shell's environment")

    def invoke(self, endpoint: str, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Sends a request through the router, with the key from its file."""
        output = serving_endpoint(self.outputs, endpoint)
        return ask(output.url, self._key(output), request)

    def access(self, endpoint: str, hours: float) -> Access:
        """Returns the router's address, and the key in its file, which does not expire."""
        output = serving_endpoint(self.outputs, endpoint)
        return Access(f"{output.url}/v1", self._key(output), output.model.partition("@sha256")[0])

    def issued_keys(self, endpoint: str) -> "IssuedKeys":
        """Returns the keys of the file that the endpoint's servers read.

        Raises:
            KitError: it was never up, or another version of the kit deployed it.
        """
        from llmops_kit.cli.interfaces.issued_keys import IssuedKeys
        from llmops_kit.local_runtime.model_endpoint import usage_file

        endpoint_of(self.outputs, endpoint)
        host = self._host()
        spec = next((state.spec for state in host.list() if state.name == endpoint), None)
        if not spec or not spec.keys_file:
            raise KitError(
                f"the servers of endpoint {endpoint} read no file of API keys",
                where=f"stack {self.outputs.stack}",
                fix=f"`llmops up --stack {self.outputs.stack}` starts servers that do",
            )
        lock = host.home / "locks" / f"{endpoint}.keys.lock"
        return IssuedKeys(endpoint, Path(spec.keys_file), lock, usage_file(spec))

    def live(self, endpoint: str) -> Live:
        """Returns the state that the local runtime reports, with the version that each worker has loaded."""
        from llmops_kit.core.errors import HostingError

        endpoint_of(self.outputs, endpoint)
        try:
            state = self._host().state(endpoint)
        except HostingError:
            return Live(ready=False, problem="it was taken down")
        workers = [worker for variant in state.variants for worker in variant.instances]
        return Live(
            ready=state.ready,
            models=_models(state),
            workers=len(workers),
            restarts=sum(worker.restarts for worker in workers),
            problem=_problem(state),
            memory=state.memory.model_dump() if state.memory.limit else {},
        )

    def version_fault(self, endpoint: str, since: float) -> str:
        """Returns "": the router's own rollback ends `up`, which says why."""
        del endpoint, since
        return ""

    def set_traffic(self, endpoint: str, shares: dict[str, float]) -> None:
        """Sets the weights of the local runtime's variants."""
        state = self._host().state(endpoint)
        by_model = {_loaded(variant): variant.id for variant in state.variants}
        if unknown := shares.keys() - by_model.keys():
            raise KitError(
                f"has not loaded sha256:{next(iter(unknown))[:12]}…",
                where=f"endpoint {endpoint}",
                fix="promote the version, then `llmops up`",
            )
        self._host().set_traffic(endpoint, {by_model[sha]: round(100 * part) for sha, part in shares.items()})

    def logs(self, endpoint: str, follow: bool) -> Iterator[str]:
        endpoint_of(self.outputs, endpoint)
        return self._host().logs(endpoint, follow)

    def audit_log(self) -> str:
        """Returns nothing: a stack on this machine has no audit log."""
        return ""

    def remove_data(self) -> None:
        """Removes the runs with their processes and the store's content; not the store itself, which is a resource."""
        self._runs.remove()
        for kind in ("aliases", "models", "datasets", "promotions", "rejections", "revoked", ".incoming"):
            shutil.rmtree(Path(unquote(urlsplit(self.outputs.store.url).path)) / kind, ignore_errors=True)

    def _host(self) -> "Host":
        from llmops_kit.local_runtime.host import Host

        return Host(Path(self.outputs.hosting))

    def _key(self, output: EndpointOutput) -> str:
        try:
            return Path(output.key).read_text().strip()
        except OSError as e:
            raise KitError(
                f"the endpoint's key can't be read: {e.strerror}", where=output.key, fix="`llmops up` creates it"
            ) from e


def _models(state: "EndpointState") -> dict[str, float]:
    """Returns identity -> share of the traffic."""
    total = sum(variant.weight for variant in state.variants) or 1
    loaded = [(_loaded(variant), variant.weight / total) for variant in state.variants]
    return {sha: sum(part for s, part in loaded if s == sha) for sha, _ in loaded if sha}


def _loaded(variant: "VariantState") -> str:
    """Returns the identity that a variant's first ready worker reports; empty if none is ready."""
    ready = (loaded_model(f"http://127.0.0.1:{worker.port}") for worker in variant.instances if worker.ready)
    return next((sha256 for sha256 in ready if sha256), "")


def _problem(state: "EndpointState") -> str:
    if state.ready:
        return ""
    if not state.on:
        return "it is off"
    workers = [worker for variant in state.variants for worker in variant.instances]
    if not any(worker.pid for worker in workers):
        return "no worker runs"
    return f"{sum(w.ready for w in workers)} of {len(workers)} workers are ready"
