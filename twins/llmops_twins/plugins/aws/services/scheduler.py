"""EventBridge Scheduler: schedules."""

from typing import Any

from llmops_twins.plugins.aws.calls import ResourceOperation
from llmops_twins.plugins.aws.kinds import AwsResourceKind


class SchedulerSchedule(AwsResourceKind):
    """A schedule, in the group `default` unless one is given."""

    def id_after_create(self, work: ResourceOperation, answer: dict[str, Any]) -> str:
        return f"{work.inputs.get('groupName') or 'default'}/{work.inputs['name']}"
