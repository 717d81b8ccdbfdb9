"""EventBridge Scheduler: schedules and their groups."""

from typing import Any

from twins.plugins.aws.calls import Work
from twins.plugins.aws.kinds import MINUTE, Kind, Wait
from twins.plugins.aws.tags import Tagging

NOT_FOUND = ("ResourceNotFoundException",)


class Schedule(Kind):
    """A schedule: of the group `default` when none is given."""

    def id_after_create(self, work: Work, answer: dict[str, Any]) -> str:
        return f"{work.inputs.get('groupName') or 'default'}/{work.inputs['name']}"


KINDS = (
    Schedule(
        "aws:scheduler/schedule:Schedule",
        "scheduler",
        "EventBridge Scheduler Schedule",
        "{groupName}/{name}",
        create="CreateSchedule",
        read="GetSchedule",
        update="UpdateSchedule",
        delete="DeleteSchedule",
        identity={"GroupName": "{groupName}", "Name": "{name}"},
        gone=NOT_FOUND,
        retry=("ValidationException: The execution role you provide must allow",),
    ),
    Kind(
        "aws:scheduler/scheduleGroup:ScheduleGroup",
        "scheduler",
        "EventBridge Scheduler Schedule Group",
        "{name}",
        create="CreateScheduleGroup",
        read="GetScheduleGroup",
        delete="DeleteScheduleGroup",
        identity={"Name": "{id}"},
        tags=Tagging("TagResource", "UntagResource", "ListTagsForResource", {"ResourceArn": "{arn}"}),
        gone=NOT_FOUND,
        wait=Wait("State", ("ACTIVE",), ("CREATING",), seconds=5 * MINUTE),
        wait_gone=5 * MINUTE,
    ),
)
