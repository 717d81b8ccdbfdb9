"""Amazon SQS: whole seconds, one kind of encryption, valid policies."""

from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.identity import policies
from llmops_twins.aws.service_documents import Document
from llmops_twins.aws.twin import AccountTwin


def install(twin: AccountTwin) -> None:
    """Corrects moto's queues to match
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/Welcome.html.
    """
    twin.mend("sqs", "GetQueueAttributes", _complete)
    for operation in ("CreateQueue", "SetQueueAttributes"):
        twin.before("sqs", operation, lambda call: _refuse_bad_policy(twin, call))


def _complete(call: ApiCall, answer: Document) -> None:
    attributes = answer.get("Attributes", {})
    for name in ("CreatedTimestamp", "LastModifiedTimestamp"):
        if name in attributes:
            attributes[name] = attributes[name].partition(".")[0]
    if attributes.get("KmsMasterKeyId"):
        attributes["SqsManagedSseEnabled"] = "false"


def _refuse_bad_policy(twin: AccountTwin, call: ApiCall) -> None:
    text = call.parameters.get("Attributes", {}).get("Policy")
    if not text:
        return
    try:
        found = policies.resource_statements(text)
    except ValueError as e:
        raise AwsApiError("InvalidAttributeValue", "Invalid value for the parameter Policy.") from e
    if any(policies.missing_principals(twin, found)):
        raise AwsApiError("InvalidAttributeValue", "Invalid value for the parameter Policy.")
