"""A server's lifecycle: bind, verify, load, golden prompts, ready; a dead engine is restarted; SIGTERM drains.

Until it is ready, /ping answers 503 with the phase. A failed start raises KitError.
"""

import asyncio
import gc
import logging
import signal
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing, suppress

import uvloop

from llmops_kit.core.errors import ServingError
from llmops_kit.serving.api.openai import longest_body
from llmops_kit.serving.app import App
from llmops_kit.serving.bringup import BringUp
from llmops_kit.serving.engines.process import ProcessEngine
from llmops_kit.serving.engines.spawn import spawn
from llmops_kit.serving.front import Front
from llmops_kit.serving.front.handover import HandOver
from llmops_kit.serving.front.protocol import bind, guarded, http_server, new_guard
from llmops_kit.serving.front.readiness import Readiness
from llmops_kit.serving.golden import QualityWatch
from llmops_kit.serving.log import say
from llmops_kit.serving.metrics import Metrics
from llmops_kit.serving.prompts import Prompts
from llmops_kit.serving.server_settings import ServerSettings
from llmops_kit.serving.service import Model, Service

# If an engine dies more often than this, restarting it doesn't help: the server ends, and its supervisor decides.
_RESTARTS = 3
_RESTART_SECONDS = 60.0
_PROGRESS_SECONDS = 10.0
_FAREWELL_SECONDS = 1.0
"""Time for the error frames of answers that were cut."""


def run(settings: ServerSettings, bringup: BringUp) -> int:
    """Serves until SIGTERM; returns the exit code.

    Raises:
        KitError: the start failed, or the engine can't be kept alive.
    """
    # The front logs errors; uvicorn would log answers that are cut at the end as errors.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(settings, bringup))


async def _serve(settings: ServerSettings, bringup: BringUp) -> int:
    return await _Server(settings, bringup).serve()


