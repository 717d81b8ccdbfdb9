"""An embedding model, imported and served: vectors as transformers computes them, and what is refused by name."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import BadRequestError, OpenAI

from llmops_kit.core.documents.model import ModelManifest
from tests.support.environments import OPENAI_3, environment
from tests.support.servers.serving import API_KEY, ServingProcess, sign_version
from tests.support.tiny_models.models import copy_model, tiny_encoder, tiny_encoder_source
from tests.support.tiny_models.vectors import mean_vectors

TEXTS = ["a red fox runs .", "sleeps", "a green fox sleeps . a red fox runs ."]
_LANGCHAIN = """
import json, sys
from langchain_openai import OpenAIEmbeddings
model = OpenAIEmbeddings(base_url=sys.argv[1], api_key=sys.argv[2], model="encoder@1", check_embedding_ctx_length=False)
print(json.dumps(model.embed_documents(json.loads(sys.argv[3]))))
"""


@pytest.fixture(scope="module")
def server(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingProcess]:
    root = tmp_path_factory.mktemp("encoder")
    folder = copy_model(tiny_encoder(), root / "model")
    sign_version(folder, keys)
    started = ServingProcess(folder, keys, root, LLMOPS_MODEL_NAME="encoder@1")
    try:
        yield started.wait_ready()
    finally:
        started.kill()


def test_an_import_keeps_how_vectors_are_made() -> None:
    manifest = ModelManifest.load(tiny_encoder() / "manifest.json")
    assert manifest.embedding
    assert manifest.embedding.model_dump() == {
        "pooling": "mean", "normalize": True, "dimensions": 32, "max_tokens": 16,
    }  # fmt: skip
    assert (manifest.dtype, manifest.golden, manifest.engines) == ("F32", [], ["openvino", "transformers"])
    assert {"modules.json", "1_Pooling/config.json", "openvino/openvino_model.xml"} <= manifest.files.keys()


def test_vectors_are_those_of_transformers(server: ServingProcess, tmp_path: Path) -> None:
    client = OpenAI(base_url=f"{server.url}/v1", api_key=API_KEY, max_retries=0)
    told = mean_vectors(tiny_encoder_source(), TEXTS)
    for encoding in ("float", "base64", None):  # without one, the client asks for base64, and decodes it
        asked: Any = {} if encoding is None else {"encoding_format": encoding}
        answer = client.embeddings.create(model="encoder@1", input=TEXTS, dimensions=32, **asked)
        if encoding == "base64":
            assert all(isinstance(each.embedding, str) for each in answer.data)
            continue
        for each, vector in zip(answer.data, told, strict=True):
            assert each.embedding == pytest.approx(vector, abs=1e-4)
        assert (answer.usage.prompt_tokens, [each.index for each in answer.data]) == (22, [0, 1, 2])
    (alone,) = client.embeddings.create(model="encoder@1", input=TEXTS[1]).data
    assert alone.embedding == pytest.approx(told[1], abs=1e-4)
    python = environment("clients", OPENAI_3) / "bin" / "python"
    command = [str(python), "-c", _LANGCHAIN, f"{server.url}/v1", API_KEY]
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run([*command, json.dumps(TEXTS)], env=environ, capture_output=True, text=True, timeout=600)
    for found, vector in zip(json.loads(done.stdout or "[]"), told, strict=True):
        assert found == pytest.approx(vector, abs=1e-4)
    many = client.embeddings.create(model="encoder@1", input=TEXTS * 600).data  # of several batches, in their order
    for each, vector in zip(many[-3:], told, strict=True):
        assert each.embedding == pytest.approx(vector, abs=1e-4)
    refused: list[tuple[dict[str, Any], str]] = [
        ({"dimensions": 16}, "dimensions"),
        ({"input": [TEXTS[0], "fox " * 20]}, "input[1]"),
        ({"input": [1, 2]}, "input[0]"),
        ({"input": []}, "input"),
    ]
    for fields, param in refused:
        asked = {"model": "encoder@1", "input": TEXTS} | fields
        with pytest.raises(BadRequestError) as caught:
            client.embeddings.create(**asked)
        assert caught.value.param == param
    assert {request.get("prompt_tokens") for request in server.requests()} >= {3, 22}


def test_a_model_of_the_other_kind_is_refused_by_name(server: ServingProcess, shared_server: ServingProcess) -> None:
    asked = {"/v1/chat/completions": {"messages": [{"role": "user", "content": "Hello"}]},
             "/v1/completions": {"prompt": "Hello"}, "/v1/responses": {"input": "Hello"}}  # fmt: skip
    refusals = [server.ask("POST", path, body) for path, body in asked.items()]
    refusals.append(shared_server.ask("POST", "/v1/embeddings", {"input": "Hello"}))
    assert {(status, answer["error"]["param"]) for status, answer in refusals} == {(400, "model")}
    assert "embeddings" in refusals[0][1]["error"]["message"]
    assert server.ask("GET", "/v1/models")[1]["data"][0]["metadata"]["context_length"] == 16
