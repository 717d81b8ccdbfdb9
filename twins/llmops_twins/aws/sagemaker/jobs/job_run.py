"""One training job from its start to its end, on its own thread.

https://docs.aws.amazon.com/sagemaker/latest/dg/how-it-works-training.html
https://docs.aws.amazon.com/sagemaker/latest/dg/model-managed-spot-training.html
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from llmops_kit.core.errors import HostingError
from llmops_kit.local_runtime import job_containers as hosting_jobs
from llmops_kit.local_runtime import runtimes
from llmops_kit.local_runtime.job_containers import Job, JobSpec
from llmops_twins.aws import faults
from llmops_twins.aws import sagemaker_documents as store
from llmops_twins.aws.calls import AwsApiError
from llmops_twins.aws.sagemaker import access, image_lookup
from llmops_twins.aws.sagemaker.jobs import folders, states
from llmops_twins.aws.sagemaker.jobs.folders import JobInstance
from llmops_twins.aws.sagemaker.jobs.job_logs import AttemptLog
from llmops_twins.aws.sagemaker.jobs.outcomes import STOPPED, outcome_of
from llmops_twins.aws.sagemaker.jobs.outputs import Outputs
from llmops_twins.aws.sagemaker.jobs.pools import Pools
from llmops_twins.aws.sagemaker_documents import JOB
from llmops_twins.aws.service_documents import Document, now
from llmops_twins.aws.services.ec2 import traffic
from llmops_twins.aws.twin import AccountTwin
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
    remove,
)

GRACE_SECONDS = 120
"""Seconds between SIGTERM and SIGKILL on SageMaker."""
NO_CAPACITY = (
    "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML instance type."
)
_MOST_SECONDS = 86400  # default of MaxRuntimeInSeconds
_FLUSH_SECONDS = 1.0
_CHECKPOINT_SECONDS = 2.0
_DOCKER_INTERFACE, _LOOPBACK = "eth0", "lo"


class TrainingJobRun(JobRun):
    """A running job. `warm`: its instances exist already; `retry`: it starts again after an internal error."""

    log_name = "llmops_twins.aws"

    def __init__(
        self, twin: AccountTwin, pools: Pools, region: str, job: Document, *, warm: bool, retry: bool = False
    ) -> None:
        super().__init__(twin, job["TrainingJobName"])
        self._twin = twin
        self._pools = pools
        self._region = region
        self._arn = job["TrainingJobArn"]
        self._warm = warm
        self._retry = retry
        self._created = job["CreationTime"]
        self.begin()

    # -- attempts -----------------------------------------------------------------------------------------------------

    def faults(self) -> Faults:
        """Returns the faults of the twin."""
        return faults.of(self._twin)

    def interrupted(self) -> None:
        """Records that the spot instances were reclaimed."""
        with self._job() as job:
            states.enter(self._twin, job, "Interrupted")

    def failed_inside(self, error: Exception) -> None:
        """Records a failure of the twin itself."""
        with self._twin.lock:
            if job := self._document():
                self._ended(job, Outcome("Failed", "", f"InternalServerError: the twin failed: {error!r}"))

    def attempt(self) -> Outcome:
        """Waits for instances, and runs the job on them."""
        began = 0.0
        try:
            self._await_instances()
            began = time.monotonic()
            return self._work()
        except EndError as e:
            return e.outcome
        except (AwsApiError, HostingError) as e:
            text = e.message if isinstance(e, AwsApiError) else e.what
            return Outcome("Failed", "", f"ClientError: {text}")
        finally:
            self._warm = self._retry = False
            if began:
                self._count(time.monotonic() - began)
            remove(self.home)

    def _work(self) -> Outcome:
        """Downloads the inputs, runs the containers, and uploads the outputs; returns the outcome."""
        with self._job() as document:
            document.setdefault("TrainingStartTime", now())
            states.enter(self._twin, document, "Downloading")
            job = dict(document)
        image = self._checked_image(job)
        nodes = folders.nodes_of(job, self.home)
        meet = self._may_meet(job, nodes)
        record, outputs = AttemptLog(self._twin, self._region, job), Outputs(self._twin, job, nodes)
        docker = image.startswith("docker:")
        for node in nodes:
            interface = _DOCKER_INTERFACE if docker else _LOOPBACK
            found = nodes if meet else folders.apart(nodes, node)
            folders.prepare(self._twin, job, node, found, interface, self.look)
        outputs.save_restored()
        if slow := self.fault("slow_start", image=_image_of(job)):
            self.pause(float(slow["seconds"]))
        with ExitStack() as cleanup:
            network = self._network(job, nodes, meet, cleanup) if docker else ""
            containers: list[Job] = []
            cleanup.callback(end_all, containers)
            self.look()
            with self._job() as document:
                states.enter(self._twin, document, "Training")
            specs = [(self._spec(job, node, image, network), record.of(node.host)) for node in nodes]
            # Adds one by one: after a failure, `cleanup` ends those that started.
            containers.extend(hosting_jobs.start(spec, said) for spec, said in specs)
            outcome = self._watch(job, containers, nodes, record, outputs)
        return self._uploaded(job, outcome, outputs)

    def _await_instances(self) -> None:
        with self._job() as job:
            status = "Restarting" if self._retry else "Starting"
            if job["SecondaryStatus"] != status:
                states.enter(self._twin, job, status)
            kinds = {each.instance_type for each in folders.nodes_of(job, self.home)}
            spot = job["EnableManagedSpotTraining"]
        if not self._warm:
            self.pause(self._twin.settings.pace / 2)
        while not self._warm and any(self.fault("capacity", instance_type=kind) for kind in kinds):
            if not spot:
                raise EndError(Outcome("Failed", "", NO_CAPACITY))
            self.pause(max(LOOK_SECONDS, self._twin.settings.pace))

    def _checked_image(self, job: Document) -> str:
        """Returns the local runtime's reference of the job's image, after judging the job's role for all of its
        accesses.
        """
        image = _image_of(job)
        with self._twin.lock:
            if not image_lookup.is_there(self._twin, image):
                raise AwsApiError("ValidationException", f"Cannot find repository or image {image}.")
            if reason := access.denied_job(self._twin, job):
                raise AwsApiError("AccessDenied", reason)
            runnable = image_lookup.runnable(self._twin, image)
        if runnable.startswith("docker:"):
            runtimes.pull(runnable)
        return runnable

    def _may_meet(self, job: Document, nodes: list[JobInstance]) -> bool:
        if len(nodes) == 1:
            return True
        with self._twin.lock:
            return traffic.may_meet(self._twin, self._region, job)

    def _network(self, job: Document, nodes: list[JobInstance], meet: bool, cleanup: ExitStack) -> str:
        isolated = job["EnableNetworkIsolation"]
        if len(nodes) == 1 or not meet:
            return "none" if isolated else ""
        return cleanup.enter_context(hosting_jobs.network(self._twin.home, self.name.lower(), isolated=isolated))

    def _spec(self, job: Document, node: JobInstance, image: str, network: str) -> JobSpec:
        algorithm = job["AlgorithmSpecification"]
        entrypoint = algorithm.get("ContainerEntrypoint", [])
        arguments = algorithm.get("ContainerArguments", [] if entrypoint else ["train"])
        if self.fault("bad_image", image=_image_of(job)):
            entrypoint, arguments = ["sh", "-c"], ["echo 'exec /usr/local/bin/python: exec format error'; exit 1"]
        checkpoints = folders.checkpoints_path(job)
        mounts = ["/opt/ml", *([checkpoints] if checkpoints and not checkpoints.startswith("/opt/ml/") else [])]
        return JobSpec(
            name=f"{self.name}-{node.host}".lower(),
            image=image,
            home=self._twin.home,
            root=node.root,
            arguments=arguments,
            entrypoint=entrypoint,
            environ={
                "AWS_REGION": self._region,
                "TRAINING_JOB_NAME": self.name,
                "TRAINING_JOB_ARN": self._arn,
                **job.get("Environment", {}),
            },
            mounts=mounts,
            read_only=folders.read_only(job),
            network=network,
            host=node.host,
        )

    # -- while the containers run -------------------------------------------------------------------------------------

    def _watch(
        self, job: Document, containers: list[Job], nodes: list[JobInstance], record: AttemptLog, outputs: Outputs
    ) -> Outcome:
        """Waits for the containers' end, or causes it; none of them runs afterwards."""
        flush, save = Rhythm(_FLUSH_SECONDS), Rhythm(_CHECKPOINT_SECONDS)

        def keep_up() -> None:
            if flush.due():
                self._flush(record)
            if save.due():
                outputs.save_checkpoints()

        def outcome_now(codes: list[int | None], seconds: float) -> Outcome | None:
            # Checked before the exit codes: the results of a job that has just succeeded are still on the machine.
            if not any(codes) and job["EnableManagedSpotTraining"] and self.reclaimed(seconds):
                return INTERRUPTED
            return outcome_of(codes, nodes) or self._reason_to_end(job, seconds, containers)

        try:
            return self.watch(containers, outcome_now, keep_up, GRACE_SECONDS)
        finally:
            self._flush(record)

    def _reason_to_end(self, job: Document, seconds: float, containers: list[Job]) -> Outcome | None:
        """Returns the outcome if the containers must be ended now: the job was stopped, or ran or waited too long; None
        otherwise.
        """
        with self._job() as document:
            if document["TrainingJobStatus"] == "Stopping":
                return STOPPED
            trained = states.runs(self._twin, self._region)[self._arn]["trained"] + seconds
        stopping = job.get("StoppingCondition", {})
        if trained > stopping.get("MaxRuntimeInSeconds", _MOST_SECONDS):
            return Outcome("Stopped", "MaxRuntimeExceeded")
        if self._waited_too_long(job):
            return Outcome("Stopped", "MaxWaitTimeExceeded")
        if self.fault("crash", name=self.name):
            containers[0].kill()
        return None

    def _flush(self, record: AttemptLog) -> None:
        with self._twin.lock:
            if job := self._document():
                record.flush(job)

    # -- the end ------------------------------------------------------------------------------------------------------

    def _uploaded(self, job: Document, outcome: Outcome, outputs: Outputs) -> Outcome:
        """Uploads the results of an attempt, and returns its outcome; a model only if the algorithm did not fail."""
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

    def end(self, outcome: Outcome) -> None:
        """Records the outcome of the job."""
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
        """Yields the job's document with the lock held."""
        with self._twin.lock:
            job = self._document()
            if self.closed or job is None:
                raise ClosedError
            yield job

    def _document(self) -> Document | None:
        """Returns the job's document; None if it is gone, or replaced by another job of that name."""
        job = store.documents(self._twin, JOB, self._region).get(self._arn)
        return job if job and job["CreationTime"] == self._created else None

    def look(self) -> None:
        """Returns while the job may continue.

        Raises:
            EndError: the job was stopped, or waited too long.
        """
        with self._job() as job:
            if job["TrainingJobStatus"] == "Stopping":
                raise EndError(STOPPED)
            if self._waited_too_long(job):
                raise EndError(Outcome("Stopped", "MaxWaitTimeExceeded"))

    def _waited_too_long(self, job: Document) -> bool:
        most = job.get("StoppingCondition", {}).get("MaxWaitTimeInSeconds", float("inf"))
        return now() - job["CreationTime"] > most


def _image_of(job: Document) -> str:
    return job["AlgorithmSpecification"].get("TrainingImage", "")
