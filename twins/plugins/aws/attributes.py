"""Types whose settings are attributes by name, each a text: SNS topics and subscriptions, SQS queues."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from twins.plugins.aws.calls import Work
from twins.plugins.aws.kinds import Kind, filled
from twins.plugins.aws.translate import scalar_from_api


@dataclass(frozen=True)
class AttributesKind(Kind):
    """`names`: property -> attribute. `at_create`: those that the create call takes; the others follow."""

    names: Mapping[str, str] = field(default_factory=dict)
    at_create: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    """Inputs that are read as attributes, and given as the create call's own parameters."""
    at_once: bool = False
    """Does one call set several attributes?"""
    empty: Mapping[str, str] = field(default_factory=dict)
    """Property -> what is sent when it is taken away; "" otherwise."""

    def parameters(self, work: Work, operation: str) -> dict[str, Any]:
        given = {n: work.inputs[n] for n in self.at_create if work.inputs.get(n) not in (None, "", [], {}, False)}
        found = super().parameters(work, operation)
        attributes = {self.names[n]: text(v) for n, v in given.items()}
        found.pop("Attributes", None)
        return {**found, **({"Attributes": attributes} if attributes else {})}

    def complete(self, work: Work, answer: dict[str, Any]) -> None:
        later = [n for n in self.names if n not in (*self.at_create, *self.fixed) and self._to_send(work, n)]
        self.put(work, {n: work.inputs[n] for n in later})
        super().complete(work, answer)

    def call_update(self, work: Work) -> None:
        self.put(work, {n: work.inputs.get(n) for n in self.names if n in work.changed})

    def put(self, work: Work, values: dict[str, Any]) -> None:
        """Set attributes; None takes one away."""
        target = filled(self.identity, self.values(work))
        texts = {self.names[n]: text(v) if v is not None else self.empty.get(n, "") for n, v in values.items()}
        if self.at_once and texts:
            work.call(self.service, self.update, retry=self.retry, **target, Attributes=texts)
            return
        for name, value in texts.items():
            parameters = {"AttributeName": name, "AttributeValue": value}
            work.call(self.service, self.update, retry=self.retry, **target, **parameters)

    def properties_of(self, work: Work, answer: dict[str, Any]) -> dict[str, Any]:
        shapes = work.rules.properties
        found = {n: answer[a] for n, a in self.names.items() if answer.get(a) not in (None, "")}
        return {n: scalar_from_api(v, shapes[n]) for n, v in found.items()}

    def readable(self, work: Work) -> set[str]:
        return {*self.names, *self.outputs, "tagsAll", "name"}

    def _to_send(self, work: Work, name: str) -> bool:
        value = work.inputs.get(name)
        return value is not None and value not in ("", [], {}) and value != work.rules.defaults.get(name)


def text(value: Any) -> str:
    """A value as an attribute."""
    return str(value).lower() if isinstance(value, bool) else str(value)
