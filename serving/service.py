"""From a validated request to text: defaults, the engine, and whole characters up to a stop string."""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime

from contract.documents.model import ModelManifest
from serving.engines.engine import EngineError, EngineInfo, GenerationRequest
from serving.engines.process import ProcessEngine
from serving.errors import ApiError, unavailable
from serving.front.readiness import Readiness
from serving.metrics import Metrics
from serving.openai import ChatRequest, usage_of
from serving.prompts import Prompts, TooLongError
from serving.text import Detokenizer, StopStrings

# Longer texts are tokenised on a thread: so many characters take 10 ms at worst.
_LONG_TEXT = 2_000


@dataclass(frozen=True)
class Model:
    """What is served, once it is loaded."""

    name: str
    sha256: str
    manifest: ModelManifest
    prompts: Prompts
    engine: EngineInfo

    @property
    def created(self) -> int:
        """Seconds since 1970."""
        return int(datetime.fromisoformat(self.manifest.created).timestamp())


@dataclass
class Completion:
    """One answer as it grows."""

    prompt: list[int]
    started: float
    completion_tokens: int = 0
    finish: str = ""
    first_token: float = 0.0
    """Seconds from the request to it."""
    last_token: float = field(default=0.0, repr=False)

    def usage(self) -> dict[str, int]:
        """OpenAI's usage object."""
        return usage_of(len(self.prompt), self.completion_tokens)


class Service:
    """Answers requests with the model that is loaded."""

    def __init__(self, metrics: Metrics, readiness: Readiness) -> None:
        self.metrics = metrics
        self.readiness = readiness
        self.model: Model | None = None
        self.engine: ProcessEngine | None = None
        metrics.watch(
            "llmops_engine_running",
            "Requests in the engine's batch after its last step.",
            lambda: self.engine.running if self.engine else 0,
        )

    def serving(self) -> Model:
        """The loaded model.

        Raises:
            ApiError: 503, it is not there.
        """
        if self.model is None:
            raise unavailable(self.readiness.phase)
        return self.model

    async def prepare(self, request: ChatRequest, model: Model, started: float) -> tuple[Completion, GenerationRequest]:
        """Tokenise, and fill in the version's serving defaults.

        Raises:
            ApiError: 400, the template refuses the messages, or the context is too short for them.
        """
        _refuse_unhonoured(request, model.engine)
        defaults = model.manifest.serving
        messages = [
            {"role": "system" if m.role == "developer" else m.role, "content": m.content} for m in request.messages
        ]
        if defaults.system_prompt and messages[0]["role"] != "system":
            messages.insert(0, {"role": "system", "content": defaults.system_prompt})
        try:
            if sum(len(m["content"]) for m in messages) > _LONG_TEXT:
                prompt = await asyncio.to_thread(model.prompts.encode, messages)
            else:
                prompt = model.prompts.encode(messages)
        except TooLongError as e:
            raise _too_long(str(e), model.prompts.context_length) from None
        except ValueError as e:
            raise ApiError(400, str(e), code="invalid_value", param="messages") from None
        seed = request.seed if request.seed is not None else secrets.randbits(32)
        return Completion(prompt, started), GenerationRequest(
            prompt=prompt,
            max_tokens=_max_tokens(request, defaults.max_tokens, len(prompt), model.prompts.context_length),
            stop_ids=model.prompts.stop_ids,
            temperature=defaults.temperature if request.temperature is None else request.temperature,
            top_p=1.0 if request.top_p is None else request.top_p,
            seed=seed % 2**32,
            frequency_penalty=request.frequency_penalty or 0.0,
            presence_penalty=request.presence_penalty or 0.0,
        )

    async def generate(
        self, request: ChatRequest, model: Model, answer: Completion, generation: GenerationRequest
    ) -> AsyncGenerator[str, None]:
        """Pieces of text, never empty; fills in `answer`.

        Raises:
            ApiError: 503, the engine could not finish.
        """
        detokenizer, stops = Detokenizer(model.prompts.decode), StopStrings(request.stop or ())
        if self.engine is None:
            raise unavailable(self.readiness.phase)
        self.metrics.prompt_tokens.inc(len(answer.prompt))
        try:
            async with aclosing(self.engine.generate(generation)) as items:
                async for ids, finish in items:
                    self._count(answer, len(ids))
                    text, stopped = stops.feed(detokenizer.feed(ids))
                    if finish and not stopped:
                        rest, stopped = stops.feed(detokenizer.flush())
                        text += rest + ("" if stopped else stops.flush())
                    answer.finish = "stop" if stopped else finish or ""
                    if text:
                        yield text
                    if answer.finish:
                        return
        except EngineError as e:
            raise ApiError(503, str(e), code="engine_error", retry_after=1) from None

    async def texts(self, request: ChatRequest) -> AsyncGenerator[str, None]:
        """Pieces of an answer outside of HTTP, without a place: for golden prompts."""
        if self.model is None:
            raise unavailable(self.readiness.phase)
        answer, generation = await self.prepare(request, self.model, time.perf_counter())
        async with aclosing(self.generate(request, self.model, answer, generation)) as pieces:
            async for piece in pieces:
                yield piece

    def _count(self, answer: Completion, tokens: int) -> None:
        if not tokens:
            return
        now = time.perf_counter()
        self.metrics.generated_tokens.inc(tokens)
        if not answer.completion_tokens:
            answer.first_token = now - answer.started
            self.metrics.first_token.observe(answer.first_token)
        else:
            self.metrics.per_token.observe((now - answer.last_token) / tokens)
        answer.last_token = now
        answer.completion_tokens += tokens


def _refuse_unhonoured(request: ChatRequest, engine: EngineInfo) -> None:
    for name in ("frequency_penalty", "presence_penalty"):
        if getattr(request, name) and not engine.penalties:
            raise ApiError(
                400,
                f"{name}: the engine {engine.engine} does not support it",
                code="unsupported_parameter",
                param=name,
            )


def _max_tokens(request: ChatRequest, default: int, prompt: int, context: int) -> int:
    asked = request.max_completion_tokens or request.max_tokens
    if prompt >= context or (asked and prompt + asked > context):
        more = f" and {asked} for the answer" if asked else ""
        raise _too_long(f"the messages take {prompt}{more}", context)
    return asked or min(default, context - prompt)


def _too_long(what: str, context: int) -> ApiError:
    message = f"this model's context has {context} tokens; {what}"
    return ApiError(400, message, code="context_length_exceeded", param="messages")
