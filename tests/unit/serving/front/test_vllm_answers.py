"""The front around vLLM's app from its start: budgets, names, golden prompts and metrics, as with the other engines."""

import asyncio
import json
import re
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llmops_kit.core.documents.model import EmbeddingForm, Golden, Lineage, Message, ModelManifest
from llmops_kit.core.integrity.signing import make_key, sign
from llmops_kit.core.layout import MANIFEST
from llmops_kit.core.network.api_key import key_digest
from llmops_kit.serving.front import Front
from tests.support.servers.in_process import KEY, Asking
from tests.support.servers.vllm_stand_in import ANSWER, SERVED, TOKENS, StandInEngine, StandInVllm, Step

CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
WORDS = "What is the capital of France ?"
PROMPT = len(WORDS.split())
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"messages": [{"role": "user", "content": WORDS}]},
    COMPLETIONS: {"prompt": WORDS},
    RESPONSES: {"input": WORDS},
}
EMBEDDING = EmbeddingForm(pooling="mean", normalize=True, dimensions=1, max_tokens=16)

REFUSED_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"stream_options": {"continuous_usage_stats": True}}, "stream_options"),
    ({"stream_options": {"continuous_usage_stats": True}, "stream": False}, "stream_options"),
    ({"stream_options": {"continuous_usage_stats": "true"}, "stream": True}, "stream_options.continuous_usage_stats"),
    ({"stream_options": {"continuous": True}, "stream": True}, "stream_options.continuous"),
]
"""Fields of a request, and the parameter that is refused."""

Serve = Callable[..., Any]


def write_version(folder: Path, key: Path, **fields: Any) -> None:
    """Writes a signed manifest; vLLM's stand-in needs no weights."""
    golden = [Golden(messages=[Message(role="user", content=WORDS)], expect=["Paris"])]
    manifest = {
        "schema": ModelManifest.SCHEMA, "name": "chatbot", "created": "2026-11-01T00:00:00Z",
        "engines": ["transformers"], "dtype": "BF16", "files": {}, "lineage": Lineage(), "golden": golden,
    }  # fmt: skip
    folder.mkdir(parents=True)
    ModelManifest.model_validate(manifest | fields).write(folder / MANIFEST)
    sign(folder, key)


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Serves as vLLM's process does: `async with serve(engine, tokens_per_day=…, variable=…) as (front, app)`."""
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(__version__="0.33.0"))

    @asynccontextmanager
    async def serving(
        engine: StandInEngine, *, budget: int | None = None, ready: bool = True, manifest: Any = None, **variables: str
    ) -> AsyncIterator[tuple[Front, StandInVllm]]:
        public = make_key(tmp_path / "signing.key")
        write_version(tmp_path / "opt/ml/model", tmp_path / "signing.key", **(manifest or {}))
        key = {"name": "team", "sha256": key_digest(KEY)} | ({"tokens_per_day": budget} if budget else {})
        (tmp_path / "keys.json").write_text(json.dumps({"schema": "keys/1", "keys": [key]}))
        given = {"LLMOPS_ROOT": str(tmp_path), "LLMOPS_PUBLIC_KEY": public, "LLMOPS_MODEL_NAME": SERVED,
                 "LLMOPS_API_KEYS_FILE": str(tmp_path / "keys.json"), "LLMOPS_QUALITY_SECONDS": "0"}  # fmt: skip
        for name, value in (given | variables).items():
            monkeypatch.setenv(name, value)
        app = StandInVllm(engine)
        front, shutdown = Front(app), asyncio.Event()
        life = asyncio.create_task(front({"type": "lifespan", "app": app}, lifespan(shutdown), ignored))
        await until(lambda: front.readiness.phase in ("ready", "failed"))
        assert (front.readiness.phase == "ready") == ready
        app.asked.clear()  # the golden prompts
        yield front, app
        shutdown.set()
        await life

    return serving


def lifespan(shutdown: asyncio.Event) -> Any:
    messages = iter(("lifespan.startup", "lifespan.shutdown"))

    async def receive() -> dict[str, Any]:
        if (kind := next(messages)) == "lifespan.shutdown":
            await shutdown.wait()
        return {"type": kind}

    return receive


async def ignored(_message: Any) -> None:
    pass


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


def asking(path: str = CHAT, **fields: Any) -> Asking:
    return Asking("POST", path, json.dumps(BODIES.get(path, {}) | fields).encode())


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The log's lines of JSON since the last look."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def metric(text: str, name: str) -> float:
    return float(re.search(rf"^{name} (\S+)$", text, re.M).group(1))  # pyright: ignore[reportOptionalMemberAccess]


