"""The routes: OpenAI's, SageMaker's, Azure ML's, the metrics and the chat page."""

import asyncio
import time
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from importlib.resources import files
from typing import Any
from uuid import uuid4

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from contract.documents.model import Golden
from contract.http_guard import MOST_HEAD_BYTES, HttpGuard
from serving.auth import Authentication
from serving.errors import ApiError
from serving.frames import CompletionFrames, Delta, Frames
from serving.log import log_json, say
from serving.openai import LONG_BODY, ChatRequest, CompletionRequest, longest_body, parse_chat, parse_completion
from serving.service import Completion, Model, Service

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_PAGE = {"/": ("index.html", "text/html"), "/chat.css": ("chat.css", "text/css"),
         "/chat.js": ("chat.js", "text/javascript"), "/markdown.js": ("markdown.js", "text/javascript")}  # fmt: skip
_COMPLETIONS = "/v1/completions"
_OPEN = {"/ping", *_PAGE}
_EXAMPLES, _LONGEST_EXAMPLE = 3, 120
_SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


def make_app(service: Service, authentication: Authentication, guard: HttpGuard) -> web.Application:
    """The application around a service that may not be ready yet."""
    routes = _Routes(service, guard)
    around = _Around(service, authentication, guard)
    app = web.Application(middlewares=[around.middleware])
    app.on_response_prepare.append(_headers)
    app.router.add_get("/ping", routes.ping)
    app.router.add_get("/v1/models", routes.models)
    app.router.add_get("/v1/models/{name:.*}", routes.model)
    app.router.add_get("/metrics", routes.metrics)
    # One handler: SageMaker sends to /invocations, Azure ML's scoring address is the root.
    for path in ("/v1/chat/completions", "/invocations", "/"):
        app.router.add_post(path, routes.chat)
    app.router.add_post(_COMPLETIONS, routes.chat)
    for path in _PAGE:
        app.router.add_get(path, routes.page)
    return app


async def _headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "llmops"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers.setdefault("Cache-Control", "no-store")
    if request_id := request.get("id"):
        response.headers["X-Request-Id"] = request_id


class _Around:
    """What happens around every handler: time limits, authentication, errors in words, the log."""

    def __init__(self, service: Service, authentication: Authentication, guard: HttpGuard) -> None:
        self._service = service
        self._authentication = authentication
        self._guard = guard

    @property
    def middleware(self) -> Any:
        """For aiohttp, which marks functions, not methods."""

        @web.middleware
        async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._handle(request, handler)

        return around

    async def _handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        transport = request.transport
        self._guard.begin(transport)
        request["started"] = time.perf_counter()
        request["id"] = uuid4().hex
        fields: dict[str, Any] = request.setdefault("log", {})
        status = 499  # the client went away
        try:
            response = await self._answer(request, handler)
            status = response.status
            return response
        finally:
            self._guard.end(transport, request.content)
            self._log(request, fields.pop("status", status), fields)

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if request.path not in _OPEN or request.method == "POST":
                self._authentication.check(request.headers.get("Authorization", ""))
            return await handler(request)
        except ApiError as e:
            return e.response()
        except web.HTTPException as e:
            return _http_error(e).response()
        except web.RequestPayloadError:
            return ApiError(400, "the body does not fit its headers", code="invalid_body").response()
        except Exception:
            say("a fault of the server:\n" + traceback.format_exc())
            return ApiError(500, "a fault of the server; it is in its log", kind="server_error").response()

    def _log(self, request: web.Request, status: int, fields: dict[str, Any]) -> None:
        resource = request.match_info.route.resource
        route = resource.canonical if resource else "unknown"
        self._service.metrics.requests.labels(route, str(status)).inc()
        if route == "/ping":
            return  # routers ask several times a second
        seconds = time.perf_counter() - request["started"]
        log_json(
            {
                "request": request["id"],
                "method": request.method[:16],
                "path": request.path[:128],
                "status": status,
                "ms": round(seconds * 1000, 1),
                **fields,
            }
        )


def _http_error(e: web.HTTPException) -> ApiError:
    """aiohttp's own refusals in OpenAI's form."""
    words = {
        404: "there is no such route",
        405: "this route does not take this method",
        413: "the body is larger than this server takes",
    }
    codes = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}
    return ApiError(e.status, words.get(e.status, e.reason), code=codes.get(e.status, ""))


