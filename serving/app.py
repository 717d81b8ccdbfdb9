"""The routes of the kit's own engines, inside the front: completions, responses and the list of models."""

import asyncio
import base64
import struct
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from contract.documents.model import Golden
from serving.api.frames import CompletionFrames, Delta, Frames
from serving.api.openai import LONG_BODY, ChatRequest, CompletionRequest, parse_chat, parse_completion, parse_embedding
from serving.api.response_frames import ResponseFrames
from serving.api.responses import ResponsesRequest, parse_responses
from serving.engines.engine import GenerationRequest
from serving.errors import ApiError, wrong_dimensions, wrong_kind
from serving.front.exchange import EXCHANGE, HttpExchange, Receive, Scope, Send
from serving.front.routes import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES
from serving.service import Completion, Model, Service

_EXAMPLES, _LONGEST_EXAMPLE = 3, 120
_STREAM_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]

_PARSERS: dict[str, Callable[[bytes], ChatRequest | CompletionRequest | ResponsesRequest]] = {
    CHAT: parse_chat,
    COMPLETIONS: parse_completion,
    RESPONSES: parse_responses,
}


class App:
    """An ASGI application around a service that may not be ready yet; the front has already checked the request."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange: HttpExchange = scope[EXCHANGE]
        path, model = scope["path"], self._service.serving()
        if path == EMBEDDINGS:
            await self._embed(exchange, (await receive())["body"], model)
        elif path in _PARSERS:
            await self._complete(exchange, path, (await receive())["body"], model)
        elif path == "/v1/models":
            await exchange.answer_json(200, {"object": "list", "data": [_describe(model)]})
        else:
            _check_name(path.removeprefix("/v1/models/"), model)
            await exchange.answer_json(200, _describe(model))

    async def _embed(self, exchange: HttpExchange, body: bytes, model: Model) -> None:
        """Answers with the vector of each text."""
        asked = await asyncio.to_thread(parse_embedding, body) if len(body) > LONG_BODY else parse_embedding(body)
        if asked.model:
            _check_name(asked.model, model)
        if (form := model.manifest.embedding) is None:
            raise wrong_kind(model.name, embeds=False)
        if asked.dimensions not in (None, form.dimensions):
            raise wrong_dimensions(form.dimensions)
        vectors, tokens = await self._service.embed(asked.input, model, form)
        exchange.note(prompt_tokens=tokens)
        as_text = asked.encoding_format == "base64"
        data = [
            {"object": "embedding", "index": index, "embedding": vector if as_text else _floats(vector)}
            for index, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        await exchange.answer_json(200, {"object": "list", "data": data, "model": model.name, "usage": usage})

    async def _complete(self, exchange: HttpExchange, path: str, body: bytes, model: Model) -> None:
        """Answers a completion of a chat or a text, or a response, whole or as a stream."""
        service, parse = self._service, _PARSERS[path]
        request = await asyncio.to_thread(parse, body) if len(body) > LONG_BODY else parse(body)
        asked = request.chat if isinstance(request, ResponsesRequest) else request
        if asked.model:  # OpenAI's clients must send one: "" where the address names the endpoint, as on SageMaker
            _check_name(asked.model, model)
        if model.manifest.embedding:
            raise wrong_kind(model.name, embeds=True)
        if asked.stream_options and not asked.stream:
            raise ApiError(400, "stream_options needs stream", code="invalid_value", param="stream_options")
        with exchange.more_places(asked.answers - 1):
            try:
                answer, generation = await service.prepare(asked, model, exchange.started, exchange.caller)
            except ApiError as e:
                raise (request.renamed(e) if isinstance(request, ResponsesRequest) else e) from None
            try:
                async with aclosing(service.generate(asked, model, answer, generation)) as pieces:
                    frames = _frames(request, model, generation)
                    if asked.stream:
                        await self._stream(exchange, frames, answer, pieces)
                    else:
                        deltas = [delta async for some in pieces for delta in some]
                        await exchange.answer_json(200, frames.whole(deltas, answer.usage()))
            finally:
                _note(exchange, answer)

    async def _stream(
        self,
        exchange: HttpExchange,
        frames: Frames | ResponseFrames,
        answer: Completion,
        pieces: AsyncGenerator[list[Delta], None],
    ) -> None:
        """Sends a stream. Nothing is sent before the first token, so that an error until then still has its own
        status.
        """
        start, begun, send = frames.role(), False, exchange.send
        async for deltas in pieces:
            if not begun:
                await send({"type": "http.response.start", "status": 200, "headers": _STREAM_HEADERS})
            body = start + b"".join(map(frames.delta, deltas))
            await send({"type": "http.response.body", "body": body, "more_body": True})
            start, begun = b"", True
        if not begun:
            await send({"type": "http.response.start", "status": 200, "headers": _STREAM_HEADERS})
        await send({"type": "http.response.body", "body": start + frames.end(answer.usage())})


def _frames(
    request: ChatRequest | CompletionRequest | ResponsesRequest, model: Model, generation: GenerationRequest
) -> Frames | ResponseFrames:
    if isinstance(request, ResponsesRequest):
        return ResponseFrames(request, model.name, generation)
    kind = Frames if isinstance(request, ChatRequest) else CompletionFrames
    with_usage = bool(request.stream_options and request.stream_options.include_usage)
    return kind(model.name, _fingerprint(model), answers=request.answers, with_usage=with_usage)


def _note(exchange: HttpExchange, answer: Completion) -> None:
    exchange.note(
        prompt_tokens=len(answer.prompt),
        completion_tokens=answer.completion_tokens,
        first_token_ms=round(answer.first_token * 1000, 1),
        finish=answer.finish or None,
    )


def _check_name(name: str, model: Model) -> None:
    served = {model.name, model.name.partition("@")[0], f"{model.name}@sha256:{model.sha256}"}
    if name not in served:
        raise ApiError(404, f"the model is {model.name!r}, not {name[:100]!r}", code="model_not_found", param="model")


def _floats(vector: str) -> list[float]:
    content = base64.b64decode(vector)
    return list(struct.unpack(f"<{len(content) // 4}f", content))


def _fingerprint(model: Model) -> str:
    return f"fp_{model.sha256[:12]}_{model.engine.precision}"


def _describe(model: Model) -> dict[str, Any]:
    form = model.manifest.embedding
    return {
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": "llmops",
        "metadata": {
            "sha256": model.sha256,
            "engine": model.engine.engine,
            "engine_version": model.engine.version,
            "precision": model.engine.precision,
            "context_length": form.max_tokens if form else model.prompts.context_length,
            "licence": model.manifest.licence,
            "examples": model.manifest.page.questions or _examples(model.manifest.golden),
            "tools": model.manifest.page.tools,
            "takes_tools": model.prompts.takes_tools and model.prompts.call_form is not None,
        },
    }


def _examples(golden: Sequence[Golden]) -> list[str]:
    """Returns a few short questions that this version answered rightly, for the chat page to offer."""
    asked = [g.messages[0].content for g in golden if [m.role for m in g.messages] == ["user"] and g.expect]
    return [question for question in asked if len(question) <= _LONGEST_EXAMPLE][:_EXAMPLES]
