"""Amazon SNS: subscriptions pending confirmation, complete attributes, checked policies and keys."""

from typing import Any

from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.identity import policies
from llmops_twins.aws.service_documents import Document, shelf
from llmops_twins.aws.services import kms
from llmops_twins.aws.twin import AccountTwin

_SERVICE = "sns"
_CONFIRMED_BY_PERSON = ("email", "email-json", "http", "https")
_PENDING = "PendingConfirmation"
_PROTOCOLS = ("Application", "Firehose", "HTTP", "Lambda", "SQS")
_KINDS = ("SuccessFeedbackRoleArn", "FailureFeedbackRoleArn", "SuccessFeedbackSampleRate")
_MOTOS = {
    "DeliveryPolicy": "delivery_policy",
    "DisplayName": "display_name",
    "KmsMasterKeyId": "kms_master_key_id",
    "Policy": "policy",
    "FifoTopic": "fifo_topic",
    "ContentBasedDeduplication": "content_based_deduplication",
}
_OURS = (
    *("TracingConfig", "SignatureVersion", "ArchivePolicy", "FifoThroughputScope", "DataProtectionPolicy"),
    *(f"{protocol}{kind}" for protocol in _PROTOCOLS for kind in _KINDS),
)


def install(twin: AccountTwin) -> None:
    """Corrects moto's SNS to match https://docs.aws.amazon.com/sns/latest/api/welcome.html."""
    sns = _Sns(twin)
    twin.before(_SERVICE, "CreateTopic", sns.refuse_bad_topic)
    twin.after(_SERVICE, "CreateTopic", sns.keep_created)
    twin.before(_SERVICE, "SetTopicAttributes", sns.refuse_bad_attribute)
    twin.after(_SERVICE, "SetTopicAttributes", sns.keep_attribute)
    twin.mend(_SERVICE, "GetTopicAttributes", sns.complete)
    twin.after(_SERVICE, "DeleteTopic", sns.forget)
    twin.mend(_SERVICE, "Subscribe", sns.await_confirmation)
    for operation in ("ListSubscriptions", "ListSubscriptionsByTopic"):
        twin.mend(_SERVICE, operation, sns.hide_pending)
    twin.mend(_SERVICE, "GetSubscriptionAttributes", sns.say_pending)
    twin.before(_SERVICE, "Unsubscribe", sns.refuse_pending)
    twin.implement(_SERVICE, "ConfirmSubscription", sns.confirm)


def may_publish(twin: AccountTwin, topic_arn: str, service: str, source_arn: str) -> str | None:
    """Returns why an AWS service may not publish to a topic on behalf of a resource; None if it may.

    A topic's default policy allows the account, including its alarms; a policy that names services is judged with its
    conditions.
    """
    topic = _topics(twin, topic_arn.split(":")[3]).get(topic_arn)
    if topic is None:
        return "Topic does not exist"
    found = policies.statements(topic.policy)
    publishing = [statement for statement in found if policies.allows(statement, "sns:Publish")]
    named = any(service in policies.principals(statement, "Service") for statement in publishing)
    context = {"aws:SourceArn": source_arn, "aws:SourceAccount": twin.account}
    if named and twin.judge_of_services is not None:
        named = twin.judge_of_services(service, "sns:Publish", topic_arn, context)
    if not named and not any("*" in policies.principals(statement, "AWS") for statement in publishing):
        return f"{service} is not authorized to perform: SNS:Publish on resource: {topic_arn}"
    key = topic.kms_master_key_id
    if not key:
        return None
    region = topic_arn.split(":")[3]
    arn = key if key.startswith("arn:") else f"arn:aws:kms:{region}:{twin.account}:{'' if '/' in key else 'key/'}{key}"
    if kms.key_state(twin, arn) != "Enabled" or not kms.trusts(twin, arn, service, "kms:GenerateDataKey"):
        return f"null (Service: AWSKMS; Status Code: 400; Error Code: AccessDeniedException; key {key})"
    return None


