"""One training job from its start to its end, on a thread of its own.

https://docs.aws.amazon.com/sagemaker/latest/dg/how-it-works-training.html
https://docs.aws.amazon.com/sagemaker/latest/dg/model-managed-spot-training.html
"""

import logging
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from contract.errors import HostingError
from hosting import jobs as hosting_jobs
from hosting import runtimes
from hosting.jobs import Job, JobSpec
from twins.aws import faults, jobs_folders
from twins.aws.calls import ApiError
from twins.aws.jobs_folders import Node
from twins.aws.jobs_logs import Record
from twins.aws.jobs_outcomes import INTERRUPTED, STOPPED, EndError, Outcome, outcome_of
from twins.aws.jobs_outputs import Outputs
from twins.aws.services import sagemaker_access as access
from twins.aws.services import sagemaker_documents as store
from twins.aws.services import sagemaker_images as images
from twins.aws.services import sagemaker_training_states as states
from twins.aws.services.documents import Document, now
from twins.aws.services.sagemaker_documents import JOB
from twins.aws.services.sagemaker_training_pools import Pools
from twins.aws.twin import Twin

FOLDER = "jobs"
"""Where in a twin's home the containers' folders are; a job's are gone when it has ended."""
GRACE_SECONDS = 120
"""What SageMaker leaves a container between SIGTERM and SIGKILL."""
NO_CAPACITY = (
    "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML instance type."
)
_MOST_SECONDS = 86400  # of a job that names no MaxRuntimeInSeconds
_LOOK_SECONDS = 0.05
_FLUSH_SECONDS = 1.0
_CHECKPOINT_SECONDS = 2.0
_DOCKER_INTERFACE, _LOOPBACK = "eth0", "lo"
log = logging.getLogger("twins.aws")


class _ClosedError(Exception):
    """The twin ends, or the job's document is gone: nothing more is to be done for it."""


