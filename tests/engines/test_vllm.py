"""vLLM behind the kit's front and launcher, on processors: `make engines`. What only a GPU shows is not tested."""

import http.client
import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.core.network.handover import SOCKET_VARIABLE
from tests.engines.conftest import START_SECONDS, VLLM
from tests.support.servers.routing import RouterProcess
from tests.support.servers.serving import API_KEY, ServingProcess, text_of, until

HELLO = [{"role": "user", "content": "Hello"}]
_EXECUTED = "open({path!r}, 'w').write('x')\n"
# Routes of vLLM's app: each of them exists there, and none is let through.
_BLOCKED = [
    ("GET", "/docs"), ("GET", "/version"), ("GET", "/load"),
    ("GET", "/server_info"), ("POST", "/scale_elastic_ep"), ("POST", "/is_scaling_elastic_ep"), ("POST", "/tokenize"),
    ("POST", "/detokenize"), ("POST", "/inference/v1/generate"), ("POST", "/inference/v1/abort_requests"),
    ("POST", "/v1/load_lora_adapter"), ("POST", "/start_profile"), ("POST", "/sleep"), ("POST", "/collective_rpc"),
    ("POST", "/v1/messages"), ("POST", "/pooling"), ("POST", "/adapters"),
]  # fmt: skip


@pytest.fixture(scope="module")
def trap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model.py that `model-hosting-container-standards` would execute."""
    folder = tmp_path_factory.mktemp("trap")
    (folder / "model.py").write_text(_EXECUTED.format(path=str(folder / "executed")))
    return folder


@pytest.fixture(scope="module")
def handover(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unix socket through which the server takes connections."""
    folder = tmp_path_factory.mktemp("handover") / "vllm"
    folder.mkdir(mode=0o700)
    return folder / "http.sock"


@pytest.fixture(scope="module")
def server(
    serve: Callable[..., ServingProcess], vllm_python: Path, trap: Path, handover: Path
) -> Iterator[ServingProcess]:
    hostile = {"SAGEMAKER_MODEL_PATH": str(trap), "VLLM_SERVER_DEV_MODE": "1", "CUSTOM_FASTAPI_PING_HANDLER": "model:f"}
    named = {"LLMOPS_MAX_QUEUE": "8", "LLMOPS_QUALITY_SECONDS": "5", SOCKET_VARIABLE: str(handover)}
    server = serve(python=vllm_python, **named, **VLLM, **hostile)
    status, answer = server.ask("GET", "/ping")  # while vLLM loads
    assert (status, answer["status"]) in ((503, "verifying"), (503, "starting vLLM"))
    assert server.chat()[0] == 503
    server.wait_ready(START_SECONDS)
    yield server
    if server.process.poll() is None:
        server.process.terminate()
        assert server.process.wait(600) == 0


def test_it_says_its_engine_and_its_phases(server: ServingProcess) -> None:
    until(lambda: "ready after" in server.log.read_text())  # the parent looks now and then
    log = server.log.read_text()
    said = ["engine vllm: the setting `engine` names vllm", "verifying", "starting vLLM", "ready after"]
    assert sorted(said, key=log.index) == said
    for path in ("/ping", "/health"):
        assert server.ask("GET", path) == (200, {"status": "ready", "model": "tiny@1"} | _identity(server))


def test_the_models_folder_is_never_executed(server: ServingProcess, vllm_python: Path, trap: Path) -> None:
    load = "from model_hosting_container_standards.sagemaker.sagemaker_loader import SageMakerFunctionLoader as L\n"
    assert not (trap / "executed").exists()
    command = [str(vllm_python), "-c", f"{load}L.get_function_loader()"]
    subprocess.run(command, env={"SAGEMAKER_MODEL_PATH": str(trap)}, check=True)
    assert (trap / "executed").exists(), "the trap is one: without the launcher it is executed"


@pytest.mark.parametrize(("method", "path"), [*_BLOCKED, ("POST", "/v1/chat/completions"), ("POST", "/invocations")])
def test_every_route_needs_the_key_and_others_of_vllm_are_not_there(
    server: ServingProcess, method: str, path: str
) -> None:
    for key in (None, "another-key-0123456789"):
        status, answer = server.ask(method, path, b"{}" if method == "POST" else None, key=key)
        assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
    if (method, path) in _BLOCKED:
        assert server.ask(method, path, b"{}" if method == "POST" else None)[0] == 404