class _Sns:
    def __init__(self, twin: AccountTwin) -> None:
        self._twin = twin

    def refuse_bad_topic(self, call: ApiCall) -> None:
        attributes = call.parameters.get("Attributes", {})
        for name, value in attributes.items():
            self._check(call, name, value)
        arn = f"arn:aws:sns:{call.region}:{self._twin.account}:{call.parameters['Name']}"
        topic = _topics(self._twin, call.region).get(arn)
        if topic is None:
            return
        tags = {tag["Key"]: tag["Value"] for tag in call.parameters.get("Tags", [])}
        if tags and tags != dict(topic._tags or {}):
            text = "Invalid parameter: Tags Reason: Topic already exists with different tags"
            raise AwsApiError("InvalidParameter", text)
        # Seen on AWS: https://github.com/MassTransit/MassTransit/issues/3720
        if any(value != self._attribute(call.region, topic, name) for name, value in attributes.items()):
            text = "Invalid parameter: Attributes Reason: Topic already exists with different attributes"
            raise AwsApiError("InvalidParameter", text)

    def _attribute(self, region: str, topic: Any, name: str) -> str:
        """Returns the text of a topic's attribute; empty if it is not set."""
        if name in _OURS:
            return self._kept(region, topic.arn).get(name, "")
        found = getattr(topic, _MOTOS[name], None)
        return str(found).lower() if isinstance(found, bool) else str(found or "")

    def keep_created(self, call: ApiCall, answer: Document) -> None:
        for name, value in call.parameters.get("Attributes", {}).items():
            if name in _OURS:
                self._kept(call.region, answer["TopicArn"])[name] = value

    def refuse_bad_attribute(self, call: ApiCall) -> None:
        self._check(call, call.parameters["AttributeName"], call.parameters.get("AttributeValue", ""))

    def _check(self, call: ApiCall, name: str, value: str) -> None:
        if name not in (*_MOTOS, *_OURS):
            raise AwsApiError("InvalidParameter", "Invalid parameter: AttributeName")
        if name != "Policy" or not value:
            return
        try:
            found = policies.resource_statements(value)
        except ValueError as e:
            raise AwsApiError("InvalidParameter", "Invalid parameter: Policy Error: null") from e
        if any(policies.missing_principals(self._twin, found)):
            raise AwsApiError("InvalidParameter", "Invalid parameter: Policy Error: PrincipalNotFound")

    def keep_attribute(self, call: ApiCall, answer: Document) -> None:
        name, kept = call.parameters["AttributeName"], self._kept(call.region, call.parameters["TopicArn"])
        if name in _OURS:
            kept[name] = call.parameters.get("AttributeValue", "")

    def complete(self, call: ApiCall, answer: Document) -> None:
        arn = call.parameters["TopicArn"]
        kept = {name: value for name, value in self._kept(call.region, arn).items() if value}
        attributes = {name: value for name, value in answer["Attributes"].items() if value or name == "DisplayName"}
        waiting = sum(each["pending"] and name.startswith(f"{arn}:") for name, each in self._waiting(call).items())
        confirmed = int(attributes.get("SubscriptionsConfirmed", 0))
        counts = {"SubscriptionsPending": str(waiting), "SubscriptionsConfirmed": str(max(0, confirmed - waiting))}
        answer["Attributes"] = {**attributes, **counts, **kept}

    def forget(self, call: ApiCall, answer: Document) -> None:
        arn = call.parameters["TopicArn"]
        shelf(self._twin, _SERVICE, "attributes", call.region).pop(arn, None)
        for name in [name for name in self._waiting(call) if name.startswith(f"{arn}:")]:
            del self._waiting(call)[name]

    def await_confirmation(self, call: ApiCall, answer: Document) -> None:
        if call.parameters["Protocol"] not in _CONFIRMED_BY_PERSON:
            return
        arn = answer["SubscriptionArn"]
        self._waiting(call).setdefault(arn, {"pending": True})
        if not call.parameters.get("ReturnSubscriptionArn") and self._is_pending(call, arn):
            answer["SubscriptionArn"] = "pending confirmation"

    def hide_pending(self, call: ApiCall, answer: Document) -> None:
        for each in answer["Subscriptions"]:
            if self._is_pending(call, each["SubscriptionArn"]):
                each["SubscriptionArn"] = _PENDING

    def say_pending(self, call: ApiCall, answer: Document) -> None:
        if self._is_pending(call, call.parameters["SubscriptionArn"]):
            answer["Attributes"].update({_PENDING: "true", "ConfirmationWasAuthenticated": "false"})

    def refuse_pending(self, call: ApiCall) -> None:
        if self._is_pending(call, call.parameters["SubscriptionArn"]):
            text = "Invalid parameter: This subscription is not confirmed: cannot unsubscribe a subscription that is pending confirmation"  # fmt: skip # noqa: E501
            raise AwsApiError("InvalidParameter", text)

    def confirm(self, call: ApiCall) -> Document:
        """Confirms a subscription. The twin sends no mail; the token is the last part of the subscription's ARN."""
        arn = f"{call.parameters['TopicArn']}:{call.parameters['Token']}"
        if arn not in self._waiting(call):
            raise AwsApiError("InvalidParameter", "Invalid token")
        self._waiting(call)[arn] = {"pending": False}
        return {"SubscriptionArn": arn}

    def _kept(self, region: str, arn: str) -> Document:
        return shelf(self._twin, _SERVICE, "attributes", region).setdefault(arn, {})

    def _waiting(self, call: ApiCall) -> dict[str, Document]:
        return shelf(self._twin, _SERVICE, "confirmations", call.region)

    def _is_pending(self, call: ApiCall, arn: str) -> bool:
        return self._waiting(call).get(arn, {}).get("pending", False)


def _topics(twin: AccountTwin, region: str) -> dict[str, Any]:
    from moto.sns.models import sns_backends

    return sns_backends[twin.account][region].topics
