"""Invocations: each is judged like any call, then answered by the endpoint's container, without the twin's lock.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpointWithResponseStream.html
"""

import functools
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import IO, Any

from llmops_twins.aws import faults
from llmops_twins.aws import sagemaker_documents as store
from llmops_twins.aws.calls import ApiCall, AwsApiError, Deferred, Streaming
from llmops_twins.aws.sagemaker.fleet.fleet import Lease, NoWorkerError, log_group, log_stream
from llmops_twins.aws.sagemaker.runtime.stream import part, stream_error
from llmops_twins.aws.sagemaker_documents import ENDPOINT
from llmops_twins.aws.service_documents import Document
from llmops_twins.aws.twin import AccountTwin
from llmops_twins.core.exchanges import ContainerError, Containers, Exchange
from llmops_twins.core.pieces import Pieces

NO_CONTAINERS = "This twin of AWS runs no containers: endpoint {name} exists, and nothing answers for it"
MODEL_SECONDS = 60.0
"""Time limit of an answer in one piece."""
STREAM_SECONDS = 480.0
"""Time limit of a streamed answer, up to its end."""
BODY_BYTES = 6_291_456
"""Maximum size of a request, and of an answer in one piece."""
_SERVERLESS_BYTES = 4 << 20
_ERROR_BYTES = 2048  # kept of a container's error
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
SESSION = "X-Amzn-SageMaker-Session-Id"
_NEW_SESSION = "X-Amzn-SageMaker-New-Session-Id"
_CLOSED_SESSION = "X-Amzn-SageMaker-Closed-Session-Id"
_VARIANT = "x-Amzn-Invoked-Production-Variant"
# The status that is counted for an incomplete answer, by its reason.
_COUNTED = {"lost": 0, "late": 504, "left": 499}
_UNWANTED = {
    "InferenceComponentName": "Inference Component Name header is not allowed for endpoints to which you dont plan to "
    "deploy inference components. Please remove the Inference Component Name header and try again.",
    "TargetModel": "Target Model header is not allowed: the endpoint serves one model. Remove it and try again.",
    "TargetContainerHostname": "Target Container Hostname header is not allowed: the endpoint has one container. "
    "Remove it and try again.",
    "EnableExplanations": "Enable Explanations header is not allowed: the endpoint has no explainer.",
}


@dataclass(frozen=True)
class Invocation:
    """A permitted request for a container."""

    endpoint: str
    arn: str
    region: str
    path: str
    body: bytes | IO[bytes]
    """A file is sent with its Content-Length."""
    headers: Mapping[str, str]
    began: float
    """Start time, by time.perf_counter."""
    variant: str = ""
    streams: bool = False
    serverless: bool = False
    cut_after: int | None = None

    @property
    def seconds(self) -> float:
        """The time limit of the model's answer."""
        return STREAM_SECONDS if self.streams else MODEL_SECONDS


