"""Adapts vLLM's app to the front: its readiness, its errors in the common form, its usage in the log."""

import asyncio
import functools
import json
import os
import re
import signal
import traceback
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from contract.documents.model import EmbeddingForm, ModelManifest
from contract.documents.recipe import ServingDefaults
from contract.errors import KitError
from contract.integrity.signing import verify_manifest
from contract.models.tool_call_stream import CallDelta, CallForm
from serving.api.openai import LONG_BODY, ChatRequest
from serving.errors import ApiError, unavailable, wrong_kind
from serving.front.admission import Admission
from serving.front.body import replay
from serving.front.exchange import EXCHANGE, Application, HttpExchange, Message, Receive, Scope, Send
from serving.front.handover import HandOver
from serving.front.protocol import http_server, new_guard
from serving.front.readiness import Readiness
from serving.front.routes import CHAT, EMBEDDINGS, RESPONSES
from serving.front.schema_checks import SchemaChecks, Vocabulary
from serving.front.vllm_requests import check, embedded, filled, filled_response
from serving.front.vllm_schemas import AskedSchemas
from serving.front.vllm_tools import CALL_FORMS
from serving.golden import ask_golden
from serving.log import log_json, say
from serving.settings import ServerSettings
from serving.vocabulary import token_bytes

_USAGE = re.compile(rb'"(prompt|input|completion|output)_tokens":\s*(\d+)')
_USAGE_NAMES = {b"prompt": "prompt_tokens", b"input": "prompt_tokens", b"completion": "completion_tokens",
                b"output": "completion_tokens"}  # fmt: skip
"""Names in the log; the second of each pair is the responses API's."""

_HEADERS = (b"host", b"accept")
_PAUSE_SECONDS = 0.02
_CODES = {400: "invalid_request", 404: "not_found", 413: "body_too_large", 422: "invalid_value", 503: "unavailable"}


