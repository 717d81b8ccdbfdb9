"""vLLM's app and its engine's client, as version 0.33.0 behaves: what an app sends, and what it gets from the engine.

Written after the wheel's source: outputs after vllm/v1/engine/output_processor.py and async_llm.py; frames after
vllm/entrypoints/openai/{chat_completion,completion,responses}/serving.py; vectors after vllm/entrypoints/pooling/; an
answer that is not streamed, in a task of its own, after vllm/entrypoints/serve/utils/api_utils.py (with_cancellation).
A prompt's words are its tokens. tests/engines runs vLLM itself.
"""

import asyncio
import enum
import json
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.serving.api.model_card import ModelCard
from llmops_kit.serving.engines.engine import EngineInfo
from llmops_kit.serving.front import Front
from llmops_kit.serving.front.exchange import Message, Receive, Scope, Send

SERVED = "chatbot@3"
CARD = ModelCard(
    SERVED,
    "0" * 64,
    ModelManifest.model_validate(
        {"schema": ModelManifest.SCHEMA, "name": "chatbot", "created": "2026-11-01T00:00:00Z", "dtype": "BF16",
         "engines": ["transformers"], "files": {}, "lineage": {}, "golden": [{"messages": []}]}
    ),
    EngineInfo("vllm", "bf16", "0.33.0", penalties=True, top_logprobs=20),
    context_length=2048,
    takes_tools=False,
)  # fmt: skip
"""Of a model that vLLM has loaded, where a test does without its start."""


def as_loaded(front: Front) -> Front:
    """The front around vLLM's app, which serves from now on without having started."""
    assert front._foreign
    front._foreign.card = CARD
    front.readiness.enter("ready")
    front.readiness.open = True
    return front


class Step(NamedTuple):
    """An output of the engine: the text that can be shown, of so many tokens."""

    text: str
    tokens: int


STEPS = (Step("Par", 1), Step("", 1), Step("is is", 3), Step(" nice.", 2))
"""The second is half a character, for which a chat's stream has no frame; the third came while nobody read."""
ANSWER, TOKENS = "Paris is nice.", 7


class Kind(enum.Enum):
    """vllm/sampling_params.py, RequestOutputKind."""

    CUMULATIVE = 0
    DELTA = 1
    FINAL_ONLY = 2


class EngineDeadError(Exception):
    """vllm/v1/engine/exceptions.py."""


class StandInEngine:
    """vLLM's AsyncLLM: answers every prompt with the same steps."""

    def __init__(self, steps: Sequence[Step] = STEPS) -> None:
        self.model_config = SimpleNamespace(dtype="torch.bfloat16", max_model_len=2048)
        self.steps = steps
        self.holds_after: int | None = None
        """Outputs after which it generates no more, until the request is aborted."""
        self.dies_after: int | None = None
        """Outputs after which it is dead."""
        self.held = asyncio.Event()
        self.aborted: list[str] = []
        self.began = 0
        self.running: dict[str, asyncio.Event] = {}

    async def generate(
        self, prompt: dict[str, Any], sampling_params: Any, request_id: str, **_: Any
    ) -> AsyncGenerator[Any, None]:
        """Yields RequestOutputs: one for each step and answer, or one at the end."""
        self.began += 1
        aborted = self.running[request_id] = asyncio.Event()
        delta, done = sampling_params.output_kind is Kind.DELTA, list[Step]()
        try:
            for number, step in enumerate(self.steps):
                if number == self.dies_after:
                    raise EngineDeadError
                if number == self.holds_after:
                    self.held.set()
                    await aborted.wait()
                await asyncio.sleep(0)
                reason = "abort" if aborted.is_set() else "stop" if number == len(self.steps) - 1 else None
                new = [] if reason == "abort" else [step]
                done += new
                if delta or reason:
                    shown = new if delta else done
                    yield _output(prompt, shown, reason, sampling_params.n)
                if reason:
                    return
        except (asyncio.CancelledError, GeneratorExit):
            self.aborted.append(request_id)
            raise
        finally:
            del self.running[request_id]

    async def encode(self, prompt: dict[str, Any], pooling_params: Any, request_id: str) -> AsyncGenerator[Any, None]:
        """Yields a PoolingRequestOutput, whose `outputs` is not a list."""
        await asyncio.sleep(0)
        ids = prompt["prompt_token_ids"]
        yield SimpleNamespace(outputs=SimpleNamespace(data=[0.5]), prompt_token_ids=ids, finished=True)

    async def abort(self, request_ids: list[str]) -> None:
        """Has requests yield their last output, with what was generated."""
        for request_id in request_ids:
            self.aborted.append(request_id)
            self.running[request_id].set()


