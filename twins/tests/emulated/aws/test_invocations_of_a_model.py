"""A real model behind an endpoint of the twin: the same words in one piece, as events, and by the OpenAI client."""

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import openai
import psutil
import pytest
from botocore.exceptions import ClientError

from llmops_kit.local_runtime.process_images import build
from tests.support.clouds.twin_keys import root_secret
from tests.support.servers.serving import sign_version, until
from tests.support.tiny_models.models import copy_model, tiny_model
from twins.tests.emulated.aws.test_openai_route import token_of
from twins.tests.support.aws import RunningTwin, await_status, made_config, made_role

QUESTION: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}], "temperature": 0, "max_tokens": 40}


@pytest.fixture(scope="module")
def twin(borrow: Callable[..., RunningTwin], tmp_path_factory: pytest.TempPathFactory) -> RunningTwin:
    """A twin that judges, with the endpoint chat, which serves the tiny model."""
    twin, folder = borrow(judge="strict", containers="run"), tmp_path_factory.mktemp("model")
    version = copy_model(tiny_model(), folder / "version")
    environ = {
        "LLMOPS_AUTH": "platform",
        "LLMOPS_PLATFORM": "sagemaker",
        "LLMOPS_MODEL_NAME": "tiny@1",
        "LLMOPS_MODEL_SHA256": sign_version(version, folder),
        "LLMOPS_PUBLIC_KEY": (folder / "signing.pub").read_text(),
    }
    twin.client("s3").create_bucket(Bucket="store-of-tests")
    for file in (file for file in version.rglob("*") if file.is_file()):
        twin.client("s3").upload_file(str(file), "store-of-tests", f"tiny/{file.relative_to(version)}")
    source = {"S3Uri": "s3://store-of-tests/tiny/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    container = {"Image": build("serving"), "Environment": environ, "ModelDataSource": {"S3DataSource": source}}
    role = made_role(twin, "serving")
    twin.client("sagemaker").create_model(ModelName="tiny", ExecutionRoleArn=role, PrimaryContainer=container)
    twin.client("sagemaker").create_endpoint(EndpointName="chat", EndpointConfigName=made_config(twin, "c", "tiny"))
    assert await_status(twin, "chat", "InService", "Failed", seconds=60)["EndpointStatus"] == "InService"
    return twin


@pytest.fixture(autouse=True)
def _nobody_is_held(twin: RunningTwin) -> Iterator[None]:
    yield
    until(lambda: instance(twin)["requests"] == 0)


def instance(twin: RunningTwin) -> dict[str, Any]:
    return twin.ask("GET", "status")["instances"][0]


def running(twin: RunningTwin) -> float:
    """How many requests the container answers."""
    with closing(http.client.HTTPConnection("127.0.0.1", instance(twin)["port"])) as connection:
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith("llmops_running "))


def plain(twin: RunningTwin, **more: Any) -> dict[str, Any]:
    body = json.dumps(QUESTION | more)
    with closing(
        twin.client("sagemaker-runtime").invoke_endpoint(
            EndpointName="chat", Body=body, ContentType="application/json"
        )["Body"]
    ) as answer:
        return json.loads(answer.read())


def events(twin: RunningTwin, **more: Any) -> Any:
    body = json.dumps(QUESTION | {"stream": True} | more)
    return twin.client("sagemaker-runtime").invoke_endpoint_with_response_stream(
        EndpointName="chat", Body=body, ContentType="application/json"
    )["Body"]


def test_every_way_leads_to_the_same_words(twin: RunningTwin) -> None:
    said = plain(twin)["choices"][0]["message"]["content"]
    parts = b"".join(event["PayloadPart"]["Bytes"] for event in events(twin)).decode()
    chunks = [json.loads(line[6:]) for line in parts.splitlines() if line.startswith("data: {")]
    assert len(chunks) > 10
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"]) == said
    url = f"{twin.info.url}/endpoints/chat/openai/v1"
    with openai.OpenAI(base_url=url, api_key=token_of(secret=root_secret(twin.home)), max_retries=0) as client:
        whole = client.chat.completions.create(model="", **QUESTION)
        assert whole.choices[0].message.content == said
        with client.chat.completions.create(model="", stream=True, **QUESTION) as stream:
            assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices) == said


def test_streams_that_are_cancelled_or_cut_leave_nothing_behind(twin: RunningTwin) -> None:
    for _ in range(3):
        stream = events(twin, max_tokens=200)
        next(iter(stream))
        stream.close()
    twin.fault("cut_stream", endpoint="chat", after_bytes=300, times=2)
    for _ in range(2):
        with pytest.raises(Exception, match=r"ended prematurely|Connection broken"):
            list(events(twin, max_tokens=200))
    until(lambda: running(twin) == 0)
    assert plain(twin)["choices"]


def test_a_bad_request_is_the_models_error(twin: RunningTwin) -> None:
    with pytest.raises(ClientError) as refused:
        plain(twin, max_tokens=-1)
    assert refused.value.response["OriginalStatusCode"] == 400
    assert "max_tokens" in refused.value.response["OriginalMessage"]


def test_a_killed_container_is_a_model_error_and_then_serves_again(twin: RunningTwin) -> None:
    before = instance(twin)["pid"]
    psutil.Process(before).kill()
    codes = set()

    def asked() -> bool:
        try:
            return bool(plain(twin)["choices"])
        except ClientError as e:
            codes.add(e.response["Error"]["Code"])
            return False

    until(asked, 60)
    assert codes <= {"ModelError", "ServiceUnavailable"}
    assert instance(twin)["pid"] != before
