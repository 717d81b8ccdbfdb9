"""The host of an online endpoint: authenticates a request, chooses a deployment, and relays its container's answer.

https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints#http-status-codes
"""

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from werkzeug.wrappers import Request, Response

from llmops_kit.local_runtime.routing.balance import Turns
from llmops_twins.azure.ml.running import plans, scoring_auth
from llmops_twins.azure.ml.running.deployments import Deployments
from llmops_twins.azure.ml.running.plans import RequestSettings
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import Document
from llmops_twins.azure.telemetry.metering import RequestMeter
from llmops_twins.azure.twin import TenantTwin
from llmops_twins.core.exchanges import ContainerError, Containers, Exchange
from llmops_twins.core.fleet.fleet import Lease, NoWorkerError
from llmops_twins.core.pieces import Pieces

DEPLOYMENT = "azureml-model-deployment"
MODEL_STATUS, MODEL_REASON = "ms-azureml-model-error-statuscode", "ms-azureml-model-error-reason"
MOST_BYTES = 100 << 20
"""Maximum size of a request's body on this twin; Azure documents no limit."""
_PIECE_BYTES = 1 << 16
_REASON_BYTES = 512
_HOP_BY_HOP = {
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer"),
    *("transfer-encoding", "upgrade", "host", "content-length"),
}
_NOT_FORWARDED = _HOP_BY_HOP | {"authorization", "x-request-id"}
log = logging.getLogger("llmops_twins.azure")


@dataclass
class _ScoringRequest:
    """A request in the form that its container receives, and the deployment that answers it."""

    endpoint: Document
    deployment: str
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    client: Any
    settings: RequestSettings
    most: int
    mirror: str = ""
    streams: bool = False
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    began: float = field(default_factory=time.perf_counter)


