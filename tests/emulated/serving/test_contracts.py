"""A real server, asked as its clients ask: OpenAI's client, SageMaker's and Azure ML's routes."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from openai import BadRequestError, NotFoundError, OpenAI

from tests.support.servers.serving import API_KEY, ServingProcess, text_of, until

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def client(shared_server: ServingProcess) -> OpenAI:
    return OpenAI(base_url=f"{shared_server.url}/v1", api_key=API_KEY, max_retries=0)


def test_models(client: OpenAI, shared_server: ServingProcess) -> None:
    (model,) = client.models.list().data
    assert model.id == "tiny@1"
    assert model.metadata["precision"] == "f32"  # pyright: ignore[reportAttributeAccessIssue]
    assert client.models.retrieve("tiny@1") == model
    with pytest.raises(NotFoundError):
        client.models.retrieve("../../etc/passwd")


def test_a_stream_has_the_text_of_the_whole_answer(client: OpenAI) -> None:
    arguments = {"model": "tiny@1", "messages": HELLO, "max_tokens": 40, "temperature": 0}
    whole = client.chat.completions.create(**arguments)
    chunks = list(client.chat.completions.create(**arguments, stream=True, stream_options={"include_usage": True}))
    *parts, end, usage = chunks
    assert "".join(c.choices[0].delta.content or "" for c in parts) == whole.choices[0].message.content
    assert parts[0].choices[0].delta.role == "assistant"
    assert end.choices[0].finish_reason == whole.choices[0].finish_reason == "length"
    assert usage.usage == whole.usage
    assert whole.usage
    assert whole.usage.completion_tokens == 40


def test_the_usage_so_far_is_in_every_chunk_that_asks_for_it_of_each_answer_alone(
    shared_server: ServingProcess,
) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    with shared_server.stream(max_tokens=20, n=2, stream_options=options) as events:
        *chunks, last = [event for event in events if event != "[DONE]"]
    prompt, total = last["usage"]["prompt_tokens"], last["usage"]["completion_tokens"]
    assert (last["choices"], total) == ([], 40)
    for index in (0, 1):
        usages = [chunk["usage"] for chunk in chunks if chunk["choices"][0]["index"] == index]
        counts = [usage["completion_tokens"] for usage in usages]
        assert (counts[0], counts[-1]) == (0, 20)
        assert counts == sorted(counts)
        assert len(set(counts)) > 10
        assert all(
            usage["prompt_tokens"] == prompt == usage["total_tokens"] - usage["completion_tokens"] for usage in usages
        )
    with shared_server.stream(max_tokens=2, stream_options={"continuous_usage_stats": True}) as events:
        assert not any("usage" in event for event in events if event != "[DONE]")
    body = {"messages": HELLO, "stream_options": {"continuous_usage_stats": True}}
    status, answer = shared_server.ask("POST", "/v1/chat/completions", body)
    assert (status, answer["error"]["param"]) == (400, "stream_options")


def test_tokens_come_while_the_rest_is_computed(shared_server: ServingProcess) -> None:
    with shared_server.stream(max_tokens=1500) as events:
        seen = [next(events) for _ in range(5)]
        assert shared_server.metric("llmops_engine_running") == 1
        seen += events
    contents = [e for e in seen if e != "[DONE]" and e["choices"][0]["delta"].get("content")]
    assert len(contents) > 100


def test_requests_at_once_share_a_batch_and_do_not_mix(shared_server: ServingProcess) -> None:
    prompts = [f"Question {i}: {'word ' * i}?" for i in range(8)]
    alone = [text_of(shared_server.chat(p, max_tokens=200)[1]) for p in prompts]
    with ThreadPoolExecutor(9) as pool:
        answers = [pool.submit(shared_server.chat, p, max_tokens=200) for p in prompts]
        together = 0.0
        while together < 2 and not all(a.done() for a in answers):
            together = max(together, shared_server.metric("llmops_engine_running"))
        assert [text_of(a.result()[1]) for a in answers] == alone
    assert len(set(alone)) == 8
    assert together > 1


def test_a_seed_repeats_a_sample(shared_server: ServingProcess) -> None:
    def sample(temperature: float = 1.5, **fields: Any) -> str:
        return text_of(shared_server.chat(max_tokens=30, temperature=temperature, **fields)[1])

    assert sample(seed=1) == sample(seed=1) != sample(seed=2)
    assert sample() != sample()  # without a seed, each is drawn anew
    assert sample(seed=1, top_p=0) == sample(temperature=0)


def test_penalties_that_the_engine_lacks_are_refused(shared_server: ServingProcess) -> None:
    status, answer = shared_server.chat(presence_penalty=1.0)
    assert (status, answer["error"]["param"]) == (400, "presence_penalty")
    assert shared_server.chat(max_tokens=1, presence_penalty=0, frequency_penalty=None)[0] == 200


def test_stop_strings_end_the_answer_before_them(shared_server: ServingProcess) -> None:
    whole = text_of(shared_server.chat(max_tokens=60)[1])
    stop = whole[20:24]
    expected = whole[: whole.index(stop)]
    status, answer = shared_server.chat(max_tokens=60, stop=[stop, "never-met"])
    assert (status, text_of(answer), answer["choices"][0]["finish_reason"]) == (200, expected, "stop")
    with shared_server.stream(max_tokens=60, stop=stop) as events:
        pieces = [e["choices"][0]["delta"].get("content", "") for e in events if e != "[DONE]"]
    assert "".join(pieces) == expected
    until(lambda: shared_server.metric("llmops_engine_running") == 0)  # and ends it in the engine


@pytest.mark.parametrize("path", ["/invocations", "/"])
def test_platforms_routes_answer_the_same(shared_server: ServingProcess, path: str) -> None:
    body = {"messages": HELLO, "max_tokens": 20, "temperature": 0}
    status, answer = shared_server.ask("POST", path, body)
    assert (status, text_of(answer)) == (200, text_of(shared_server.chat(max_tokens=20)[1]))
    status, frames = shared_server.ask("POST", path, body | {"stream": True})
    assert status == 200
    assert shared_server.headers.get_content_type() == "text/event-stream"
    assert frames.endswith("data: [DONE]\n\n")


@pytest.mark.scorecard("context-overflow")
def test_context_overflow_is_told(client: OpenAI) -> None:
    with pytest.raises(BadRequestError) as caught:
        client.chat.completions.create(model="tiny@1", messages=HELLO, max_tokens=4000)
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(BadRequestError) as caught:
        client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "x" * 30_000}])
    assert caught.value.code == "context_length_exceeded"


def test_metrics_and_log_tell_of_requests_without_their_content(shared_server: ServingProcess) -> None:
    before = shared_server.metric("llmops_generated_tokens_total")
    shared_server.chat("a-secret-prompt", max_tokens=7)
    assert shared_server.metric("llmops_generated_tokens_total") == before + 7
    text = shared_server.ask("GET", "/metrics")[1]
    assert 'llmops_requests_total{route="/v1/chat/completions",status="200"}' in text
    assert 'precision="f32"' in text
    line = [r for r in shared_server.requests() if r["path"] == "/v1/chat/completions"][-1]
    assert (line["status"], line["completion_tokens"], line["finish"]) == (200, 7, "length")
    log = shared_server.log.read_text()
    assert "a-secret-prompt" not in log
    assert API_KEY not in log


def test_the_manifests_serving_defaults_fill_silence(serve, version, keys, tmp_path) -> None:
    from llmops_kit.core.documents.model import ModelManifest
    from tests.support.servers.serving import sign_version
    from tests.support.tiny_models.models import copy_model

    folder = copy_model(version, tmp_path / "defaults")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["serving"] = {"system_prompt": "Be brief.", "max_tokens": 5, "temperature": 0}
    ModelManifest.model_validate(manifest).write(folder / "manifest.json")
    sign_version(folder, keys)
    server = serve(folder).wait_ready()
    body = {"messages": HELLO}
    silent = server.ask("POST", "/v1/chat/completions", body)[1]
    told = {"messages": [{"role": "system", "content": "Be brief."}, *HELLO], "max_tokens": 5, "temperature": 0}
    assert silent["usage"] == server.ask("POST", "/v1/chat/completions", told)[1]["usage"]
    assert silent["usage"]["completion_tokens"] == 5
    other = {"messages": [{"role": "developer", "content": "Be"}, *HELLO]}
    assert (
        server.ask("POST", "/v1/chat/completions", other)[1]["usage"]["prompt_tokens"]
        < silent["usage"]["prompt_tokens"]
    )
