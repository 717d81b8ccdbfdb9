"""The OpenAI client on an endpoint's own route, by bearer tokens as SageMaker's SDK makes them."""

import base64
import json
import re
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import botocore.auth
import openai
import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from llmops_twins.aws.wire.principals import ROOT_ACCESS_KEY
from tests.support.clouds.twin_keys import root_secret
from tests.support.servers.serving import until
from twins.tests.emulated.aws.containers import REGION, Container, ServedTwin
from twins.tests.support.aws import RunningTwin, await_status, made_config, made_model, made_role

MESSAGES: Any = [{"role": "user", "content": "Hello"}]
CHUNK = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def token_of(
    key: str = ROOT_ACCESS_KEY,
    secret: str = "",
    session: str | None = None,
    *,
    region: str = REGION,
    seconds: int = 43_200,
    made: datetime | None = None,
    action: str = "CallWithBearerToken",
) -> str:
    """What sagemaker.core.token_generator.generate_token answers."""
    request = AWSRequest(
        method="POST",
        url="https://sagemaker.amazonaws.com/",
        headers={"host": "sagemaker.amazonaws.com"},
        params={"Action": action},
    )
    with mock.patch.object(botocore.auth, "get_current_datetime", return_value=made or datetime.now(UTC)):
        SigV4QueryAuth(Credentials(key, secret, session), "sagemaker", region, expires=seconds).add_auth(request)
    assert request.url
    url = request.url.removeprefix("https://") + "&Version=1"
    return "sagemaker-api-key-" + base64.b64encode(url.encode()).decode()


def root_token(twin: ServedTwin, **changed: Any) -> str:
    return token_of(**{"secret": root_secret(twin.twin.home), **changed})


@pytest.fixture
def twin(served_twin: ServedTwin) -> ServedTwin:
    return served_twin


Client = Callable[..., openai.OpenAI]


@pytest.fixture
def client(twin: ServedTwin) -> Iterator[Client]:
    made: list[openai.OpenAI] = []

    def make(token: str = "", endpoint: str = "chat", url: str = "") -> openai.OpenAI:
        url = url or f"{twin.url}/endpoints/{endpoint}/openai/v1"
        made.append(openai.OpenAI(base_url=url, api_key=token or root_token(twin), max_retries=0, timeout=60))
        return made[-1]

    yield make
    for each in made:
        each.close()


def ask(client: openai.OpenAI, **told: Any) -> Any:
    return client.chat.completions.create(model="", messages=MESSAGES, extra_body=told)


def test_a_completion(client: Client, container: Container, twin: ServedTwin) -> None:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Good day"}}
    said = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    assert ask(client(), say=json.dumps(said)).choices[0].message.content == "Good day"
    assert container.requests[0]["path"] == "/v1/chat/completions"
    assert json.loads(container.requests[0]["body"])["messages"] == MESSAGES
    assert "authorization" not in container.requests[0]
    until(lambda: twin.fleet.counted == [200])


def pieces(*texts: str) -> list[str]:
    chunks = [CHUNK | {"choices": [{"index": 0, "delta": {"content": text}}]} for text in texts]
    return [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]


def test_a_stream_comes_as_it_is_made(client: Client, container: Container) -> None:
    told = {"do": "stream", "pieces": [*pieces("Good", " day"), "data: [DONE]\n\n"], "wait": True, "stream": True}
    stream = iter(client().chat.completions.create(model="", messages=MESSAGES, stream=True, extra_body=told))
    assert next(stream).choices[0].delta.content == "Good"
    container.go_on.set()
    assert [chunk.choices[0].delta.content for chunk in stream] == [" day"]


def test_a_stream_whose_reader_leaves_or_whose_container_dies(client: Client, container: Container) -> None:
    told = {"do": "stream", "pieces": pieces("Good", " day"), "stream": True}
    stream: Any = client().chat.completions.create(
        model="", messages=MESSAGES, stream=True, extra_body=told | {"wait": True}
    )
    next(iter(stream))
    stream.close()
    assert container.left.wait(60)
    broken: Any = client().chat.completions.create(
        model="", messages=MESSAGES, stream=True, extra_body=told | {"die": True}
    )
    with pytest.raises(Exception, match="peer closed connection without sending complete message body"):
        list(broken)


def test_errors_are_the_containers_own_or_sagemakers(client: Client, twin: ServedTwin) -> None:
    with pytest.raises(openai.BadRequestError, match="too long") as refused:
        ask(client(), status=400, say='{"error": {"message": "too long"}}')
    assert refused.value.body == {"message": "too long"}
    with pytest.raises(openai.APIStatusError, match="connection to container primary was lost") as lost:
        ask(client(), do="die")
    assert lost.value.status_code == 424
    until(lambda: twin.fleet.counted == [400, 0])
    with pytest.raises(openai.BadRequestError, match="Endpoint other of account 000000000000 not found"):
        ask(client(endpoint="other"))
    with pytest.raises(openai.BadRequestError, match="Inference Component Name header is not allowed"):
        ask(client(endpoint="chat/inference-components/one"))
    with pytest.raises(openai.NotFoundError, match="There is no GET /endpoints/chat/openai/v1/models"):
        client().models.list()
    with pytest.raises(openai.BadRequestError, match="takes 6291456 at most"):
        ask(client(), long="x" * 6_300_000)


