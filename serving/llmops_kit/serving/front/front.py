"""The front: an ASGI class around an engine's app, with all functions that do not depend on the engine."""

import asyncio
import functools
import json
import os
import time
import traceback
from functools import cached_property
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST

from llmops_kit.serving.api.openai import LONG_BODY
from llmops_kit.serving.errors import ApiError, unavailable
from llmops_kit.serving.front.admission import Admission
from llmops_kit.serving.front.body import read_body, replay
from llmops_kit.serving.front.chat_page import Page
from llmops_kit.serving.front.exchange import (
    EXCHANGE,
    Application,
    ClientGoneError,
    HttpExchange,
    Message,
    Receive,
    Scope,
    Send,
)
from llmops_kit.serving.front.keys import Caller, ExpiredKeyError, Keys
from llmops_kit.serving.front.openapi import description
from llmops_kit.serving.front.readiness import Readiness
from llmops_kit.serving.front.routes import HEALTH, ROUTES, AllowList, Route
from llmops_kit.serving.front.vllm import VllmApp
from llmops_kit.serving.front.vllm_requests import PARAMETERS
from llmops_kit.serving.log import log_json, say
from llmops_kit.serving.metrics import Metrics
from llmops_kit.serving.server_settings import ServerSettings

_WAITING_SECONDS = 15.0
"""Interval at which a stream that has not begun gets a keep-alive comment."""


class Front:
    """Adds keys, limits, the three contracts, errors, readiness, log, metrics and chat page to an engine's app.

    The app receives only requests of the allow list, with the whole body in its first message. It may raise ApiError,
    before its response or within a stream, and counts the request's tokens in the scope's EXCHANGE. It is cancelled
    when the client disconnects and when the request times out.
    """

    def __init__(
        self,
        app: Application,
        settings: ServerSettings | None = None,
        metrics: Metrics | None = None,
        readiness: Readiness | None = None,
    ) -> None:
        """Wraps the kit's own app, with the objects that it shares; given only `app`, wraps vLLM's.

        Raises:
            ServingError: the file of keys or, for vLLM's app, the environment that its process inherits is invalid.
        """
        self._settings = settings or ServerSettings.from_environ(os.environ)
        self.readiness = readiness or Readiness()
        self.metrics = metrics or Metrics()
        self.admission = Admission(self._settings.limits)
        self._foreign: VllmApp | None = None
        if settings is None:
            self._foreign = VllmApp(app, self._settings, self.readiness, self.admission, self.metrics)
        self._app = self._foreign or app
        self._keys = Keys(self._settings)
        self._page = Page()
        admission, watch = self.admission, self.metrics.watch
        watch("llmops_queue_length", "Requests that wait for a place in the batch.", lambda: admission.queued)
        watch("llmops_queue_tokens", "Tokens of prompts that wait, estimated.", lambda: admission.waiting_tokens)
        watch("llmops_running", "Requests that are being answered.", lambda: admission.running)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        else:  # a websocket: closed before it is accepted, which servers answer with 403
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = HttpExchange(scope, send, self.metrics)
        try:
            await self._answer(exchange, receive)
        except ApiError as e:
            if isinstance(e, ExpiredKeyError):
                exchange.note(key=e.name, expired=True)
            await exchange.fail(e)
        except ClientGoneError:
            exchange.status = 499
        except Exception:
            say("a fault of the server:\n" + traceback.format_exc())
            await exchange.fail(ApiError(500, "a fault of the server; it is in its log", code="fault"))
        finally:
            self._log(exchange)

    async def _answer(self, exchange: HttpExchange, receive: Receive) -> None:
        path, method = exchange.scope["path"], exchange.scope["method"]
        route = ROUTES.find(path)
        if route:
            exchange.route = route.path
        caller = self._authenticated(exchange)
        _check_expectation(exchange)
        if route is None:
            raise ApiError(404, "there is no such route", code="not_found")
        match route.kind(method):
            case "ping":
                await exchange.answer_json(*self.readiness.describe())
            case "page":
                await self._page.answer(exchange)
            case "description":
                await exchange.answer(200, self._description, "application/json; charset=utf-8")
            case "metrics":
                text = self.metrics.text() + (await self._foreign.metrics() if self._foreign else b"")
                await exchange.answer(200, text, CONTENT_TYPE_LATEST)
            case "forward":
                self._require_open()
                await self._app(self._scope_for(exchange, route), receive, exchange.send)
            case "generate":
                await self._generate(exchange, receive, route, caller)
            case None:
                taken = ", ".join(route.kinds)
                raise ApiError(405, f"this route takes {taken}", code="method_not_allowed", allow=taken)

    @cached_property
    def _description(self) -> bytes:
        """The content of /openapi.json."""
        keyed = self._settings.auth == "key"
        return description(ROUTES, keyed=keyed, parameters=PARAMETERS if self._foreign else ())

    def _authenticated(self, exchange: HttpExchange) -> Caller:
        """Returns the caller; call it before the response can reveal whether a route exists."""
        path, header = exchange.scope["path"], exchange.header(b"authorization")
        if AllowList.is_open(path, exchange.scope["method"]):
            return self._keys.anybody
        if path == "/metrics":
            return self._keys.check_scrape(header)
        caller = self._keys.check(header)
        if self._keys.count > 1:
            exchange.note(key=caller.name)
        return caller

    def _require_open(self) -> None:
        if not self.readiness.open:
            raise unavailable(self.readiness.phase)

    def _scope_for(self, exchange: HttpExchange, route: Route) -> Scope:
        scope = dict(exchange.scope)
        scope[EXCHANGE] = exchange
        if route.forward:
            scope["path"], scope["raw_path"] = route.forward, route.forward.encode()
        return scope

    async def _generate(self, exchange: HttpExchange, receive: Receive, route: Route, caller: Caller) -> None:
        """Reads the body, waits for a place, and lets the app answer, within the request's time limit and while the
        client is connected.
        """
        self._require_open()
        limits = self._settings.limits
        exchange.caller = caller.name
        exchange.more_places = functools.partial(self.admission.more, caller.name)
        task = asyncio.current_task()
        assert task
        watch: asyncio.Task[None] | None = None
        with self.admission.admitted(caller.name, self._keys.count):
            caller.begin()
            try:
                async with asyncio.timeout(limits.request_seconds) as deadline:
                    exchange.stream_began = functools.partial(
                        _extend, deadline, limits.stream_seconds - limits.request_seconds
                    )
                    most = min(limits.max_body, self.readiness.longest_body or limits.max_body)
                    body = await read_body(exchange, receive, most, limits.read_seconds)
                    watch = asyncio.create_task(_cancel_when_gone(exchange, receive, task))
                    async with _Waiting(exchange, body), self.admission.place(caller.name, len(body)):
                        scope = self._scope_for(exchange, route)
                        await self._app(scope, replay(body, _never), exchange.send)
            except TimeoutError:
                raise ApiError(504, "the answer took too long", code="timeout") from None
            except asyncio.CancelledError:
                if not (watch and watch.done()):
                    raise
                task.uncancel()
                raise ClientGoneError from None
            finally:
                if watch:
                    watch.cancel()
                caller.count(exchange.usage.total)

    def _log(self, exchange: HttpExchange) -> None:
        if exchange.route in HEALTH:
            # Routers and clouds poll it several times a second. A 503 while a model loads is no failed request.
            return
        self.metrics.requests.labels(exchange.route, str(exchange.status)).inc()
        scope = exchange.scope
        log_json(
            {
                "request": exchange.id,
                "method": scope["method"][:16],
                "path": scope["path"][:128],
                "status": exchange.status,
                "ms": round((time.perf_counter() - exchange.started) * 1000, 1),
                **exchange.fields,
                **exchange.usage.fields(),
            }
        )


