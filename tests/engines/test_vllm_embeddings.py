"""An embedding version on vLLM: its vectors, and the refusals of the other engine."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.integrity.digest import file_entry
from llmops_kit.core.layout import MANIFEST
from tests.engines.conftest import START_SECONDS, VLLM
from tests.support.servers.serving import ServingProcess, sign_version
from tests.support.tiny_models.models import copy_model, tiny_encoder
from tests.support.tiny_models.vectors import mean_vectors

TEXTS = ["a red fox runs .", "sleeps", "a green fox sleeps . a red fox runs ."]


@pytest.fixture(scope="module")
def encoder(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed version with one head, as large as vLLM's kernels take it: the weights don't depend on the heads."""
    folder = copy_model(tiny_encoder(), tmp_path_factory.mktemp("encoder") / "model")
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_attention_heads": 1}))
    manifest = ModelManifest.load(folder / MANIFEST)
    manifest.model_copy(update={"files": {**manifest.files, "config.json": file_entry(config)}}).write(
        folder / MANIFEST
    )
    sign_version(folder, keys)
    return folder


def test_vectors_are_those_of_transformers_and_refusals_those_of_the_other_engine(
    serve: Callable[..., ServingProcess], vllm_python: Path, encoder: Path
) -> None:
    server = serve(encoder, python=vllm_python, LLMOPS_MODEL_NAME="encoder@1", **VLLM).wait_ready(START_SECONDS)
    asked: dict[str, Any] = {"input": TEXTS, "model": "encoder@1", "dimensions": 32}
    status, answer = server.ask("POST", "/v1/embeddings", asked)
    assert status == 200, answer
    for each, vector in zip(answer["data"], mean_vectors(encoder, TEXTS), strict=True):
        assert each["embedding"] == pytest.approx(vector, abs=1e-4)
    assert answer["usage"]["prompt_tokens"] == 22
    refused = [
        ("/v1/embeddings", asked | {"dimensions": 16}, "dimensions"),
        ("/v1/embeddings", asked | {"input": "fox " * 20}, None),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello"}]}, "model"),
        ("/v1/completions", {"prompt": "Hello"}, "model"),
        ("/v1/responses", {"input": "Hello"}, "model"),
    ]
    for path, body, param in refused:
        status, answer = server.ask("POST", path, body)
        assert status == 400, (path, answer)
        assert param is None or answer["error"]["param"] == param, answer
    assert server.terminate() == 0