@pytest.mark.parametrize(
    ("token", "told"),
    [
        ("a-key-of-another-service", "a bearer token of SageMaker is missing"),
        ("sagemaker-api-key-%%%", "can't be read"),
        ("sagemaker-api-key-" + base64.b64encode(b"sagemaker.amazonaws.com/?Action=x").decode(), "can't be read"),
        ({"action": "DeleteEverything"}, "not one for SageMaker's endpoints"),
        ({"seconds": 43_201}, "lasts 43200 seconds at most"),
        ({"made": datetime.now(UTC) - timedelta(hours=2), "seconds": 3600}, "is expired"),
        ({"made": datetime.now(UTC) + timedelta(hours=2)}, "was made in the future"),
        ({"secret": "another"}, "signature of the bearer token does not match"),
        ({"key": "AKIAIOSFODNN7EXAMPLE"}, "The security token included in the request is invalid"),
        ({"region": "eu-west-1"}, "Endpoint chat of account 000000000000 not found"),
    ],
)
def test_a_token_that_is_none_is_refused(
    client: Client, container: Container, twin: ServedTwin, token: str | dict[str, Any], told: str
) -> None:
    if isinstance(token, dict):
        token = root_token(twin, **token)
    with pytest.raises(openai.APIStatusError, match=told) as refused:
        ask(client(token))
    assert refused.value.status_code == (400 if "not found" in told else 403)
    assert not container.requests


def test_a_token_that_was_made_to_last_longer_is_refused(client: Client, twin: ServedTwin) -> None:
    token = root_token(twin, seconds=60)
    url = base64.b64decode(token.removeprefix("sagemaker-api-key-")).decode()
    longer = base64.b64encode(url.replace("X-Amz-Expires=60", "X-Amz-Expires=43200").encode()).decode()
    with pytest.raises(openai.PermissionDeniedError, match="does not match"):
        ask(client("sagemaker-api-key-" + longer))


def test_sessions_have_tokens_too_and_are_judged(borrow: Callable[..., RunningTwin], client: Client) -> None:
    judging = borrow(judge="strict")
    _serve(judging)
    iam = judging.client("iam")
    trust = {"Effect": "Allow", "Principal": {"AWS": "000000000000"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = iam.create_role(RoleName="caller", AssumeRolePolicyDocument=document)["Role"]["Arn"]
    given = judging.client("sts").assume_role(RoleArn=role, RoleSessionName="me")["Credentials"]
    keys = (given["AccessKeyId"], given["SecretAccessKey"])
    caller = "User: arn:aws:sts::000000000000:assumed-role/caller/me is not authorized to perform:"
    url = f"{judging.info.url}/endpoints/chat/openai/v1"
    with pytest.raises(openai.PermissionDeniedError, match="security token included in the request is invalid"):
        ask(client(token_of(*keys), url=url))
    allowed: list[dict[str, str]] = []
    for action, resource in (
        ("sagemaker:CallWithBearerToken", "*"),
        ("sagemaker:InvokeEndpoint", f"arn:aws:sagemaker:{REGION}:000000000000:endpoint/chat"),
    ):
        with pytest.raises(openai.PermissionDeniedError, match=re.escape(f"{caller} {action} on resource")):
            ask(client(token_of(*keys, given["SessionToken"]), url=url))
        allowed.append({"Effect": "Allow", "Action": action, "Resource": resource})
        policy = json.dumps({"Version": "2012-10-17", "Statement": allowed})
        iam.put_role_policy(RoleName="caller", PolicyName="some", PolicyDocument=policy)
    with pytest.raises(openai.APIStatusError, match="runs no containers"):
        ask(client(token_of(*keys, given["SessionToken"]), url=url))


def _serve(twin: RunningTwin) -> None:
    """Bring the endpoint chat into service, of which nothing runs."""
    twin.client("s3").create_bucket(Bucket="models-of-tests")
    twin.client("s3").put_object(Bucket="models-of-tests", Key="models/1/manifest.json", Body=b"{}")
    made_config(twin, "chat", made_model(twin, "chat", made_role(twin, "serving")))
    twin.client("sagemaker").create_endpoint(EndpointName="chat", EndpointConfigName="chat")
    await_status(twin, "chat", "InService")


def test_a_client_that_leaves_before_the_answer(twin: ServedTwin, container: Container) -> None:
    body = json.dumps({"do": "wait"}).encode()
    with socket.create_connection(("127.0.0.1", twin.port), timeout=60) as connection:
        connection.sendall(
            f"POST /endpoints/chat/openai/v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Length: {len(body)}\r\nAuthorization: Bearer {root_token(twin)}\r\n\r\n".encode()
            + body
        )
        until(lambda: container.requests)
    assert container.left.wait(60)
