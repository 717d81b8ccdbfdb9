"""Classes of published vulnerabilities of model servers, asked of a real server and the real backends.

vLLM: CVE-2025-32444, CVE-2025-62164 (pickle, prompt_embeds), CVE-2025-66448 (auto_map), CVE-2025-6242 (image_url),
CVE-2025-62426, CVE-2025-61620 (chat templates in requests), CVE-2025-48942, CVE-2025-48944 (schemas, regular
expressions), CVE-2025-48956 (headers), CVE-2024-8939 (best_of). LiteLLM: CVE-2024-2952 (templates). Ollama:
CVE-2024-37032 (names). Triton, TorchServe: CVE-2023-31036, CVE-2023-43654 (administration).
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.checkout import CHECKOUT
from tests.support.servers.serving import ServingProcess, until
from tests.support.tiny_models.models import copy_model, tiny_model, training_python

HELLO = [{"role": "user", "content": "Hello"}]
LOADING = """
import os, pickle, sys
from pathlib import Path
from serving.engines.engine import LoadOrder
from serving.engines.transformers_backend import TransformersBackend

pickled, code = map(Path, sys.argv[1:])
try:
    TransformersBackend().load(LoadOrder("transformers", (), "f32", 1), pickled)
except Exception as e:
    print("refused")
try:
    TransformersBackend().load(LoadOrder("transformers", (), "f32", 1), code)
except Exception as e:
    print(type(e))
"""


class Planted:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.scorecard("bad-input")
@pytest.mark.cve("pickle", "remote-code")
def test_nothing_that_a_model_brings_is_executed(tmp_path: Path) -> None:
    import pickle

    pickled, code = (copy_model(tiny_model(), tmp_path / name) for name in ("pickled", "code"))
    (pickled / "model.safetensors").unlink()
    (pickled / "pytorch_model.bin").write_bytes(pickle.dumps(Planted(tmp_path / "unpickled")))
    for name in ("config.json", "tokenizer_config.json"):
        config = json.loads((code / name).read_text())
        auto = {"AutoConfig": "planted.X", "AutoModelForCausalLM": "planted.X", "AutoTokenizer": ["planted.X", None]}
        (code / name).write_text(json.dumps(config | {"auto_map": auto}))
    (code / "planted.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'imported')!r})\n")
    command = [training_python(), "-c", LOADING, str(pickled), str(code)]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.startswith("refused")
    assert not (tmp_path / "unpickled").exists()
    assert not (tmp_path / "imported").exists()


@pytest.mark.cve("prompt-embeds", "request-chat-template", "grammar-length", "bounded-parameters")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prompt_embeds", "gASVAAAA"),
        ("chat_template", "{{ 7 * 7 }}"),
        ("chat_template_kwargs", {"x": "y"}),
        ("guided_regex", "(a+)+" * 20_000),
        ("guided_json", {"a": {"b": {}}}),
        ("response_format", {"type": "json_schema"}),
        ("tools", [{"type": "function"}]),
        ("n", 10**6),
        ("best_of", 10**6),
        ("top_logprobs", 10**6),
        ("logit_bias", {"1": 5}),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "http://x"}}}),
        ("stop", ["a"] * 1000),
        ("stop", ["a" * 100_000]),
        ("max_tokens", 10**18),
    ],
)
def test_what_a_request_may_not_ask_for_is_400(shared_server: ServingProcess, name: str, value: Any) -> None:
    status, answer = shared_server.ask("POST", "/v1/chat/completions", {"messages": HELLO, name: value})
    assert status == 400
    assert name in json.dumps(answer) or answer["error"]["code"] == "context_length_exceeded"


@pytest.mark.cve("image-url")
def test_no_part_of_a_message_but_text_is_taken(shared_server: ServingProcess) -> None:
    for kind in ("image_url", "video_url", "audio_url", "input_audio", "file", "image_embeds"):
        content = [{"type": kind, kind: {"url": "file:///etc/passwd"}}]
        body = {"messages": [{"role": "user", "content": content}]}
        assert shared_server.ask("POST", "/invocations", body)[0] == 400


@pytest.mark.cve("admin-routes")
def test_there_are_no_routes_to_administer_or_to_look_inside(shared_server: ServingProcess) -> None:
    paths = ["/docs", "/redoc", "/debug", "/debug/pprof", "/admin", "/config", "/shutdown", "/state"]
    paths += ["/routes", "/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/start_profile", "/stop_profile"]
    paths += ["/reset_prefix_cache", "/sleep", "/wake_up", "/collective_rpc", "/server_info", "/pause", "/api/pull"]
    paths += ["/api/create", "/models", "/v2/repository/index", "/tokenize", "/detokenize", "/.env", "/manifest.json"]
    for path in paths:
        assert {shared_server.ask(method, path)[0] for method in ("GET", "POST", "PUT")} == {404}, path
    until(lambda: shared_server.ask("GET", "/ping")[0] == 200)
