"""Answers a validated request: fills in defaults, runs the engine, and yields text."""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import cached_property

from llmops_kit.core.documents.model import EmbeddingForm, ModelManifest
from llmops_kit.core.models.tool_call_stream import HERMES, CallDelta
from llmops_kit.serving.api.answers import Answer, merged
from llmops_kit.serving.api.frames import Delta
from llmops_kit.serving.api.model_card import ModelCard
from llmops_kit.serving.api.openai import ChatRequest, CompletionRequest
from llmops_kit.serving.chat_prompt import messages_of, require_tools
from llmops_kit.serving.engines.engine import EngineError, EngineInfo, GenerationRequest, Grammar
from llmops_kit.serving.engines.process import ProcessEngine
from llmops_kit.serving.errors import ApiError, unavailable
from llmops_kit.serving.front.readiness import Readiness
from llmops_kit.serving.front.schema_checks import SchemaChecks, Vocabulary
from llmops_kit.serving.grammars import calls_grammar, schema_grammar, strict_grammar
from llmops_kit.serving.metrics import Metrics
from llmops_kit.serving.prompts import Prompts, TooLongError, characters
from llmops_kit.serving.usage import Usage

# Longer texts are tokenised on a thread: this many characters take at most 10 ms.
_LONG_TEXT = 2_000
_MOST_EMBEDDED = 300_000
"""Maximum tokens of all inputs of a request for embeddings, as in OpenAI's API."""


@dataclass(frozen=True)
class Model:
    """The served model, once it is loaded."""

    name: str
    sha256: str
    manifest: ModelManifest
    prompts: Prompts
    engine: EngineInfo

    @cached_property
    def card(self) -> ModelCard:
        """The model as callers see it."""
        form, prompts = self.manifest.embedding, self.prompts
        length = form.max_tokens if form else prompts.context_length
        takes_tools = prompts.takes_tools and prompts.call_form is not None
        return ModelCard(self.name, self.sha256, self.manifest, self.engine, length, takes_tools)