def _output(prompt: dict[str, Any], steps: Sequence[Step], reason: str | None, answers: int) -> Any:
    text, tokens = "".join(step.text for step in steps), sum(step.tokens for step in steps)
    outputs = [
        SimpleNamespace(index=index, text=text, token_ids=[1] * tokens, finish_reason=reason)
        for index in range(answers)
    ]
    times = SimpleNamespace(first_token_latency=0.25, first_token_ts=10.0, last_token_ts=10.6)
    ids = prompt["prompt_token_ids"]
    return SimpleNamespace(outputs=outputs, prompt_token_ids=ids, finished=bool(reason), metrics=times)


class StandInVllm:
    """vLLM's FastAPI app below its middlewares, and `scope["app"]`, whose state has the engine's client."""

    def __init__(self, engine: StandInEngine) -> None:
        self.engine = engine
        self.state = SimpleNamespace(engine_client=engine, args=SimpleNamespace(tool_call_parser=None))
        self.asked: list[dict[str, Any]] = []
        """The bodies that reached it."""
        self.tasks: set[asyncio.Task[Any]] = set()
        """Handlers of answers that are not streamed."""
        self.rendered = asyncio.Event()
        """Whether prompts of such answers are read at once."""
        self.rendered.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        elif scope["method"] == "GET":
            shown = {"object": "list", "data": [{"id": SERVED, "object": "model", "root": "/tmp/llmops-vllm-x/model"}]}
            await _send_json(send, 200, shown if scope["path"] == "/v1/models" else {"detail": "Not Found"})
        else:
            body = json.loads((await receive())["body"])
            self.asked.append(body)
            await self._answer(scope["path"], body, send)

    async def _answer(self, path: str, body: dict[str, Any], send: Send) -> None:
        if (model := body.get("model")) not in (None, "", SERVED):  # entrypoints/openai/models/serving.py, check_model
            message = f"The model `{model}` does not exist."
            error = {"message": message, "type": "NotFoundError", "param": "model", "code": 404}
            await _send_json(send, 404, {"error": error})
        elif path == "/v1/embeddings":
            await _send_json(send, 200, await self._vectors(body))
        elif body.get("stream"):
            await send(
                {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
            )
            async for frame in {"/v1/responses": self._events}.get(path, self._frames)(path, body):
                await send({"type": "http.response.body", "body": frame, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        else:
            task = asyncio.create_task(self._whole(path, body))
            self.tasks.add(task)
            await asyncio.wait([task])  # which a cancelled handler leaves running
            await _send_json(send, 200, task.result())

    def _generate(self, path: str, body: dict[str, Any]) -> AsyncGenerator[Any, None]:
        kind = Kind.DELTA if body.get("stream") else Kind.FINAL_ONLY
        params = SimpleNamespace(output_kind=kind, n=body.get("n") or 1)
        text = body.get("prompt") or body.get("input") or body.get("messages", [{}])[-1]["content"]
        prompt = {"type": "token", "prompt_token_ids": text.split()}
        return self.state.engine_client.generate(prompt, params, f"{path}-{len(self.asked)}", priority=0)

    async def _whole(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answers: list[dict[str, Any]] = []
        prompt = completion = 0
        await self.rendered.wait()
        async for output in self._generate(path, body):
            prompt = len(output.prompt_token_ids)
            completion = sum(len(each.token_ids) for each in output.outputs)
            answers = [
                {"index": each.index, "text": each.text, "message": {"role": "assistant", "content": each.text},
                 "finish_reason": each.finish_reason}
                for each in output.outputs
            ]  # fmt: skip
        return {"id": "x", "model": SERVED, "choices": answers, "usage": _usage(path, prompt, completion)}

    async def _frames(self, path: str, body: dict[str, Any]) -> AsyncIterator[bytes]:
        """Yields the frames of a chat's or a text's stream."""
        chat = path == "/v1/chat/completions"
        options, counts = body.get("stream_options") or {}, Counter[int]()
        usage = bool(options.get("include_usage"))
        continuous = usage and bool(options.get("continuous_usage_stats"))  # entrypoints/.../should_include_usage

        def frame(prompt: int, index: int, **shown: Any) -> bytes:
            more = {"usage": _usage(path, prompt, counts[index])} if continuous else {}
            return _frame([{"index": index, **shown}], **more)

        prompt = 0
        try:
            async for output in self._generate(path, body):
                first, prompt = not prompt, len(output.prompt_token_ids)
                for each in output.outputs if chat and first else ():
                    yield frame(prompt, each.index, delta={"role": "assistant"})
                for each in output.outputs:
                    counts[each.index] += len(each.token_ids)
                    if chat and not each.text and not each.finish_reason:
                        continue
                    shown = {"delta": {"content": each.text}} if chat else {"text": each.text}
                    yield frame(prompt, each.index, **shown, finish_reason=each.finish_reason)
            if usage:
                yield _frame([], usage=_usage(path, prompt, counts.total()))
        except EngineDeadError:
            error = {"message": "EngineCore encountered an issue.", "type": "InternalServerError", "code": 500}
            yield b"data: " + json.dumps({"error": error}).encode() + b"\n\n"
        yield b"data: [DONE]\n\n"

    async def _events(self, path: str, body: dict[str, Any]) -> AsyncIterator[bytes]:
        """Yields the events of a response, which ends without [DONE]."""
        yield _event("response.created", response={"model": SERVED, "usage": None})
        prompt = completion = 0
        async for output in self._generate(path, body):
            prompt = len(output.prompt_token_ids)
            completion += len(output.outputs[0].token_ids)
            if output.outputs[0].text:
                yield _event("response.output_text.delta", delta=output.outputs[0].text)
        yield _event("response.completed", response={"model": SERVED, "usage": _usage(path, prompt, completion)})

    async def _vectors(self, body: dict[str, Any]) -> dict[str, Any]:
        tokens = 0
        for number, text in enumerate([body["input"]] if isinstance(body["input"], str) else body["input"]):
            prompt = {"prompt_token_ids": text.split()}
            call = self.state.engine_client.encode(request_id=f"embd-{number}", prompt=prompt, pooling_params=None)
            tokens += sum([len(output.prompt_token_ids) async for output in call])
        usage = {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0}
        return {"object": "list", "model": SERVED, "data": [], "usage": usage}


def _usage(path: str, prompt: int, completion: int) -> dict[str, int]:
    names = ("input", "output") if path == "/v1/responses" else ("prompt", "completion")
    counts = {f"{name}_tokens": count for name, count in zip(names, (prompt, completion), strict=True)}
    return {**counts, "total_tokens": prompt + completion}


def _frame(choices: list[dict[str, Any]], **more: Any) -> bytes:
    return b"data: " + json.dumps({"id": "x", "model": SERVED, "choices": choices, **more}).encode() + b"\n\n"


def _event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


async def _send_json(send: Send, status: int, value: Any) -> None:
    headers = [(b"content-type", b"application/json")]
    start: Message = {"type": "http.response.start", "status": status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": json.dumps(value).encode()})
