"""Runs the processes of jobs, each job on its own thread."""

from collections.abc import Mapping

from llmops_twins.azure.ml import references
from llmops_twins.azure.ml.running import job_logs
from llmops_twins.azure.ml.running.job_run import CommandRun
from llmops_twins.azure.ml.running.nodes import Nodes
from llmops_twins.azure.ml.running.reports import ENDED, RunFailure, job_moved
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import Document
from llmops_twins.azure.protocol.ids import key
from llmops_twins.azure.twin import TenantTwin
from llmops_twins.core.jobs.job_run import clean

JOBS = "Microsoft.MachineLearningServices/workspaces/jobs"
_STATE = "job_runs"
_TICK_SECONDS = 0.5
_LOST = RunFailure("ServiceError", "The twin of Azure was stopped while the job ran. Submit the job again.")


class CommandJobs:
    """Starts jobs, and matches threads with documents after each restart and reset. Its methods are called with the
    twin's lock held.
    """

    def __init__(self, twin: TenantTwin) -> None:
        self._twin = twin
        self.nodes = Nodes(twin)
        self._running: dict[str, CommandRun] = {}
        twin.every(_TICK_SECONDS, self._tidy)
        twin.closers.append(self._close)

    def resume(self) -> None:
        """Ends what jobs of a killed twin left behind, and marks those that were running as failed."""
        clean(self._twin.home)
        for job_id in list(self._known()):
            job = self._twin.find(job_id)
            if job and job["properties"]["status"] == "CancelRequested":
                job_moved(self._twin, job_id, "Canceled")
            elif job:
                job_moved(self._twin, job_id, "Failed", _LOST)
        self._known().clear()
        self._twin.changed()
        jobs = self._twin.children(f"/subscriptions/{self._twin.subscription}", JOBS)
        job_logs.keep_only(self._twin, [job["id"] for job in jobs])

    def started(self, job: Document) -> None:
        """Starts a new job."""
        if key(job["id"]) in self._running:
            return
        try:
            workspace = references.workspace_of(job["id"])
            compute = references.compute(self._twin, workspace, job["properties"]["computeId"], "properties.computeId")
        except ArmError as e:
            # unsure (60 %): no source found for a job whose cluster went while it was queued: assumed from others
            job_moved(self._twin, job["id"], "Failed", RunFailure("UserError", e.message))
            return
        self._known().append(job["id"])
        self._running[key(job["id"])] = CommandRun(self._twin, job, compute, self.nodes)

    def cancelled(self, job_id: str) -> bool:
        """Stops a job in status CancelRequested. Returns False if it does not run here."""
        run = self._running.get(key(job_id))
        if run:
            run.stop()
        return run is not None

    def node_states(self, compute_id: str) -> Mapping[str, int]:
        """Returns the number of a cluster's nodes in each state."""
        return self.nodes.states(compute_id)

    def _tidy(self) -> None:
        """Forgets ended jobs, and ends those whose documents are gone."""
        for name, run in list(self._running.items()):
            job = self._twin.find(name)
            if job is None:
                run.close()
            if job is None or job["properties"]["status"] in ENDED:
                del self._running[name]
        kept = [job_id for job_id in self._known() if key(job_id) in self._running]
        if kept != self._known():
            self._known()[:] = kept
            self._twin.changed()

    def _known(self) -> list[str]:
        return self._twin.state.setdefault(_STATE, [])

    def _close(self) -> None:
        for run in self._running.values():
            run.close()
        for run in self._running.values():
            run.join()
