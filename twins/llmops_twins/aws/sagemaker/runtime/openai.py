"""The OpenAI API of an endpoint: chat completions with a bearer token, answered by the container.

https://docs.aws.amazon.com/sagemaker/latest/dg/realtime-endpoints-openai-compatible.html
"""

import json
import re
import time
from collections.abc import Callable, Iterable
from typing import Any

from werkzeug.wrappers import Request, Response

from llmops_twins.aws import faults
from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.sagemaker.runtime import token as tokens
from llmops_twins.aws.sagemaker.runtime.invocations import (
    ATTRIBUTES,
    BODY_BYTES,
    SESSION,
    Invocation,
    InvocationOperations,
)
from llmops_twins.aws.twin import AccountTwin, log
from llmops_twins.aws.wire import principals
from llmops_twins.aws.wire.refusals import Refusals
from llmops_twins.core.pieces import Pieces

_SERVICE = "sagemaker-runtime"
_REFUSALS = Refusals(_SERVICE, "rest-json")
_PATH = re.compile(r"/endpoints/(?P<endpoint>[^/]+)(?:/inference-components/(?P<component>[^/]+))?/openai(?P<rest>/.*)")
_COMPLETIONS = "/v1/chat/completions"
"""The only supported path, on SageMaker and in the container."""
_PASSED = ("Content-Type", "Accept", ATTRIBUTES, SESSION)
_PIECE_BYTES = 1 << 16


class OpenAi:
    """Answers the requests below an endpoint's /openai/."""

    def __init__(self, twin: AccountTwin, runtime: InvocationOperations) -> None:
        self._twin = twin
        self._runtime = runtime
        twin.route("/endpoints/*/openai/", self)
        twin.route("/endpoints/*/inference-components/*/openai/", self)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        try:
            response = self._respond(request)
        except AwsApiError as e:
            response = _refusal(e)
        except Exception as e:
            log.exception("%s failed", request.path)
            response = _refusal(AwsApiError("TwinFailure", f"The twin failed: {type(e).__name__}: {e}"))
        return response(environ, start_response)

    def _respond(self, request: Request) -> Response:
        token = tokens.read(request.headers.get("Authorization", ""))
        found = _PATH.fullmatch(request.path)
        if not found or (request.method, found["rest"]) != ("POST", _COMPLETIONS):
            raise AwsApiError("UnknownOperationException", f"There is no {request.method} {request.path}.", 404)
        body = _body(request)
        given = {"EndpointName": found["endpoint"], "InferenceComponentName": found["component"]}
        with self._twin.lock:
            key = principals.key_of(self._twin, token.access_key, token.session, _REFUSALS)
            tokens.verify(token, key.secret)
            calls = [_call(token, key, "CallWithBearerToken", {}), _call(token, key, "InvokeEndpoint", given)]
            delay = faults.delay(self._twin, calls[1])
            for call in calls:
                faults.meet(self._twin, call, list)
                for judge in self._twin.judges:
                    judge(call)
            headers = _headers_of(request)
            invocation = self._runtime.invocation(calls[1], body, headers, _COMPLETIONS, streams=_streams(body))
        time.sleep(delay)
        return self._answered(invocation, request.environ.get("werkzeug.socket"))

    def _answered(self, invocation: Invocation, client: Any) -> Response:
        answer = self._runtime.begin(invocation, client)
        headers = {"Content-Type": answer.content_type, **answer.headers}
        pieces = Pieces(answer.exchange, bytes, lambda _: None, answer.ended, invocation.cut_after)
        if length := answer.exchange.header("Content-Length"):
            headers["Content-Length"] = length
        return Response(pieces, answer.exchange.status, headers)


def _call(token: tokens.Token, key: principals.AccessKey, operation: str, parameters: dict[str, Any]) -> ApiCall:
    return ApiCall(_SERVICE, operation, parameters, token.access_key, token.region, key.principal)


def _body(request: Request) -> bytes:
    """Returns the whole body, or slightly more than an endpoint accepts."""
    body = bytearray()
    while len(body) <= BODY_BYTES and (piece := request.stream.read(_PIECE_BYTES)):
        body += piece
    return bytes(body)


def _streams(body: bytes) -> bool:
    """Returns whether a request asks for a streamed answer. A body that is not JSON is left for the container to
    refuse.
    """
    try:
        return json.loads(body).get("stream") is True
    except (ValueError, AttributeError):
        return False


def _headers_of(request: Request) -> dict[str, str]:
    headers = {name: request.headers.get(name) for name in _PASSED}
    return {name: value for name, value in headers.items() if value is not None}


def _refusal(error: AwsApiError) -> Response:
    """Returns one of SageMaker's own errors as its REST APIs write them."""
    members = {name: value for name, value in vars(error).items() if name[:1].isupper()}
    body = json.dumps({"message": error.message, **members})
    headers = {"x-amzn-ErrorType": error.code}
    return Response(body, error.status, headers, content_type="application/json")
