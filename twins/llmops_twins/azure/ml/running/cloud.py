"""Azure's rules and messages for the containers of deployments (core/fleet/fleet.py).

https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from llmops_twins.azure.ml.references import workspace_of
from llmops_twins.azure.ml.running import plans
from llmops_twins.azure.ml.running.datastore_files import FilesError, Folder
from llmops_twins.azure.ml.running.reports import RunFailure
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.telemetry import lines as logs
from llmops_twins.azure.twin import TenantTwin
from llmops_twins.core.faults import Faults
from llmops_twins.core.fleet.cloud import FleetRequest, Identity, Load, ModelDataError, Trouble
from llmops_twins.core.fleet.plan import ContainerPlan, ModelDataSource

_GUIDE = "Please see troubleshooting guide, available here: https://aka.ms/oe-tsg"
_LAST_LINES = 20
_CODE = ": "


class AzureCloud:
    """Azure's part of a fleet."""

    log_name = "llmops_twins.azure"

    def __init__(self, twin: TenantTwin) -> None:
        self._twin = twin

    def faults(self) -> Faults:
        """Returns the faults of the twin."""
        from llmops_twins.azure import faults

        return faults.of(self._twin)

    def fetch(self, whose: Identity, source: ModelDataSource, folder: Path) -> None:
        """Fetches a model's files with the permissions of its endpoint's identity. The folder keeps its own name."""
        with self._twin.lock:
            endpoint = self._twin.find(whose.endpoint_id) or {}
        try:
            found = Folder.of(self._twin, workspace_of(whose.endpoint_id), source.uri, plans.principal_of(endpoint))
            self._say(whose, f"Downloading model from {source.uri} to {source.path}")
            found.fetch(folder / found.name)
        except (FilesError, ArmError, OSError) as e:
            self._say(whose, f"Failed: {e}")
            raise ModelDataError(str(e)) from e
        self._say(whose, "Downloaded model successfully")

    def trouble(self, kind: Trouble, whose: Identity, plan: ContainerPlan, detail: str) -> str:
        """Returns why an instance can't serve: Azure's code, and a message (parsed by `failure_of`)."""
        last = ""
        if kind == "not_ready":
            with self._twin.lock:
                last = "\n".join(logs.of(self._twin, whose.endpoint_id, whose.variant)[-_LAST_LINES:])
        code, text = {
            "data": ("BadArgument", f"Unable to download user model: {detail}. {_GUIDE}#error-badargument"),
            "data_late": ("BadArgument", f"Unable to download user model within {detail} seconds. {_GUIDE}"),
            "image": ("BadArgument", f"Unable to pull image {plan.image}: {detail}. {_GUIDE}#error-badargument"),
            "not_ready": (
                "ResourceNotReady",
                ("User container has crashed or terminated. " if detail == "ended" else _NOT_READY.format(plan=plan))
                + f"{_GUIDE}#error-resourcenotready\nLast lines of the container:\n{last}",
            ),
            "internal": ("InternalServerError", f"The twin failed: {detail}"),
        }[kind]
        return f"{code}{_CODE}{text}"

    def put_lines(self, whose: Identity, lines: Sequence[str]) -> None:
        """Appends lines to the deployment's log."""
        logs.put(self._twin, whose, lines)

    def _say(self, whose: Identity, text: str) -> None:
        with self._twin.lock:
            logs.put(self._twin, whose, [text], logs.INITIALIZER)

    def put_counts(self, requests: Sequence[tuple[float, FleetRequest]], loads: Mapping[Load, int]) -> None:
        """Does nothing: `scoring` counts requests when it answers or refuses them."""

    def wants_idle(self, load: Load) -> bool:
        """Returns False: nothing reads the number of concurrent requests."""
        return False

    def answers_well(self, status: int) -> bool:
        """Returns whether a probe's answer is a success to Kubernetes."""
        return 200 <= status < 400


_NOT_READY = (
    "User container did not answer its readiness route {plan.ready.path} within {plan.start_seconds:g} seconds. "
)


def failure_of(problem: str) -> RunFailure:
    """Returns an instance's problem in Azure's words."""
    code, _, message = problem.partition(_CODE)
    return RunFailure(code, message)
