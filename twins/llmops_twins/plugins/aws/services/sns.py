"""SNS: topics, their policies, subscriptions."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmops_twins.plugins.aws.calls import ResourceOperation
from llmops_twins.plugins.aws.kinds import AwsResourceKind
from llmops_twins.plugins.aws.templates import filled
from llmops_twins.plugins.aws.translate import scalar_from_api


@dataclass(frozen=True)
class AttributesKind(AwsResourceKind):
    """A type whose settings are text attributes by name.

    `names`: property -> attribute. `at_create`: attributes that the create call accepts; the others are set afterwards.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    at_create: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    """Inputs that are read as attributes, but are parameters of the create call."""
    empty: Mapping[str, str] = field(default_factory=dict)
    """Property -> the value that clears it; "" by default."""

    def parameters(self, work: ResourceOperation, operation: str) -> dict[str, Any]:
        given = {n: work.inputs[n] for n in self.at_create if work.inputs.get(n) not in (None, "", [], {}, False)}
        found = super().parameters(work, operation)
        attributes = {self.names[n]: _text(v) for n, v in given.items()}
        found.pop("Attributes", None)
        return {**found, **({"Attributes": attributes} if attributes else {})}

    def complete(self, work: ResourceOperation, answer: dict[str, Any]) -> None:
        later = [n for n in self.names if n not in (*self.at_create, *self.fixed) and self._to_send(work, n)]
        self.put(work, {n: work.inputs[n] for n in later})
        super().complete(work, answer)

    def call_update(self, work: ResourceOperation) -> None:
        self.put(work, {n: work.inputs.get(n) for n in self.names if n in work.changed})

    def put(self, work: ResourceOperation, values: dict[str, Any]) -> None:
        """Sets attributes; None removes one."""
        target = filled(self.identity, self.values(work))
        texts = {self.names[n]: _text(v) if v is not None else self.empty.get(n, "") for n, v in values.items()}
        for name, value in texts.items():
            parameters = {"AttributeName": name, "AttributeValue": value}
            work.call(self.service, self.update, retry=self.retry, **target, **parameters)

    def properties_of(self, work: ResourceOperation, answer: dict[str, Any]) -> dict[str, Any]:
        shapes = work.rules.properties
        found = {n: answer[a] for n, a in self.names.items() if answer.get(a) not in (None, "")}
        return {n: scalar_from_api(v, shapes[n]) for n, v in found.items()}

    def readable(self, work: ResourceOperation) -> set[str]:
        return {*self.names, *self.outputs, "tagsAll", "name"}

    def _to_send(self, work: ResourceOperation, name: str) -> bool:
        value = work.inputs.get(name)
        return value is not None and value not in ("", [], {}) and value != work.rules.defaults.get(name)


class SnsTopic(AttributesKind):
    """A topic. Its name is the end of its ARN."""

    def properties_of(self, work: ResourceOperation, answer: dict[str, Any]) -> dict[str, Any]:
        found = super().properties_of(work, answer)
        return {**found, "name": work.id.rpartition(":")[2]}


class SnsSubscription(AttributesKind):
    """A subscription. An unconfirmed one can't be deleted; it is only removed from the state."""

    def parameters(self, work: ResourceOperation, operation: str) -> dict[str, Any]:
        return {**super().parameters(work, operation), "ReturnSubscriptionArn": True}

    def call_delete(self, work: ResourceOperation) -> None:
        if not work.state.get("pendingConfirmation"):
            super().call_delete(work)


class SnsTopicPolicy(AwsResourceKind):
    """A topic's policy. It can't be deleted; the default policy is restored."""

    def call_read(self, work: ResourceOperation) -> dict[str, Any] | None:
        attributes = work.call("sns", "GetTopicAttributes", TopicArn=work.id)["Attributes"]
        policy = attributes.get("Policy")
        return {"arn": work.id, "policy": policy, "owner": attributes.get("Owner", "")} if policy else None

    def readable(self, work: ResourceOperation) -> set[str]:
        return {"arn", "policy", "owner"}

    def parameters(self, work: ResourceOperation, operation: str) -> dict[str, Any]:
        policy = work.inputs["policy"]
        return {"TopicArn": work.inputs["arn"], "AttributeName": "Policy", "AttributeValue": policy}

    def call_delete(self, work: ResourceOperation) -> None:
        policy = json.dumps(_default_policy(work))
        work.call("sns", "SetTopicAttributes", TopicArn=work.id, AttributeName="Policy", AttributeValue=policy)


def _default_policy(work: ResourceOperation) -> dict[str, Any]:
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


def _text(value: Any) -> str:
    """Returns a value as the text of an attribute."""
    return str(value).lower() if isinstance(value, bool) else str(value)
