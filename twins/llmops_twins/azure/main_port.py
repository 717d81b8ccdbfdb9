"""The twin's main port: routes, parses and authenticates requests, and answers them by ARM's rules."""

import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote

from werkzeug.wrappers import Request, Response

from llmops_twins.azure import faults
from llmops_twins.azure.admin import admin
from llmops_twins.azure.arm import arm
from llmops_twins.azure.entra import token_service, tokens
from llmops_twins.azure.protocol.calls import ArmCall, Reply
from llmops_twins.azure.replies import answer, read_json
from llmops_twins.azure.twin import TenantTwin
from llmops_twins.core.admin import PREFIX
from llmops_twins.core.handler import is_for_this_machine


class ManagerApp:
    """The twin's main port as a WSGI application."""

    def __init__(self, twin: TenantTwin) -> None:
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
        call = ArmCall(
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
        with twin.lock:
            reply = arm.respond(twin, call)
        time.sleep(reply.seconds)
        return reply
