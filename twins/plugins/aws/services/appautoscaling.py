"""Application Auto Scaling: scalable targets, policies, scheduled actions."""

from typing import Any

from twins.plugins.aws.calls import Work
from twins.plugins.aws.kinds import MINUTE, Kind
from twins.plugins.aws.tags import Tagging
from twins.plugins.plugin import ProviderError

SERVICE = "application-autoscaling"
NOT_FOUND = ("ObjectNotFoundException",)
PLACE = {
    "ServiceNamespace": "{serviceNamespace}",
    "ResourceId": "{resourceId}",
    "ScalableDimension": "{scalableDimension}",
}


class Target(Kind):
    """A scalable target: its id is the resource's alone, imports name all three (namespace/resource/dimension)."""

    def recorded(self, identity: str) -> dict[str, Any]:
        namespace, _, rest = identity.partition("/")
        resource, _, dimension = rest.rpartition("/")
        if ":" not in dimension:
            return {"resourceId": identity}
        return {"serviceNamespace": namespace, "resourceId": resource, "scalableDimension": dimension}

    def find(self, work: Work) -> dict[str, Any] | None:
        found = super().find(work)
        if found is not None:
            work.id = found["resourceId"]
        return found


class Policy(Kind):
    """A scaling policy; AWS names the alarms that it made for it."""

    def properties_of(self, work: Work, answer: dict[str, Any]) -> dict[str, Any]:
        found = super().properties_of(work, answer)
        return {**found, "alarmArns": [alarm["AlarmARN"] for alarm in answer.get("Alarms", [])]}


class Action(Kind):
    """A scheduled action: its target may not be registered yet."""

    def recorded(self, identity: str) -> dict[str, Any]:
        return {}

    def find(self, work: Work) -> dict[str, Any] | None:
        if "name" not in work.properties:
            raise ProviderError(f"resource {self.token} does not support import")
        return super().find(work)


KINDS = (
    Target(
        "aws:appautoscaling/target:Target",
        SERVICE,
        "Application AutoScaling Target",
        "{resourceId}",
        create="RegisterScalableTarget",
        read="DescribeScalableTargets",
        update="RegisterScalableTarget",
        delete="DeregisterScalableTarget",
        identity=PLACE,
        read_identity={
            "ServiceNamespace": "{serviceNamespace}",
            "ResourceIds": ["{resourceId}"],
            "ScalableDimension": "{scalableDimension}",
        },
        pick="ScalableTargets[0]",
        prefix="ScalableTarget",
        tags=Tagging("TagResource", "UntagResource", "ListTagsForResource", {"ResourceARN": "{arn}"}),
        gone=NOT_FOUND,
        retry=("ValidationException: Unable to assume IAM role",),
        wait_gone=5 * MINUTE,
    ),
    Policy(
        "aws:appautoscaling/policy:Policy",
        SERVICE,
        "Application Auto Scaling Scaling Policy",
        "{name}",
        create="PutScalingPolicy",
        read="DescribeScalingPolicies",
        update="PutScalingPolicy",
        delete="DeleteScalingPolicy",
        identity={"PolicyName": "{name}", **PLACE},
        read_identity={"PolicyNames": ["{name}"], **PLACE},
        pick="ScalingPolicies[0]",
        prefix="Policy",
        gone=NOT_FOUND,
        retry=("FailedResourceAccessException",),
        retry_delete=("FailedResourceAccessException",),
    ),
    Action(
        "aws:appautoscaling/scheduledAction:ScheduledAction",
        SERVICE,
        "Application Auto Scaling Scheduled Action",
        "{name}-{serviceNamespace}-{resourceId}",
        create="PutScheduledAction",
        read="DescribeScheduledActions",
        update="PutScheduledAction",
        delete="DeleteScheduledAction",
        identity={"ScheduledActionName": "{name}", **PLACE},
        read_identity={"ScheduledActionNames": ["{name}"], **PLACE},
        pick="ScheduledActions[0]",
        prefix="ScheduledAction",
        gone=NOT_FOUND,
        retry=("ObjectNotFoundException",),
    ),
)
