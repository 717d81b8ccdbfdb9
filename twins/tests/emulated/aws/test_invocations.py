"""Invocations of an endpoint: what its container gets and answers, in one piece and as events, and how they end."""

import json
import socket
from typing import Any

import pytest
from botocore.exceptions import ClientError, EventStreamError
from urllib3.exceptions import ProtocolError

from llmops_twins.aws import faults
from llmops_twins.aws.sagemaker.runtime import invocations
from tests.support.clouds.twin_keys import root_keys, signed
from tests.support.servers.serving import until
from twins.tests.emulated.aws.containers import Container, ServedTwin


@pytest.fixture
def twin(served_twin: ServedTwin) -> ServedTwin:
    return served_twin


def invoke(twin: ServedTwin, told: Any = "hello", attempts: int = 1, **more: Any) -> Any:
    body = told if isinstance(told, str | bytes) else json.dumps(told)
    return twin.kept(twin.client(attempts=attempts).invoke_endpoint(EndpointName="chat", Body=body, **more))


def stream(twin: ServedTwin, *pieces: str, **told: Any) -> Any:
    body = json.dumps({"do": "stream", "pieces": pieces, **told})
    return twin.kept(twin.client().invoke_endpoint_with_response_stream(EndpointName="chat", Body=body))


def refused(call: Any, *arguments: Any, **more: Any) -> dict[str, Any]:
    with pytest.raises(ClientError) as error:
        call(*arguments, **more)
    return error.value.response


def test_what_crosses_both_ways(twin: ServedTwin, container: Container) -> None:
    told = {
        "say": "answer",
        "headers": {
            "Content-Type": "text/x-answer",
            "X-Amzn-SageMaker-Custom-Attributes": "back=2",
            "X-Amzn-SageMaker-New-Session-Id": "s1; Expires=2030-01-01T00:00:00Z",
            "X-Other": "stays here",
        },
    }
    answer = invoke(
        twin,
        told,
        ContentType="application/json",
        Accept="text/x-answer",
        CustomAttributes="there=1",
        SessionId="NEW_SESSION",
        InferenceId="id-1",
    )
    got = container.requests[0]
    assert (got["path"], got["content-type"], got["accept"]) == ("/invocations", "application/json", "text/x-answer")
    assert got["x-amzn-sagemaker-custom-attributes"] == "there=1"
    assert got["x-amzn-sagemaker-session-id"] == "NEW_SESSION"
    assert "authorization" not in got
    assert (answer["Body"].read(), answer["ContentType"]) == (b"answer", "text/x-answer")
    assert (answer["CustomAttributes"], answer["InvokedProductionVariant"]) == ("back=2", "main")
    assert answer["NewSessionId"].startswith("s1;")
    assert "x-other" not in answer["ResponseMetadata"]["HTTPHeaders"]
    assert twin.fleet.counted == [200]
    assert invoke(twin, TargetVariant="other")["InvokedProductionVariant"] == "other"


def test_connections_to_a_container_are_kept(twin: ServedTwin, container: Container) -> None:
    client = twin.client()
    for _ in range(3):
        client.invoke_endpoint(EndpointName="chat", Body=b"x")["Body"].read()
    before = container.connections
    client.invoke_endpoint(EndpointName="chat", Body=b"x" * 6_000_000)["Body"].read()
    assert container.connections == before


def test_pieces_are_events_as_soon_as_they_come(twin: ServedTwin, container: Container) -> None:
    answer = stream(twin, "first", "second", "third", wait=True)
    assert answer["ContentType"] == "text/event-stream"
    assert answer["InvokedProductionVariant"] == "main"
    events = iter(answer["Body"])
    assert next(events) == {"PayloadPart": {"Bytes": b"first"}}
    assert twin.fleet.held == 1
    container.go_on.set()
    assert b"".join(event["PayloadPart"]["Bytes"] for event in events) == b"secondthird"
    assert twin.fleet.counted == [200]


