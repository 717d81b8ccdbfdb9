"""Pages of a collection: page size, `$skiptoken` and nextLink.

https://learn.microsoft.com/rest/api/azure/#async-operations-throttling-and-paging
"""

from urllib.parse import urlencode

from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import ArmCall, Reply

PAGE = 1000
"""Maximum and default number of items in a page."""
SIZES = ("$top", "$maxpagesize", "count")
"""Page size parameters, by kind: of vaults and deployments (`$top`), of a storage account's containers
(`$maxpagesize`), of Azure ML's endpoints, datastores and models (`count`); azure-rest-api-specs.
"""


def page(call: ArmCall, reply: Reply) -> Reply:
    """Returns the requested page of a collection; other replies, and existing pages, are unchanged.

    Raises:
        ArmError: 400, a size is not a number from 1, or `$skiptoken` is invalid.
    """
    body = reply.body
    if (
        call.method != "GET"
        or not isinstance(body, dict)
        or not isinstance(body.get("value"), list)
        or "nextLink" in body
    ):
        return reply
    size, first = size_of(call) or PAGE, _number(call, "$skiptoken", 0) or 0
    items = body["value"][first:]
    if len(items) <= size:
        return Reply(reply.status, {**body, "value": items}, reply.headers)
    query = urlencode({**call.query, "$skiptoken": str(first + size)})
    return Reply(
        reply.status, {**body, "value": items[:size], "nextLink": f"{call.url}{call.path}?{query}"}, reply.headers
    )


def size_of(call: ArmCall) -> int | None:
    """Returns the page size that a call asks for; None if it gives none.

    Raises:
        ArmError: 400.
    """
    return min((size for name in SIZES if (size := _number(call, name, 1)) is not None), default=None)


def _number(call: ArmCall, name: str, least: int) -> int | None:
    """Returns the value of a numeric parameter; None if it is missing.

    Raises:
        ArmError: 400; the code is the twin's own.
    """
    given = call.query.get(name)
    if not given:
        return None
    if not given.isdecimal() or int(given) < least:
        message = f"The query parameter '{name}' has an invalid value '{given}': it is a number from {least}."
        raise ArmError(400, "InvalidQueryParameter", message)
    return int(given)
