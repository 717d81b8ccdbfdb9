"""The routes of the kit's own engines, inside the front: completions, responses and the list of models."""

import asyncio
import base64
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from llmops_kit.serving.api.frames import CompletionFrames, Delta, Frames
from llmops_kit.serving.api.openai import (
    LONG_BODY,
    ChatRequest,
    CompletionRequest,
    check_stream_options,
    parse_chat,
    parse_completion,
    parse_embedding,
)
from llmops_kit.serving.api.response_frames import ResponseFrames
from llmops_kit.serving.api.responses import ResponsesRequest, parse_responses
from llmops_kit.serving.engines.engine import GenerationRequest
from llmops_kit.serving.errors import ApiError, wrong_dimensions, wrong_kind
from llmops_kit.serving.front.exchange import EXCHANGE, HttpExchange, Receive, Scope, Send
from llmops_kit.serving.front.routes import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, named_model
from llmops_kit.serving.service import Model, Service

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
        else:
            await exchange.answer_json(200, model.card.listed(named_model(path)))

    async def _embed(self, exchange: HttpExchange, body: bytes, model: Model) -> None:
        """Answers with the vector of each text."""
        asked = await asyncio.to_thread(parse_embedding, body) if len(body) > LONG_BODY else parse_embedding(body)
        if asked.model:
            model.card.check_name(asked.model)
        if (form := model.manifest.embedding) is None:
            raise wrong_kind(model.name, embeds=False)
        if asked.dimensions not in (None, form.dimensions):
            raise wrong_dimensions(form.dimensions)
        vectors = await self._service.embed(asked.input, model, form, exchange.usage)
        as_text = asked.encoding_format == "base64"
        data = [
            {"object": "embedding", "index": index, "embedding": vector if as_text else _floats(vector)}
            for index, vector in enumerate(vectors)
        ]
        tokens = exchange.usage.prompt_tokens
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        await exchange.answer_json(200, {"object": "list", "data": data, "model": model.name, "usage": usage})

    async def _complete(self, exchange: HttpExchange, path: str, body: bytes, model: Model) -> None:
        """Answers a completion of a chat or a text, or a response, whole or as a stream."""
        service, parse = self._service, _PARSERS[path]
        request = await asyncio.to_thread(parse, body) if len(body) > LONG_BODY else parse(body)
        asked = request.chat if isinstance(request, ResponsesRequest) else request
        if asked.model:  # OpenAI's clients must send one: "" if the address names the endpoint, as on SageMaker
            model.card.check_name(asked.model)
        if model.manifest.embedding:
            raise wrong_kind(model.name, embeds=True)
        check_stream_options(asked.stream_options, asked.stream)
        with exchange.more_places(asked.answers - 1):
            try:
                generation = await service.prepare(asked, model, exchange.caller)
            except ApiError as e:
                raise (request.renamed(e) if isinstance(request, ResponsesRequest) else e) from None
            async with aclosing(service.generate(asked, model, exchange.usage, generation)) as pieces:
                frames = _frames(request, model, generation)
                if asked.stream:
                    await self._stream(exchange, frames, pieces)
                else:
                    deltas = [delta async for some in pieces for delta in some]
                    await exchange.answer_json(200, frames.whole(deltas, exchange.usage.to_dict()))

    async def _stream(
        self,
        exchange: HttpExchange,
        frames: Frames | ResponseFrames,
        pieces: AsyncGenerator[list[Delta], None],
    ) -> None:
        """Sends a stream. Nothing is sent before the first token, so that an error before it can still have its own
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
        await send({"type": "http.response.body", "body": start + frames.end(exchange.usage.to_dict())})


def _frames(
    request: ChatRequest | CompletionRequest | ResponsesRequest, model: Model, generation: GenerationRequest
) -> Frames | ResponseFrames:
    if isinstance(request, ResponsesRequest):
        return ResponseFrames(request, model.name, generation)
    kind = Frames if isinstance(request, ChatRequest) else CompletionFrames
    with_usage = bool(request.stream_options and request.stream_options.include_usage)
    continuous = len(generation.prompt) if request.continuous_usage else None
    return kind(model.name, _fingerprint(model), answers=request.answers, with_usage=with_usage, continuous=continuous)


def _floats(vector: str) -> list[float]:
    content = base64.b64decode(vector)
    return list(struct.unpack(f"<{len(content) // 4}f", content))


def _fingerprint(model: Model) -> str:
    return f"fp_{model.sha256[:12]}_{model.engine.precision}"
