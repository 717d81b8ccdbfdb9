"""The routes and their kinds: any other path is 404, even if the engine's app has it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["ping", "metrics", "page", "description", "forward", "generate"]
"""Answered by the front (ping, metrics, page, description), forwarded to the engine's app, or forwarded with a place in
its batch.
"""

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
RESPONSES = "/v1/responses"
EMBEDDINGS = "/v1/embeddings"
MODELS = "/v1/models"
OPENAPI = "/openapi.json"
HEALTH = ("/ping", "/health")
"""SageMaker's route of readiness, and that of vLLM and load balancers, with the same answer."""
_SCRIPTS = ("chat.js", "conversation.js", "elements.js", "markdown.js", "server.js", "tools.js", "vendor/marked.js")
PAGE = {"/": ("index.html", "text/html"), "/chat.css": ("chat.css", "text/css")} | {
    f"/{name}": (name, "text/javascript") for name in _SCRIPTS
}


@dataclass(frozen=True)
class Route:
    """One path with its methods."""

    path: str
    """The path in metrics."""
    kinds: Mapping[str, Kind]
    """Kind by method."""
    forward: str = ""
    """The engine's own path, if it differs."""

    def kind(self, method: str) -> Kind | None:
        """Returns the kind of a method; HEAD is GET without a body."""
        return self.kinds.get("GET" if method == "HEAD" else method)


class AllowList:
    """The paths and methods that a front answers or passes on; any other is 404 or 405."""

    def __init__(self, generate: tuple[str, ...]) -> None:
        """Builds the routes; `generate` lists the paths of the engine's app that take a place in its batch."""
        self._exact = {path: Route(path, {"GET": "page"}) for path in PAGE}
        # SageMaker sends to /invocations; Azure ML's scoring address is the root.
        self._exact["/"] = Route("/", {"GET": "page", "POST": "generate"}, CHAT)
        self._exact["/invocations"] = Route("/invocations", {"POST": "generate"}, CHAT)
        self._exact |= {path: Route(path, {"GET": "ping"}) for path in HEALTH}
        self._exact[OPENAPI] = Route(OPENAPI, {"GET": "description"})
        self._exact["/metrics"] = Route("/metrics", {"GET": "metrics"})
        self._exact[MODELS] = Route(MODELS, {"GET": "forward"})
        self._exact |= {path: Route(path, {"POST": "generate"}) for path in generate}
        self._model = Route(f"{MODELS}/{{name}}", {"GET": "forward"})

    def routes(self) -> list[Route]:
        """Returns every route, for the description of the API."""
        return [*self._exact.values(), self._model]

    def find(self, path: str) -> Route | None:
        """Returns the route of a decoded path."""
        if route := self._exact.get(path):
            return route
        return self._model if path.startswith(f"{MODELS}/") else None

    @staticmethod
    def is_open(path: str, method: str) -> bool:
        """Returns whether a request needs no key: health, the description, and the chat page, which asks for one."""
        return method != "POST" and (path in HEALTH or path == OPENAPI or path in PAGE)


ROUTES = AllowList((CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS))
"""The routes of every engine's front."""


def named_model(path: str) -> str | None:
    """Returns the name in a path below /v1/models; None: the path is that of the whole list."""
    return None if path == MODELS else path.removeprefix(f"{MODELS}/")