class Run:
    """A job that runs. `warm`: its instances are there already; `retry`: it begins again after an internal error."""

    def __init__(
        self, twin: Twin, pools: Pools, region: str, job: Document, *, warm: bool, retry: bool = False
    ) -> None:
        self._twin = twin
        self._pools = pools
        self._region = region
        self._arn = job["TrainingJobArn"]
        self._name = job["TrainingJobName"]
        self._warm = warm
        self._retry = retry
        self._created = job["CreationTime"]
        self._home = twin.home / FOLDER / f"{self._name}-{secrets.token_hex(3)}"
        self._woken = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"job {self._name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look at the document now: it says Stopping."""
        self._woken.set()

    def close(self) -> None:
        """Kill the containers, and leave the document as it is."""
        self._closed = True
        self._woken.set()

    def join(self) -> None:
        """Wait until nothing of it is left."""
        self._thread.join()

    # -- one attempt after the other ----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            outcome = self._attempt()
            while outcome is INTERRUPTED:
                with self._job() as job:
                    states.enter(self._twin, job, "Interrupted")
                outcome = self._attempt(self._twin.settings.pace)
            self._end(outcome)
        except _ClosedError:
            pass
        except Exception as e:  # the twin's own fault, which its user must not take for the job's
            log.exception("training job %s", self._name)
            with self._twin.lock:
                if job := self._document():
                    self._ended(job, Outcome("Failed", "", f"InternalServerError: the twin failed: {e!r}"))
        finally:
            _remove(self._home)

    def _attempt(self, pause: float = 0.0) -> Outcome:
        began = 0.0
        try:
            self._pause(pause)
            self._await_instances()
            began = time.monotonic()
            return self._work()
        except EndError as e:
            return e.outcome
        except (ApiError, HostingError) as e:
            text = e.message if isinstance(e, ApiError) else e.what
            return Outcome("Failed", "", f"ClientError: {text}")
        finally:
            self._warm = self._retry = False
            if began:
                self._count(time.monotonic() - began)
            _remove(self._home)

    def _work(self) -> Outcome:
        """Download, train, upload."""
        with self._job() as document:
            document.setdefault("TrainingStartTime", now())
            states.enter(self._twin, document, "Downloading")
            job = dict(document)
        image = self._checked_image(job)
        nodes = jobs_folders.nodes_of(job, self._home)
        record, outputs = Record(self._twin, self._region, job), Outputs(self._twin, job, nodes)
        docker = image.startswith("docker:")
        for node in nodes:
            interface = _DOCKER_INTERFACE if docker else _LOOPBACK
            jobs_folders.prepare(self._twin, job, node, nodes, interface, self._look)
        outputs.save_restored()
        if slow := self._fault("slow_start", image=_image_of(job)):
            self._pause(float(slow["seconds"]))
        with ExitStack() as cleanup:
            network = self._network(job, nodes, cleanup) if docker else ""
            containers: list[Job] = []
            cleanup.callback(_end_all, containers)
            self._look()
            with self._job() as document:
                states.enter(self._twin, document, "Training")
            specs = [(self._spec(job, node, image, network), record.of(node.host)) for node in nodes]
            containers.extend(hosting_jobs.start(spec, said) for spec, said in specs)  # as far as it comes
            outcome = self._watch(job, containers, nodes, record, outputs)
        return self._uploaded(job, outcome, outputs)

    def _await_instances(self) -> None:
        with self._job() as job:
            status = "Restarting" if self._retry else "Starting"
            if job["SecondaryStatus"] != status:
                states.enter(self._twin, job, status)
            kinds = {each.instance_type for each in jobs_folders.nodes_of(job, self._home)}
            spot = job["EnableManagedSpotTraining"]
        if not self._warm:
            self._pause(self._twin.settings.pace / 2)
        while not self._warm and any(self._fault("capacity", instance_type=kind) for kind in kinds):
            if not spot:
                raise EndError(Outcome("Failed", "", NO_CAPACITY))
            self._pause(max(_LOOK_SECONDS, self._twin.settings.pace))

    def _checked_image(self, job: Document) -> str:
        """hosting's reference of the job's image, once the job's role was judged for all that it is used for."""
        image = _image_of(job)
        with self._twin.lock:
            if not images.is_there(self._twin, image):
                raise ApiError("ValidationException", f"Cannot find repository or image {image}.")
            if reason := access.denied_job(self._twin, job):
                raise ApiError("AccessDenied", reason)
            runnable = images.runnable(self._twin, image)
        if runnable.startswith("docker:"):
            runtimes.pull(runnable)
        return runnable

    def _network(self, job: Document, nodes: list[Node], cleanup: ExitStack) -> str:
        isolated = job["EnableNetworkIsolation"]
        if len(nodes) == 1:
            return "none" if isolated else ""
        return cleanup.enter_context(hosting_jobs.network(self._twin.home, self._name.lower(), isolated=isolated))

    def _spec(self, job: Document, node: Node, image: str, network: str) -> JobSpec:
        algorithm = job["AlgorithmSpecification"]
        entrypoint = algorithm.get("ContainerEntrypoint", [])
        arguments = algorithm.get("ContainerArguments", [] if entrypoint else ["train"])
        if self._fault("bad_image", image=_image_of(job)):
            entrypoint, arguments = ["sh", "-c"], ["echo 'exec /usr/local/bin/python: exec format error'; exit 1"]
        checkpoints = jobs_folders.checkpoints_path(job)
        mounts = ["/opt/ml", *([checkpoints] if checkpoints and not checkpoints.startswith("/opt/ml/") else [])]
        return JobSpec(
            name=f"{self._name}-{node.host}".lower(),
            image=image,
            home=self._twin.home,
            root=node.root,
            arguments=arguments,
            entrypoint=entrypoint,
            environ={
                "AWS_REGION": self._region,
                "TRAINING_JOB_NAME": self._name,
                "TRAINING_JOB_ARN": self._arn,
                **job.get("Environment", {}),
            },
            mounts=mounts,
            read_only=jobs_folders.read_only(job),
            network=network,
            host=node.host,
        )

    # -- while the containers run -------------------------------------------------------------------------------------

    def _watch(
        self, job: Document, containers: list[Job], nodes: list[Node], record: Record, outputs: Outputs
    ) -> Outcome:
        """Wait for the containers' end, or bring it about; afterwards none of them runs."""
        began = time.monotonic()
        flushed = saved = began

        def keep_up() -> bool:
            nonlocal flushed, saved
            if time.monotonic() - flushed > _FLUSH_SECONDS:
                self._flush(record)
                flushed = time.monotonic()
            if time.monotonic() - saved > _CHECKPOINT_SECONDS:
                outputs.save_checkpoints()
                saved = time.monotonic()
            return self._closed

        try:
            while True:
                codes = [each.wait(0) for each in containers]
                outcome = outcome_of(codes, nodes) or self._reason_to_end(job, time.monotonic() - began, containers)
                if outcome:
                    break
                keep_up()
                self._woken.wait(_LOOK_SECONDS)
            hosting_jobs.stop(containers, GRACE_SECONDS, keep_up)
            if self._closed:
                raise _ClosedError
            return outcome
        finally:
            _end_all(containers)
            self._flush(record)

    def _reason_to_end(self, job: Document, seconds: float, containers: list[Job]) -> Outcome | None:
        """What ends the containers before they end themselves."""
        if self._closed:
            raise _ClosedError
        with self._job() as document:
            if document["TrainingJobStatus"] == "Stopping":
                return STOPPED
            trained = states.runs(self._twin, self._region)[self._arn]["trained"] + seconds
        stopping = job.get("StoppingCondition", {})
        if trained > stopping.get("MaxRuntimeInSeconds", _MOST_SECONDS):
            return Outcome("Stopped", "MaxRuntimeExceeded")
        if self._waited_too_long(job):
            return Outcome("Stopped", "MaxWaitTimeExceeded")
        if self._fault("crash", name=self._name):
            containers[0].kill()
        if job["EnableManagedSpotTraining"]:
            with self._twin.lock:
                due = faults.find(self._twin, "spot_reclaim", job=self._name)
                if due and seconds >= due["after_seconds"]:
                    faults.take(self._twin, "spot_reclaim", job=self._name)
                    return INTERRUPTED
        return None

    def _flush(self, record: Record) -> None:
        with self._twin.lock:
            if job := self._document():
                record.flush(job)

    # -- the end ------------------------------------------------------------------------------------------------------

    def _uploaded(self, job: Document, outcome: Outcome, outputs: Outputs) -> Outcome:
        """What an attempt leaves is uploaded however it ended; a model only where the algorithm did not fail."""
        outputs.save_checkpoints(last=True)
        if outcome is INTERRUPTED:
            return outcome
        with self._job() as document:
            states.enter(self._twin, document, "Uploading")
        if outcome.status != "Failed":
            uri = outputs.save_model()
            with self._job() as document:
                document["ModelArtifacts"] = {"S3ModelArtifacts": uri}
        outputs.save_data()
        return outcome

    def _end(self, outcome: Outcome) -> None:
        with self._job() as job:
            if job["TrainingJobStatus"] == "Stopping" and outcome.status == "Completed":
                outcome = STOPPED
            self._ended(job, outcome)

    def _ended(self, job: Document, outcome: Outcome) -> None:
        states.end(self._twin, job, outcome.status, outcome.reason, outcome.secondary)
        states.runs(self._twin, self._region).pop(self._arn, None)
        if outcome.reason.startswith(("InternalServerError", "CapacityError")):
            self._pools.lose(job)
        else:
            self._pools.keep(self._region, job)

    def _count(self, seconds: float) -> None:
        with self._twin.lock:
            if job := self._document():
                states.count_time(job, seconds)
                states.runs(self._twin, self._region)[self._arn]["trained"] += seconds
                self._twin.changed()

    # -- waiting ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _job(self) -> Iterator[Document]:
        """The job's document, with the lock held."""
        with self._twin.lock:
            job = self._document()
            if self._closed or job is None:
                raise _ClosedError
            yield job

    def _document(self) -> Document | None:
        """None too when another job has the name by now."""
        job = store.documents(self._twin, JOB, self._region).get(self._arn)
        return job if job and job["CreationTime"] == self._created else None

    def _look(self) -> None:
        """Go on unless somebody ended the job, or it has waited too long."""
        with self._job() as job:
            if job["TrainingJobStatus"] == "Stopping":
                raise EndError(STOPPED)
            if self._waited_too_long(job):
                raise EndError(Outcome("Stopped", "MaxWaitTimeExceeded"))

    def _pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._woken.wait(min(left, 1.0))
            self._look()
        self._look()

    def _waited_too_long(self, job: Document) -> bool:
        most = job.get("StoppingCondition", {}).get("MaxWaitTimeInSeconds", float("inf"))
        return now() - job["CreationTime"] > most

    def _fault(self, kind: str, **subject: str) -> faults.Fault | None:
        with self._twin.lock:
            kinds = faults.KINDS[kind].members
            return (faults.take if "times" in kinds else faults.find)(self._twin, kind, **subject)


def _end_all(containers: list[Job]) -> None:
    for each in containers:
        each.kill()
    for each in containers:
        each.wait()


def _image_of(job: Document) -> str:
    return job["AlgorithmSpecification"].get("TrainingImage", "")


def _remove(folder: Path) -> None:
    for path in folder.rglob("*") if folder.exists() else ():
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)  # channels that may only be read
    shutil.rmtree(folder, ignore_errors=True)
