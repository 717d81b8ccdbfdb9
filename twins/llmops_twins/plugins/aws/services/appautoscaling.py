"""Application Auto Scaling: scalable targets and policies."""

from typing import Any

from llmops_twins.plugins.aws.calls import ResourceOperation
from llmops_twins.plugins.aws.kinds import AwsResourceKind


class ScalableTarget(AwsResourceKind):
    """A scalable target. Its id is the resource's; imports name all three (namespace/resource/dimension)."""

    def recorded(self, identity: str) -> dict[str, Any]:
        namespace, _, rest = identity.partition("/")
        resource, _, dimension = rest.rpartition("/")
        if ":" not in dimension:
            return {"resourceId": identity}
        return {"serviceNamespace": namespace, "resourceId": resource, "scalableDimension": dimension}

    def find(self, work: ResourceOperation) -> dict[str, Any] | None:
        found = super().find(work)
        if found is not None:
            work.id = found["resourceId"]
        return found


class ScalingPolicy(AwsResourceKind):
    """A scaling policy; AWS returns the alarms that it created for it."""

    def properties_of(self, work: ResourceOperation, answer: dict[str, Any]) -> dict[str, Any]:
        found = super().properties_of(work, answer)
        return {**found, "alarmArns": [alarm["AlarmARN"] for alarm in answer.get("Alarms", [])]}
