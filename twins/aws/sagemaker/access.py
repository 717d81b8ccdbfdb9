"""What SageMaker does under the role of an endpoint or a job, put to the judge."""

from collections.abc import Iterable
from typing import Any

from twins.aws.judges import platform
from twins.aws.services.documents import Document
from twins.aws.twin import AccountTwin


def denied_endpoint(
    twin: AccountTwin, endpoint: str, config: Document, model: Document, deployment: Document | None
) -> str:
    """Why the role of a model can't serve at an endpoint; empty when it can."""
    role = model.get("ExecutionRoleArn") or config.get("ExecutionRoleArn", "")
    return _denied(twin, role, platform.accesses_of_endpoint(twin, endpoint, config, model, deployment))


def denied_job(twin: AccountTwin, job: Document) -> str:
    """Why the role of a training job can't do its work; empty when it can."""
    return _denied(twin, job.get("RoleArn", ""), platform.accesses_of_training_job(twin, job))


def denied_upload(twin: AccountTwin, job: Document, uri: str, key: str) -> str:
    """Why the role of a training job can't put an object (with a KMS key); empty when it can."""
    return _denied(twin, job.get("RoleArn", ""), platform.accesses_of_upload(twin, job, uri, key))


def _denied(twin: AccountTwin, role: str, accesses: Iterable[Any]) -> str:
    for access in accesses:
        if reason := twin.may(role, access.action, access.resource, access.context):
            return reason
    return ""