class Service:
    """Answers requests with the loaded model."""

    def __init__(self, metrics: Metrics, readiness: Readiness) -> None:
        self.metrics = metrics
        self.readiness = readiness
        self.model: Model | None = None
        self.engine: ProcessEngine | None = None
        self.checks = SchemaChecks()
        metrics.watch(
            "llmops_engine_running",
            "Requests in the engine's batch after its last step.",
            lambda: self.engine.running if self.engine else 0,
        )
        metrics.watch(
            "llmops_engine_grammar_bytes",
            "Memory of the compiled grammars that the engine keeps.",
            lambda: self.engine.grammar_bytes if self.engine else 0,
        )
        self.checks.watch(metrics)

    def serving(self) -> Model:
        """Returns the loaded model.

        Raises:
            ApiError: 503, it is not loaded.
        """
        if self.model is None:
            raise unavailable(self.readiness.phase)
        return self.model

    async def prepare(
        self, request: ChatRequest | CompletionRequest, model: Model, caller: str = ""
    ) -> GenerationRequest:
        """Tokenises a request, and fills in the version's serving defaults.

        Args:
            caller: the name of the caller's key; "" for the server's own requests.

        Raises:
            ApiError: 400, the template or the engine does not support the request, or the context is too short for it;
                429 or 503, its schemas can't be checked now.
        """
        _refuse_unhonoured(request, model.engine)
        defaults, grammar = model.manifest.serving, None
        if isinstance(request, ChatRequest):
            grammar = await self._grammar(request, model, caller)
            prompt = await _chat_prompt(request, model)
        else:
            prompt = await _encoded(
                lambda: model.prompts.encode_text(request.prompt), len(request.prompt), model, "prompt"
            )
        seed = request.seed if request.seed is not None else secrets.randbits(32)
        logprobs = (request.top_logprobs or 0) if isinstance(request, ChatRequest) and request.logprobs else None
        if logprobs is not None:
            await asyncio.to_thread(lambda: model.prompts.vocabulary)
        most = _max_tokens(request, defaults.max_tokens, len(prompt), model.prompts.context_length)
        return GenerationRequest(
            prompt=prompt,
            max_tokens=most,
            stop_ids=() if request.ignore_eos else model.prompts.stop_ids,
            temperature=defaults.temperature if request.temperature is None else request.temperature,
            top_p=1.0 if request.top_p is None else request.top_p,
            seed=seed % 2**32,
            frequency_penalty=request.frequency_penalty or 0.0,
            presence_penalty=request.presence_penalty or 0.0,
            min_tokens=min(request.min_tokens or 0, most),
            logprobs=logprobs,
            grammar=grammar,
        )

    async def _grammar(self, request: ChatRequest, model: Model, caller: str) -> Grammar | None:
        """Returns the grammar that constrains the answer, after checking that it compiles; None if there is none."""
        if request.tools or request.tool_choice or request.response_format:
            await asyncio.to_thread(request.check)
            await self.checks.check_schemas(request.schemas, caller)
        require_tools(request, model.prompts)
        several = request.parallel_tool_calls is not False and not request.choice.name
        if request.schema is not None:
            place = "response_format"
            grammar = schema_grammar(request.schema, place)
        elif request.choice.mode == "required" and (form := model.prompts.call_form):
            place = "tools"
            tools = [t for t in request.offered if request.choice.name in ("", t.function.name)]
            grammar = calls_grammar(form, tools, several=several)
        elif any(tool.function.strict for tool in request.offered):
            place = "tools"
            if model.prompts.call_form is not HERMES:
                raise _unsupported(place, "strict ones need tool_choice required with this model's form of calls")
            grammar = strict_grammar(request.offered, several=several)
        else:
            return None
        for name, asked in (("ignore_eos", request.ignore_eos), ("min_tokens", request.min_tokens)):
            if asked:
                raise _unsupported(name, f"it is not supported together with {place} that the answer is held to")
        vocabulary = Vocabulary(model.engine.engine, model.prompts.text_vocabulary)
        await self.checks.check_grammar(grammar, vocabulary, place, caller)
        return grammar

    async def generate(
        self,
        request: ChatRequest | CompletionRequest,
        model: Model,
        usage: Usage,
        generation: GenerationRequest,
    ) -> AsyncGenerator[list[Delta], None]:
        """Yields pieces of the answers, one for each token with visible output, in lists as they arrive; counts their
        tokens in `usage`.

        Raises:
            ApiError: 503, the engine could not finish.
        """
        if self.engine is None:
            raise unavailable(self.readiness.phase)
        usage.read(len(generation.prompt))
        seeds = ((generation.seed + choice) % 2**32 for choice in range(request.answers))
        pieces = [
            self._generate_one(choice, request, model, usage, replace(generation, seed=seed))
            for choice, seed in enumerate(seeds)
        ]
        async with aclosing(pieces[0] if len(pieces) == 1 else merged(pieces)) as lists:
            async for deltas in lists:
                yield deltas

    async def _generate_one(
        self,
        choice: int,
        request: ChatRequest | CompletionRequest,
        model: Model,
        usage: Usage,
        generation: GenerationRequest,
    ) -> AsyncGenerator[list[Delta], None]:
        if self.engine is None:
            raise unavailable(self.readiness.phase)
        one, done = Answer(choice, request, model.prompts), 0
        try:
            async with aclosing(self.engine.generate(generation)) as items:
                async for tokens in items:
                    deltas: list[Delta] = []
                    for delta in one.feed(tokens):
                        deltas.append(delta)
                        if delta.finish:
                            break
                    usage.finish = deltas[-1].finish or usage.finish
                    new = min(len(deltas), len(tokens.ids))
                    usage.generated(new)
                    if request.continuous_usage:
                        deltas = [d._replace(tokens=done + min(n, new)) for n, d in enumerate(deltas, 1)]
                        done += new
                    if shown := [d for d in deltas if d.text or d.calls or d.chances or d.finish]:
                        yield shown
                    if deltas[-1].finish:
                        return
        except EngineError as e:
            raise ApiError(503, str(e), code="engine_error", retry_after=1) from None

    async def embed(self, texts: Sequence[str], model: Model, form: EmbeddingForm, usage: Usage) -> list[str]:
        """Returns the texts' vectors, as base64 of little-endian 32-bit floats; counts their tokens in `usage`.

        Raises:
            ApiError: 400, a text is too long for the model; 503, the engine could not finish.
        """
        ids = await asyncio.to_thread(lambda: list(map(model.prompts.encode_input, texts)))
        for number, each in enumerate(ids):
            if len(each) > form.max_tokens:
                what = f"this model takes texts of {form.max_tokens} tokens; input[{number}] has {len(each)}"
                raise ApiError(400, what, code="context_length_exceeded", param=f"input[{number}]")
        if self.engine is None:
            raise unavailable(self.readiness.phase)
        tokens = sum(map(len, ids))
        if tokens > _MOST_EMBEDDED:
            what = f"input: at most {_MOST_EMBEDDED} tokens together; these are {tokens}"
            raise ApiError(400, what, code="invalid_value", param="input")
        usage.read(tokens)
        try:
            return await self.engine.embed(ids)
        except EngineError as e:
            raise ApiError(503, str(e), code="engine_error", retry_after=1) from None

    async def pieces(self, request: ChatRequest) -> AsyncGenerator[str | CallDelta, None]:
        """Yields pieces of an answer without HTTP and without a place in the batch, for golden prompts."""
        if self.model is None:
            raise unavailable(self.readiness.phase)
        usage = self.new_usage()
        generation = await self.prepare(request, self.model)
        async with aclosing(self.generate(request, self.model, usage, generation)) as lists:
            async for deltas in lists:
                for delta in deltas:
                    yield delta.text
                    for call in delta.calls:
                        yield call

    def new_usage(self) -> Usage:
        """Returns the usage of a request of the server's own."""
        return Usage(self.metrics, time.perf_counter())


