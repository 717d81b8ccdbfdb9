"""AWS CloudTrail: trails and their selectors. A twin records no events: nothing is delivered to buckets or log groups.

https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/Welcome.html
"""

from collections.abc import Mapping
from typing import Any

from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.service_documents import Document
from llmops_twins.aws.twin import AccountTwin

_SERVICE = "cloudtrail"
_CATEGORIES = ("Management", "Data", "NetworkActivity", "ActivityAuditLog")


def install(twin: AccountTwin) -> None:
    """Corrects moto's CloudTrail."""
    trails = _Trails(twin)
    for operation in ("CreateTrail", "UpdateTrail"):
        twin.mend(_SERVICE, operation, lambda _call, answer: _drop_unset(answer))
    twin.mend(_SERVICE, "DescribeTrails", trails.select)
    twin.mend(_SERVICE, "GetTrail", lambda call, answer: trails.complete(call, answer["Trail"]))
    twin.before(_SERVICE, "PutEventSelectors", _refuse_selectors)
    twin.implement(_SERVICE, "DeleteTrail", trails.delete)


class _Trails:
    """What moto leaves out of trails."""

    def __init__(self, twin: AccountTwin) -> None:
        self._twin = twin

    def select(self, call: ApiCall, answer: Document) -> None:
        """Keeps the trails that are asked for, by name or ARN, which moto returns all of."""
        wanted = call.parameters.get("trailNameList") or []
        found = [each for each in answer["trailList"] if not wanted or {each["Name"], each["TrailARN"]} & {*wanted}]
        for each in found:
            self.complete(call, each)
        answer["trailList"] = found

    def complete(self, call: ApiCall, trail: Document) -> None:
        """Says whether a trail has selectors of its own, and leaves out what is not set."""
        made = self._of(call.region).get(trail["Name"])
        trail["HasCustomEventSelectors"] = bool(made and (made.event_selectors or made.advanced_event_selectors))
        trail.setdefault("HomeRegion", call.region)
        _drop_unset(trail)

    def delete(self, call: ApiCall) -> Mapping[str, Any]:
        """Deletes a trail by name or ARN; moto ignores ARNs."""
        trails, name = self._of(call.region), call.parameters["Name"].rpartition("/")[2]
        if name not in trails:
            # CloudTrail API reference, DeleteTrail: "This exception is thrown when the trail with the given name is not
            # found."
            raise AwsApiError("TrailNotFoundException", f"Unknown trail: {name} for the user: {self._twin.account}")
        del trails[name]
        return {}

    def _of(self, region: str) -> dict[str, Any]:
        from moto.cloudtrail.models import cloudtrail_backends

        return cloudtrail_backends[self._twin.account][region].trails


def _drop_unset(trail: Document) -> None:
    for name in [name for name, value in trail.items() if value is None]:
        del trail[name]


def _refuse_selectors(call: ApiCall) -> None:
    """Refuses advanced selectors without a category, as PutEventSelectors in the API reference asks for:
    AdvancedFieldSelector, Field: "eventCategory - This is required and must be set to Equals."
    """
    for selector in call.parameters.get("AdvancedEventSelectors") or []:
        fields = {each["Field"]: each for each in selector["FieldSelectors"]}
        category = (fields.get("eventCategory") or {}).get("Equals") or []
        if len(category) != 1 or category[0] not in _CATEGORIES:
            raise AwsApiError("InvalidEventSelectorsException", "eventCategory is required, and must be set to Equals.")
        if category == ["Data"] and not (fields.get("resources.type") or {}).get("Equals"):
            # the same place: "resources.type - This field is required for CloudTrail data events."
            raise AwsApiError("InvalidEventSelectorsException", "resources.type is required for data events.")
