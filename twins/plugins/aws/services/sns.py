"""SNS: topics, their policies, subscriptions."""

import json
from typing import Any

from twins.plugins.aws.attributes import AttributesKind
from twins.plugins.aws.calls import Work
from twins.plugins.aws.kinds import Kind
from twins.plugins.aws.tags import Tagging

NOT_FOUND = ("NotFound", "NotFoundException")
PASSING = ("InvalidParameter", "InvalidParameterException", "AuthorizationError: no identity-based policy allows")
FEEDBACK = {
    f"{name}{suffix}": f"{api}{suffix[0].upper()}{suffix[1:]}"
    for name, api in (
        ("application", "Application"),
        ("firehose", "Firehose"),
        ("http", "HTTP"),
        ("lambda", "Lambda"),
        ("sqs", "SQS"),
    )
    for suffix in ("FailureFeedbackRoleArn", "SuccessFeedbackRoleArn", "SuccessFeedbackSampleRate")
}


class Topic(AttributesKind):
    """A topic: its name is the end of its ARN."""

    def properties_of(self, work: Work, answer: dict[str, Any]) -> dict[str, Any]:
        found = super().properties_of(work, answer)
        return {**found, "name": work.id.rpartition(":")[2]}


class Subscription(AttributesKind):
    """A subscription; one that nobody confirmed yet can't be taken away, and merely leaves the state."""

    def parameters(self, work: Work, operation: str) -> dict[str, Any]:
        return {**super().parameters(work, operation), "ReturnSubscriptionArn": True}

    def call_delete(self, work: Work) -> None:
        if not work.state.get("pendingConfirmation"):
            super().call_delete(work)


class TopicPolicy(Kind):
    """A topic's policy: it can't be removed, the default one is written back."""

    def call_read(self, work: Work) -> dict[str, Any] | None:
        attributes = work.call("sns", "GetTopicAttributes", TopicArn=work.id)["Attributes"]
        policy = attributes.get("Policy")
        return {"arn": work.id, "policy": policy, "owner": attributes.get("Owner", "")} if policy else None

    def readable(self, work: Work) -> set[str]:
        return {"arn", "policy", "owner"}

    def parameters(self, work: Work, operation: str) -> dict[str, Any]:
        policy = work.inputs["policy"]
        return {"TopicArn": work.inputs["arn"], "AttributeName": "Policy", "AttributeValue": policy}

    def call_delete(self, work: Work) -> None:
        policy = json.dumps(_default_policy(work))
        work.call("sns", "SetTopicAttributes", TopicArn=work.id, AttributeName="Policy", AttributeValue=policy)


def _default_policy(work: Work) -> dict[str, Any]:
    actions = "GetTopicAttributes SetTopicAttributes AddPermission RemovePermission DeleteTopic Subscribe"
    return {
        "Version": "2008-10-17",
        "Id": "__default_policy_ID",
        "Statement": [
            {
                "Sid": "__default_statement_ID",
                "Effect": "Allow",
                "Principal": {"AWS": "*"},
                "Action": [f"SNS:{a}" for a in (*actions.split(), "ListSubscriptionsByTopic", "Publish")],
                "Resource": work.id,
                "Condition": {"StringEquals": {"AWS:SourceOwner": work.session.account}},
            }
        ],
    }


KINDS = (
    Topic(
        "aws:sns/topic:Topic",
        "sns",
        "SNS Topic",
        "{arn}",
        create="CreateTopic",
        read="GetTopicAttributes",
        update="SetTopicAttributes",
        delete="DeleteTopic",
        identity={"TopicArn": "{id}"},
        pick="Attributes",
        prefix="Topic",
        names={
            "archivePolicy": "ArchivePolicy",
            "arn": "TopicArn",
            "beginningArchiveTime": "BeginningArchiveTime",
            "contentBasedDeduplication": "ContentBasedDeduplication",
            "deliveryPolicy": "DeliveryPolicy",
            "displayName": "DisplayName",
            "fifoThroughputScope": "FifoThroughputScope",
            "fifoTopic": "FifoTopic",
            "kmsMasterKeyId": "KmsMasterKeyId",
            "maximumMessageSize": "MaximumMessageSize",
            "owner": "Owner",
            "policy": "Policy",
            "signatureVersion": "SignatureVersion",
            "tracingConfig": "TracingConfig",
            **FEEDBACK,
        },
        at_create=("fifoTopic", "fifoThroughputScope"),
        tags=Tagging("TagResource", "UntagResource", "ListTagsForResource", {"ResourceArn": "{id}"}),
        gone=NOT_FOUND,
        retry=PASSING,
    ),
    Subscription(
        "aws:sns/topicSubscription:TopicSubscription",
        "sns",
        "SNS Topic Subscription",
        "{arn}",
        create="Subscribe",
        read="GetSubscriptionAttributes",
        update="SetSubscriptionAttributes",
        delete="Unsubscribe",
        identity={"SubscriptionArn": "{id}"},
        pick="Attributes",
        prefix="Subscription",
        renames={"topic": "TopicArn", "endpoint": "Endpoint", "protocol": "Protocol"},
        names={
            "arn": "SubscriptionArn",
            "confirmationWasAuthenticated": "ConfirmationWasAuthenticated",
            "deliveryPolicy": "DeliveryPolicy",
            "endpoint": "Endpoint",
            "filterPolicy": "FilterPolicy",
            "filterPolicyScope": "FilterPolicyScope",
            "ownerId": "Owner",
            "pendingConfirmation": "PendingConfirmation",
            "protocol": "Protocol",
            "rawMessageDelivery": "RawMessageDelivery",
            "redrivePolicy": "RedrivePolicy",
            "replayPolicy": "ReplayPolicy",
            "subscriptionRoleArn": "SubscriptionRoleArn",
            "topic": "TopicArn",
        },
        at_create=(
            "deliveryPolicy",
            "filterPolicy",
            "filterPolicyScope",
            "rawMessageDelivery",
            "redrivePolicy",
            "replayPolicy",
            "subscriptionRoleArn",
        ),
        fixed=("endpoint", "protocol", "topic"),
        empty={"filterPolicy": "{}"},
        gone=NOT_FOUND,
    ),
    TopicPolicy(
        "aws:sns/topicPolicy:TopicPolicy",
        "sns",
        "SNS Topic Policy",
        "{arn}",
        create="SetTopicAttributes",
        read="GetTopicAttributes",
        update="SetTopicAttributes",
        identity={},
        gone=NOT_FOUND,
        retry=("InvalidParameter", "InvalidParameterException"),
    ),
)
