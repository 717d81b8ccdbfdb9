"""Parses request bodies as JSON, and writes replies and refusals as HTTP, for every host of the twin.

Bodies that are not JSON are refused as in https://github.com/Azure/azure-sdk-for-net/issues/3487.
"""

import json
import logging
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from werkzeug.datastructures import Headers
from werkzeug.wrappers import Request, Response

from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import NO_HEADERS, Reply
from llmops_twins.azure.twin import TenantTwin

log = logging.getLogger("llmops_twins.azure")


def route(twin: TenantTwin, prefix: str, respond: Callable[[TenantTwin, Request], Reply]) -> None:
    """Registers `respond` for all requests to the main port below a path."""
    twin.route(prefix, lambda environ, start: answer(lambda request: respond(twin, request), environ)(environ, start))


def read_json(request: Request) -> Any:
    """Returns a body as JSON; None without one.

    Raises:
        ArmError: 400 InvalidRequestContent.
    """
    data = request.get_data()
    if not data:
        return None
    try:
        return json.loads(data)
    except ValueError as e:
        raise ArmError(400, "InvalidRequestContent", f"The request content was invalid: {e}") from None


def answer(respond: Callable[[Request], Reply], environ: dict[str, Any]) -> Response:
    """Answers a request with the result or the refusal of `respond`, and the headers of every Azure response."""
    request = Request(environ)
    try:
        reply = respond(request)
    except ArmError as e:
        reply = Reply(e.status, e.document(), e.headers)
    except Exception as e:
        log.exception("%s %s failed", request.method, request.path)
        message = f"The twin failed: {type(e).__name__}: {e}"
        reply = Reply(500, ArmError(500, "InternalServerError", message).document())
    return response_of(reply, request.headers)


def response_of(reply: Reply, asked: Mapping[str, str] | Headers = NO_HEADERS) -> Response:
    """Returns a reply as HTTP, given the request's headers.

    https://github.com/cloud-and-ai-microsoft/resource-provider-contract/blob/master/v1.0/common-api-details.md
    """
    own = {"x-ms-request-id": str(uuid.uuid4())}
    own["x-ms-correlation-request-id"] = asked.get("x-ms-correlation-request-id") or own["x-ms-request-id"]
    if asked.get("x-ms-return-client-request-id", "").lower() == "true" and asked.get("x-ms-client-request-id"):
        own["x-ms-client-request-id"] = asked["x-ms-client-request-id"]
    headers = {**own, **reply.headers}
    if reply.body is None:
        return Response(b"", reply.status, headers)
    if isinstance(reply.body, bytes):
        return Response(reply.body, reply.status, headers)
    return Response(json.dumps(reply.body), reply.status, headers, content_type="application/json; charset=utf-8")
