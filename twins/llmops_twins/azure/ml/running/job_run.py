"""Runs one command job from start to end, on its own thread.

https://learn.microsoft.com/azure/machine-learning/how-to-manage-optimize-cost#low-priority-vms
"""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from llmops_kit.core.errors import HostingError, KitError
from llmops_kit.local_runtime import job_containers as hosting_jobs
from llmops_kit.local_runtime import runtimes
from llmops_kit.local_runtime.job_containers import Job, JobSpec
from llmops_kit.local_runtime.ports import choose_port
from llmops_twins.azure.entra import principals
from llmops_twins.azure.ml import references
from llmops_twins.azure.ml.ml_documents import seconds
from llmops_twins.azure.ml.running import environment_images, job_command, job_logs, needs
from llmops_twins.azure.ml.running.datastore_files import FilesError
from llmops_twins.azure.ml.running.environment_images import ImageError
from llmops_twins.azure.ml.running.job_command import JobProcess
from llmops_twins.azure.ml.running.job_folders import Folders
from llmops_twins.azure.ml.running.nodes import Nodes
from llmops_twins.azure.ml.running.reports import RunFailure, job_moved
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import Document
from llmops_twins.azure.twin import TenantTwin
from llmops_twins.core.faults import Faults
from llmops_twins.core.jobs.job_run import (
    INTERRUPTED,
    LOOK_SECONDS,
    ClosedError,
    EndError,
    JobRun,
    Outcome,
    Rhythm,
    end_all,
    loopback_addresses,
    remove,
)

GRACE_SECONDS = 30
"""Seconds between SIGTERM and SIGKILL when a job is canceled or its machines are reclaimed."""
CANCELED, COMPLETED = Outcome("Canceled"), Outcome("Completed")
_CARRY_SECONDS = 2.0
_SHELL = ("/bin/bash", "-c")
_LOW_PRIORITY = "LowPriority"