class Scoring:
    """The WSGI application of one endpoint's host."""

    def __init__(
        self,
        twin: TenantTwin,
        endpoint_id: str,
        deployments: Deployments,
        containers: Containers,
        meter: RequestMeter,
    ) -> None:
        self._twin = twin
        self._endpoint_id = endpoint_id
        self._deployments = deployments
        self._containers = containers
        self._meter = meter
        self._turns = Turns()
        self._mirrored = 0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        began, deployment = time.perf_counter(), ""
        try:
            asked = self._parsed(request, began)
            deployment = asked.deployment
            response = self._answer(asked)
        except ArmError as e:
            seconds, received = time.perf_counter() - began, int(request.content_length or 0)
            self._meter.count(self._endpoint_id, deployment, e.status, 0, seconds, received=received)
            headers = {DEPLOYMENT: deployment} if deployment else {}
            response = Response(
                json.dumps(e.document()), e.status, {**e.headers, **headers}, content_type="application/json"
            )
        except Exception as e:
            log.exception("%s failed", request.path)
            error = ArmError(500, "InternalServerError", f"The twin failed: {type(e).__name__}: {e}")
            response = Response(json.dumps(error.document()), 500, content_type="application/json")
        response.headers.setdefault("x-request-id", str(uuid.uuid4()))
        if given := request.headers.get("x-ms-client-request-id"):
            response.headers["x-ms-client-request-id"] = given[:40]
        return response(environ, start_response)

    # -- requests -----------------------------------------------------------------------------------------------------

    def _parsed(self, request: Request, began: float) -> _ScoringRequest:
        with self._twin.lock:
            endpoint = self._twin.find(self._endpoint_id)
            if endpoint is None:
                raise ArmError(404, "NotFound", "The endpoint does not exist.")
            endpoint = {**endpoint, "properties": dict(endpoint["properties"])}
        scoring_auth.authenticate(self._twin, endpoint, dict(request.headers))
        body = _body(request)
        with self._twin.lock:
            deployment = self._chosen(endpoint, request.headers.get(DEPLOYMENT, ""))
            path = plans.scoring_path(self._twin, deployment)
            self._check_path(path, request.path)
            settings = RequestSettings.of(deployment)
            instances = int((deployment.get("sku") or {}).get("capacity") or 1)
            mirror = self._mirror(endpoint) if DEPLOYMENT not in request.headers else ""
        if self._twin.settings.containers == "none":
            raise ArmError(503, "ServiceUnavailable", "This twin of Azure runs no containers: nothing answers here.")
        return _ScoringRequest(
            endpoint=endpoint,
            deployment=deployment["name"],
            method=request.method,
            target=request.environ.get("RAW_URI") or request.full_path,
            headers={k: v for k, v in request.headers.items() if k.lower() not in _NOT_FORWARDED},
            body=body,
            client=request.environ.get("werkzeug.socket"),
            settings=settings,
            most=2 * settings.at_once * instances,
            mirror=mirror,
            streams=_streams(body),
            began=began,
        )

    def _chosen(self, endpoint: Document, wanted: str) -> Document:
        """Returns the deployment for a request: the requested one, or one chosen by the shares of traffic.

        Raises:
            ArmError: 404, there is none.
        """
        traffic = {name: share for name, share in (endpoint["properties"].get("traffic") or {}).items() if share > 0}
        if not wanted and not traffic:
            message = "The endpoint doesn't have any valid deployment with positive weight."
            raise ArmError(404, "NotFound", message)
        name = wanted or self._turns.next(traffic)
        found = self._twin.find(f"{self._endpoint_id}/deployments/{name}")
        if found is None:
            raise ArmError(404, "NotFound", f"Specified deployment could not be found: {name}")
        return found

    def _mirror(self, endpoint: Document) -> str:
        """Returns the name of the deployment that gets a copy of this request; empty if none does."""
        for name, share in (endpoint["properties"].get("mirrorTraffic") or {}).items():
            self._mirrored += share
            if self._mirrored >= 100:
                self._mirrored -= 100
                return name
        return ""

    @staticmethod
    def _check_path(route: str, path: str) -> None:
        if route != "/" and path != route and not path.startswith(route.rstrip("/") + "/"):
            raise ArmError(404, "NotFound", f"There is no {path}: the deployment's scoring route is {route}.")

    # -- answers ------------------------------------------------------------------------------------------------------

    def _answer(self, asked: _ScoringRequest) -> Response:
        hold = self._leased(asked)
        if asked.mirror:
            threading.Thread(target=self._copy, args=[asked], name="mirror", daemon=True).start()
        try:
            exchange = self._ask(asked, hold.lease, asked.client)
        except ContainerError as e:
            hold.end(0, 0)
            raise self._error_of_container(asked, e) from e
        headers = [(k, v) for k, v in exchange.headers if k.lower() not in _HOP_BY_HOP]
        length = exchange.header("Content-Length")
        headers += [(DEPLOYMENT, asked.deployment), ("x-request-id", asked.id)]
        headers += [("Content-Length", length)] if length else []
        status = exchange.status
        if status != 200:
            reason = exchange.response.reason or ""
            headers += [(MODEL_STATUS, str(status)), (MODEL_REASON, reason[:_REASON_BYTES])]
        ended = _Ended(exchange, hold)
        pieces = Pieces(exchange, ended.counted, lambda _: None, ended.by, None if length else self._cut(asked))
        return Response(pieces, 200 if status == 200 else 424, headers)

    def _leased(self, asked: _ScoringRequest) -> "_DeploymentHold":
        """Leases an instance of the deployment for a request.

        Raises:
            ArmError: 429 or 503.
        """
        if not self._meter.began(self._endpoint_id, asked.deployment, asked.most):
            message = f"Too many pending requests: the deployment {asked.deployment} takes {asked.most} at once."
            raise ArmError(429, "TooManyRequests", message, headers={"Retry-After": "1"})
        try:
            lease = self._deployments.lease(self._endpoint_id, asked.deployment, streams=asked.streams)
        except NoWorkerError as e:
            self._meter.ended(self._endpoint_id, asked.deployment)
            message = f"No instance of deployment {asked.deployment} is ready to take a request."
            raise ArmError(503, "ServiceUnavailable", message) from e
        return _DeploymentHold(self._meter, self._endpoint_id, asked, lease)

    def _ask(self, asked: _ScoringRequest, lease: Lease, client: Any) -> Exchange:
        seconds = max(0.001, asked.settings.seconds - (time.perf_counter() - asked.began))
        headers = {**asked.headers, "x-request-id": asked.id}
        return self._containers.ask(
            lease, asked.target, asked.body, headers, seconds=seconds, client=client, method=asked.method
        )

    @staticmethod
    def _error_of_container(asked: _ScoringRequest, error: ContainerError) -> ArmError:
        if error.reason == "late":
            message = f"The request timed out: the deployment's request timeout is {asked.settings.seconds:g} seconds."
            return ArmError(408, "RequestTimeout", message)
        return ArmError(502, "BadGateway", "The connection to the user container was lost before its answer was whole.")

    def _cut(self, asked: _ScoringRequest) -> int | None:
        if not self._twin.state.get("faults"):
            return None
        from llmops_twins.azure import faults

        with self._twin.lock:
            cut = faults.take(self._twin, "cut_stream", endpoint=asked.endpoint["name"])
        return cut["after_bytes"] if cut else None

    def _copy(self, asked: _ScoringRequest) -> None:
        """Sends a copy of a request to the deployment that traffic is mirrored to, and discards the answer."""
        with self._twin.lock:
            deployment = self._twin.find(f"{self._endpoint_id}/deployments/{asked.mirror}")
        if deployment is None:
            return
        settings = RequestSettings.of(deployment)
        most = 2 * settings.at_once * int((deployment.get("sku") or {}).get("capacity") or 1)
        copy = replace(
            asked, deployment=deployment["name"], client=None, settings=settings, most=most, began=time.perf_counter()
        )
        try:
            hold = self._leased(copy)
        except ArmError as e:
            self._meter.count(self._endpoint_id, copy.deployment, e.status, 0, 0.0, received=len(copy.body))
            return
        try:
            exchange = self._ask(copy, hold.lease, None)
        except ContainerError as e:
            hold.end(self._error_of_container(copy, e).status, 0)
            return
        ended = _Ended(exchange, hold)
        for _ in Pieces(exchange, ended.counted, lambda _: b"", ended.by):
            pass


