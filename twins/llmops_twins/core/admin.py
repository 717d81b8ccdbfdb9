"""The twin's own routes below /_twin/: health, state, settings, and the faults that tests inject.

They are reserved for its owner: every request must carry the key derived from the twin's root secret.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

from werkzeug.wrappers import Request, Response

from llmops_kit.core.errors import KitError
from llmops_twins.core import root, web_identity
from llmops_twins.core.faults import Faults
from llmops_twins.core.twin import BaseTwin

PREFIX = "/_twin/"
Route = Callable[[Request], Response]


class Admin:
    """The routes of one twin.

    Args:
        twin: the twin.
        identity: the account's identity in the response of `health`.
        inventory: returns the account's contents for `status`.
        faults: the twin's faults.
        routes: additional routes, by method and path.
    """

    def __init__(
        self,
        twin: BaseTwin,
        identity: Mapping[str, str],
        inventory: Callable[[], dict[str, Any]],
        faults: Callable[[], Faults],
        routes: Mapping[tuple[str, str], Route] | None = None,
    ) -> None:
        self._twin = twin
        self._identity = dict(identity)
        self._inventory = inventory
        self._faults_of = faults
        self._routes: dict[tuple[str, str], Route] = {
            ("GET", "health"): lambda _: answer({"ready": True, **self._identity}),
            ("GET", "status"): lambda _: answer(twin.describe() | self._inventory()),
            ("POST", "reset"): self._reset,
            ("PUT", "snapshot"): self._snapshot,
            ("POST", "restore"): self._restore,
            ("POST", "web-identities"): self._identify,
            ("GET", "recorded"): self._recorded,
            ("DELETE", "recorded"): self._forget_recorded,
            ("GET", "settings"): lambda _: answer(asdict(twin.settings)),
            ("PUT", "settings"): self._change_settings,
            ("GET", "faults"): lambda _: answer(self._faults_of().all()),
            ("GET", "faults/kinds"): self._kinds_of_faults,
            ("PUT", "faults"): self._change_faults,
            ("DELETE", "faults"): self._end_faults,
            **(routes or {}),
        }

    def respond(self, environ: dict[str, Any]) -> Response:
        request = Request(environ)
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not root.opens(self._twin.home, root.OWN_ROUTES, key):
            return answer({"error": "only the twin's owner may ask this: the key is missing or wrong"}, 403)
        route = self._routes.get((request.method, request.path.removeprefix(PREFIX).strip("/")))
        if route is None:
            known = sorted(map(" ".join, self._routes))
            return answer({"error": f"no route {request.method} {request.path}", "routes": known}, 404)
        with nullcontext() if route in (self._snapshot, self._restore) else self._twin.lock:
            return route(request)

    def _reset(self, _request: Request) -> Response:
        self._twin.reset()
        return answer({})

    def _snapshot(self, _request: Request) -> Response:
        with self._twin.lock:
            running = ["endpoints that run"] if self._inventory()["instances"] else []
            if lost := [*running, *(words for unkept in self._twin.unkept if (words := unkept()))]:
                return answer({"error": f"a snapshot keeps no {' and no '.join(lost)}: remove them first"}, 409)
        self._twin.snapshot()
        return answer({})

    def _restore(self, _request: Request) -> Response:
        try:
            self._twin.restore()
        except KitError as e:
            return answer({"error": str(e)}, 409)
        return answer({})

    def _identify(self, request: Request) -> Response:
        """Issues a web identity token on behalf of another issuer, such as GitHub; the twin accepts no others."""
        claims = web_identity.with_subject(json.loads(request.get_data()))
        return answer({"token": web_identity.issue(self._twin.home, claims)}, 201)

    def _recorded(self, _request: Request) -> Response:
        names = ("principal", "action", "resource", "allowed")
        entries = self._twin.state.get("recorded", [])
        return answer({"recorded": [dict(zip(names, entry, strict=True)) for entry in entries]})

    def _forget_recorded(self, _request: Request) -> Response:
        self._twin.state["recorded"] = []
        self._twin.changed()
        return answer({})

    def _change_settings(self, request: Request) -> Response:
        given = json.loads(request.get_data() or b"{}")
        wrong = {name for name in given if name not in _SETTINGS or not _SETTINGS[name](given[name])}
        if wrong:
            return answer({"error": f"not a setting, or not a value of it: {', '.join(sorted(wrong))}"}, 400)
        self._twin.set_settings(**given)
        return answer(asdict(self._twin.settings))

    def _kinds_of_faults(self, _request: Request) -> Response:
        kinds = {
            name: {"does": kind.does, "members": {member: str(form) for member, form in kind.members.items()}}
            for name, kind in self._faults_of().kinds.items()
        }
        return answer(kinds)

    def _change_faults(self, request: Request) -> Response:
        try:
            given = json.loads(request.get_data() or b"{}")
            self._faults_of().add(given.pop("kind", ""), given)
        except (ValueError, AttributeError) as e:
            return answer({"error": str(e)}, 400)
        return answer(self._faults_of().all())

    def _end_faults(self, _request: Request) -> Response:
        self._faults_of().clear()
        return answer({})


_SETTINGS: dict[str, Callable[[Any], bool]] = {
    "judge": lambda value: value in ("strict", "off"),
    "pace": lambda value: isinstance(value, int | float) and value >= 0,
    "containers": lambda value: value in ("run", "none"),
    "quotas": lambda value: isinstance(value, dict) and all(isinstance(limit, int) for limit in value.values()),
}


def answer(document: Any, status: int = 200) -> Response:
    return Response(json.dumps(document), status, content_type="application/json")