@pytest.mark.parametrize("status", [400, 429, 500])
@pytest.mark.parametrize("operation", ["invoke_endpoint", "invoke_endpoint_with_response_stream"])
def test_an_error_of_the_container_is_a_model_error(twin: ServedTwin, status: int, operation: str) -> None:
    body = json.dumps({"status": status, "say": '{"error": "no"}'})
    error = refused(getattr(twin.client(attempts=3), operation), EndpointName="chat", Body=body)
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert error["ResponseMetadata"]["RetryAttempts"] == 0
    assert (error["OriginalStatusCode"], error["OriginalMessage"]) == (status, '{"error": "no"}')
    side = "client" if status < 500 else "server"
    assert f'Received {side} error ({status}) from primary with message "' in error["Error"]["Message"]
    stream = "log-group:/aws/sagemaker/Endpoints/chat:log-stream:main/i-0"
    assert error["LogStreamArn"] == f"arn:aws:logs:us-east-1:000000000000:{stream}"
    assert twin.fleet.counted == [status]


@pytest.mark.parametrize("do", ["die", "short"])
@pytest.mark.parametrize("attempts", [1, 2])
def test_a_container_that_dies_is_a_model_error_at_once(twin: ServedTwin, do: str, attempts: int) -> None:
    error = refused(invoke, twin, {"do": do}, attempts)
    assert (error["Error"]["Code"], error["OriginalStatusCode"]) == ("ModelError", 0)
    assert "connection to container primary was lost" in error["OriginalMessage"]
    assert twin.fleet.counted == [0]


def test_a_container_that_is_gone_is_a_model_error_at_once(twin: ServedTwin) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        port, twin.fleet.port = twin.fleet.port, taken.getsockname()[1]
        try:
            assert refused(invoke, twin)["Error"]["Code"] == "ModelError"
        finally:
            twin.fleet.port = port


def test_a_container_that_dies_half_way_ends_the_stream_with_an_error(twin: ServedTwin) -> None:
    events = iter(stream(twin, "first", "second", die=True)["Body"])
    assert next(events)["PayloadPart"]["Bytes"] == b"first"
    assert next(events)["PayloadPart"]["Bytes"] == b"second"
    with pytest.raises(EventStreamError, match="ModelStreamError") as broken:
        next(events)
    assert broken.value.response["Error"]["Code"] == "ModelStreamError"
    assert "reset or closed" in str(broken.value)
    assert twin.fleet.counted == [0]


def test_a_model_that_takes_too_long(twin: ServedTwin, container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invocations, "MODEL_SECONDS", 0.2)
    monkeypatch.setattr(invocations, "STREAM_SECONDS", 0.2)
    error = refused(invoke, twin, {"do": "wait"})
    assert error["OriginalStatusCode"] == 0
    assert "Your invocation timed out" in error["Error"]["Message"]
    assert container.left.wait(60)
    container.left.clear()
    events = iter(stream(twin, "first", "second", wait=True)["Body"])
    assert next(events)["PayloadPart"]["Bytes"] == b"first"
    with pytest.raises(EventStreamError, match="did not finish its response within the time"):
        next(events)
    assert container.left.wait(60)


@pytest.mark.parametrize("do", ["wait", "stream"])
def test_a_client_that_leaves_is_seen_by_the_container_at_once(twin: ServedTwin, container: Container, do: str) -> None:
    told = {"do": do, "pieces": ["first", "second"], "wait": True}
    kind = "invocations-response-stream" if do == "stream" else "invocations"
    with socket.create_connection(("127.0.0.1", twin.port), timeout=60) as client:
        _ask(twin, client, kind, json.dumps(told).encode())
        until(lambda: container.requests)
        if do == "stream":
            assert b"first" in _received_until(client, b"first")
    assert container.left.wait(60)
    until(lambda: twin.fleet.counted)


def test_a_stream_that_its_reader_closes(twin: ServedTwin, container: Container) -> None:
    client = twin.client()
    body = json.dumps({"do": "stream", "pieces": ["x" * 1000], "endless": True})
    events = client.invoke_endpoint_with_response_stream(EndpointName="chat", Body=body)["Body"]
    next(iter(events))
    events.close()
    client.close()
    assert container.left.wait(60)


