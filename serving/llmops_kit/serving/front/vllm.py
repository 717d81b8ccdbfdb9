"""Adapts vLLM's app to the front: readiness, the model's names, and errors in the common form."""

import asyncio
import functools
import json
import os
import signal
import time
import traceback
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from llmops_kit.core.documents.model import EmbeddingForm, ModelManifest
from llmops_kit.core.documents.recipe import ServingDefaults
from llmops_kit.core.errors import KitError
from llmops_kit.core.integrity.signing import verify_manifest
from llmops_kit.core.models.tool_call_stream import CallDelta, CallForm
from llmops_kit.serving.api.model_card import ModelCard
from llmops_kit.serving.api.openai import LONG_BODY, ChatRequest
from llmops_kit.serving.engines.engine import EngineInfo
from llmops_kit.serving.errors import ApiError, unavailable, wrong_kind
from llmops_kit.serving.front.admission import Admission
from llmops_kit.serving.front.body import replay
from llmops_kit.serving.front.exchange import EXCHANGE, Application, HttpExchange, Message, Receive, Scope, Send
from llmops_kit.serving.front.handover import HandOver
from llmops_kit.serving.front.protocol import http_server, new_guard
from llmops_kit.serving.front.readiness import Readiness
from llmops_kit.serving.front.routes import CHAT, EMBEDDINGS, MODELS, RESPONSES, named_model
from llmops_kit.serving.front.schema_checks import SchemaChecks, Vocabulary
from llmops_kit.serving.front.vllm_answer import VllmAnswer
from llmops_kit.serving.front.vllm_requests import (
    BOUNDS,
    answers_of,
    check,
    embedded,
    filled,
    filled_response,
    with_served_name,
)
from llmops_kit.serving.front.vllm_schemas import AskedSchemas
from llmops_kit.serving.front.vllm_tools import CALL_FORMS
from llmops_kit.serving.front.vllm_types import check_types
from llmops_kit.serving.front.vllm_usage import count_tokens, counting
from llmops_kit.serving.golden import QualityWatch
from llmops_kit.serving.log import say
from llmops_kit.serving.metrics import Metrics
from llmops_kit.serving.server_settings import ServerSettings
from llmops_kit.serving.usage import Usage
from llmops_kit.serving.vocabulary import token_bytes

_HEADERS = (b"host", b"accept")
_PAUSE_SECONDS = 0.02
_PRECISIONS = {"torch.float32": "f32", "torch.bfloat16": "bf16", "torch.float16": "f16"}


