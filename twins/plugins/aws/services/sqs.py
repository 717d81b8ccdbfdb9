"""SQS: queues and their policies."""

from typing import Any

from twins.plugins.aws.attributes import AttributesKind
from twins.plugins.aws.calls import Work
from twins.plugins.aws.kinds import MINUTE, Kind
from twins.plugins.aws.tags import Tagging

NO_QUEUE = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")
NAMES = {
    "arn": "QueueArn",
    "contentBasedDeduplication": "ContentBasedDeduplication",
    "deduplicationScope": "DeduplicationScope",
    "delaySeconds": "DelaySeconds",
    "fifoQueue": "FifoQueue",
    "fifoThroughputLimit": "FifoThroughputLimit",
    "kmsDataKeyReusePeriodSeconds": "KmsDataKeyReusePeriodSeconds",
    "kmsMasterKeyId": "KmsMasterKeyId",
    "maxMessageSize": "MaximumMessageSize",
    "messageRetentionSeconds": "MessageRetentionPeriod",
    "policy": "Policy",
    "receiveWaitTimeSeconds": "ReceiveMessageWaitTimeSeconds",
    "redriveAllowPolicy": "RedriveAllowPolicy",
    "redrivePolicy": "RedrivePolicy",
    "sqsManagedSseEnabled": "SqsManagedSseEnabled",
    "visibilityTimeoutSeconds": "VisibilityTimeout",
}


class Queue(AttributesKind):
    """A queue: its URL is its id, and ends in its name."""

    def id_after_create(self, work: Work, answer: dict[str, Any]) -> str:
        return answer["QueueUrl"]

    def properties_of(self, work: Work, answer: dict[str, Any]) -> dict[str, Any]:
        found = super().properties_of(work, answer)
        return {**found, "url": work.id, "name": work.id.rpartition("/")[2]}

    def readable(self, work: Work) -> set[str]:
        return super().readable(work) | {"url"}


class QueuePolicy(Kind):
    """A queue's policy: an empty text takes it away."""

    def parameters(self, work: Work, operation: str) -> dict[str, Any]:
        return {"QueueUrl": work.inputs["queueUrl"], "Attributes": {"Policy": work.inputs["policy"]}}

    def properties_of(self, work: Work, answer: dict[str, Any]) -> dict[str, Any]:
        return {"queueUrl": work.id, "policy": answer["Policy"]}

    def call_read(self, work: Work) -> dict[str, Any] | None:
        answer = work.call("sqs", "GetQueueAttributes", QueueUrl=work.id, AttributeNames=["Policy"])
        attributes = answer.get("Attributes", {})
        return attributes if attributes.get("Policy") else None

    def readable(self, work: Work) -> set[str]:
        return {"queueUrl", "policy"}

    def call_delete(self, work: Work) -> None:
        work.call("sqs", "SetQueueAttributes", QueueUrl=work.id, Attributes={"Policy": ""})


KINDS = (
    Queue(
        "aws:sqs/queue:Queue",
        "sqs",
        "SQS Queue",
        "{url}",
        create="CreateQueue",
        read="GetQueueAttributes",
        update="SetQueueAttributes",
        delete="DeleteQueue",
        identity={"QueueUrl": "{id}"},
        read_identity={"QueueUrl": "{id}", "AttributeNames": ["All"]},
        pick="Attributes",
        prefix="Queue",
        names=NAMES,
        at_create=tuple(name for name in NAMES if name != "arn"),
        at_once=True,
        tags=Tagging("TagQueue", "UntagQueue", "ListQueueTags", {"QueueUrl": "{id}"}),
        gone=NO_QUEUE,
        retry=("QueueDeletedRecently", "AWS.SimpleQueueService.QueueDeletedRecently"),
        wait_gone=3 * MINUTE,
    ),
    QueuePolicy(
        "aws:sqs/queuePolicy:QueuePolicy",
        "sqs",
        "SQS Queue Policy",
        "{queueUrl}",
        create="SetQueueAttributes",
        read="GetQueueAttributes",
        update="SetQueueAttributes",
        identity={},
        gone=NO_QUEUE,
        retry=("InvalidAttributeValue: Invalid value for the parameter Policy",),
    ),
)