class InvocationOperations:
    """Answers invocations of endpoints."""

    def __init__(self, twin: AccountTwin) -> None:
        self._twin = twin
        self.containers = Containers()
        twin.closers.append(self.containers.close)

    def invoke_endpoint(self, call: ApiCall) -> Deferred:
        """Answers InvokeEndpoint."""
        invocation = self.invocation(call, call.parameters["Body"], headers_of(call.parameters))
        return Deferred(functools.partial(self._whole, invocation))

    def invoke_endpoint_with_response_stream(self, call: ApiCall) -> Deferred:
        """Answers InvokeEndpointWithResponseStream."""
        invocation = self.invocation(call, call.parameters["Body"], headers_of(call.parameters), streams=True)
        return Deferred(functools.partial(self._streamed, invocation))

    def invocation(
        self,
        call: ApiCall,
        body: bytes,
        headers: Mapping[str, str],
        path: str = "/invocations",
        *,
        streams: bool = False,
    ) -> Invocation:
        """Returns the container request of a call; with the twin's lock held.

        Raises:
            AwsApiError: the endpoint does not exist or does not take such a request, or no containers run.
        """
        given = call.parameters
        endpoint = self.endpoint_of(call.region, given["EndpointName"])
        for name, text in _UNWANTED.items():
            if given.get(name) is not None:
                raise AwsApiError("ValidationError", text)
        config = endpoint["config"]
        if "AsyncInferenceConfig" in config:
            raise AwsApiError("ValidationError", f"Endpoint {given['EndpointName']} is invoked by InvokeEndpointAsync.")
        serverless = any("ServerlessConfig" in variant for variant in config["ProductionVariants"])
        if serverless and streams:
            raise AwsApiError("ValidationError", "Response streaming is not supported by serverless endpoints.")
        most = _SERVERLESS_BYTES if serverless else BODY_BYTES
        if len(body) > most:
            raise AwsApiError("ValidationError", f"The body has {len(body)} bytes; the endpoint takes {most} at most.")
        variant = given.get("TargetVariant") or ""
        if variant and variant not in endpoint["variants"]:
            raise AwsApiError("ValidationError", f"Variant {variant} not found for Request")
        cut = faults.take(self._twin, "cut_stream", endpoint=endpoint["EndpointName"]) if streams else None
        return Invocation(
            endpoint=endpoint["EndpointName"],
            arn=endpoint["EndpointArn"],
            region=call.region,
            path=path,
            body=body,
            headers=headers,
            began=time.perf_counter(),
            variant=variant,
            streams=streams,
            serverless=serverless,
            cut_after=cut["after_bytes"] if cut else None,
        )

    def endpoint_of(self, region: str, name: str) -> Document:
        """Returns the endpoint of a name, if it has ever been in service.

        Raises:
            AwsApiError: there is none, or this twin runs no containers.
        """
        endpoint = store.lookup(self._twin, ENDPOINT, region, name)
        if endpoint is None or not endpoint["variants"]:
            raise AwsApiError("ValidationError", f"Endpoint {name} of account {self._twin.account} not found.")
        if self._twin.settings.containers == "none":
            text = NO_CONTAINERS.format(name=name)
            raise AwsApiError("ModelError", text, 424, OriginalStatusCode=503, OriginalMessage=text, LogStreamArn="")
        return endpoint

    def begin(self, invocation: Invocation, client: Any, seconds: float | None = None) -> "ContainerAnswer":
        """Sends a request to a container, and returns the answer once it begins. The caller must call its `end` in any
        case.

        Raises:
            AwsApiError: no container can take the request, or the chosen one does not answer.
        """
        hold = _InstanceHold(self._lease(invocation), invocation)
        try:
            exchange = self.containers.ask(
                hold.lease,
                invocation.path,
                invocation.body,
                invocation.headers,
                seconds=seconds or invocation.seconds,
                client=client,
            )
        except ContainerError as e:
            hold.end(_COUNTED[e.reason])
            raise self.broken(invocation, hold.lease, e.reason) from e
        return ContainerAnswer(hold, exchange)

    def whole_body(self, answer: "ContainerAnswer", most: int = BODY_BYTES) -> bytes:
        """Returns the body of a container's successful answer, and ends the answer.

        Raises:
            AwsApiError: the answer broke off, is too large, or is an error.
        """
        try:
            body = answer.exchange.read(most)
        except ContainerError as e:
            answer.end(_COUNTED[e.reason])
            raise self.broken(answer.invocation, answer.lease, e.reason) from e
        answer.end(answer.exchange.status)
        if len(body) > most:
            text = f"The response has more than {most} bytes"
            raise self.model_error(answer.invocation, answer.lease, answer.exchange.status, text)
        if answer.exchange.status >= 300:
            text = body[:_ERROR_BYTES].decode(errors="replace")
            raise self.model_error(answer.invocation, answer.lease, answer.exchange.status, text)
        return body

    def write_body(self, answer: "ContainerAnswer", file: IO[bytes]) -> None:
        """Writes the body of an answer into a file as it arrives, and ends the answer.

        Raises:
            AwsApiError: the answer broke off.
        """
        try:
            for piece in answer.exchange:
                file.write(piece)
        except ContainerError as e:
            answer.end(_COUNTED[e.reason])
            raise self.broken(answer.invocation, answer.lease, e.reason) from e
        answer.end(answer.exchange.status)

    def model_error(self, invocation: Invocation, lease: Lease, status: int, text: str) -> AwsApiError:
        """Returns the caller's error for a container's error."""
        group = log_group(invocation.endpoint)
        console = f"https://{invocation.region}.console.aws.amazon.com/cloudwatch/home?region={invocation.region}"
        side = "client" if 400 <= status < 500 else "server"
        return AwsApiError(
            "ModelError",
            f'Received {side} error ({status}) from primary with message "{text}". See {console}#logEventViewer:'
            f"group={group} in account {self._twin.account} for more information.",
            424,
            OriginalStatusCode=status,
            OriginalMessage=text,
            LogStreamArn=f"arn:aws:logs:{invocation.region}:{self._twin.account}:log-group:{group}:log-stream:"
            f"{log_stream(lease.variant, lease.instance)}",
        )

    def broken(self, invocation: Invocation, lease: Lease, reason: str) -> AwsApiError:
        """Returns the caller's error for an incomplete answer from a container."""
        text = {
            "late": "Your invocation timed out while waiting for a response from container primary. Review the latency "
            "metrics for each container in Amazon CloudWatch, resolve the issue, and try again.",
        }.get(reason, "The connection to container primary was lost before its response was whole.")
        return self.model_error(invocation, lease, 0, text)

    def _lease(self, invocation: Invocation) -> Lease:
        try:
            return self._twin.fleet.lease(invocation.arn, variant=invocation.variant, streams=invocation.streams)
        except NoWorkerError as e:
            if invocation.serverless:
                raise AwsApiError("ModelNotReadyException", f"The model is not ready: {e}", 429) from e
            raise AwsApiError(
                "ServiceUnavailable", f"The service is unavailable: {e}. Try your call again.", 503
            ) from e

    def _whole(self, invocation: Invocation, client: Any) -> Streaming:
        answer = self.begin(invocation, client)
        body = self.whole_body(answer)
        sessions = {name: answer.exchange.header(name) for name in (_NEW_SESSION, _CLOSED_SESSION)}
        headers = {"Content-Type": answer.content_type, **answer.headers, **sessions}
        return Streaming([body], {name: value for name, value in headers.items() if value is not None})

    def _streamed(self, invocation: Invocation, client: Any) -> Streaming:
        answer = self.begin(invocation, client)
        if answer.exchange.status >= 300:
            self.whole_body(answer)
        headers = {
            "Content-Type": "application/vnd.amazon.eventstream",
            "X-Amzn-SageMaker-Content-Type": answer.content_type,
            **answer.headers,
        }
        pieces = Pieces(answer.exchange, part, stream_error, answer.ended, invocation.cut_after)
        return Streaming(pieces, headers)


