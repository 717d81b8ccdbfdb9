"""What only a twin has: routes below /_twin/ for its health, state and settings, and the faults that tests ask for."""

import json
from collections.abc import Callable
from typing import Any

from werkzeug.wrappers import Request, Response

from twins.aws.twin import Twin

PREFIX = "/_twin/"


def respond(twin: Twin, environ: dict[str, Any]) -> Response:
    """Answer a request for /_twin/…."""
    request = Request(environ)
    route = _ROUTES.get((request.method, request.path.removeprefix(PREFIX).strip("/")))
    if route is None:
        return _json(
            {"error": f"no route {request.method} {request.path}", "routes": sorted(map(" ".join, _ROUTES))}, 404
        )
    with twin.lock:
        return route(twin, request)


def _health(twin: Twin, _request: Request) -> Response:
    return _json({"ready": True, "account": twin.account, "region": twin.region})


def _recorded(twin: Twin, _request: Request) -> Response:
    names = ("principal", "action", "resource", "allowed")
    return _json({"recorded": [dict(zip(names, entry, strict=True)) for entry in twin.state.get("recorded", [])]})


def _forget_recorded(twin: Twin, _request: Request) -> Response:
    twin.state["recorded"] = []
    twin.changed()
    return _json({})


_ROUTES: dict[tuple[str, str], Callable[[Twin, Request], Response]] = {
    ("GET", "health"): _health,
    ("GET", "recorded"): _recorded,
    ("DELETE", "recorded"): _forget_recorded,
}


def _json(document: Any, status: int = 200) -> Response:
    return Response(json.dumps(document), status, content_type="application/json")