def test_all_contracts_give_the_tokens_of_the_other_engine(
    server: ServingProcess, serve: Callable[..., ServingProcess]
) -> None:
    other = serve(LLMOPS_ENGINE="openvino").wait_ready()
    for text in ("Hello", "Grüße, 世界", "What is the capital of France?", "x" * 300):
        status, answer = server.chat(text, max_tokens=24)
        assert status == 200, answer
        assert text_of(answer) == text_of(other.chat(text, max_tokens=24)[1])
        assert answer["usage"]["completion_tokens"] == 24
        body = {"messages": [{"role": "user", "content": text}], "max_tokens": 24}
        for path in ("/invocations", "/"):
            assert text_of(server.ask("POST", path, body, **{"Content-Type": "application/json"})[1]) == text_of(answer)
        with server.stream(text, max_tokens=24) as events:
            *pieces, done = list(events)
        assert done == "[DONE]"
        joined = "".join(p["choices"][0]["delta"].get("content") or "" for p in pieces if p["choices"])
        assert joined == text_of(answer)


def test_a_silent_request_gets_what_the_version_says(server: ServingProcess) -> None:
    answer = server.ask("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello"}]})[1]
    assert answer["usage"]["completion_tokens"] == 256
    assert text_of(answer) == text_of(server.chat("Hello", max_tokens=256)[1])
    assert server.ask("GET", "/v1/models")[1]["data"][0]["id"] == "tiny@1"


def test_the_model_answers_to_its_name_its_alias_and_its_identity(server: ServingProcess) -> None:
    sha256 = _identity(server)["sha256"]
    for name in ("tiny", "tiny@1", f"tiny@1@sha256:{sha256}"):
        status, answer = server.chat(model=name, max_tokens=1)
        assert (status, answer["model"]) == (200, "tiny@1")
        shown = server.ask("GET", f"/v1/models/{name}")[1]
        assert (shown["id"], shown["metadata"]["sha256"], shown["metadata"]["engine"]) == ("tiny@1", sha256, "vllm")
    assert server.chat(model="tiny@2")[0] == 404


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/chat/completions", {"messages": HELLO, "temperature": 0}),
        ("/v1/chat/completions", {"messages": HELLO, "temperature": 1, "n": 3, "ignore_eos": True}),
        ("/v1/completions", {"prompt": ["Hello", "Who are you?"], "temperature": 0}),
        ("/v1/responses", {"input": "Hello", "temperature": 0}),
    ],
)
def test_the_log_counts_what_vllm_says_it_used(server: ServingProcess, path: str, fields: dict[str, Any]) -> None:
    longest = "max_output_tokens" if path == "/v1/responses" else "max_tokens"
    counted: list[tuple[int, int]] = []
    for stream in (False, True):
        status, answer = server.ask("POST", path, fields | {longest: 20, "stream": stream})
        assert status == 200, answer
        line = _logged(server)
        assert 0 < line["first_token_ms"] <= line["ms"]
        counted.append((line["prompt_tokens"], line["completion_tokens"]))
        if not stream:
            usage = answer["usage"]
            told = [usage.get(a, usage.get(b)) for a, b in (("prompt_tokens", "input_tokens"),
                                                            ("completion_tokens", "output_tokens"))]  # fmt: skip
            assert counted[0] == tuple(told)
    assert counted[0][0] == counted[1][0]
    answers = fields.get("n") or (2 if path == "/v1/completions" else 1)
    assert counted[1][1] == counted[0][1] == 20 * answers, "the tiny model ends no answer by itself"


def test_metrics_are_those_of_the_other_engines(server: ServingProcess) -> None:
    before = {name: server.metric(f"llmops_{name}") for name in ("prompt_tokens_total", "generated_tokens_total")}
    usage = server.chat(max_tokens=9)[1]["usage"]
    assert server.metric("llmops_prompt_tokens_total") >= before["prompt_tokens_total"] + usage["prompt_tokens"]
    assert server.metric("llmops_generated_tokens_total") >= before["generated_tokens_total"] + 9
    assert server.metric("llmops_time_to_first_token_seconds_count") > 0
    assert server.metric("llmops_time_per_output_token_seconds_count") > 0
    assert server.metric("llmops_quality") == 1
    assert 'llmops_model_info{engine="vllm",model="tiny@1",precision="f32",' in server.ask("GET", "/metrics")[1]


def test_golden_prompts_are_asked_at_the_interval(server: ServingProcess) -> None:
    until(lambda: [line["when"] for line in server.quality()][:2] == ["readiness", "interval"])
    assert {line["score"] for line in server.quality()} == {1.0}


@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_is_charged_what_was_computed_and_the_engine_ends_it(server: ServingProcess, stream: bool) -> None:
    left = len([line for line in server.requests() if line["status"] == 499])
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=START_SECONDS)
    body = {"messages": HELLO, "max_tokens": 1900, "ignore_eos": True, "stream": stream}
    before = server.metric("vllm:prompt_tokens_total{.*}")
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Authorization": f"Bearer {API_KEY}"})
    until(lambda: server.metric("llmops_running") == 1)
    until(lambda: server.metric("vllm:prompt_tokens_total{.*}") > before)
    connection.close()
    gone = until(lambda: [line for line in server.requests() if line["status"] == 499][left:])[0]
    assert gone["prompt_tokens"] > 0
    assert 0 < gone["completion_tokens"] < 1900
    until(lambda: server.metric("vllm:num_requests_running{.*}") == 0, 10)  # the whole answer takes half a minute


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"chat_template": "{{ 1 }}"}, 400),
        ({"prompt_embeds": "AAAA"}, 400),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///x"}}]}]}, 400),
        ({"max_tokens": -1}, 400),
        ({"model": "../tiny"}, 404),
        ({"messages": [{"role": "user", "content": "x" * 5000}]}, 400),
    ],
)
def test_what_must_not_reach_it_is_refused_in_the_one_form(
    server: ServingProcess, fields: dict[str, Any], status: int
) -> None:
    got, answer = server.chat(**fields) if "messages" not in fields else server.chat("", **fields)
    assert got == status, answer
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    assert server.chat(max_tokens=1)[0] == 200, "everybody else is served on"


