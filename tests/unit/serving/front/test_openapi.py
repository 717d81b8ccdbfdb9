"""The description of a server: all of its routes and refusals, and answers as they are."""

import ast
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import llmops_kit.core.network.http_guard
from llmops_kit import serving
from llmops_kit.serving.api.frames import CompletionFrames, Delta, Frames, usage_of
from llmops_kit.serving.api.response_frames import ResponseFrames
from llmops_kit.serving.api.responses import parse_responses
from llmops_kit.serving.engines.engine import GenerationRequest
from llmops_kit.serving.front.openapi import REFUSALS, description
from llmops_kit.serving.front.routes import CHAT, COMPLETIONS, RESPONSES, ROUTES
from llmops_kit.serving.front.vllm_requests import PARAMETERS


def refused_in(path: Path) -> set[int]:
    """Returns the statuses of refusals in a module."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call) and node.args]
    named = [c for c in calls if getattr(c.func, "id", getattr(c.func, "attr", "")) in ("ApiError", "_refuse")]
    return {c.args[0].value for c in named if isinstance(c.args[0], ast.Constant) and isinstance(c.args[0].value, int)}


@pytest.mark.parametrize("parameters", [(), PARAMETERS])
def test_all_routes_and_refusals_are_described_and_none_else(parameters: set[str]) -> None:
    told = json.loads(description(ROUTES, keyed=True, parameters=parameters))
    taken = {(route.path, method.lower()) for route in ROUTES.routes() for method in route.kinds}
    assert {(path, method) for path, methods in told["paths"].items() for method in methods} == taken
    for route in ROUTES.routes():
        assert ROUTES.find(route.path.replace("{name}", "tiny@1")) is route
    opened = {path for path, methods in told["paths"].items() if methods.get("get", {}).get("security") == []}
    assert {"/", "/ping", "/health", "/openapi.json"} <= opened
    assert not opened & {"/metrics", "/v1/models"}
    if not parameters:
        described = {int(s) for ms in told["paths"].values() for m in ms.values() for s in m["responses"]}
        assert described == {200, *REFUSALS}
    unkeyed = json.loads(description(ROUTES, keyed=False, parameters=parameters))
    assert "security" not in unkeyed["paths"]["/metrics"]["get"]


def test_every_refusal_in_the_code_is_in_the_table() -> None:
    files = [*Path(serving.__path__[0]).rglob("*.py"), Path(llmops_kit.core.network.http_guard.__file__)]
    assert set().union(*map(refused_in, files)) | {414, 431} == set(REFUSALS)


def test_answers_are_as_described() -> None:
    told = json.loads(description(ROUTES, keyed=True))
    deltas, usage = [Delta("Hello", finish="stop")], usage_of(1, 2)
    asked = parse_responses(b'{"input": "Hello"}')
    wholes: dict[str, dict[str, Any]] = {
        CHAT: Frames("tiny@1", "fp").whole(deltas, usage),
        COMPLETIONS: CompletionFrames("tiny@1", "fp").whole(deltas, usage),
        RESPONSES: ResponseFrames(asked, "tiny@1", GenerationRequest([1], 9)).whole(deltas, usage),
    }
    for path, whole in wholes.items():
        schema = told["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema.validate(whole, schema | {"components": told["components"]})
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(whole | {"more": 1}, schema | {"components": told["components"]})
