"""Cost Explorer: the cost allocation tags of an account, which moto lacks."""

from datetime import UTC, datetime

from llmops_twins.aws.calls import ApiCall
from llmops_twins.aws.service_documents import Document, implement_methods, now, page, regions, shelf
from llmops_twins.aws.services import tagging
from llmops_twins.aws.twin import AccountTwin

_SERVICE = "ce"
_EVERYWHERE = "aws"  # costs belong to no region


def install(twin: AccountTwin) -> None:
    """Registers the operations on cost allocation tags of
    https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_Operations_AWS_Cost_Explorer_Service.html.
    """
    implement_methods(twin, _SERVICE, _CostExplorer(twin))


class _CostExplorer:
    """The operations on cost allocation tags, one method each."""

    def __init__(self, twin: AccountTwin) -> None:
        self._twin = twin

    def list_cost_allocation_tags(self, call: ApiCall) -> Document:
        wanted = call.parameters
        found = [
            tag
            for tag in self._tags()
            if tag["TagKey"] in wanted.get("TagKeys", [tag["TagKey"]])
            and tag["Status"] == wanted.get("Status", tag["Status"])
            and tag["Type"] == wanted.get("Type", tag["Type"])
        ]
        shown, token = page(found, wanted.get("NextToken"), wanted.get("MaxResults"))
        return {"CostAllocationTags": shown, "NextToken": token}

    def update_cost_allocation_tags_status(self, call: ApiCall) -> Document:
        known = {tag["TagKey"] for tag in self._tags()}
        errors = []
        for entry in call.parameters["CostAllocationTagsStatus"]:
            if entry["TagKey"] in known:
                self._kept()[entry["TagKey"]] = {"Status": entry["Status"], "LastUpdatedDate": _date(now())}
            else:  # the API's reference has the form of an error, but no codes: this one is a guess
                text = f"Tag key {entry['TagKey']} was not found."
                errors.append({"TagKey": entry["TagKey"], "Code": "TagKeysNotFoundException", "Message": text})
        return {"Errors": errors}

    def _tags(self) -> list[Document]:
        """Returns the cost allocation tags. New tags appear at once; AWS takes up to a day (activating-tags.html of its
        billing guide).
        """
        places = {self._twin.region, *regions(self._twin, "sagemaker")}
        carried = {key for place in places for _, tags in tagging.everything(self._twin, place) for key in tags}
        inactive = {"Status": "Inactive"}
        return [
            {"TagKey": key, "Type": "UserDefined", **self._kept().get(key, inactive)}
            for key in sorted(carried | set(self._kept()))
            if not key.startswith("aws:")
        ]

    def _kept(self) -> dict[str, Document]:
        return shelf(self._twin, _SERVICE, "tags", _EVERYWHERE)


def _date(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