async def _chat_prompt(request: ChatRequest, model: Model) -> list[int]:
    messages = messages_of(request.messages)
    if (system := model.manifest.serving.system_prompt) and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": system})
    tools = [tool.for_template() for tool in request.offered]
    return await _encoded(lambda: model.prompts.encode(messages, tools), characters(messages, tools), model, "messages")


async def _encoded(encode: Callable[[], list[int]], length: int, model: Model, place: str) -> list[int]:
    """Returns a prompt's tokens; a long prompt is tokenised on a thread."""
    try:
        return await asyncio.to_thread(encode) if length > _LONG_TEXT else encode()
    except TooLongError as e:
        raise _too_long(str(e), model.prompts.context_length, place) from None
    except ValueError as e:
        raise ApiError(400, str(e), code="invalid_value", param=place) from None


def _refuse_unhonoured(request: ChatRequest | CompletionRequest, engine: EngineInfo) -> None:
    for name in ("frequency_penalty", "presence_penalty"):
        if getattr(request, name) and not engine.penalties:
            raise _unsupported(name, f"the engine {engine.engine} does not support it")
    if not isinstance(request, ChatRequest):
        return
    if (request.top_logprobs or 0) > engine.top_logprobs:
        what = f"the engine {engine.engine} tells the chosen token's only" if not engine.top_logprobs else "too many"
        raise _unsupported("top_logprobs", what)


def _unsupported(name: str, what: str) -> ApiError:
    return ApiError(400, f"{name}: {what}", code="unsupported_parameter", param=name)


def _max_tokens(request: ChatRequest | CompletionRequest, default: int, prompt: int, context: int) -> int:
    asked = request.longest
    place = "messages" if isinstance(request, ChatRequest) else "prompt"
    if prompt >= context or (asked and prompt + asked > context):
        more = f" and {asked} for the answer" if asked else ""
        raise _too_long(f"the {place} {'take' if place == 'messages' else 'takes'} {prompt}{more}", context, place)
    return asked or min(default, context - prompt)


def _too_long(what: str, context: int, place: str) -> ApiError:
    message = f"this model's context has {context} tokens; {what}"
    return ApiError(400, message, code="context_length_exceeded", param=place)
