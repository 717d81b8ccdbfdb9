"""CloudTrail: trails."""

from typing import Any

from llmops_twins.plugins.aws.calls import ResourceOperation
from llmops_twins.plugins.aws.kinds import AwsResourceKind
from llmops_twins.plugins.aws.translate import to_api

_OWN_CALLS = frozenset({"advancedEventSelectors", "enableLogging"})


class CloudTrailTrail(AwsResourceKind):
    """A trail. Its logging and its selectors have calls of their own, and are read by others than the trail's."""

    def complete(self, work: ResourceOperation, answer: dict[str, Any]) -> None:
        if work.inputs.get("enableLogging", True):
            work.call(self.service, "StartLogging", Name=work.id)
        if work.inputs.get("advancedEventSelectors"):
            self._select(work)
        super().complete(work, answer)

    def change(self, work: ResourceOperation) -> dict[str, Any]:
        if "enableLogging" in work.changed:
            verb = "StartLogging" if work.inputs.get("enableLogging", True) else "StopLogging"
            work.call(self.service, verb, Name=work.id)
        if "advancedEventSelectors" in work.changed:
            self._select(work)
        return super().change(work)

    def call_read(self, work: ResourceOperation) -> dict[str, Any] | None:
        found = super().call_read(work)
        if not found:
            return None
        found["EnableLogging"] = work.call(self.service, "GetTrailStatus", Name=work.id)["IsLogging"]
        if found.get("HasCustomEventSelectors"):
            told = work.call(self.service, "GetEventSelectors", TrailName=work.id)
            found["AdvancedEventSelectors"] = told.get("AdvancedEventSelectors") or []
        listed = work.call(self.service, "ListTags", ResourceIdList=[work.id])
        found["TagsList"] = listed["ResourceTagList"][0]["TagsList"]
        return found

    def readable(self, work: ResourceOperation) -> set[str]:
        return super().readable(work) | _OWN_CALLS

    @property
    def silent(self) -> frozenset[str]:
        return _OWN_CALLS

    def _select(self, work: ResourceOperation) -> None:
        shape = work.shape(self.service, "PutEventSelectors")
        given = {"advancedEventSelectors": work.inputs.get("advancedEventSelectors")}
        work.call(self.service, "PutEventSelectors", TrailName=work.id, **to_api(given, shape, self.renames))