class _Routes:
    """The handlers."""

    def __init__(self, service: Service, guard: HttpGuard) -> None:
        self._service = service
        self._guard = guard
        folder = files("serving") / "page"
        self._page = {path: ((folder / name).read_bytes(), kind) for path, (name, kind) in _PAGE.items()}

    async def ping(self, request: web.Request) -> web.Response:
        """200 only while requests are welcome."""
        service = self._service
        if not service.ready or service.model is None:
            return web.json_response({"status": service.phase}, status=503)
        return web.json_response({"status": "ready", "model": service.model.name, "sha256": service.model.sha256})

    async def models(self, request: web.Request) -> web.Response:
        """OpenAI's list, of one model."""
        return web.json_response({"object": "list", "data": [_describe(self._service.serving())]})

    async def model(self, request: web.Request) -> web.Response:
        model = self._service.serving()
        _check_name(request.match_info["name"], model)
        return web.json_response(_describe(model))

    async def metrics(self, request: web.Request) -> web.Response:
        """Prometheus' page."""
        return web.Response(body=self._service.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def page(self, request: web.Request) -> web.Response:
        """The chat page and its files."""
        body, kind = self._page[request.path]
        headers = {**_SECURITY, "Cache-Control": "no-cache"}
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=headers)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """A completion of a chat or a text, whole or as a stream."""
        service = self._service
        model = service.serving()
        with service.admitted():  # before the body: whoever is refused needn't send it
            return await self._admitted_chat(request, model)

    async def _admitted_chat(self, request: web.Request, model: Model) -> web.StreamResponse:
        service = self._service
        most = min(service.limits.max_body, longest_body(model.prompts.longest_text))
        body = await self._read(request, most)
        parse = parse_completion if request.path == _COMPLETIONS else parse_chat
        chat = await asyncio.to_thread(parse, body) if len(body) > LONG_BODY else parse(body)
        if chat.model:  # OpenAI's clients must send one: "" where the address names the endpoint, as on SageMaker
            _check_name(chat.model, model)
        if chat.stream_options and not chat.stream:
            raise ApiError(400, "stream_options needs stream", code="invalid_value", param="stream_options")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        response.headers["X-Accel-Buffering"] = "no"
        try:
            async with asyncio.timeout(service.limits.request_seconds), service.places(chat.answers):
                answer, generation = await service.prepare(chat, service.serving(), request["started"])
                pieces = service.generate(chat, model, answer, generation)
                async with aclosing(pieces):
                    if chat.stream:
                        await self._stream(request, response, chat, model, answer, pieces)
                        return response
                    return await self._whole(request, chat, model, answer, pieces)
        except TimeoutError:
            error = ApiError(504, "the answer took too long", code="timeout", kind="server_error")
        except ApiError as e:
            error = e
        if not response.prepared:
            raise error
        request["log"]["status"] = error.status
        await response.write(error.frame())
        await response.write_eof()
        return response

    async def _read(self, request: web.Request, most: int) -> bytes:
        """The body, of at most so many bytes, within its time."""
        if request.headers.get("Content-Encoding", "identity") != "identity":
            raise ApiError(415, "send the body without Content-Encoding", code="unsupported_encoding")
        if (request.content_length or 0) > most:
            raise web.HTTPRequestEntityTooLarge(most, request.content_length or 0)
        body = bytearray()
        try:
            async with asyncio.timeout(self._service.limits.read_seconds):
                while chunk := await request.content.readany():
                    body += chunk
                    # Frames of chunks count too: a million chunks of a byte are work, not a request.
                    if len(body) > most or self._guard.received(request.transport) > 2 * most + MOST_HEAD_BYTES:
                        raise web.HTTPRequestEntityTooLarge(most, len(body))
        except TimeoutError:
            raise ApiError(408, "the body did not come in time", code="body_timeout") from None
        return bytes(body)

    async def _whole(
        self, request: web.Request, chat: ChatRequest | CompletionRequest, model: Model, answer: Completion,
        pieces: AsyncGenerator[list[Delta], None],
    ) -> web.Response:  # fmt: skip
        deltas = [delta async for some in pieces for delta in some]
        _note(request, answer)
        return web.json_response(_frames(chat, model).whole(deltas, answer.usage()))

    async def _stream(
        self, request: web.Request, response: web.StreamResponse, chat: ChatRequest | CompletionRequest, model: Model,
        answer: Completion, pieces: AsyncGenerator[list[Delta], None],
    ) -> None:  # fmt: skip
        """Nothing is sent before the first token, so that an error until then still has its own status."""
        frames = _frames(chat, model)
        start = frames.role()
        try:
            async for deltas in pieces:
                if not response.prepared:
                    await response.prepare(request)
                await response.write(start + b"".join(map(frames.delta, deltas)))
                start = b""
            await response.write(frames.end(answer.usage()))
            await response.write_eof()
        except ConnectionResetError:
            request["log"]["status"] = 499
        finally:
            _note(request, answer)


def _frames(chat: ChatRequest | CompletionRequest, model: Model) -> Frames:
    kind = Frames if isinstance(chat, ChatRequest) else CompletionFrames
    with_usage = bool(chat.stream_options and chat.stream_options.include_usage)
    return kind(model.name, _fingerprint(model), answers=chat.answers, with_usage=with_usage)


def _note(request: web.Request, answer: Completion) -> None:
    request["log"].update(
        prompt_tokens=len(answer.prompt),
        completion_tokens=answer.completion_tokens,
        first_token_ms=round(answer.first_token * 1000, 1),
        finish=answer.finish or None,
    )


def _check_name(name: str, model: Model) -> None:
    served = {model.name, model.name.partition("@")[0], f"{model.name}@sha256:{model.sha256}"}
    if name not in served:
        raise ApiError(404, f"the model is {model.name!r}, not {name[:100]!r}", code="model_not_found", param="model")


def _fingerprint(model: Model) -> str:
    return f"fp_{model.sha256[:12]}_{model.engine.precision}"


def _describe(model: Model) -> dict[str, Any]:
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
            "context_length": model.prompts.context_length,
            "licence": model.manifest.licence,
            "examples": _examples(model.manifest.golden),
        },
    }


def _examples(golden: Sequence[Golden]) -> list[str]:
    """Questions that this version answered rightly: a few short ones, for the chat page to offer."""
    asked = [g.messages[0].content for g in golden if [m.role for m in g.messages] == ["user"] and g.expect]
    return [question for question in asked if len(question) <= _LONGEST_EXAMPLE][:_EXAMPLES]