def test_a_slow_reader_holds_up_nobody(twin: ServedTwin, container: Container) -> None:
    body = json.dumps({"do": "stream", "pieces": ["x" * 10_000], "endless": True}).encode()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", twin.port))
        _ask(twin, client, "invocations-response-stream", body)
        assert b"200" in client.recv(100)
        assert invoke(twin)["Body"].read() == b"hello"  # while the other's answer is stuck
        assert twin.twin.lock.acquire(timeout=60)
        twin.twin.lock.release()
        assert not container.left.is_set()
    assert container.left.wait(60)


def _ask(twin: ServedTwin, client: socket.socket, kind: str, body: bytes) -> None:
    path, keys = f"/endpoints/chat/{kind}", tuple(root_keys(twin.twin.home).values())
    headers = signed("POST", f"{twin.url}{path}", "sagemaker", keys, body=body)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{twin.port}\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
    client.sendall(head.encode() + body)


def _received_until(client: socket.socket, text: bytes) -> bytes:
    received = b""
    while text not in received:
        received += client.recv(1000)
    return received


def test_a_stream_that_is_cut_before_its_first_piece(twin: ServedTwin, container: Container) -> None:
    faults.of(twin.twin).add("cut_stream", {"endpoint": "chat"})
    with pytest.raises(ProtocolError):
        list(stream(twin, "first", endless=True)["Body"])
    assert container.left.wait(60)


def test_a_stream_that_is_cut_on_request(twin: ServedTwin, container: Container) -> None:
    faults.of(twin.twin).add("cut_stream", {"endpoint": "ch*", "after_bytes": 7})
    events = iter(stream(twin, "first", "second", "third", endless=True)["Body"])
    assert [next(events)["PayloadPart"]["Bytes"] for _ in range(2)] == [b"first", b"se"]
    with pytest.raises(ProtocolError):
        next(events)
    assert container.left.wait(60)
    assert len(list(stream(twin, "first", "second")["Body"])) == 2


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"InferenceComponentName": "ic"}, "Inference Component Name header is not allowed"),
        ({"TargetModel": "m.tar.gz"}, "Target Model header is not allowed"),
        ({"TargetContainerHostname": "h"}, "Target Container Hostname header"),
        ({"EnableExplanations": "`true`"}, "the endpoint has no explainer"),
        ({"TargetVariant": "third"}, "Variant third not found for Request"),
        ({"Body": b"x" * 6_291_457}, "length less than or equal to 6291456"),
    ],
)
def test_what_the_endpoint_does_not_take_is_refused_by_name(
    twin: ServedTwin, container: Container, given: dict[str, Any], told: str
) -> None:
    error = refused(twin.client().invoke_endpoint, **({"EndpointName": "chat", "Body": b"x"} | given))
    assert error["Error"]["Code"] == "ValidationError"
    assert told in error["Error"]["Message"]
    assert len(error["Error"]["Message"]) < 300
    assert not container.requests


def test_no_endpoint_no_instance_no_containers(twin: ServedTwin) -> None:
    error = refused(twin.client().invoke_endpoint, EndpointName="none", Body=b"x")
    assert error["Error"]["Message"] == "Endpoint none of account 000000000000 not found."
    twin.fleet.refusals = 2
    error = refused(invoke, twin)
    assert (error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]) == ("ServiceUnavailable", 503)
    assert invoke(twin, attempts=5)["ResponseMetadata"]["RetryAttempts"] == 1
    twin.twin.set_settings(containers="none")
    try:
        error = refused(invoke, twin)
        assert error["Error"]["Code"] == "ModelError"
        assert "runs no containers" in error["OriginalMessage"]
    finally:
        twin.twin.set_settings(containers="run")


def test_serverless_endpoints_are_not_ready_take_less_and_do_not_stream(twin: ServedTwin) -> None:
    variants = twin.config["ProductionVariants"]
    twin.config["ProductionVariants"] = [{"VariantName": "main", "ServerlessConfig": {"MaxConcurrency": 1}}]
    try:
        assert "takes 4194304 at most" in refused(invoke, twin, b"x" * 5_000_000)["Error"]["Message"]
        assert "not supported by serverless" in refused(stream, twin, "x")["Error"]["Message"]
        twin.fleet.refusals = 1
        assert refused(invoke, twin)["Error"]["Code"] == "ModelNotReadyException"
    finally:
        twin.config["ProductionVariants"] = variants