class _Server:
    """One server process."""

    def __init__(self, settings: ServerSettings, bringup: BringUp) -> None:
        self._settings = settings
        self._bringup = bringup
        self._deaths: deque[float] = deque(maxlen=_RESTARTS)
        self._stop = asyncio.Event()
        self.readiness = Readiness()
        self.service = Service(Metrics(), self.readiness)
        self.front = Front(App(self.service), settings, self.service.metrics, self.readiness)
        self._guard = new_guard(settings.limits)
        self._http = http_server(self.front)
        self._handover = HandOver(self._guard, self._http)

    async def serve(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        sock = bind(self._settings.host, self._settings.port)
        listener = await loop.create_server(guarded(self._guard, self._http), sock=sock, backlog=1024)
        if self._settings.handover_socket:
            self._handover.open(self._settings.handover_socket)
        say(f"listening on {sock.getsockname()[0]}:{sock.getsockname()[1]}")
        life = loop.create_task(self._keep_alive())
        stop = loop.create_task(self._stop.wait())
        try:
            await asyncio.wait({life, stop}, return_when=asyncio.FIRST_COMPLETED)
            if life.done():
                life.result()  # always raises: the task ends only by an exception
            await self._drain(listener)
            return 0
        finally:
            life.cancel()
            stop.cancel()
            listener.close()
            self._handover.close()
            if self.service.engine:
                await self.service.engine.close()
            await self.service.checks.close()

    async def _keep_alive(self) -> None:
        """Starts an engine, and restarts it whenever it dies."""
        while True:
            engine = await self._bring_up()
            watch = asyncio.create_task(self._quality().ask_again(self._settings.quality_seconds))
            await engine.ended.wait()
            watch.cancel()
            self.readiness.open = False
            self._phase("restarting")
            self.service.engine = None
            self.service.metrics.engine_restarts.inc()
            await engine.close()
            now = time.monotonic()
            if len(self._deaths) == _RESTARTS and now - self._deaths[0] < _RESTART_SECONDS:
                raise ServingError(
                    f"died {_RESTARTS + 1} times within {_RESTART_SECONDS:.0f} seconds",
                    where="engine",
                    fix="see the lines above; more memory, or another LLMOPS_PRECISION",
                )
            self._deaths.append(now)
            say("the engine's process ended; starting it again")
            self._bringup = BringUp(self._settings, spawn(self._bringup.worker.engine))

    async def _bring_up(self) -> ProcessEngine:
        begun = time.perf_counter()
        settings, service = self._settings, self.service
        engine = ProcessEngine(self._bringup.worker)
        telling = asyncio.create_task(self._tell_progress())
        try:
            bringup = self._bringup
            self._phase("verifying", lambda: bringup.progress)
            with closing(await asyncio.wrap_future(self._bringup.verified)) as version:
                self._phase("loading")
                prompts = Prompts(version.read, settings.model, chats=version.manifest.embedding is None)
                info = await engine.ready()
                version.require_unchanged()
            manifest = version.manifest
            service.model = Model(settings.name or manifest.name, version.sha256, manifest, prompts, info)
            service.engine = engine
            self._open()
            self._phase("answering golden prompts")
            if manifest.embedding:  # it has no golden prompts, but must compute a vector
                await service.embed(["ready"], service.model, manifest.embedding, service.new_usage())
            else:
                await self._quality().ask_first(required=settings.golden == "required")
        except BaseException:
            await engine.close()
            raise
        finally:
            telling.cancel()
        service.metrics.set_model(service.model.name, service.model.sha256, info.engine, info.precision)
        gc.freeze()
        gc.enable()
        self._phase("ready")
        say(f"ready after {time.perf_counter() - begun:.2f} s: {service.model.name}, {info.engine} {info.precision}")
        return engine

    def _quality(self) -> QualityWatch:
        return QualityWatch(self.service.serving().card, self.service.pieces, self.service.metrics)

    async def _tell_progress(self) -> None:
        """Logs the progress of a slow start at intervals: reading a big model takes minutes."""
        while True:
            await asyncio.sleep(_PROGRESS_SECONDS)
            _, state = self.readiness.describe()
            share = f", {state['progress']:.0%}" if "progress" in state else ""
            say(f"{state['status']} for {state.get('seconds', 0):.0f} s{share}")

    def _open(self) -> None:
        """Accepts requests, which the loaded model answers even before the server is ready."""
        model = self.service.serving()
        self.readiness.model = {"model": model.name, "sha256": model.sha256}
        if not model.manifest.embedding:  # whose requests may have many texts
            self.readiness.longest_body = longest_body(model.prompts.longest_text)
        self.readiness.open = True

    def _phase(self, phase: str, progress: Callable[[], float] | None = None) -> None:
        """Enters a phase, unless SIGTERM has begun the shutdown."""
        if not self._stop.is_set():
            self.readiness.enter(phase, progress)
            say(phase)

    async def _drain(self, listener: asyncio.Server) -> None:
        """Shuts down: unready at once, refuses requests after the lame duck time, lets answers end, and cuts off the
        rest.
        """
        admission = self.front.admission
        self.readiness.enter("stopping")
        say(f"stopping: {admission.running} answers run")
        if self.readiness.open:
            await asyncio.sleep(self._settings.lame_duck_seconds)
        self.readiness.open = False
        listener.close()
        self._handover.close()
        try:
            await self._answers_end(self._settings.drain_seconds)
        except TimeoutError:
            say(f"cutting {admission.running} answers")
            if engine := self.service.engine:
                engine.fail_all("the server stops")
            await self.service.checks.close()
            with suppress(TimeoutError):
                await self._answers_end(_FAREWELL_SECONDS)
        say("stopped")

    async def _answers_end(self, seconds: float) -> None:
        """Waits until all answers have ended and were sent, and the router has their connections back."""
        admission = self.front.admission
        async with asyncio.timeout(seconds):
            while admission.running or admission.queued or self._guard.unsent or self._handover.running:
                await asyncio.sleep(0.02)
