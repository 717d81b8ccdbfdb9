"""The Resource Groups Tagging API over all resources of the twin: SageMaker's and those of its other services."""

from collections.abc import Iterator

from llmops_twins.aws import sagemaker_documents as sagemaker
from llmops_twins.aws.calls import ApiCall
from llmops_twins.aws.service_documents import Document, implement_methods, page, tag_list
from llmops_twins.aws.twin import AccountTwin, Tagged

_SERVICE = "resourcegroupstaggingapi"


def install(twin: AccountTwin) -> None:
    """Registers the reading operations of
    https://docs.aws.amazon.com/resourcegroupstagging/latest/APIReference/overview.html.
    """
    implement_methods(twin, _SERVICE, _Tagging(twin))


def everything(twin: AccountTwin, region: str) -> list[Tagged]:
    """Returns ARN and tags of every tagged resource of a region, global ones included."""
    found = {arn: tags for arn, tags in _all(twin, region) if tags and _is_in(arn, region)}
    return sorted(found.items())


class _Tagging:
    """The reading operations, one method each."""

    def __init__(self, twin: AccountTwin) -> None:
        self._twin = twin

    def get_resources(self, call: ApiCall) -> Document:
        wanted = call.parameters
        found = [
            {"ResourceARN": arn, "Tags": tag_list(tags)}
            for arn, tags in everything(self._twin, call.region)
            if arn in wanted.get("ResourceARNList", [arn])
            and _is_of_type(arn, wanted.get("ResourceTypeFilters", []))
            and all(_meets(tags, each) for each in wanted.get("TagFilters", []))
        ]
        shown, token = page(found, wanted.get("PaginationToken"), wanted.get("ResourcesPerPage"))
        return {"ResourceTagMappingList": shown, "PaginationToken": token or ""}

    def get_tag_keys(self, call: ApiCall) -> Document:
        keys = {key for _, tags in everything(self._twin, call.region) for key in tags}
        shown, token = page(sorted(keys), call.parameters.get("PaginationToken"), None)
        return {"TagKeys": shown, "PaginationToken": token or ""}

    def get_tag_values(self, call: ApiCall) -> Document:
        key = call.parameters["Key"]
        values = {tags[key] for _, tags in everything(self._twin, call.region) if key in tags}
        shown, token = page(sorted(values), call.parameters.get("PaginationToken"), None)
        return {"TagValues": shown, "PaginationToken": token or ""}


def _all(twin: AccountTwin, region: str) -> Iterator[Tagged]:
    from moto.resourcegroupstaggingapi.models import resourcegroupstaggingapi_backends

    for each in resourcegroupstaggingapi_backends[twin.account][region]._get_resources_generator():
        yield each.arn.replace(":flow-logs/", ":vpc-flow-log/"), dict(each.tags)
    yield from twin.tagged()
    for kind in sagemaker.KINDS:
        for document in sagemaker.documents(twin, kind, region).values():
            arn = document[kind.arn]
            yield arn, dict(sagemaker.tags_of(twin, arn))


def _is_in(arn: str, region: str) -> bool:
    return arn.split(":")[3] in ("", region)


def _is_of_type(arn: str, filters: list[str]) -> bool:
    _, _, service, _, _, resource = arn.split(":", 5)
    kind = resource.replace(":", "/").split("/")[0] if "/" in resource.replace(":", "/") else ""
    return not filters or any(each in (service, f"{service}:{kind}") for each in filters)


def _meets(tags: dict[str, str], wanted: Document) -> bool:
    key, values = wanted["Key"], wanted.get("Values", [])
    return key in tags and (not values or tags[key] in values)
