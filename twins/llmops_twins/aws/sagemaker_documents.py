"""SageMaker's documents: where they are kept, their names, AWS's errors for missing ones, and lists of them.

Every resource is one document, stored by its ARN: the parameters of its creation as given, and what SageMaker adds.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/CommonErrors.html; messages from field reports and providers:
https://github.com/astronomer/astronomer-providers/issues/1055 (existing resources),
https://github.com/hashicorp/terraform-provider-aws/tree/main/internal/service/sagemaker (missing resources).
"""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.service_documents import Document, now, plain, shelf, tag_map
from llmops_twins.aws.twin import AccountTwin

SERVICE = "sagemaker"


@dataclass(frozen=True)
class DocumentKind:
    """A kind of resource: its part of an ARN, the noun of error texts, and the prefix of its members' names."""

    path: str
    noun: str
    prefix: str

    @property
    def name(self) -> str:
        """Name of the member that holds the name, such as EndpointName."""
        return f"{self.prefix}Name"

    @property
    def arn(self) -> str:
        """Name of the member that holds the ARN, such as EndpointArn."""
        return f"{self.prefix}Arn"


MODEL = DocumentKind("model", "model", "Model")
CONFIG = DocumentKind("endpoint-config", "endpoint configuration", "EndpointConfig")
ENDPOINT = DocumentKind("endpoint", "endpoint", "Endpoint")
JOB = DocumentKind("training-job", "training job", "TrainingJob")
GROUP = DocumentKind("model-package-group", "model package group", "ModelPackageGroup")
PACKAGE = DocumentKind("model-package", "model package", "ModelPackage")
KINDS = (MODEL, CONFIG, ENDPOINT, JOB, GROUP, PACKAGE)


def arn_of(twin: AccountTwin, kind: DocumentKind, region: str, name: str) -> str:
    """Returns the ARN of a name, which SageMaker writes in lower case."""
    return f"arn:aws:sagemaker:{region}:{twin.account}:{kind.path}/{name.lower()}"


def documents(twin: AccountTwin, kind: DocumentKind, region: str) -> dict[str, Document]:
    """Returns all documents of a kind in a region, by ARN."""
    return shelf(twin, SERVICE, kind.path, region)


def lookup(twin: AccountTwin, kind: DocumentKind, region: str, name: str) -> Document | None:
    """Returns the document of a name, or None."""
    return documents(twin, kind, region).get(arn_of(twin, kind, region, name))


def find(twin: AccountTwin, kind: DocumentKind, region: str, name: str) -> Document:
    """Returns the document of a name.

    Raises:
        AwsApiError: it does not exist.
    """
    found = lookup(twin, kind, region, name)
    if found is None:
        raise missing(kind, arn_of(twin, kind, region, name))
    return found


def missing(kind: DocumentKind, arn: str) -> AwsApiError:
    """Returns AWS's error for a missing resource."""
    if kind is JOB:
        return AwsApiError("ValidationException", "Requested resource not found.")
    if kind in (GROUP, PACKAGE):
        return AwsApiError("ValidationException", f"{kind.prefix} {arn} does not exist.")
    return AwsApiError("ValidationException", f'Could not find {kind.noun} "{arn}".')


def create(twin: AccountTwin, kind: DocumentKind, call: ApiCall, **more: Any) -> Document:
    """Stores a new document with a call's parameters.

    Raises:
        AwsApiError: the name exists already.
    """
    arn = arn_of(twin, kind, call.region, call.parameters[kind.name])
    if arn in documents(twin, kind, call.region):
        raise AwsApiError("ValidationException", f'Cannot create already existing {kind.noun} "{arn}".')
    given: Document = plain(call.parameters)
    tags = given.pop("Tags", None)
    document = {**given, kind.arn: arn, "CreationTime": now(), **more}
    documents(twin, kind, call.region)[arn] = document
    if tags:
        tags_of(twin, arn).update(tag_map(tags))
    return document


def delete(twin: AccountTwin, kind: DocumentKind, region: str, name: str) -> Document:
    """Deletes a document and its tags.

    Raises:
        AwsApiError: it does not exist.
    """
    document = find(twin, kind, region, name)
    drop(twin, kind, document)
    return document


def drop(twin: AccountTwin, kind: DocumentKind, document: Document) -> None:
    """Deletes a document and its tags, if it exists."""
    arn = document[kind.arn]
    documents(twin, kind, arn.split(":")[3]).pop(arn, None)
    shelf(twin, SERVICE, "tags", arn.split(":")[3]).pop(arn, None)


def tags_of(twin: AccountTwin, arn: str) -> Document:
    """Returns the tags of a resource, to be changed in place."""
    return shelf(twin, SERVICE, "tags", arn.split(":")[3]).setdefault(arn, {})


# -- lists ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Listing:
    """The form of a List operation's answer: the member with the page, the members of a summary, defaults of sorting
    and paging.
    """

    answer: str
    members: tuple[str, ...]
    descending: bool = True
    status: str = ""


def page_of(call: ApiCall, kind: DocumentKind, found: Mapping[str, Document], listing: Listing) -> Document:
    """Returns a page of documents, filtered and sorted as on AWS.

    Raises:
        AwsApiError: the token was not returned with an earlier page.
    """
    given = call.parameters
    chosen = [document for document in found.values() if _matches(given, kind, document, listing)]
    key = _sort_key(given, kind, listing)
    order = given.get("SortOrder")
    descending = order == "Descending" if order else listing.descending
    chosen.sort(key=key, reverse=descending)
    if token := given.get("NextToken"):
        last = _last_of(token)
        chosen = [document for document in chosen if (key(document) < last if descending else key(document) > last)]
    size = int(given.get("MaxResults") or 10)
    answer: Document = {listing.answer: [_summary(document, listing.members) for document in chosen[:size]]}
    if len(chosen) > size:
        answer["NextToken"] = base64.urlsafe_b64encode(json.dumps(key(chosen[size - 1])).encode()).decode()
    return answer


def _matches(given: Document, kind: DocumentKind, document: Document, listing: Listing) -> bool:
    if given.get("NameContains", "").lower() not in document.get(kind.name, "").lower():
        return False
    if listing.status and given.get("StatusEquals") not in (None, document.get(listing.status)):
        return False
    return all(
        compare(document.get(member, 0.0), _seconds(given[name]))
        for name, (member, compare) in _TIMES.items()
        if given.get(name) is not None
    )


def _sort_key(given: Document, kind: DocumentKind, listing: Listing) -> Callable[[Document], list[Any]]:
    members = {"Name": kind.name, "CreationTime": "CreationTime", "Status": listing.status}
    member = members[given.get("SortBy") or "CreationTime"]
    return lambda document: [document.get(member, ""), document[kind.arn]]


def _summary(document: Document, members: tuple[str, ...]) -> Document:
    return {member: document[member] for member in members if member in document}


def _last_of(token: str) -> list[Any]:
    try:
        return json.loads(base64.urlsafe_b64decode(token))
    except ValueError as e:
        raise AwsApiError("ValidationException", "Invalid pagination token") from e


def _seconds(value: datetime) -> float:
    return value.replace(tzinfo=UTC).timestamp()


_TIMES: dict[str, tuple[str, Callable[[float, float], bool]]] = {
    "CreationTimeBefore": ("CreationTime", lambda own, limit: own < limit),
    "CreationTimeAfter": ("CreationTime", lambda own, limit: own > limit),
    "LastModifiedTimeBefore": ("LastModifiedTime", lambda own, limit: own < limit),
    "LastModifiedTimeAfter": ("LastModifiedTime", lambda own, limit: own > limit),
}
