"""Parses service, operation and parameters of HTTP requests, by botocore's service models and moto's parsers.

Refusals: https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html (MalformedQueryString), and malformed
requests in https://github.com/smithy-lang/smithy/tree/main/smithy-aws-protocol-tests (SerializationException).
"""

import io
import re
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote

from moto.core.model import OperationModel, ServiceModel
from moto.core.parse import PROTOCOL_PARSERS
from moto.core.request import Request
from moto.core.routing import get_service_router
from moto.core.serialize import SERIALIZERS
from moto.core.utils import get_service_model
from moto.moto_server.werkzeug_app import BackendRequest
from werkzeug.exceptions import NotFound

from llmops_twins.aws.calls import AwsApiError
from llmops_twins.aws.wire.refusals import Refusals

# Signing name, or IAM's name, of a service -> boto3's name, if it differs.
_BOTO_NAMES = {
    "monitoring": "cloudwatch",
    "tagging": "resourcegroupstaggingapi",
    "servicequotas": "service-quotas",
    "elasticloadbalancing": "elbv2",
    "states": "stepfunctions",
    "email": "ses",
    "elasticfilesystem": "efs",
    "access-analyzer": "accessanalyzer",
    "eventbridge": "events",
}
_CLASSIC = "2012-06-01"
"""The API version of classic load balancers, whose requests are signed with the service name of the newer ones."""
_FORMS = ("query", "ec2")
_NAMED = ("query", "ec2", "json")
"""Protocols whose requests name their operation."""
_LOOPBACK_BUCKET = re.compile(r"^(?P<bucket>.+?)(?:\.s3(?:[.-][a-z0-9-]+)?)?\.localhost(?P<port>:\d+)?$")


@dataclass(frozen=True)
class Reading:
    """A request, parsed by the service's model."""

    service: str
    operation: OperationModel
    protocol: str
    parameters: dict[str, Any]

    @property
    def model(self) -> ServiceModel:
        """botocore's model of the service, from which errors and answers take their form."""
        return self.operation.service_model

    @property
    def name(self) -> str:
        """The operation's name in the API, such as CreateEndpoint."""
        return str(self.operation.name)


def request_of(environ: dict[str, Any]) -> Request:
    """Returns a request whose body can be read again."""
    environ["wsgi.input"].seek(0)
    return BackendRequest(environ)


def service_of(request: Request, signing_name: str) -> str:
    """Returns boto3's name of the service that a request was signed for."""
    name = _BOTO_NAMES.get(signing_name.lower(), signing_name.lower())
    if name == "sagemaker" and "X-Amz-Target" not in request.headers:
        return "sagemaker-metrics" if request.path.endswith("BatchPutMetrics") else "sagemaker-runtime"
    if name == "s3" and request.path.startswith("/v20180820/"):
        return "s3control"
    if name == "elbv2" and request.values.get("Version") == _CLASSIC:
        return "elb"
    return name


def read(request: Request, service: str) -> Reading:
    """Finds a request's operation and parameters.

    Raises:
        AwsApiError: the service has no such operation, or can't parse the request; the request is for another service,
            or ambiguous.
    """
    model = model_of(service)
    protocol = protocol_of(request, model)
    _refuse_ambiguous(request, protocol)
    try:
        operation, labels = get_service_router(service).match(request)
    except (NotFound, NotImplementedError) as e:
        action = request.headers.get("X-Amz-Target") or request.values.get("Action")
        if (protocol in _NAMED and not action) or _is_of_another(request, model):
            raise Refusals(service, protocol).wrong_service() from e
        action = action or f"{request.method} request"
        # unsure (75 %): of the JSON protocols it is so; of the others no source was found
        raise AwsApiError("UnknownOperationException", f"{service} has no operation {action}.") from e
    parser = PROTOCOL_PARSERS[protocol](operation)
    try:
        parameters = parser.parse(
            {
                "method": request.method,
                "values": request.values,
                "headers": request.headers,
                "body": request.data,
                "url_path": request.path,
                "url_params": labels,
            }
        )
    except Exception as e:  # the parsers raise any kind of error for a malformed body
        raise AwsApiError("SerializationException", f"The request could not be read: {e}") from e
    return Reading(service, operation, protocol, parameters)


