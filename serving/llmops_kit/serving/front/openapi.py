"""/openapi.json: a server's requests and answers in OpenAPI 3.1, from the tables and models that check requests.

https://spec.openapis.org/oas/v3.1.0
"""

import json
from collections.abc import Iterable
from typing import Any

from llmops_kit.serving.front.answer_schemas import SCHEMAS, answer_of
from llmops_kit.serving.front.routes import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, AllowList, Kind, Route

REFUSALS = {
    400: "The request is invalid, or asks for what can't be honoured; `param` names it.",
    401: "The key is missing or unknown.",
    404: "There is no such model or route.",
    405: "The route does not take this method.",
    408: "The request did not arrive in time.",
    413: "The body is too large.",
    414: "The path is too long.",
    415: "The body has a Content-Encoding.",
    417: "An expectation that is not 100-continue.",
    429: "Too many requests; `Retry-After` says when to try again.",
    431: "The headers are too large.",
    500: "A fault of the server.",
    503: "The server is starting or stopping, or its engine failed.",
    504: "The answer took too long.",
}
"""Errors of a server, all in the form `Error`."""
_ANY_ROUTE = (400, 401, 405, 408, 414, 417, 429, 431, 500, 503)
_ENGINE = (422, 501)
"""Further errors, of vLLM."""
_BODIES = {
    CHAT: "ChatRequest",
    COMPLETIONS: "CompletionRequest",
    RESPONSES: "ResponsesRequest",
    EMBEDDINGS: "EmbeddingRequest",
}


def description(routes: AllowList, *, keyed: bool, parameters: Iterable[str] = ()) -> bytes:
    """Returns the OpenAPI description of the server's routes, as JSON.

    Args:
        routes: the routes of this server.
        keyed: whether callers send a key; otherwise the platform has authenticated them.
        parameters: the parameters that the front passes on to an engine that checks their values itself. Empty: the
            kit's own models check them.
    """
    foreign = sorted(parameters)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes.routes():
        for method, kind in route.kinds.items():
            operation = _operation(route, kind, foreign=bool(foreign))
            if keyed:
                operation["security"] = [] if AllowList.is_open(route.path, method) else [{"key": []}]
            paths.setdefault(route.path, {})[method.lower()] = operation
    bodies = {"EngineRequest": _engine_request(foreign)} if foreign else _own_bodies()
    return json.dumps({
        "openapi": "3.1.0",
        "info": {"title": "A model's server", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": {**bodies, **SCHEMAS},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}} if keyed else {},
        },
    }).encode()  # fmt: skip


def _operation(route: Route, kind: Kind, *, foreign: bool) -> dict[str, Any]:
    path = route.path if kind == "page" else route.forward or route.path
    statuses: tuple[int, ...] = _ANY_ROUTE
    operation: dict[str, Any] = {"responses": {"200": answer_of(path, kind, foreign=foreign)}}
    if "{name}" in path:
        operation["parameters"] = [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]
        statuses += (404,)
    if kind == "generate":
        name = "EngineRequest" if foreign else _BODIES[path]
        schema = {"$ref": f"#/components/schemas/{name}"}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
        statuses += (404, 413, 415, 504, *(_ENGINE if foreign else ()))
    for status in sorted(statuses):
        operation["responses"][str(status)] = _refusal(status)
    if kind == "ping":
        operation["responses"]["503"] = answer_of(path, kind, foreign=foreign)
    return operation


def _refusal(status: int) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Error"}
    text = REFUSALS.get(status, "An error of the engine's.")
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _own_bodies() -> dict[str, Any]:
    from pydantic.json_schema import models_json_schema

    from llmops_kit.serving.api.openai import ChatRequest, CompletionRequest, EmbeddingRequest
    from llmops_kit.serving.api.responses import ResponsesRequest

    models = [(model, "validation") for model in (ChatRequest, CompletionRequest, ResponsesRequest, EmbeddingRequest)]
    return models_json_schema(models, ref_template="#/components/schemas/{model}")[1]["$defs"]  # pyright: ignore[reportArgumentType]


def _engine_request(parameters: list[str]) -> dict[str, Any]:
    return {"type": "object", "propertyNames": {"enum": parameters}}