class VllmApp:
    """vLLM's app, used only inside the front."""

    def __init__(self, app: Application, settings: ServerSettings, readiness: Readiness, admission: Admission) -> None:
        self._app = app
        self._settings = settings
        self._readiness = readiness
        self._admission = admission
        self._parent = _Parent(settings.phase_fd, readiness, self._drain)
        self._cut = False
        self._running: set[asyncio.Timeout] = set()  # one of each request, by which it is cut
        self._start: asyncio.Task[None] | None = None
        self._defaults = ServingDefaults()
        self._form: CallForm | None = None
        self._embedding: EmbeddingForm | None = None
        self._name = settings.name
        self._owner: Any = None
        self._handover: HandOver | None = None
        self._checks = SchemaChecks()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        answer = _Answer(scope[EXCHANGE], send)
        if scope["method"] == "POST":
            body = (await receive())["body"]
            prepare = functools.partial(self._prepared, scope["path"], body)
            body, asked = await asyncio.to_thread(prepare) if len(body) > LONG_BODY else prepare()
            if asked:
                await asked.check(self._checks, self._form, Vocabulary("vllm", self._tokens), scope[EXCHANGE].caller)
            receive = replay(body, receive)
            # It was JSON, whatever its Content-Type; other headers would choose ranks, adapters, sessions or traces.
            own = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
            scope = {**scope, "headers": [*(h for h in scope["headers"] if h[0] in _HEADERS), *own]}
        await self._answered(scope, receive, answer.send)
        if answer.error:
            raise answer.error

    def _prepared(self, path: str, body: bytes) -> tuple[bytes, AskedSchemas | None]:
        """Returns a request's body as vLLM gets it, and the schemas that must be checked before.

        Raises:
            ApiError: 400, the request must not reach vLLM.
        """
        request = check(body)
        if (path == EMBEDDINGS) != bool(self._embedding):
            raise wrong_kind(self._name, embeds=bool(self._embedding))
        if self._embedding:
            return embedded(request, self._embedding), None
        asked = AskedSchemas.of(request, path)
        if path == CHAT:
            body = filled(request, self._defaults, self._form)
        elif path == RESPONSES:
            body = filled_response(request, self._defaults, self._form)
        return body, asked

    def _tokens(self) -> list[bytes]:
        """Returns the bytes of each token of the model that vLLM has loaded; empty for special ones."""
        tokenizer = Path(self._owner.state.args.model, "tokenizer.json")
        return token_bytes(json.loads(tokenizer.read_bytes()), specials=False)

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Has vLLM answer, unless the server's time to drain is over.

        Raises:
            ApiError: 503, it is.
        """
        if self._cut:
            raise unavailable("stopping")
        end = asyncio.timeout(None)
        try:
            async with end:
                self._running.add(end)
                try:
                    await self._app(scope, receive, send)
                finally:
                    self._running.discard(end)
        except TimeoutError:
            if not end.expired():
                raise
            raise ApiError(503, "the server stops", code="engine_error", retry_after=1) from None

    async def _drain(self) -> None:
        """Lets answers end, cuts those that have not ended in time, and has vLLM's server end.

        vLLM's own drain would cut a stream without a word, and refuse what waits for a place.
        """
        admission = self._admission
        if self._handover:
            self._handover.close()
        try:
            async with asyncio.timeout(self._settings.drain_seconds):
                while admission.running or admission.queued:
                    await asyncio.sleep(_PAUSE_SECONDS)
        except TimeoutError:
            say(f"cutting {admission.running} answers")
            self._cut = True
            for end in self._running:
                end.reschedule(0)
            await self._checks.close()
            while admission.running or admission.queued:  # the parent bounds it
                await asyncio.sleep(_PAUSE_SECONDS)
        await self._checks.close()
        os.kill(os.getpid(), signal.SIGTERM)

    async def metrics(self) -> bytes:
        """Returns vLLM's own metrics; empty if they are unavailable."""
        status, body = await ask(self._app, "GET", "/metrics", owner=self._owner)
        return body if status == 200 else b""

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles vLLM's startup: its engine is loaded when its app starts; then the golden prompts are asked."""

        async def started(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self._start = asyncio.create_task(self._become_ready())
                self._parent.listen()
                if self._settings.handover_socket:
                    handover.open(self._settings.handover_socket)
            await send(message)

        async def stopping() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await handover.drain(self._settings.drain_seconds)
            return message

        self._owner = scope.get("app")
        handover = self._handover = HandOver(new_guard(self._settings.limits), http_server(self._owner))
        await self._app(scope, stopping, started)

    async def _become_ready(self) -> None:
        settings, readiness = self._settings, self._readiness
        try:
            manifest, sha256 = verify_manifest(settings.model, settings.public_key, settings.identity)
            manifest.require_task(str(settings.model), "text-generation", "feature-extraction")
            self._defaults, self._embedding = manifest.serving, manifest.embedding
            self._name = settings.name or manifest.name
            self._form = CALL_FORMS.get(self._owner.state.args.tool_call_parser or "")
            self._parent.enter("answering golden prompts")
            passed = await self._passes(manifest, sha256)
        except (KitError, ApiError) as e:
            say(f"failed: {e}")
            self._parent.enter("failed")
            return
        except Exception:  # of vLLM's own code; the parent ends the server
            say("failed:\n" + traceback.format_exc())
            self._parent.enter("failed")
            return
        if not passed:
            self._parent.enter("failed")
            return
        readiness.model = {"model": self._name, "sha256": sha256}
        if readiness.phase != "stopping":
            readiness.open = True
            self._parent.enter("ready")
            say("ready")

    async def _passes(self, manifest: ModelManifest, sha256: str) -> bool:
        """Asks the golden prompts, and returns whether the version may serve; of an embedding model, which has none,
        a vector shows that it computes.

        Raises:
            ApiError: vLLM refused a request.
        """
        if manifest.embedding:
            await self._asked(EMBEDDINGS, b'{"input": "ready"}')
            return True
        settings, name = self._settings, self._name
        quality = await ask_golden(manifest.golden, self._pieces)
        log_json({"event": "quality", "when": "readiness", "model": name, "sha256": sha256,
                  "passed": quality.passed, "total": quality.total, "score": quality.score})  # fmt: skip
        if quality.failure:
            say(f"golden prompts: {quality.failure}")
        return not quality.failure or settings.golden != "required"

    async def _pieces(self, request: ChatRequest) -> AsyncGenerator[str | CallDelta, None]:
        fields = request.model_dump(mode="json", exclude_none=True)
        answer = await self._asked(CHAT, filled(fields, self._defaults, self._form))
        message = json.loads(answer)["choices"][0]["message"]
        yield message["content"] or ""
        for number, call in enumerate(message.get("tool_calls") or ()):
            yield CallDelta(number, call["function"]["name"], call["function"]["arguments"])

    async def _asked(self, path: str, body: bytes) -> bytes:
        status, answer = await ask(self._app, "POST", path, body, owner=self._owner)
        if status != 200:
            raise ApiError(503, f"the engine answered {status}: {answer[:500].decode(errors='replace')}")
        return answer


class _Answer:
    """Converts vLLM's errors to the common form, and counts the tokens of its answers for log and budgets."""

    def __init__(self, exchange: HttpExchange, send: Send) -> None:
        self.error: ApiError | None = None
        """To be raised once the app has ended: inside of it, its own handlers would catch it."""
        self._exchange = exchange
        self._send = send
        self._status = 0
        self._held = bytearray()
        self._stream = False
        self._frames = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            if self._status >= 400:
                return
            self._stream = any(v.startswith(b"text/event-stream") for _, v in message.get("headers", ()))
            await self._send(message)
            return
        if self._status >= 400:
            self._held += message.get("body", b"")
            if not message.get("more_body"):
                self.error = _error(self._status, bytes(self._held))
            return
        if message.get("body"):
            self._count(message["body"])
        await self._send(message)

    def _count(self, body: bytes) -> None:
        found = {_USAGE_NAMES[name]: int(number) for name, number in _USAGE.findall(body[-2048:])}
        if self._stream:
            self._frames += body.count(b"data: {")
            found = {"completion_tokens": self._frames, **found}
        self._exchange.note(**found)


def _error(status: int, body: bytes) -> ApiError:
    """Returns an error of vLLM's, whose code is a number, or of FastAPI's, which has another form, in the common
    form.
    """
    try:
        answer = json.loads(body)
        error = answer.get("error") or answer
        message, param = error.get("message") or error.get("detail") or "", error.get("param") or ""
    except (ValueError, AttributeError):
        message, param = "", ""
    message = message if isinstance(message, str) and message else "the engine refused the request"
    code = _CODES.get(status, "engine_error")
    if "context length" in message or "max_model_len" in message:
        code = "context_length_exceeded"
    elif status == 404 and "model" in message:
        code, param = "model_not_found", "model"
    elif param == "structured_outputs":  # which the front alone sets, to hold calls to their tools
        code, param, message = "invalid_value", "tools", "tools: no answer could be held to their schemas"
    retry = 1 if status in (429, 503) else 0
    return ApiError(status, message, code=code, param=param if isinstance(param, str) else "", retry_after=retry)


class _Parent:
    """The socket to vLLM's parent process, which tells the end and is told the phase, one of each per line."""

    def __init__(self, fd: int | None, readiness: Readiness, drain: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._fd = fd
        self._readiness = readiness
        self._drain = drain
        self._rest = b""
        self._draining: asyncio.Task[None] | None = None

    def enter(self, phase: str) -> None:
        """Enters a phase of the start, and reports it."""
        self._readiness.enter(phase)
        if self._fd is not None:
            with suppress(OSError):  # it ended: so does this process
                os.write(self._fd, f"{phase}\n".encode())

    def listen(self) -> None:
        """Reads what the parent says from now on; the end of the socket is the parent's."""
        if self._fd is not None:
            os.set_blocking(self._fd, False)
            asyncio.get_running_loop().add_reader(self._fd, self._read, self._fd)

    def _read(self, fd: int) -> None:
        data = os.read(fd, 4096)
        *lines, self._rest = (self._rest + (data or b"stopping\n")).split(b"\n")
        for line in lines:
            self._readiness.enter(line.decode(errors="replace"))
            if line == b"draining" and not self._draining:
                self._readiness.open = False
                self._draining = asyncio.create_task(self._drain())
        if not data:
            asyncio.get_running_loop().remove_reader(fd)


async def ask(app: Application, method: str, path: str, body: bytes = b"", *, owner: Any = None) -> tuple[int, bytes]:
    """Calls an app in this process; returns status and whole body. `owner` is what handlers find as `request.app`."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), (b"host", b"front")]
    scope: Scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": method,
        "path": path, "raw_path": path.encode(), "root_path": "", "query_string": b"", "scheme": "http",
        "headers": headers, "client": ("127.0.0.1", 0), "server": ("127.0.0.1", 0), "state": {}, "app": owner,
    }  # fmt: skip
    status, answer = 0, bytearray()
    given = False

    async def receive() -> Message:
        nonlocal given
        if given:
            await asyncio.Event().wait()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            answer.extend(message.get("body", b""))

    await app(scope, receive, send)
    return status, bytes(answer)
