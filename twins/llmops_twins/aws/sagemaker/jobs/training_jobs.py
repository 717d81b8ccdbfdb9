"""Training jobs: requests are checked against duplicates, roles and permissions, kept in full, and run as containers.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTrainingJob.html
"""

import re

from llmops_twins.aws import sagemaker_documents as store
from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.sagemaker import access, image_lookup
from llmops_twins.aws.sagemaker.execution_roles import require_role
from llmops_twins.aws.sagemaker.jobs import folders
from llmops_twins.aws.sagemaker.jobs.job_threads import TrainingJobRuns
from llmops_twins.aws.sagemaker.jobs.pools import Pools
from llmops_twins.aws.sagemaker.jobs.states import ENDED, end, enter
from llmops_twins.aws.sagemaker_documents import JOB, Listing
from llmops_twins.aws.service_documents import Document, now
from llmops_twins.aws.twin import AccountTwin

NO_CONTAINERS = "This twin of AWS runs no containers: permissions, image and input were judged, nothing was trained"
_JOBS = Listing(
    "TrainingJobSummaries",
    (
        *("TrainingJobName", "TrainingJobArn", "CreationTime", "TrainingEndTime", "LastModifiedTime"),
        *("TrainingJobStatus", "SecondaryStatus", "WarmPoolStatus"),
    ),
    status="TrainingJobStatus",
)


