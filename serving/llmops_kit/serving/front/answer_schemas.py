"""JSON schemas of a server's answers, for /openapi.json."""

from typing import Any

from llmops_kit.serving.front.routes import CHAT, COMPLETIONS, EMBEDDINGS, HEALTH, PAGE, RESPONSES, Kind

Schema = dict[str, Any]


def _object(optional: tuple[str, ...] = (), /, **properties: Schema) -> Schema:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _one_of(*values: Any) -> Schema:
    return {"enum": list(values)}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _named(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_TEXT, _WHOLE, _NUMBER, _ANY_OBJECT = {"type": "string"}, {"type": "integer"}, {"type": "number"}, {"type": "object"}
_MAYBE_TEXT = {"type": ["string", "null"]}
_MAYBE_WHOLE = {"type": ["integer", "null"]}
_MAYBE_OBJECT = {"type": ["object", "null"]}
_STATUS = _one_of("in_progress", "completed", "incomplete")

_CALL = _object(
    id=_TEXT, type=_one_of("function"), function=_object(name=_TEXT, arguments=_TEXT),
)  # fmt: skip
_MESSAGE = _object(
    ("tool_calls",), role=_one_of("assistant"), content=_MAYBE_TEXT, refusal=_one_of(None), tool_calls=_list(_CALL)
)
_USAGE = _object(prompt_tokens=_WHOLE, completion_tokens=_WHOLE, total_tokens=_WHOLE)
_HEAD = {"id": _TEXT, "created": _WHOLE, "model": _TEXT, "system_fingerprint": _TEXT}
_OUTPUT_TEXT = _object(
    type=_one_of("output_text"), text=_TEXT, annotations=_list(_ANY_OBJECT), logprobs=_list(_ANY_OBJECT)
)
_OUTPUT_MESSAGE = _object(
    id=_TEXT, type=_one_of("message"), status=_STATUS, role=_one_of("assistant"), content=_list(_OUTPUT_TEXT)
)
_OUTPUT_CALL = _object(
    id=_TEXT, type=_one_of("function_call"), status=_STATUS, call_id=_TEXT, name=_TEXT, arguments=_TEXT
)
_RESPONSE_USAGE = _object(
    input_tokens=_WHOLE,
    input_tokens_details=_object(cached_tokens=_WHOLE, cache_write_tokens=_WHOLE),
    output_tokens=_WHOLE,
    output_tokens_details=_object(reasoning_tokens=_WHOLE),
    total_tokens=_WHOLE,
)

SCHEMAS: dict[str, Schema] = {
    "Error": _object(error=_object(message=_TEXT, type=_TEXT, param=_MAYBE_TEXT, code=_MAYBE_TEXT)),
    "Health": _object(
        ("model", "sha256", "seconds", "progress"),
        status=_TEXT, model=_TEXT, sha256=_TEXT, seconds=_NUMBER, progress=_NUMBER,
    ),
    "Model": _object(
        id=_TEXT, object=_one_of("model"), created=_WHOLE, owned_by=_TEXT, metadata=_ANY_OBJECT,
    ),
    "ModelList": _object(object=_one_of("list"), data=_list(_named("Model"))),
    "ChatCompletion": _object(
        **_HEAD,
        object=_one_of("chat.completion"),
        choices=_list(_object(
            index=_WHOLE, message=_MESSAGE, logprobs=_MAYBE_OBJECT,
            finish_reason=_one_of("stop", "length", "tool_calls"),
        )),
        usage=_USAGE,
    ),
    "Completion": _object(
        **_HEAD,
        object=_one_of("text_completion"),
        choices=_list(_object(
            index=_WHOLE, text=_TEXT, logprobs=_one_of(None), finish_reason=_one_of("stop", "length")
        )),
        usage=_USAGE,
    ),
    "EmbeddingList": _object(
        object=_one_of("list"),
        data=_list(_object(
            object=_one_of("embedding"), index=_WHOLE, embedding={"anyOf": [_list(_NUMBER), _TEXT]}
        )),
        model=_TEXT,
        usage=_object(prompt_tokens=_WHOLE, total_tokens=_WHOLE),
    ),
    "Response": _object(
        id=_TEXT, object=_one_of("response"), created_at=_WHOLE, status=_one_of("completed", "incomplete"),
        background=_one_of(False), error=_one_of(None), incomplete_details=_MAYBE_OBJECT, instructions=_MAYBE_TEXT,
        max_output_tokens=_MAYBE_WHOLE, metadata=_ANY_OBJECT, model=_TEXT,
        output=_list({"anyOf": [_OUTPUT_MESSAGE, _OUTPUT_CALL]}), parallel_tool_calls={"type": "boolean"},
        previous_response_id=_one_of(None), temperature=_NUMBER, text=_ANY_OBJECT,
        tool_choice={"type": ["string", "object"]}, tools=_list(_ANY_OBJECT), top_p=_NUMBER,
        truncation=_one_of("disabled"), usage=_RESPONSE_USAGE,
    ),
}  # fmt: skip
_ANSWERS = {
    CHAT: "ChatCompletion",
    COMPLETIONS: "Completion",
    RESPONSES: "Response",
    EMBEDDINGS: "EmbeddingList",
    **dict.fromkeys(HEALTH, "Health"),
    "/v1/models": "ModelList",
    "/v1/models/{name}": "Model",
}


def answer_of(path: str, kind: Kind, *, foreign: bool) -> Schema:
    """Returns the description of a route's answer.

    Args:
        path: the route's path in the engine's app.
        kind: the route's kind for the method.
        foreign: whether the engine is vLLM, whose objects are not described further.
    """
    if kind == "page":
        return _answer(PAGE[path][1], _TEXT)
    if kind == "metrics":
        return _answer("text/plain", _TEXT)
    own = path in _ANSWERS and (kind == "ping" or not foreign)
    found = _answer("application/json", _named(_ANSWERS[path]) if own else _ANY_OBJECT)
    if kind == "generate" and path != EMBEDDINGS:  # with "stream": true
        found["content"]["text/event-stream"] = {}
    return found


def _answer(kind: str, schema: Schema) -> Schema:
    return {"description": "The answer.", "content": {kind: {"schema": schema}}}
