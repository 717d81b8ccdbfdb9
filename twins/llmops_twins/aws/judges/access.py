"""An action on a resource, as a question to the policy evaluator."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class JudgedAction:
    """An action on one resource, with the condition keys that the request itself fills.

    `resource` is an ARN, `*` for an action that has no resources, or an ARN with a `*` where AWS generates a
    name that is unknown before the call (`arn:aws:ec2:us-east-1:000000000000:vpc/*`).
    """

    action: str
    resource: str
    context: Mapping[str, str | list[str]] = field(default_factory=dict)

    @property
    def asked(self) -> str:
        """The resource for the evaluator, with a placeholder if its name is not known yet."""
        return self.resource if self.resource == "*" else self.resource.replace("*", "new")
