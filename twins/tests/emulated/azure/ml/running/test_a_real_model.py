"""The real serving image with a real model behind an endpoint: the same words as from its container alone."""

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import openai
import pytest

from llmops_kit.local_runtime.process_images import build
from llmops_twins.azure.blobs import blobs
from tests.support.servers.serving import sign_version
from tests.support.tiny_models.models import copy_model, tiny_model
from twins.tests.support.azure_ml import ACCOUNT, Ml, running_ml

QUESTION: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}], "temperature": 0, "max_tokens": 40}


@pytest.fixture(scope="module")
def ml(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ml]:
    folder = tmp_path_factory.mktemp("model")
    version = copy_model(tiny_model(), folder / "version")
    environ = {
        "LLMOPS_AUTH": "platform",
        "LLMOPS_PLATFORM": "azureml",
        "LLMOPS_MODEL_NAME": "tiny@1",
        "LLMOPS_MODEL_SHA256": sign_version(version, folder),
        "LLMOPS_PUBLIC_KEY": (folder / "signing.pub").read_text(),
    }
    with running_ml(tmp_path_factory.mktemp("twin")) as made:
        for path in version.rglob("*"):
            if path.is_file():
                name = f"models/tiny/{path.relative_to(version).as_posix()}"
                blobs.upload(made.twin, ACCOUNT, "store", name, path)
        model = made.put("/models/tiny/versions/1", {"properties": {"modelUri": model_uri()}})["id"]
        environment = made.environment("serving", build("serving"), ready="/ping")
        made.endpoint("chat")
        found = made.deployment("chat", "blue", environment, model=model, environmentVariables=environ)
        assert found["properties"]["provisioningState"] == "Succeeded", made.found("/onlineEndpoints/chat")
        made.endpoint("chat", traffic={"blue": 100})
        yield made


def model_uri() -> str:
    return "azureml://datastores/store/paths/models/tiny/"


def alone(ml: Ml, body: dict[str, Any]) -> dict[str, Any]:
    """The container's own answer."""
    port = ml.running.deployments.fleet.describe()[0]["port"]
    with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 200
        return json.loads(answer.read())


def test_the_scoring_host_answers_as_the_container(ml: Ml) -> None:
    said = alone(ml, QUESTION)["choices"][0]["message"]["content"]
    status, body, headers = ml.ask(
        "chat", "/v1/chat/completions", json.dumps(QUESTION).encode(), Content_Type="application/json"
    )
    assert (status, headers["azureml-model-deployment"]) == (200, "blue")
    assert json.loads(body)["choices"][0]["message"]["content"] == said


def test_openais_client_streams_the_same_words(ml: Ml) -> None:
    said = alone(ml, QUESTION)["choices"][0]["message"]["content"]
    url = ml.running.scoring_url(f"{ml.id}/onlineEndpoints/chat")
    with openai.OpenAI(
        base_url=f"{url}/v1",
        api_key=ml.token(),
        http_client=openai.DefaultHttpxClient(verify=ml.hosts.context()),
    ) as client:
        pieces = [
            piece.choices[0].delta.content or ""
            for piece in client.chat.completions.create(model="tiny@1", stream=True, **QUESTION)
            if piece.choices
        ]
    assert len(pieces) > 2
    assert "".join(pieces) == said