class _Waiting:
    """Sends keep-alive comments to a stream that has not begun."""

    def __init__(self, exchange: HttpExchange, body: bytes) -> None:
        self._exchange = exchange
        self._body = body
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        # A timer rather than a task, because nearly every answer begins earlier.
        self._timer = asyncio.get_running_loop().call_later(_WAITING_SECONDS, self._begin)

    async def __aexit__(self, *_: Any) -> None:
        self._timer.cancel()
        if self._task:
            self._task.cancel()

    def _begin(self) -> None:
        self._task = asyncio.create_task(self._say())

    async def _say(self) -> None:
        long = len(self._body) > LONG_BODY
        streams = await asyncio.to_thread(_streams, self._body) if long else _streams(self._body)
        while streams and not self._exchange.app_began:
            await self._exchange.say_waiting()
            await asyncio.sleep(_WAITING_SECONDS)


def _streams(body: bytes) -> bool:
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(request, dict) and request.get("stream") is True


def _extend(deadline: asyncio.Timeout, seconds: float) -> None:
    """Extends the time limit of a response that turned out to be a stream."""
    end = deadline.when()
    if end is not None and not deadline.expired():
        deadline.reschedule(end + seconds)


async def _cancel_when_gone(exchange: HttpExchange, receive: Receive, task: "asyncio.Task[Any]") -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    if not exchange.complete:
        task.cancel()


async def _never() -> Message:
    """Never returns: the front cancels the app when the client disconnects."""
    await asyncio.Event().wait()
    raise AssertionError


def _check_expectation(exchange: HttpExchange) -> None:
    if exchange.header(b"expect").lower() not in ("", "100-continue"):
        raise ApiError(417, "Expect can be 100-continue alone", code="unknown_expectation")
