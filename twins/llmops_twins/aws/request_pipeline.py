"""The WSGI application of the twin: each request is read, authenticated, validated, judged, then answered by a handler
or by moto.
"""

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from moto.core.request import Request
from werkzeug.wrappers import Response

from llmops_twins.aws import buckets, faults, inventory
from llmops_twins.aws.calls import ApiCall, AwsApiError, Deferred, Streaming
from llmops_twins.aws.judges.recorded_policy import policy_document
from llmops_twins.aws.pickles import backends_in_use
from llmops_twins.aws.twin import AccountTwin
from llmops_twins.aws.wire import answering, reading, validation
from llmops_twins.aws.wire.authentication import UNSIGNED, RequestSigner, caller_of, guessed
from llmops_twins.aws.wire.dispatch import Moto
from llmops_twins.aws.wire.reading import Reading
from llmops_twins.core.admin import PREFIX, Admin, answer
from llmops_twins.core.handler import is_for_this_machine

log = logging.getLogger("llmops_twins.aws")
_READS = (
    *("Describe", "List", "Get", "Head", "Search", "Lookup", "Batch", "Filter", "Query", "Select", "Simulate"),
    "Invoke",
)
_WRITES = (
    *("BatchDelete", "BatchPut", "BatchWrite", "BatchUpdate", "BatchCreate", "GetAuthorizationToken"),
    "InvokeEndpointAsync",
)