class CommandRun(JobRun):
    """A running job."""

    log_name = "llmops_twins.azure"

    def __init__(self, twin: TenantTwin, job: Document, compute: Document, nodes: Nodes) -> None:
        super().__init__(twin, job["name"])
        self._twin = twin
        self._id = job["id"]
        self._job = {**job, "properties": dict(job["properties"])}
        self._created = job["systemData"]["createdAt"]
        self._compute = compute
        self._nodes = nodes
        self._wanted = int((job["properties"].get("resources") or {}).get("instanceCount") or 1)
        self._processes = job_command.processes_of(job["properties"])
        self._spent = 0.0
        self.begin()

    # -- attempts -----------------------------------------------------------------------------------------------------

    def attempt(self) -> Outcome:
        """Waits for nodes, and runs the job on them."""
        lost = False
        try:
            self._await_nodes()
            outcome = self._work()
            lost = outcome is INTERRUPTED
            return outcome
        except EndError as e:
            return e.outcome
        except (FilesError, ImageError) as e:
            return Outcome("Failed", "UserError", str(e))
        except ArmError as e:
            return Outcome("Failed", "UserError", e.message)
        except (HostingError, KitError) as e:
            return Outcome("Failed", "UserError", f"The job's image can't be started: {e}")
        finally:
            with self._twin.lock:
                self._nodes.give_back(self._compute["id"], self._id, lost=lost)
            remove(self.home)

    def interrupted(self) -> None:
        """Queues the job again: its low-priority nodes were reclaimed."""
        self._move("Queued")

    def end(self, outcome: Outcome) -> None:
        """Records the outcome of the job."""
        with self._twin.lock:
            job = self._document()
            if job is None:
                return
            if job["properties"]["status"] == "CancelRequested" and outcome.status == "Completed":
                outcome = CANCELED
            failure = RunFailure(outcome.secondary, outcome.reason) if outcome.reason else None
            job_moved(self._twin, self._id, outcome.status, failure)

    def failed_inside(self, error: Exception) -> None:
        """Records a failure of the twin itself."""
        self.end(Outcome("Failed", "ServiceError", f"InternalServerError: the twin failed: {error!r}"))

    def look(self) -> None:
        """Returns while the job may continue.

        Raises:
            EndError: the job was canceled.
            ClosedError: the job is gone.
        """
        with self._twin.lock:
            job = self._document()
            if self.closed or job is None:
                raise ClosedError
            if job["properties"]["status"] == "CancelRequested":
                raise EndError(CANCELED)

    def faults(self) -> Faults:
        """Returns the faults of the twin."""
        from llmops_twins.azure import faults

        return faults.of(self._twin)

    # -- before the containers run ------------------------------------------------------------------------------------

    def _await_nodes(self) -> None:
        self._move("Queued")
        with self._twin.lock:
            self._nodes.wait(self._compute, self._id)
        size = self._compute["properties"]["properties"]["vmSize"]
        while True:
            self.look()
            if not self.fault("capacity", instance_type=size):
                with self._twin.lock:
                    compute = self._twin.find(self._compute["id"]) or self._compute
                    new = self._nodes.take(compute, self._id, self._wanted)
                if new is not None:
                    break
            self.pause(LOOK_SECONDS)
        if new:
            self.pause(self._twin.settings.pace / 2)
        with self._twin.lock:
            self._nodes.ready(self._compute["id"], self._id)

    def _work(self) -> Outcome:
        self._move("Preparing")
        with self._twin.lock:
            image = self._checked_image()
            reference, _ = environment_images.runnable(self._twin, image)
        chosen = needs.identity_of_job(self._job, self._compute)
        folders = Folders(self._twin, self._job, chosen[1] if chosen else "", self.home)
        if reference.startswith("docker:"):
            runtimes.pull(reference)
        folders.fetch(self.look)
        if slow := self.fault("slow_start", image=image):
            self.pause(float(slow["seconds"]))
        with ExitStack() as cleanup:
            containers: list[Job] = []
            cleanup.callback(end_all, containers)
            specs = self._specs(reference, image, folders, cleanup)
            self.look()
            self._move("Running")
            for spec, log_name in specs:
                containers.append(hosting_jobs.start(spec, job_logs.writer(self._twin, self._id, log_name)))
            outcome = self._watched(containers, folders)
        return self._carried(outcome, folders)

    def _checked_image(self) -> str:
        """Returns the environment's image, after judging the job's identity again: permissions may have been revoked
        meanwhile.

        Raises:
            EndError: the identity lacks a permission.
        """
        failure = needs.of_job(self._twin, self._job)
        if failure:
            raise EndError(Outcome("Failed", failure.code, failure.message))
        workspace = references.workspace_of(self._id)
        reference = self._job["properties"]["environmentId"]
        environment = references.asset(self._twin, workspace, reference, "environments", "properties.environmentId")
        return environment["properties"]["image"]

    def _specs(self, reference: str, image: str, folders: Folders, cleanup: ExitStack) -> list[tuple[JobSpec, str]]:
        """Returns the specification of each process, and the name of its log."""
        docker = reference.startswith("docker:")
        addresses = [f"node-{number}" for number in range(self._wanted)]
        network = ""
        if docker and self._wanted > 1:
            made = hosting_jobs.network(self._twin.home, self.name.lower(), isolated=False)
            network = cleanup.enter_context(made)
        elif not docker:
            addresses = loopback_addresses(self._wanted)
        bad = self.fault("bad_image", image=image)
        port, total, found = choose_port("127.0.0.1"), self._wanted * self._processes, []
        for node in range(self._wanted):
            root = self._root(node, folders)
            for process in range(self._processes):
                place = JobProcess(node, self._wanted, process, self._processes, addresses[0], port)
                paths = _paths(folders.paths, None if docker else root)
                spec = JobSpec(
                    name=f"{self.name}-{place.rank}".lower(),
                    image=reference,
                    home=self._twin.home,
                    root=root,
                    entrypoint=_SHELL,
                    arguments=[_BAD_IMAGE if bad else self._command(paths, folders, None if docker else root)],
                    environ=job_command.environment_of(self._job, self._client_id(), paths, place, self._twin.url),
                    mounts=[path for path in folders.folders if path not in folders.read_only],
                    read_only=folders.read_only,
                    network=network,
                    host=f"node-{node}" if network else "",
                )
                found.append((spec, job_logs.name_of(place.rank, total)))
        return found

    def _root(self, node: int, folders: Folders) -> Path:
        """Creates the folder that a node's process sees as `/`, with links to the job's folders, which all nodes
        share.
        """
        root = self.home / f"node-{node}"
        for path, folder in folders.folders.items():
            link = root / path.lstrip("/")
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(folder.absolute())
        return root

    def _command(self, paths: Mapping[tuple[str, str], str], folders: Folders, root: Path | None) -> str:
        command = job_command.command_of(self._job["properties"], paths)
        if folders.code not in folders.folders:
            return command
        return f"cd {root or ''}{folders.code} && {command}"

    def _client_id(self) -> str:
        chosen = needs.identity_of_job(self._job, self._compute)
        caller = principals.find(self._twin, chosen[1]) if chosen else None
        return caller.app_id if caller else ""

    # -- while the containers run, and at their end -------------------------------------------------------------------

    def _watched(self, containers: list[Job], folders: Folders) -> Outcome:
        carry = Rhythm(_CARRY_SECONDS)
        limit = (self._job["properties"].get("limits") or {}).get("timeout")
        most = seconds(limit, "properties.limits.timeout") if limit else float("inf")
        low = self._compute["properties"]["properties"].get("vmPriority") == _LOW_PRIORITY

        def keep_up() -> None:
            if carry.due():
                folders.carry()

        def outcome_now(codes: list[int | None], lasted: float) -> Outcome | None:
            # Checked before the exit codes: the results of a job that has just succeeded are still on the machine.
            if not any(codes) and low and self.reclaimed(lasted):
                self._spent += lasted
                return INTERRUPTED
            return self._outcome_of(codes) or self._reason_to_end(lasted, most, containers)

        return self.watch(containers, outcome_now, keep_up, GRACE_SECONDS)

    def _outcome_of(self, codes: list[int | None]) -> Outcome | None:
        """Returns the outcome of processes that ended by themselves: completed if all succeeded, failed if one did not;
        None while undecided.
        """
        for rank, code in enumerate(codes):
            if code:
                name = job_logs.name_of(rank, len(codes))
                told = job_logs.last_lines(self._twin, self._id, name)
                reason = (
                    f"Execution failed. User process '{_SHELL[0]}' exited with status code {code}. Please check "
                    f"log file '{name}' for error details. Error: {told}"
                )
                return Outcome("Failed", "UserError", reason)
        return COMPLETED if all(code == 0 for code in codes) else None

    def _reason_to_end(self, lasted: float, most: float, containers: list[Job]) -> Outcome | None:
        """Returns the outcome if the processes must be ended now: canceled, or out of time; None otherwise."""
        try:
            self.look()
        except EndError as e:
            return e.outcome
        if self._spent + lasted > most:
            reason = f"The job exceeded its limit of {most:g} seconds (limits.timeout) and was ended."
            return Outcome("Failed", "JobTimeout", reason)
        if self.fault("crash", name=self.name):
            containers[0].kill()
        return None

    def _carried(self, outcome: Outcome, folders: Folders) -> Outcome:
        """Copies the last outputs, and returns the outcome: mounted outputs in any case, the others only if the job
        ended by itself.
        """
        if outcome is not INTERRUPTED and outcome is not CANCELED:
            self._move("Finalizing")
        by_itself = outcome is COMPLETED or (outcome.status == "Failed" and outcome.secondary == "UserError")
        folders.carry(last=True, done=by_itself, cut=outcome is INTERRUPTED)
        return outcome

    def _move(self, status: str) -> None:
        with self._twin.lock:
            job = self._document()
            if self.closed or job is None:
                raise ClosedError
            if job["properties"]["status"] not in ("CancelRequested", status):
                job_moved(self._twin, self._id, status)

    def _document(self) -> Document | None:
        """Returns the job's document; None if it is gone, or replaced by another job of that name."""
        job = self._twin.find(self._id)
        return job if job and job["systemData"]["createdAt"] == self._created else None


_BAD_IMAGE = "echo 'exec /usr/local/bin/python: exec format error'; exit 1"


def _paths(paths: Mapping[tuple[str, str], str], root: Path | None) -> dict[tuple[str, str], str]:
    """Returns the paths as a process sees them: below its root, or unchanged in a container; URIs are unchanged."""
    return {key: f"{root}{path}" if root and path.startswith("/") else path for key, path in paths.items()}