class _DeploymentHold:
    """The lease of an instance for one request, from before it is sent until the end of the answer."""

    def __init__(self, meter: RequestMeter, endpoint_id: str, asked: _ScoringRequest, lease: Lease) -> None:
        self.lease = lease
        self._meter = meter
        self._endpoint_id = endpoint_id
        self._request = asked
        self._began = time.perf_counter()

    def end(self, status: int, model_status: int, sent: int = 0) -> None:
        """Releases the instance, and counts the request. Status 0 means that there was no answer: the code that refuses
        the request counts it.
        """
        now, asked = time.perf_counter(), self._request
        with self.lease:
            self.lease.done(model_status, now - self._began, self._began - asked.began)
        self._meter.ended(self._endpoint_id, asked.deployment)
        if status:
            seconds, received = now - asked.began, len(asked.body)
            deployment = asked.deployment
            self._meter.count(
                self._endpoint_id, deployment, status, model_status, seconds, sent=sent, received=received
            )


class _Ended:
    """Ends an exchange and its lease, and counts the bytes sent."""

    def __init__(self, exchange: Exchange, hold: _DeploymentHold) -> None:
        self._exchange = exchange
        self._hold = hold
        self._sent = 0

    def counted(self, piece: bytes) -> bytes:
        """Counts a piece for the client, and returns it."""
        self._sent += len(piece)
        return piece

    def by(self, reason: str | None) -> None:
        """Records the end of the answer: complete, or broken off by the container, the time limit or the client (which
        is no failure).
        """
        status = self._exchange.status
        self._exchange.end()
        model = status if reason in (None, "left") else 0
        code = (200 if status == 200 else 424) if reason in (None, "left") else 408 if reason == "late" else 502
        self._hold.end(code, model, self._sent)


def _body(request: Request) -> bytes:
    body = bytearray()
    while len(body) <= MOST_BYTES and (piece := request.stream.read(_PIECE_BYTES)):
        body += piece
    if len(body) > MOST_BYTES:
        raise ArmError(413, "RequestEntityTooLarge", f"The body has more than {MOST_BYTES} bytes.")
    return bytes(body)


def _streams(body: bytes) -> bool:
    """Returns whether a request asks for a streamed answer in OpenAI's way."""
    if b'"stream"' not in body:
        return False
    try:
        return json.loads(body).get("stream") is True
    except (ValueError, AttributeError):
        return False
