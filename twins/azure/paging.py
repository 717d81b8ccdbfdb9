"""Pages of a collection: `$top`, `$skiptoken` and nextLink.

https://learn.microsoft.com/rest/api/azure/#async-operations-throttling-and-paging
"""

from urllib.parse import urlencode

from twins.azure.calls import Call, Reply
from twins.azure.errors import ArmError

PAGE = 1000
"""Items of a page, if the caller wants no fewer."""


def page(call: Call, reply: Reply) -> Reply:
    """The page of a whole collection that a call asks for; other answers stay as they are, and so does one that is a
    page already.

    Raises:
        ArmError: 400, `$top` or `$skiptoken` is no number.
    """
    body = reply.body
    if (
        call.method != "GET"
        or not isinstance(body, dict)
        or not isinstance(body.get("value"), list)
        or "nextLink" in body
    ):
        return reply
    try:
        size = int(call.query.get("$top") or PAGE)
        first = int(call.query.get("$skiptoken") or 0)
    except ValueError:
        raise ArmError(
            400, "InvalidQueryParameter", "$top and $skiptoken must be those that the service gave."
        ) from None
    items = body["value"][first:]
    if len(items) <= size:
        return Reply(reply.status, {**body, "value": items}, reply.headers)
    query = urlencode({**call.query, "$skiptoken": str(first + size)})
    return Reply(
        reply.status, {**body, "value": items[:size], "nextLink": f"{call.url}{call.path}?{query}"}, reply.headers
    )
