"""Training jobs: every member kept, duplicates and bad roles refused, permissions judged; no container runs yet.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTrainingJob.html
"""

from twins.aws.calls import ApiError, Call
from twins.aws.services import sagemaker_access as access
from twins.aws.services import sagemaker_documents as store
from twins.aws.services import sagemaker_images as images
from twins.aws.services.documents import Document, now
from twins.aws.services.sagemaker_documents import JOB, Listing
from twins.aws.services.sagemaker_roles import require_role
from twins.aws.twin import Twin

NO_CONTAINERS = "This twin of AWS runs no containers yet: permissions, image and input were judged, nothing was trained"
_JOBS = Listing(
    "TrainingJobSummaries",
    (
        *("TrainingJobName", "TrainingJobArn", "CreationTime", "TrainingEndTime", "LastModifiedTime"),
        *("TrainingJobStatus", "SecondaryStatus"),
    ),
    status="TrainingJobStatus",
)
_ENDED = ("Completed", "Failed", "Stopped")
_MESSAGES = {
    "Starting": "Starting the training job",
    "Downloading": "Downloading input data",
    "Stopping": "Stopping the training job",
    "Stopped": "Training job stopped",
    "Failed": "Training job failed",
}


class Training:
    """Operations on training jobs, and what becomes of them in time."""

    def __init__(self, twin: Twin) -> None:
        self._twin = twin
        twin.action("sagemaker.job", self._advance)

    def create_training_job(self, call: Call) -> Document:
        name = call.parameters["TrainingJobName"]
        arn = store.arn_of(self._twin, JOB, call.region, name)
        if arn in store.documents(self._twin, JOB, call.region):
            message = (
                "Job name must be unique within an AWS account and region, "
                f"and a job with this name already exists ({arn})"
            )
            raise ApiError("ResourceInUse", message)
        self._check(call)
        job = store.create(self._twin, JOB, call, TrainingJobStatus="InProgress", SecondaryStatusTransitions=[])
        for name in ("EnableNetworkIsolation", "EnableInterContainerTrafficEncryption", "EnableManagedSpotTraining"):
            job.setdefault(name, False)
        self._enter(job, "Starting")
        self._twin.later(self._twin.settings.pace / 2, "sagemaker.job", call.region, arn, "Downloading")
        return {"TrainingJobArn": arn}

    def describe_training_job(self, call: Call) -> Document:
        return store.find(self._twin, JOB, call.region, call.parameters["TrainingJobName"])

    def list_training_jobs(self, call: Call) -> Document:
        return store.page_of(call, JOB, store.documents(self._twin, JOB, call.region), _JOBS)

    def stop_training_job(self, call: Call) -> None:
        job = store.find(self._twin, JOB, call.region, call.parameters["TrainingJobName"])
        status = job["TrainingJobStatus"]
        if status in _ENDED:
            message = f"The request was rejected because the training job is in status {status}."
            raise ApiError("ValidationException", message)
        job["TrainingJobStatus"] = "Stopping"
        self._enter(job, "Stopping")
        self._twin.later(self._twin.settings.pace / 2, "sagemaker.job", call.region, job["TrainingJobArn"], "Stopped")

    def update_training_job(self, call: Call) -> Document:
        given = dict(call.parameters)
        job = store.find(self._twin, JOB, call.region, given.pop("TrainingJobName"))
        resources = given.pop("ResourceConfig", {})
        if job["TrainingJobStatus"] in _ENDED and (given or "KeepAlivePeriodInSeconds" not in resources):
            message = f"The request was rejected because the training job is in status {job['TrainingJobStatus']}."
            raise ApiError("ValidationException", message)
        job.setdefault("ResourceConfig", {}).update(resources)
        job.update(given, LastModifiedTime=now())
        return {"TrainingJobArn": job["TrainingJobArn"]}

    def delete_training_job(self, call: Call) -> None:
        job = store.find(self._twin, JOB, call.region, call.parameters["TrainingJobName"])
        if job["TrainingJobStatus"] not in _ENDED:
            message = f"The request was rejected because the training job is in status {job['TrainingJobStatus']}."
            raise ApiError("ResourceInUse", message)
        store.drop(self._twin, JOB, job)

    def _check(self, call: Call) -> None:
        given = call.parameters
        require_role(self._twin, given.get("RoleArn", ""))
        algorithm = given.get("AlgorithmSpecification", {})
        if bool(algorithm.get("TrainingImage")) == bool(algorithm.get("AlgorithmName")) and algorithm:
            message = "Exactly one of TrainingImage and AlgorithmName must be provided in AlgorithmSpecification."
            raise ApiError("ValidationException", message)
        if image := algorithm.get("TrainingImage"):
            mode = algorithm.get("TrainingImageConfig", {}).get("TrainingRepositoryAccessMode", "")
            images.require_usable(self._twin, image, mode)
        stopping = given.get("StoppingCondition", {})
        if given.get("EnableManagedSpotTraining") and "MaxWaitTimeInSeconds" not in stopping:
            message = "MaxWaitTimeInSeconds must be specified when EnableManagedSpotTraining is set to true."
            raise ApiError("ValidationException", message)
        if stopping.get("MaxWaitTimeInSeconds", 10**9) < stopping.get("MaxRuntimeInSeconds", 0):
            message = "MaxWaitTimeInSeconds must be greater than or equal to MaxRuntimeInSeconds."
            raise ApiError("ValidationException", message)

    def _advance(self, region: str, arn: str, step: str) -> None:
        job = store.documents(self._twin, JOB, region).get(arn)
        if job is None or job["TrainingJobStatus"] in _ENDED:
            return
        if step == "Stopped":
            self._end(job, "Stopped", "")
        elif job["TrainingJobStatus"] == "Stopping":
            return
        elif step == "Downloading":
            self._enter(job, "Downloading")
            self._twin.later(self._twin.settings.pace / 2, "sagemaker.job", region, arn, "Failed")
        else:
            self._end(job, "Failed", self._problem(job) or NO_CONTAINERS)

    def _problem(self, job: Document) -> str:
        image = job.get("AlgorithmSpecification", {}).get("TrainingImage", "")
        if not images.is_there(self._twin, image):
            return f"ClientError: Cannot find repository or image {image}."
        if reason := access.denied_job(self._twin, job):
            return f"ClientError: {reason}"
        for channel in job.get("InputDataConfig", []):
            uri = channel.get("DataSource", {}).get("S3DataSource", {}).get("S3Uri", "")
            if uri and not images.has_data(self._twin, uri):
                return f"ClientError: Data download failed: No S3 objects found under S3 URL {uri!r}."
        return ""

    def _end(self, job: Document, status: str, reason: str) -> None:
        job["TrainingJobStatus"] = status
        job["TrainingEndTime"] = now()
        if reason:
            job["FailureReason"] = reason[:1024]
        self._enter(job, status, reason)
        job["SecondaryStatusTransitions"][-1]["EndTime"] = now()

    def _enter(self, job: Document, status: str, message: str = "") -> None:
        transitions = job["SecondaryStatusTransitions"]
        if transitions:
            transitions[-1]["EndTime"] = now()
        transitions.append({"Status": status, "StartTime": now(), "StatusMessage": message or _MESSAGES[status]})
        job["SecondaryStatus"] = status
        job["LastModifiedTime"] = now()
        self._twin.changed()