def protocol_of(request: Request, model: ServiceModel) -> str:
    """Returns the protocol of a request: its own if the twin can write it, else one that the service supports, else
    JSON.
    """
    own, supported = str(model.protocol), model.metadata.get("protocols", ())
    named = _named_protocol(request, model)
    known = [named if named in (own, *supported) else own, *supported]
    return next((each for each in known if each in SERIALIZERS and each in PROTOCOL_PARSERS), "json")


def _named_protocol(request: Request, model: ServiceModel) -> str:
    """Returns the protocol that a request's headers name; empty if they name none.

    https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html (smithy-protocol), and the content types in
    https://smithy.io/2.0/aws/protocols/index.html. An object of S3 has any content type.
    """
    kind = (request.content_type or "").partition(";")[0].strip().lower()
    if model.service_name == "s3":
        return ""
    if request.headers.get("smithy-protocol") == "rpc-v2-cbor" or kind == "application/cbor":
        return "smithy-rpc-v2-cbor"
    if kind.startswith("application/x-amz-json"):
        return "json"
    if kind == "application/x-www-form-urlencoded":
        return "ec2" if model.protocol == "ec2" else "query"
    return "rest-json" if kind == "application/json" else ""


def _refuse_ambiguous(request: Request, protocol: str) -> None:
    """Refuses what two parsers could read differently: a repeated parameter, or an operation named in two ways.

    Raises:
        AwsApiError: MalformedQueryString.
    """
    if protocol in _FORMS:
        names = [name for part in (request.args, request.form) for name, _ in part.items(multi=True)]
        if len(names) != len(set(names)):
            raise AwsApiError("MalformedQueryString", "A parameter is given more than once.", 404)
        if "X-Amz-Target" in request.headers:
            raise AwsApiError("MalformedQueryString", "The operation is named by Action and by X-Amz-Target.", 404)
    elif protocol == "json" and "Action" in request.args:
        raise AwsApiError("MalformedQueryString", "The operation is named by Action and by X-Amz-Target.", 404)


def _is_of_another(request: Request, model: ServiceModel) -> bool:
    prefix = request.headers.get("X-Amz-Target", "").rpartition(".")[0]
    return bool(prefix) and prefix != model.metadata.get("targetPrefix")


@cache
def model_of(service: str) -> ServiceModel:
    """Returns botocore's model of a service.

    Raises:
        AwsApiError: there is no such service.
    """
    from botocore.exceptions import UnknownServiceError

    try:
        return get_service_model(service)
    except UnknownServiceError as e:
        raise AwsApiError("UnknownService", f"This twin of AWS has no service {service!r}.") from e


def buffer(environ: dict[str, Any]) -> None:
    """Reads the whole body, so that it can be read again after `seek(0)` of `wsgi.input`."""
    stream = environ["wsgi.input"]
    if environ.get("wsgi.input_terminated"):
        body = stream.read()
    else:
        body = stream.read(int(environ.get("CONTENT_LENGTH") or 0))
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    environ.pop("wsgi.input_terminated", None)
    environ["wsgi.input"] = io.BytesIO(body)
    environ["CONTENT_LENGTH"] = str(len(body))


def to_path_style(environ: dict[str, Any]) -> None:
    """Rewrites S3's `bucket.localhost:port/key` to `localhost:port/bucket/key`."""
    found = _LOOPBACK_BUCKET.match(environ.get("HTTP_HOST", ""))
    if not found:
        return
    bucket = "/" + found["bucket"]
    raw = environ.get("RAW_URI") or quote(environ.get("PATH_INFO", "/"))
    environ["HTTP_HOST"] = f"localhost{found['port'] or ''}"
    environ["PATH_INFO"] = bucket + environ.get("PATH_INFO", "/")
    environ["RAW_URI"] = environ["REQUEST_URI"] = bucket + raw


def path_style(host: str, path: str) -> str:
    """Returns the path of an object in path style; the bucket may be in the host."""
    found = _LOOPBACK_BUCKET.match(host)
    return f"/{found['bucket']}{path}" if found else path