# -- budgets


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, RESPONSES])
@pytest.mark.parametrize(
    "fields",
    [{}, {"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}],
    ids=["whole", "stream", "usage"],
)
def test_a_budget_is_charged_prompt_and_answer_in_every_form(
    serve: Serve, capsys: pytest.CaptureFixture[str], path: str, fields: dict[str, Any]
) -> None:
    fields = {"stream": True} if path == RESPONSES and fields else fields  # whose streams tell the usage always

    async def scenario() -> None:
        async with serve(StandInEngine(), budget=2 * (PROMPT + TOKENS)) as (front, _):
            capsys.readouterr()
            for _ in range(2):
                assert (await asking(path, **fields).by(front)).status == 200
            refused = await asking(path, **fields).by(front)
            assert (refused.status, refused.unread) == (429, 2), "before its body was read"
            assert json.loads(refused.body)["error"]["code"] == "token_budget_exceeded"

    asyncio.run(scenario())
    for line in lines(capsys)[:2]:
        assert (line["prompt_tokens"], line["completion_tokens"], line["finish"]) == (PROMPT, TOKENS, "stop")


def test_each_of_several_answers_is_charged_and_the_prompt_once(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scenario() -> None:
        async with serve(StandInEngine()) as (front, _):
            capsys.readouterr()
            for stream in (False, True):
                assert (await asking(n=3, stream=stream).by(front)).status == 200

    asyncio.run(scenario())
    assert [(line["prompt_tokens"], line["completion_tokens"]) for line in lines(capsys)] == [(PROMPT, 3 * TOKENS)] * 2


def test_a_client_gets_a_streams_usage_if_it_asks_for_it_and_else_no_frame_more(serve: Serve) -> None:
    async def scenario() -> None:
        async with serve(StandInEngine()) as (front, _):
            silent = (await asking(stream=True).by(front)).frames
            told = (await asking(stream=True, stream_options={"include_usage": True}).by(front)).frames
            assert (silent[-1], told[-1]) == ("[DONE]", "[DONE]")
            assert told[-2]["usage"] == {"prompt_tokens": PROMPT, "completion_tokens": TOKENS,
                                         "total_tokens": PROMPT + TOKENS}  # fmt: skip
            assert told[-2]["choices"] == []
            assert [frame.get("usage") for frame in silent[:-1]] == [None] * 4
            text = "".join(frame["choices"][0]["delta"].get("content", "") for frame in silent[:-1])
            assert text == ANSWER

    asyncio.run(scenario())


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_the_usage_is_in_every_frame_if_a_client_asks_for_it(serve: Serve, path: str) -> None:
    async def scenario() -> None:
        async with serve(StandInEngine()) as (front, app):
            options = {"include_usage": True, "continuous_usage_stats": True}
            *frames, _ = (await asking(path, stream=True, stream_options=options).by(front)).frames
            counts = [frame["usage"]["completion_tokens"] for frame in frames]
            assert {frame["usage"]["prompt_tokens"] for frame in frames} == {PROMPT}
            assert counts == sorted(counts)
            assert counts[-2:] == [TOKENS, TOKENS]
            options = {"continuous_usage_stats": True}  # of nothing, as with vLLM
            *frames, _ = (await asking(path, stream=True, stream_options=options).by(front)).frames
            assert not any("usage" in frame for frame in frames)
            app.asked.clear()
            for fields, param in REFUSED_OPTIONS:
                refused = await asking(path, **fields).by(front)
                assert (refused.status, json.loads(refused.body)["error"]["param"]) == (400, param), fields
            assert app.asked == []

    asyncio.run(scenario())


def test_responses_whose_streams_tell_the_usage_always_know_no_continuous_one(serve: Serve) -> None:
    async def scenario() -> None:
        async with serve(StandInEngine()) as (front, _):
            refused = await asking(RESPONSES, stream=True, stream_options={"continuous_usage_stats": True}).by(front)
            assert json.loads(refused.body)["error"]["param"] == "stream_options.continuous_usage_stats"

    asyncio.run(scenario())


@pytest.mark.parametrize("fields", [{"stream": True}, {}], ids=["stream", "whole"])
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, RESPONSES])
def test_who_leaves_is_charged_what_was_computed_and_the_engine_ends_it(
    serve: Serve, capsys: pytest.CaptureFixture[str], path: str, fields: dict[str, Any]
) -> None:
    async def scenario() -> None:
        engine = StandInEngine()
        async with serve(engine, budget=1) as (front, app):
            capsys.readouterr()
            engine.holds_after = 3
            leaving = asking(path, **fields)
            request = asyncio.create_task(leaving.by(front))
            await engine.held.wait()
            leaving.gone.set()
            await request
            assert engine.running == {}, "nothing is computed for nobody"
            assert len(engine.aborted) == 1
            assert (await asking(path).by(front)).status == 429
            for task in app.tasks:
                await task

    asyncio.run(scenario())
    left = lines(capsys)[0]
    assert left["status"] == 499
    assert (left["prompt_tokens"], left["completion_tokens"]) == (PROMPT, 1 + 1 + 3)


def test_who_leaves_before_the_first_token_is_charged_the_prompt(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scenario() -> None:
        engine = StandInEngine()
        async with serve(engine) as (front, _):
            capsys.readouterr()
            engine.holds_after = 0
            leaving = asking(stream=True)
            request = asyncio.create_task(leaving.by(front))
            await engine.held.wait()
            leaving.gone.set()
            await request
            assert engine.running == {}

    asyncio.run(scenario())
    (left,) = lines(capsys)
    assert (left["status"], left["prompt_tokens"], left.get("completion_tokens")) == (499, PROMPT, None)


def test_who_leaves_while_the_prompt_is_read_has_nothing_computed(serve: Serve) -> None:
    async def scenario() -> None:
        engine = StandInEngine()
        async with serve(engine) as (front, app):
            app.tasks.clear()
            app.rendered.clear()
            engine.began, leaving = 0, asking()
            request = asyncio.create_task(leaving.by(front))
            await until(lambda: app.tasks)
            leaving.gone.set()
            await request
            app.rendered.set()
            await asyncio.wait(app.tasks)
            assert engine.began == 0

    asyncio.run(scenario())


def test_an_answer_that_takes_too_long_is_charged_what_was_computed(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scenario() -> None:
        engine = StandInEngine()
        async with serve(engine, LLMOPS_REQUEST_SECONDS="1") as (front, _):
            capsys.readouterr()
            engine.holds_after = 3
            await asking().by(front)
            assert engine.running == {}

    asyncio.run(scenario())
    (line,) = lines(capsys)
    assert (line["status"], line["prompt_tokens"], line["completion_tokens"]) == (504, PROMPT, 1 + 1 + 3)


def test_what_an_engine_gave_before_it_died_is_charged(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> None:
        engine = StandInEngine()
        async with serve(engine) as (front, _):
            capsys.readouterr()
            engine.dies_after = 3
            assert "error" in (await asking(stream=True).by(front)).frames[-2]

    asyncio.run(scenario())
    (line,) = lines(capsys)
    assert (line["prompt_tokens"], line["completion_tokens"]) == (PROMPT, 1 + 1 + 3)


def test_embeddings_are_charged_their_inputs(serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = {"task": "feature-extraction", "golden": [], "embedding": EMBEDDING}

    async def scenario() -> None:
        shared = {"LLMOPS_USAGE_FILE": str(tmp_path / "usage.sqlite")}
        async with serve(StandInEngine(), budget=8, manifest=manifest, **shared) as (front, _):
            capsys.readouterr()
            asked = await asking("/v1/embeddings", input=["a b c", "d e f g h"]).by(front)
            assert json.loads(asked.body)["usage"]["prompt_tokens"] == 8
            assert (await asking("/v1/embeddings", input="a").by(front)).status == 429
        with closing(sqlite3.connect(shared["LLMOPS_USAGE_FILE"])) as file:
            counted = file.execute("SELECT name, tokens FROM usage").fetchall()
        assert counted == [("team", 8)], "for the endpoint's other servers"

    asyncio.run(scenario())
    assert lines(capsys)[0]["prompt_tokens"] == 8


# -- names


def test_the_model_answers_to_its_name_its_alias_and_its_identity_and_to_no_other(serve: Serve, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serve(StandInEngine()) as (front, app):
            identity = front.readiness.model["sha256"]
            names = ["chatbot", SERVED, f"{SERVED}@sha256:{identity}", f"chatbot@sha256:{identity}", "", None]
            for path in BODIES:
                for name in names:
                    for stream in (False, True):
                        asked = await asking(path, model=name, stream=stream).by(front)
                        assert asked.status == 200, name
                        assert f'"model": "{SERVED}"'.encode() in asked.body
            assert {body["model"] for body in app.asked} == {SERVED}
            app.asked.clear()
            others = ["chatbot@4", "chatbot@2", "bot", "../chatbot", f"{SERVED}@sha256:{'0' * 64}", "chatbot@sha256:x"]
            for name in others:
                asked = await asking(model=name).by(front)
                error = json.loads(asked.body)["error"]
                assert (asked.status, error["code"], error["param"]) == (404, "model_not_found", "model"), name
                assert (await Asking("GET", f"/v1/models/{name}").by(front)).status == 404, name
            assert (await asking(model=["chatbot"]).by(front)).status == 400
            assert app.asked == []
            shown = await Asking("GET", "/v1/models").by(front)
            (model,) = json.loads(shown.body)["data"]
            for name in ("chatbot", SERVED):
                assert json.loads((await Asking("GET", f"/v1/models/{name}").by(front)).body) == model
            assert (model["id"], model["metadata"]["sha256"]) == (SERVED, identity)
            told = {
                name: model["metadata"][name] for name in ("engine", "engine_version", "precision", "context_length")
            }
            assert told == {"engine": "vllm", "engine_version": "0.33.0", "precision": "bf16", "context_length": 2048}
            assert "/tmp/" not in shown.body.decode()

    asyncio.run(scenario())


# -- golden prompts


def quality(found: list[dict[str, Any]]) -> list[tuple[str, float]]:
    return [(line["when"], line["score"]) for line in found if line.get("event") == "quality"]


def test_golden_prompts_are_asked_again_while_it_serves(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    async def logged(words: str) -> None:
        async with asyncio.timeout(30):
            while words not in "".join(capsys.readouterr()):
                await asyncio.sleep(0.005)

    async def scenario() -> None:
        engine = StandInEngine()
        async with serve(engine, LLMOPS_QUALITY_SECONDS="0.01") as (front, _):
            await logged('"when": "interval", "model": "chatbot@3"')
            engine.steps = [Step("Lyon.", 2)]
            await logged('"passed": 0, "total": 1, "score": 0.0')
            text = (await Asking("GET", "/metrics").by(front)).body.decode()
            assert metric(text, "llmops_quality") == 0.0
            engine.dies_after = 0
            await logged("golden prompts: manifest.json: golden: no answer")
            engine.dies_after, engine.steps = None, [Step(ANSWER, TOKENS)]
            await logged('"passed": 1, "total": 1, "score": 1.0')

    asyncio.run(scenario())


@pytest.mark.parametrize(("golden", "ready"), [("required", False), ("reported", True)])
def test_a_version_that_answers_its_golden_prompts_wrongly_is_reported_before_it_serves(
    serve: Serve, capsys: pytest.CaptureFixture[str], golden: str, ready: bool
) -> None:
    async def scenario() -> None:
        async with serve(StandInEngine([Step("Lyon.", 2)]), ready=ready, LLMOPS_GOLDEN=golden) as (front, _):
            assert (await asking().by(front)).status == (200 if ready else 503)
            text = (await Asking("GET", "/metrics").by(front)).body.decode()
            assert metric(text, "llmops_quality") == 0.0

    asyncio.run(scenario())
    assert quality(lines(capsys)) == [("readiness", 0.0)]


def test_a_version_that_gives_no_answer_never_serves(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> None:
        engine = StandInEngine()
        engine.dies_after = 0
        async with serve(engine, ready=False, LLMOPS_GOLDEN="reported") as (front, _):
            assert not front.readiness.open

    asyncio.run(scenario())
    assert quality(lines(capsys)) == []


# -- metrics


def test_tokens_first_token_quality_and_model_are_in_the_metrics(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scenario() -> None:
        async with serve(StandInEngine()) as (front, _):
            capsys.readouterr()
            for stream in (True, False):
                assert (await asking(stream=stream).by(front)).status == 200
            text = (await Asking("GET", "/metrics").by(front)).body.decode()
            asked = 3  # with the golden prompt
            assert metric(text, "llmops_prompt_tokens_total") == asked * PROMPT
            assert metric(text, "llmops_generated_tokens_total") == asked * TOKENS
            assert metric(text, "llmops_time_to_first_token_seconds_count") == asked
            streamed, whole = 3, 2  # gaps between the stream's outputs; one of each whole answer
            assert metric(text, "llmops_time_per_output_token_seconds_count") == streamed + whole
            assert metric(text, "llmops_quality") == 1.0
            identity = front.readiness.model["sha256"]
            assert f'engine="vllm",model="{SERVED}",precision="bf16",sha256="{identity}"}} 1.0' in text

    asyncio.run(scenario())
    streamed, whole, _ = lines(capsys)
    assert 0 < streamed["first_token_ms"] <= streamed["ms"]
    assert whole["first_token_ms"] == pytest.approx(250, abs=249)