@pytest.mark.cve("giant-header", "giant-body", "model-names", "bounded-parameters", "grammar-length")
def test_heads_bodies_and_numbers_that_are_too_large_are_refused(server: ServingProcess) -> None:
    assert server.ask("POST", "/v1/chat/completions", b"{}", **{"X-Big": "x" * 9000})[0] == 431
    assert server.ask("POST", "/v1/chat/completions", b"{}", **{f"X-{n}": "x" for n in range(200)})[0] == 431
    assert server.ask("GET", "/" + "x" * 9000)[0] == 414
    assert server.chat("x" * 7_000_000)[0] == 413
    for name in ("../tiny", "file:///etc/passwd", "%2e%2e/tiny", "tiny\0"):
        assert server.chat(model=name)[0] == 404
    numbers: list[dict[str, Any]] = [
        {"n": 10**6},
        {"top_logprobs": 10**6},
        {"stop": ["a"] * 1000},
        {"max_tokens": 10**18},
    ]
    for fields in numbers:
        assert server.chat(**fields)[0] == 400, fields
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": ["x" * 70_000]}}}
    assert server.chat(response_format=schema)[0] == 400
    assert server.chat(max_tokens=1)[0] == 200


def test_a_request_too_many_is_refused_and_the_others_are_answered(server: ServingProcess) -> None:
    with ThreadPoolExecutor(60) as pool:
        found = list(pool.map(lambda _: server.chat(max_tokens=64)[0], range(60)))
    assert set(found) <= {200, 429}
    assert found.count(200) >= 40


def test_it_takes_connections_of_the_router(server: ServingProcess, handover: Path) -> None:
    router = RouterProcess(handover.parents[1], {server.url: "vllm/http.sock"})
    try:
        router.wait()
        connection = http.client.HTTPConnection("127.0.0.1", router.port, timeout=START_SECONDS)
        body = json.dumps({"messages": [{"role": "user", "content": "Hello"}], "temperature": 0, "max_tokens": 8})
        for _ in range(2):  # on one connection
            headers = {"Authorization": f"Bearer {API_KEY}"}
            connection.request("POST", "/v1/chat/completions", body, headers)
            response = connection.getresponse()
            assert response.headers["X-Llmops-Variant"] == "v1"
            assert text_of(json.loads(response.read())) == text_of(server.chat("Hello", max_tokens=8)[1])
        connection.close()
    finally:
        router.kill()


def test_sigterm_lets_streams_end_and_ends_vllm(serve: Callable[..., ServingProcess], server: ServingProcess) -> None:
    """The last test of this server: the module's fixture ends it again, which changes nothing."""
    children = _descendants(server.process.pid)
    assert len(children) > 1
    with server.stream("Hello", max_tokens=64) as events:  # few: a drain has 25 s, however busy the machine is
        first = next(events)
        server.process.send_signal(signal.SIGTERM)
        rest = list(events)
    assert first["choices"]
    assert "stopping" in server.log.read_text()
    assert rest[-1] == "[DONE]"
    assert rest[-2]["choices"][0]["finish_reason"] == "length"
    assert server.process.wait(600) == 0
    until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in children))


def test_its_end_is_told_with_its_last_words(serve: Callable[..., ServingProcess], vllm_python: Path) -> None:
    server = serve(python=vllm_python, **VLLM | {"VLLM_CPU_KVCACHE_SPACE": "100000"})
    assert server.process.wait(START_SECONDS) == 1
    assert "failed: engine: vLLM ended with code 1: " in server.last_line()
    assert "Error" in server.last_line()


def _logged(server: ServingProcess) -> dict[str, Any]:
    """The log's line of the last request."""
    asked = server.headers["X-Request-Id"]
    return until(lambda: next((line for line in server.requests() if line["request"] == asked), None))


def _identity(server: ServingProcess) -> dict[str, str]:
    quality = json.loads(next(line for line in server.log.read_text().splitlines() if '"quality"' in line))
    return {"sha256": quality["sha256"]}


def _descendants(pid: int) -> list[int]:
    children = [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*children, *(grandchild for child in children for grandchild in _descendants(child))]