class TrainingOperations:
    """Operations on training jobs, and their progress in time."""

    def __init__(self, twin: AccountTwin) -> None:
        self._twin = twin
        self._pools = Pools(twin)
        self._jobs = TrainingJobRuns(twin, self._pools)
        twin.action_named("sagemaker.job", self._advance)

    def create_training_job(self, call: ApiCall) -> Document:
        name = call.parameters["TrainingJobName"]
        arn = store.arn_of(self._twin, JOB, call.region, name)
        if arn in store.documents(self._twin, JOB, call.region):
            message = (
                "Training job names must be unique within an AWS account and region, "
                f"and a training job with this name already exists ({arn})"
            )
            # https://github.com/SuperCowPowers/workbench/issues/384
            raise AwsApiError("ResourceInUse", message)
        self._check(call)
        runs = self._twin.settings.containers == "run"
        if runs:
            _refuse_unknown(call.parameters)
        job = store.create(self._twin, JOB, call, TrainingJobStatus="InProgress", SecondaryStatusTransitions=[])
        for name in ("EnableNetworkIsolation", "EnableInterContainerTrafficEncryption", "EnableManagedSpotTraining"):
            job.setdefault(name, False)
        enter(self._twin, job, "Starting")
        if runs:
            self._jobs.begin(call.region, job)
        else:
            self._twin.later(self._twin.settings.pace / 2, "sagemaker.job", call.region, arn, "Downloading")
        return {"TrainingJobArn": arn}

    def describe_training_job(self, call: ApiCall) -> Document:
        return store.find(self._twin, JOB, call.region, call.parameters["TrainingJobName"])

    def list_training_jobs(self, call: ApiCall) -> Document:
        found = store.documents(self._twin, JOB, call.region)
        if wanted := call.parameters.get("WarmPoolStatusEquals"):
            found = {arn: job for arn, job in found.items() if job.get("WarmPoolStatus", {}).get("Status") == wanted}
        return store.page_of(call, JOB, found, _JOBS)

    def stop_training_job(self, call: ApiCall) -> None:
        job = store.find(self._twin, JOB, call.region, call.parameters["TrainingJobName"])
        status = job["TrainingJobStatus"]
        if status in ENDED:
            message = f"The request was rejected because the training job is in status {status}."
            raise AwsApiError("ValidationException", message)
        job["TrainingJobStatus"] = "Stopping"
        enter(self._twin, job, "Stopping")
        if not self._jobs.stop(job):
            pause = self._twin.settings.pace / 2
            self._twin.later(pause, "sagemaker.job", call.region, job["TrainingJobArn"], "Stopped")

    def update_training_job(self, call: ApiCall) -> Document:
        given = dict(call.parameters)
        job = store.find(self._twin, JOB, call.region, given.pop("TrainingJobName"))
        resources = given.pop("ResourceConfig", {})
        if job["TrainingJobStatus"] in ENDED and (given or "KeepAlivePeriodInSeconds" not in resources):
            message = f"The request was rejected because the training job is in status {job['TrainingJobStatus']}."
            raise AwsApiError("ValidationException", message)
        if "KeepAlivePeriodInSeconds" in resources and job.get("WarmPoolStatus", {}).get("Status") != "Available":
            # Of other pools the page on warm pools says nothing: https://docs.aws.amazon.com/sagemaker/latest/dg/train-warm-pools.html
            # unsure (40 %): it may be taken while the job still runs; assumed from what the page allows
            message = "The request was rejected because the training job has no warm pool in status Available."
            raise AwsApiError("ValidationException", message)
        job.setdefault("ResourceConfig", {}).update(resources)
        job.update(given, LastModifiedTime=now())
        self._pools.update(call.region, job)
        return {"TrainingJobArn": job["TrainingJobArn"]}

    def delete_training_job(self, call: ApiCall) -> None:
        job = store.find(self._twin, JOB, call.region, call.parameters["TrainingJobName"])
        if job["TrainingJobStatus"] not in ENDED:
            message = f"The request was rejected because the training job is in status {job['TrainingJobStatus']}."
            raise AwsApiError("ResourceInUse", message)
        store.drop(self._twin, JOB, job)

    def _check(self, call: ApiCall) -> None:
        given = call.parameters
        require_role(self._twin, given.get("RoleArn", ""))
        algorithm = given.get("AlgorithmSpecification", {})
        if bool(algorithm.get("TrainingImage")) == bool(algorithm.get("AlgorithmName")) and algorithm:
            message = "Exactly one of TrainingImage and AlgorithmName must be provided in AlgorithmSpecification."
            raise AwsApiError("ValidationException", message)
        if image := algorithm.get("TrainingImage"):
            mode = algorithm.get("TrainingImageConfig", {}).get("TrainingRepositoryAccessMode", "")
            image_lookup.require_usable(self._twin, image, mode)
        stopping = given.get("StoppingCondition", {})
        if given.get("EnableManagedSpotTraining") and "MaxWaitTimeInSeconds" not in stopping:
            message = "MaxWaitTimeInSeconds must be specified when EnableManagedSpotTraining is set to true."
            raise AwsApiError("ValidationException", message)
        if stopping.get("MaxWaitTimeInSeconds", 10**9) < stopping.get("MaxRuntimeInSeconds", 0):
            message = "MaxWaitTimeInSeconds must be greater than or equal to MaxRuntimeInSeconds."
            raise AwsApiError("ValidationException", message)
        if given.get("EnableManagedSpotTraining") and given.get("ResourceConfig", {}).get("KeepAlivePeriodInSeconds"):
            message = "KeepAlivePeriodInSeconds is not supported when EnableManagedSpotTraining is set to true."
            raise AwsApiError("ValidationException", message)
        folders.refuse_outside(given)
        for metric in algorithm.get("MetricDefinitions", []):
            _compiled(metric["Regex"])

    def _advance(self, region: str, arn: str, step: str) -> None:
        job = store.documents(self._twin, JOB, region).get(arn)
        if job is None or job["TrainingJobStatus"] in ENDED:
            return
        if step == "Stopped":
            end(self._twin, job, "Stopped")
        elif job["TrainingJobStatus"] == "Stopping":
            return
        elif step == "Downloading":
            enter(self._twin, job, "Downloading")
            self._twin.later(self._twin.settings.pace / 2, "sagemaker.job", region, arn, "Failed")
        else:
            end(self._twin, job, "Failed", self._problem(job) or NO_CONTAINERS)

    def _problem(self, job: Document) -> str:
        image = job.get("AlgorithmSpecification", {}).get("TrainingImage", "")
        if not image_lookup.is_there(self._twin, image):
            return f"ClientError: Cannot find repository or image {image}."
        if reason := access.denied_job(self._twin, job):
            return f"ClientError: {reason}"
        for channel in job.get("InputDataConfig", []):
            uri = channel.get("DataSource", {}).get("S3DataSource", {}).get("S3Uri", "")
            if uri and not image_lookup.has_data(self._twin, uri):
                return f"ClientError: Data download failed: No S3 objects found under S3 URL {uri!r}."
        return ""


def _refuse_unknown(given: Document) -> None:
    """Refuses requests that AWS accepts and this twin can't run, so that no job fails through no fault of its own.

    Raises:
        AwsApiError: ValidationException.
    """
    if not given.get("AlgorithmSpecification", {}).get("TrainingImage") or not given.get("ResourceConfig"):
        text = "This twin of AWS runs jobs with a TrainingImage and a ResourceConfig."
        raise AwsApiError("ValidationException", text)
    for channel in given.get("InputDataConfig", []):
        source = channel["DataSource"].get("S3DataSource", {})
        mode = channel.get("InputMode") or given["AlgorithmSpecification"].get("TrainingInputMode")
        if source.get("S3DataType") != "S3Prefix" or mode == "Pipe" or channel.get("RecordWrapperType") == "RecordIO":
            text = (
                f"This twin of AWS can't fill channel {channel['ChannelName']}: it knows S3DataType S3Prefix, "
                "the input modes File and FastFile, and no RecordWrapperType."
            )
            raise AwsApiError("ValidationException", text)


def _compiled(regex: str) -> None:
    try:
        re.compile(regex)
    except re.error as e:
        raise AwsApiError(
            "ValidationException", f"Invalid regular expression in MetricDefinitions: {regex}: {e}"
        ) from e
