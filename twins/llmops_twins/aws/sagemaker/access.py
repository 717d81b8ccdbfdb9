"""Asks the judge for SageMaker's accesses under the role of an endpoint or a job."""

from collections.abc import Iterable
from typing import Any

from llmops_twins.aws.judges import platform
from llmops_twins.aws.service_documents import Document
from llmops_twins.aws.twin import AccountTwin


def denied_endpoint(
    twin: AccountTwin, endpoint: str, config: Document, model: Document, deployment: Document | None
) -> str:
    """Returns why an endpoint can't serve under the role of a model; empty if it can."""
    role = model.get("ExecutionRoleArn") or config.get("ExecutionRoleArn", "")
    return _denied(twin, role, platform.accesses_of_endpoint(twin, endpoint, config, model, deployment))


def denied_job(twin: AccountTwin, job: Document) -> str:
    """Returns why a training job can't run under its role; empty if it can."""
    return _denied(twin, job.get("RoleArn", ""), platform.accesses_of_training_job(twin, job))


def denied_upload(twin: AccountTwin, job: Document, uri: str, key: str) -> str:
    """Returns why a training job can't put an object (with a KMS key) under its role; empty if it can."""
    return _denied(twin, job.get("RoleArn", ""), platform.accesses_of_upload(twin, job, uri, key))


def _denied(twin: AccountTwin, role: str, accesses: Iterable[Any]) -> str:
    for access in accesses:
        if reason := twin.may(role, access.action, access.resource, access.context):
            return reason
    return ""