class AwsFront:
    """The twin as a WSGI application."""

    def __init__(self, twin: AccountTwin) -> None:
        self._twin = twin
        account = {"account": twin.account, "region": twin.region}
        routes = {
            ("POST", "strangers"): lambda request: self._make_strangers(request.get_data()),
            ("POST", "policies"): lambda request: answer(policy_document(**json.loads(request.get_data()))),
        }
        self._admin = Admin(twin, account, lambda: inventory.of(twin), lambda: faults.of(twin), routes)
        self._backends = 0
        self._moto = Moto()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not is_for_this_machine(environ):
            return Response("A twin answers clients of this machine only.", 403)(environ, start_response)
        if app := self._twin.routed(environ.get("PATH_INFO", "")):
            return app(environ, start_response)
        reading.buffer(environ)
        if environ.get("PATH_INFO", "").startswith(PREFIX):
            return self._admin.respond(environ)(environ, start_response)
        return self._respond(environ)(environ, start_response)

    def _make_strangers(self, body: bytes) -> Response:
        """Creates a bucket of another account with access for everybody."""
        buckets.make_strangers(self._twin, json.loads(body)["bucket"])
        return answer({}, 201)

    def _respond(self, environ: dict[str, Any]) -> Response:
        try:
            caller = caller_of(self._twin, environ)
        except AwsApiError as e:
            return _unauthenticated(environ, e)
        if caller.service == "s3":
            reading.to_path_style(environ)
        model = reading.model_of(caller.service)
        read: Reading | None = None
        request = reading.request_of(environ)
        try:
            read = reading.read(request, caller.service)
            call = self._call(request, caller, read)
            answered = self._carry_out(call, read, environ)
            self._delay("late", call)
            if isinstance(answered, Deferred):
                return answering.answer(read, self._work(call, answered, environ))
            return answered
        except AwsApiError as e:
            protocol = read.protocol if read else reading.protocol_of(request, model)
            return answering.refusal(model, read and read.operation, protocol, e)

    def _call(self, request: Request, caller: RequestSigner, read: Reading) -> ApiCall:
        if not caller.access_key and (read.service, read.name) != UNSIGNED:
            raise guessed(request).unsigned()
        headers = dict(request.headers)
        if "X-Amz-Security-Token" in request.args:
            headers["X-Amz-Security-Token"] = request.args["X-Amz-Security-Token"]
        validation.check(read)
        region = caller.region or self._twin.region
        return ApiCall(read.service, read.name, read.parameters, caller.access_key, region, caller.principal, headers)

    def _carry_out(self, call: ApiCall, read: Reading, environ: dict[str, Any]) -> Response | Deferred:
        twin = self._twin
        self._delay("slow", call)
        with twin.lock:
            try:
                faults.meet(twin, call, lambda: _declared(read))
                for judge in twin.judges:
                    judge(call)
                response = self._answer(call, read, environ)
                if hiding := faults.hides(twin, call):
                    self._hide(hiding, call, read, response)
            except AwsApiError:
                raise
            except NotImplementedError as e:
                raise _not_implemented(call) from e
            except Exception as e:  # a failure of moto itself: SDKs would retry a 5xx
                log.exception("%s:%s failed", call.service, call.operation)
                raise AwsApiError("TwinFailure", f"The twin failed on {call.operation}: {type(e).__name__}: {e}") from e
            finally:
                if mutates(call.operation) or self._backends != backends_in_use():
                    self._backends = backends_in_use()
                    twin.changed()
        return response

    def _delay(self, kind: str, call: ApiCall) -> None:
        if self._twin.state.get("faults"):
            with self._twin.lock:
                seconds = faults.delay(self._twin, call, kind)
            time.sleep(seconds)

    def _hide(self, hiding: faults.Fault, call: ApiCall, read: Reading, response: Response | Deferred) -> None:
        if isinstance(response, Response) and response.status_code < 400:
            faults.hide(hiding, call, answering.parsed(read, response))
            self._twin.changed()

    def _work(self, call: ApiCall, deferred: Deferred, environ: dict[str, Any]) -> Mapping[str, Any] | Streaming:
        try:
            return deferred.work(environ.get("werkzeug.socket"))
        except AwsApiError:
            raise
        except Exception as e:
            log.exception("%s:%s failed", call.service, call.operation)
            raise AwsApiError("TwinFailure", f"The twin failed on {call.operation}: {type(e).__name__}: {e}") from e

    def _answer(self, call: ApiCall, read: Reading, environ: dict[str, Any]) -> Response | Deferred:
        for check in self._twin.checks(call.service, call.operation):
            check(call)
        mends = self._twin.mends(call.service, call.operation)
        handler = self._twin.handler(call.service, call.operation)
        hooks = self._twin.hooks(call.service, call.operation)
        answered = handler(call) if handler else NotImplemented
        if isinstance(answered, Deferred):
            return answered
        if answered is not NotImplemented:
            result = dict(answered or {})
            for hook in [*mends, *hooks]:
                hook(call, result)
            return answering.answer(read, result)
        response = self._moto.answer(call, read, environ)
        if response.status_code >= 500:
            log.error("moto answered %s:%s with %s", call.service, call.operation, response.status)
            response.status_code = 400
        if (hooks or mends) and response.status_code < 400:
            result = answering.parsed(read, response)
            for hook in [*mends, *hooks]:
                hook(call, result)
            if mends:
                return answering.answer(read, result)
        return response


def _unauthenticated(environ: dict[str, Any], error: AwsApiError) -> Response:
    """Returns an authentication error in the protocol of the service that the request appears to address; nothing of it
    is verified.
    """
    try:
        refusals = guessed(reading.request_of(environ))
        model = reading.model_of(refusals.service)
    except AwsApiError as e:
        return Response(f'{{"__type": "{e.code}", "message": "{e.message}"}}', 400, content_type="application/json")
    return answering.refusal(model, None, refusals.protocol, error)


def mutates(operation: str) -> bool:
    """Returns whether an operation may change state."""
    return operation.startswith(_WRITES) or not operation.startswith(_READS)


def _declared(read: Reading) -> list[str]:
    """Returns the codes of errors that an operation's model declares."""
    shapes: Any = read.operation.error_shapes
    return [str(shape.metadata.get("error", {}).get("code") or shape.name) for shape in shapes]


def _not_implemented(call: ApiCall) -> AwsApiError:
    return AwsApiError("NotImplemented", f"This twin of AWS does not implement {call.service}:{call.operation}.")