class _InstanceHold:
    """The lease of an instance for one invocation, from before the request until the end of the answer."""

    def __init__(self, lease: AbstractContextManager[Lease], invocation: Invocation) -> None:
        self.invocation = invocation
        self.asked = time.perf_counter()
        self._stack = ExitStack()
        self.lease = self._stack.enter_context(lease)

    def end(self, status: int, first_byte_seconds: float | None = None) -> None:
        """Counts the answer, and releases the instance; status 0 means that the answer broke off."""
        now = time.perf_counter()
        with self._stack:
            self.lease.done(status, now - self.asked, self.asked - self.invocation.began, first_byte_seconds)


class ContainerAnswer:
    """The answer of a container, and the lease of its instance until it ends."""

    def __init__(self, hold: _InstanceHold, exchange: Exchange) -> None:
        self.invocation = hold.invocation
        self.lease = hold.lease
        self.exchange = exchange
        self._hold = hold
        self.first_seconds = time.perf_counter() - hold.asked

    @property
    def content_type(self) -> str:
        """The container's content type; application/octet-stream if it set none."""
        return self.exchange.header("Content-Type") or "application/octet-stream"

    @property
    def headers(self) -> dict[str, str]:
        """The response headers for the caller: the variant that answered, and the container's custom attributes."""
        attributes = self.exchange.header(ATTRIBUTES)
        return {_VARIANT: self.lease.variant} | ({} if attributes is None else {ATTRIBUTES: attributes})

    def end(self, status: int) -> None:
        """Releases container and instance, and counts the answer; status 0 means that it broke off."""
        self.exchange.end()
        self._hold.end(status, self.first_seconds if self.invocation.streams else None)

    def ended(self, reason: str | None) -> None:
        """Ends the answer for `Pieces`. A client that disconnected does not count as a failure of the container."""
        self.end(self.exchange.status if reason in (None, "left") else _COUNTED[reason])


def headers_of(given: Mapping[str, Any]) -> dict[str, str]:
    """Returns the request headers that AWS passes on to a container."""
    names = {"Content-Type": "ContentType", "Accept": "Accept", ATTRIBUTES: "CustomAttributes", SESSION: "SessionId"}
    return {header: str(given[name]) for header, name in names.items() if given.get(name) is not None}
