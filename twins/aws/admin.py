"""What only a twin has: routes below /_twin/ for its health, state and settings, and the faults that tests ask for."""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from werkzeug.wrappers import Request, Response

from twins.aws import faults
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


def _status(twin: Twin, _request: Request) -> Response:
    from twins.aws import inventory

    return _json(twin.describe() | inventory.of(twin))


def _reset(twin: Twin, _request: Request) -> Response:
    twin.reset()
    return _json({})


def _recorded(twin: Twin, _request: Request) -> Response:
    names = ("principal", "action", "resource", "allowed")
    return _json({"recorded": [dict(zip(names, entry, strict=True)) for entry in twin.state.get("recorded", [])]})


def _forget_recorded(twin: Twin, _request: Request) -> Response:
    twin.state["recorded"] = []
    twin.changed()
    return _json({})


def _settings(twin: Twin, _request: Request) -> Response:
    return _json(asdict(twin.settings))


def _change_settings(twin: Twin, request: Request) -> Response:
    given = json.loads(request.get_data() or b"{}")
    wrong = {name for name in given if name not in _SETTINGS or not _SETTINGS[name](given[name])}
    if wrong:
        return _json({"error": f"not a setting, or not a value of it: {', '.join(sorted(wrong))}"}, 400)
    twin.set_settings(**given)
    return _settings(twin, request)


def _faults(twin: Twin, _request: Request) -> Response:
    return _json(faults.of(twin).all())


def _kinds_of_faults(_twin: Twin, _request: Request) -> Response:
    kinds = {
        name: {"does": kind.does, "members": {member: str(form) for member, form in kind.members.items()}}
        for name, kind in faults.KINDS.items()
    }
    return _json(kinds)


def _change_faults(twin: Twin, request: Request) -> Response:
    try:
        given = json.loads(request.get_data() or b"{}")
        faults.of(twin).add(given.pop("kind", ""), given)
    except (ValueError, AttributeError) as e:
        return _json({"error": str(e)}, 400)
    return _faults(twin, request)


def _end_faults(twin: Twin, _request: Request) -> Response:
    faults.of(twin).clear()
    return _json({})


_SETTINGS: dict[str, Callable[[Any], bool]] = {
    "judge": lambda value: value in ("strict", "off"),
    "pace": lambda value: isinstance(value, int | float) and value >= 0,
    "containers": lambda value: value in ("run", "none"),
    "quotas": lambda value: isinstance(value, dict) and all(isinstance(limit, int) for limit in value.values()),
}
_ROUTES: dict[tuple[str, str], Callable[[Twin, Request], Response]] = {
    ("GET", "health"): _health,
    ("GET", "status"): _status,
    ("POST", "reset"): _reset,
    ("GET", "recorded"): _recorded,
    ("DELETE", "recorded"): _forget_recorded,
    ("GET", "settings"): _settings,
    ("PUT", "settings"): _change_settings,
    ("GET", "faults"): _faults,
    ("GET", "faults/kinds"): _kinds_of_faults,
    ("PUT", "faults"): _change_faults,
    ("DELETE", "faults"): _end_faults,
}


def _json(document: Any, status: int = 200) -> Response:
    return Response(json.dumps(document), status, content_type="application/json")