class VllmApp:
    """vLLM's app, used only inside the front."""

    def __init__(
        self,
        app: Application,
        settings: ServerSettings,
        readiness: Readiness,
        admission: Admission,
        metrics: Metrics,
    ) -> None:
        self._app = app
        self._settings = settings
        self._readiness = readiness
        self._admission = admission
        self._metrics = metrics
        self._parent = _Parent(settings.phase_fd, readiness, self._drain)
        self._cut = False
        self._running: set[asyncio.Timeout] = set()  # one for each request, to cut it
        self._start: asyncio.Task[None] | None = None
        self._defaults = ServingDefaults()
        self._form: CallForm | None = None
        self._embedding: EmbeddingForm | None = None
        self.card: ModelCard | None = None
        """The served model, once vLLM has loaded it."""
        self._watch: asyncio.Task[None] | None = None
        self._owner: Any = None
        self._engine: Any = None  # the client of vLLM's engine
        self._handover: HandOver | None = None
        self._checks = SchemaChecks()
        self._checks.watch(metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        exchange: HttpExchange = scope[EXCHANGE]
        if scope["path"].startswith(MODELS):
            await exchange.answer_json(200, self._serving().listed(named_model(scope["path"])))
            return
        answer = VllmAnswer(send)
        if scope["method"] == "POST":
            body = (await receive())["body"]
            prepare = functools.partial(self._prepared, scope["path"], body)
            body, asked, answers, param = await asyncio.to_thread(prepare) if len(body) > LONG_BODY else prepare()
            # It was parsed as JSON; the client's other headers could select ranks, adapters, sessions or traces.
            own = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
            scope = {**scope, "headers": [*(h for h in scope["headers"] if h[0] in _HEADERS), *own]}
            with exchange.more_places(answers - 1, param):
                if asked:
                    await asked.check(self._checks, self._form, Vocabulary("vllm", self._tokens), exchange.caller)
                await self._answered(scope, replay(body, receive), answer.send, exchange.usage)
        else:
            await self._answered(scope, receive, answer.send, exchange.usage)
        if answer.error:
            raise answer.error

    def _serving(self) -> ModelCard:
        """Returns the served model.

        Raises:
            ApiError: 503, vLLM has not loaded it.
        """
        if self.card is None:
            raise unavailable(self._readiness.phase)
        return self.card

    def _prepared(self, path: str, body: bytes) -> tuple[bytes, AskedSchemas | None, int, str]:
        """Returns a request's body for vLLM, the schemas that must be checked first, the number of answers that it asks
        for, and by which parameter.

        Raises:
            ApiError: 400, the request must not reach vLLM; 404, it names another model.
        """
        card = self._serving()
        request = with_served_name(check(body), card)
        check_types(request, path)
        if (path == EMBEDDINGS) != bool(self._embedding):
            raise wrong_kind(card.name, embeds=bool(self._embedding))
        if self._embedding:
            return embedded(request, self._embedding), None, 1, ""
        asked = AskedSchemas.of(request, path)
        if path == CHAT:
            filled_body = filled(request, self._defaults, self._form)
        elif path == RESPONSES:
            filled_body = filled_response(request, self._defaults, self._form)
        else:
            filled_body = json.dumps(request).encode()
        return filled_body, asked, *answers_of(request)

    def _tokens(self) -> list[bytes]:
        """Returns the bytes of each token of the model that vLLM has loaded; empty for special ones."""
        tokenizer = Path(self._owner.state.args.model, "tokenizer.json")
        return token_bytes(json.loads(tokenizer.read_bytes()), specials=False)

    async def _answered(self, scope: Scope, receive: Receive, send: Send, usage: Usage) -> None:
        """Lets vLLM answer, until the server's time to drain is over.

        Raises:
            ApiError: 503, it is over.
        """
        if self._cut:
            raise unavailable("stopping")
        end = asyncio.timeout(None)
        try:
            async with end:
                self._running.add(end)
                try:
                    async with counting(self._engine, usage):
                        await self._app(scope, receive, send)
                finally:
                    self._running.discard(end)
        except TimeoutError:
            if not end.expired():
                raise
            raise ApiError(503, "the server stops", code="engine_error", retry_after=1) from None

    async def _drain(self) -> None:
        """Lets answers end, cuts those that have not ended in time, and ends vLLM's server.

        vLLM's own drain would cut a stream without an error, and reject requests that wait for a place.
        """
        admission = self._admission
        if self._watch:
            self._watch.cancel()
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
            while admission.running or admission.queued:  # without a limit: the parent kills this process in time
                await asyncio.sleep(_PAUSE_SECONDS)
        await self._checks.close()
        os.kill(os.getpid(), signal.SIGTERM)

    async def metrics(self) -> bytes:
        """Returns vLLM's own metrics; empty if they are unavailable."""
        status, body = await ask(self._app, "GET", "/metrics", owner=self._owner)
        return body if status == 200 else b""

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles vLLM's startup: asks the golden prompts once its app has started, by which time its engine is
        loaded.
        """

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
            self._form = CALL_FORMS.get(self._owner.state.args.tool_call_parser or "")
            self._engine = self._owner.state.engine_client
            count_tokens(self._engine)
            self.card = card = _card(settings.name or manifest.name, sha256, manifest, self._engine, self._form)
            self._parent.enter("answering golden prompts")
            await self._prove(card)
        except (KitError, ApiError) as e:
            say(f"failed: {e}")
            self._parent.enter("failed")
            return
        except Exception:  # of vLLM's own code; the parent ends the server
            say("failed:\n" + traceback.format_exc())
            self._parent.enter("failed")
            return
        self._metrics.set_model(card.name, sha256, card.engine.engine, card.engine.precision)
        readiness.model = {"model": card.name, "sha256": sha256}
        if readiness.phase != "stopping":
            readiness.open = True
            self._parent.enter("ready")
            say("ready")

    async def _prove(self, card: ModelCard) -> None:
        """Asks the golden prompts, now and then at intervals; an embedding model, which has none, must compute a
        vector.

        Raises:
            KitError: the version may not serve.
            ApiError: vLLM rejected a request.
        """
        if card.manifest.embedding:
            await self._asked(EMBEDDINGS, b'{"input": "ready"}')
            return
        quality = QualityWatch(card, self._pieces, self._metrics)
        await quality.ask_first(required=self._settings.golden == "required")
        self._watch = asyncio.create_task(quality.ask_again(self._settings.quality_seconds))

    async def _pieces(self, request: ChatRequest) -> AsyncGenerator[str | CallDelta, None]:
        fields = request.model_dump(mode="json", exclude_none=True)
        answer = await self._asked(CHAT, filled(fields, self._defaults, self._form))
        message = json.loads(answer)["choices"][0]["message"]
        yield message["content"] or ""
        for number, call in enumerate(message.get("tool_calls") or ()):
            yield CallDelta(number, call["function"]["name"], call["function"]["arguments"])

    async def _asked(self, path: str, body: bytes) -> bytes:
        """Returns vLLM's answer to a request of the front's own.

        Raises:
            ApiError: 503, vLLM failed or answered with an error.
        """
        try:
            async with counting(self._engine, Usage(self._metrics, time.perf_counter())):
                status, answer = await ask(self._app, "POST", path, body, owner=self._owner)
        except Exception as e:  # of vLLM's own code
            raise ApiError(503, f"the engine failed: {e!r}"[:500]) from e
        if status != 200:
            raise ApiError(503, f"the engine answered {status}: {answer[:500].decode(errors='replace')}")
        return answer


def _card(name: str, sha256: str, manifest: ModelManifest, engine: Any, form: CallForm | None) -> ModelCard:
    """Returns the card of the model that vLLM has loaded."""
    config, version = engine.model_config, import_module("vllm").__version__
    precision = _PRECISIONS.get(str(config.dtype), str(config.dtype))
    info = EngineInfo("vllm", precision, version, penalties=True, top_logprobs=BOUNDS["top_logprobs"])
    length = manifest.embedding.max_tokens if manifest.embedding else config.max_model_len
    return ModelCard(name, sha256, manifest, info, length, takes_tools=form is not None)


class _Parent:
    """The socket to vLLM's parent process: sends it the phases of the start, and receives those of the end, one per
    line.
    """

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
            with suppress(OSError):  # the parent ended, and so does this process
                os.write(self._fd, f"{phase}\n".encode())

    def listen(self) -> None:
        """Reads the parent's messages from now on; the end of the socket means that the parent ended."""
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
    """Calls an app in this process; returns status and whole body. `owner` becomes `request.app` in handlers."""
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
