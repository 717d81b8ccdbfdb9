"""The way of a request through the twin's main port: routed, read, authenticated, and answered by ARM's rules.

A body that is no JSON is refused as in https://github.com/Azure/azure-sdk-for-net/issues/3487.
"""

import json
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

from werkzeug.datastructures import Headers
from werkzeug.wrappers import Request, Response

from twins.azure import faults
from twins.azure.admin import admin
from twins.azure.arm import arm
from twins.azure.arm.calls import Call, Reply
from twins.azure.arm.errors import ArmError
from twins.azure.entra import token_service, tokens
from twins.azure.twin import Twin
from twins.core.admin import PREFIX
from twins.core.handler import is_for_this_machine

NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_BUCKETS = {"GET": ("reads", 250), "HEAD": ("reads", 250), "DELETE": ("deletes", 200)}
_WRITES = ("writes", 200)
log = logging.getLogger("twins.azure")


class Front:
    """The twin's main port as a WSGI application."""

    def __init__(self, twin: Twin) -> None:
        self._twin = twin
        self._admin = admin(twin)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path.startswith(PREFIX):
            if not is_for_this_machine(environ):
                return Response("A twin answers clients of this machine only.", 403)(environ, start_response)
            return self._admin.respond(environ)(environ, start_response)
        if app := self._twin.routed(path):
            return app(environ, start_response)
        if token_service.is_of_another_tenant(path):
            return answer(token_service.unknown_tenant, environ)(environ, start_response)
        return answer(self._respond, environ)(environ, start_response)

    def _respond(self, request: Request) -> Reply:
        twin = self._twin
        caller = tokens.caller_of(twin, request.headers, tokens.MANAGEMENT)
        query = {name.lower() if name.lower() == "api-version" else name: v for name, v in request.args.items()}
        path = "/" + unquote(request.path).strip("/")
        call = Call(
            request.method,
            path,
            query,
            request.headers,
            read_json(request),
            caller,
            query.get("api-version", ""),
            path,
            twin.url,
        )
        faults.delay(twin, arm.permission_of(twin, call))
        try:
            with twin.lock:
                reply = arm.respond(twin, call)
        except ArmError as e:
            e.headers |= _of_manager(call)
            raise
        time.sleep(reply.seconds)
        return replace(reply, headers={**_of_manager(call), **reply.headers})


def _of_manager(call: Call) -> dict[str, str]:
    """What Resource Manager itself says of a call that it let in: where it went, and how many more it takes of the
    caller's now. The twin does not count them: it is always a full bucket but this one.

    https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
    https://learn.microsoft.com/azure/backup/backup-azure-arm-userestapi-backupazurevms (samples of answers)
    """
    correlation = call.headers.get("x-ms-correlation-request-id") or str(uuid.uuid4())
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    whose = "subscription" if call.path.lower().startswith("/subscriptions/") else "tenant"
    kind, most = _BUCKETS.get(call.method, _WRITES)
    return {
        "x-ms-correlation-request-id": correlation,
        "x-ms-routing-request-id": f"TWIN:{moment}:{correlation}",
        f"x-ms-ratelimit-remaining-{whose}-{kind}": str(most - 1),
    }


def read_json(request: Request) -> Any:
    """A body as JSON; None without one.

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
    """Answer a request with what `respond` says or refuses, with the headers that every answer of Azure has."""
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
    """A reply as HTTP, to a request with these headers.

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
