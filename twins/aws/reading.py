"""From a HTTP request to service, operation and parameters, by botocore's service models and moto's parsers of them."""

import io
import re
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote

from moto.core.model import OperationModel, ServiceModel
from moto.core.parse import PROTOCOL_PARSERS
from moto.core.request import Request, determine_request_protocol
from moto.core.routing import get_service_router
from moto.core.utils import get_service_model
from werkzeug.exceptions import NotFound

from twins.aws.calls import ApiError

_CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/\d{8}/([^/,\s]+)/([^/,\s]+)/aws4_request")
# Where a request's signing name, or IAM's name of the service, is not what boto3 calls the service.
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
_LOOPBACK_BUCKET = re.compile(r"^(?P<bucket>.+?)(?:\.s3(?:[.-][a-z0-9-]+)?)?\.localhost(?P<port>:\d+)?$")


@dataclass(frozen=True)
class Signer:
    """What a request says of who signed it, for which region and service; all empty for an unsigned one."""

    access_key: str = ""
    region: str = ""
    service: str = ""


@dataclass(frozen=True)
class Reading:
    """A request as the service's model reads it."""

    service: str
    operation: OperationModel
    protocol: str
    parameters: dict[str, Any]

    @property
    def model(self) -> ServiceModel:
        """The model of the service."""
        return self.operation.service_model

    @property
    def name(self) -> str:
        """The operation's name."""
        return str(self.operation.name)


def signer(request: Request) -> Signer:
    """Access key, region and signing name, from the header or (presigned) the query."""
    text = request.headers.get("Authorization", "")
    found = _CREDENTIAL.search(text)
    if not found:
        credential = request.args.get("X-Amz-Credential", "")
        found = _CREDENTIAL.search(f"Credential={credential}") if credential else None
    if found:
        return Signer(found[1], found[2], found[3].lower())
    if text.startswith("AWS "):  # S3's signature version 2
        return Signer(text[4:].partition(":")[0], "", "s3")
    return Signer(request.args.get("AWSAccessKeyId", ""), "", "s3" if "AWSAccessKeyId" in request.args else "")


def service_of(request: Request, signed_by: Signer) -> str:
    """boto3's name of the service that a request is for."""
    name = _BOTO_NAMES.get(signed_by.service, signed_by.service)
    if name == "sagemaker" and "X-Amz-Target" not in request.headers:
        return "sagemaker-metrics" if request.path.endswith("BatchPutMetrics") else "sagemaker-runtime"
    if name == "s3" and request.path.startswith("/v20180820/"):
        return "s3control"
    if not name:
        return "sts" if request.values.get("Action", "").startswith("AssumeRoleWith") else "s3"
    return name


def read(request: Request, service: str) -> Reading:
    """Find a request's operation and parameters.

    Raises:
        ApiError: the service is unknown, has no such operation, or can't read the request.
    """
    model = model_of(service)
    try:
        operation, labels = get_service_router(service).match(request)
        protocol = determine_request_protocol(model, request.content_type)
    except (NotFound, NotImplementedError) as e:
        action = request.headers.get("X-Amz-Target") or request.values.get("Action") or f"{request.method} request"
        raise ApiError("UnknownOperationException", f"{service} has no operation {action}.") from e
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
    except Exception as e:  # the parsers raise whatever a malformed body makes them stumble over
        raise ApiError("SerializationException", f"The request could not be read: {e}") from e
    return Reading(service, operation, protocol, parameters)


@cache
def model_of(service: str) -> ServiceModel:
    """botocore's model of a service.

    Raises:
        ApiError: there is no such service.
    """
    from botocore.exceptions import UnknownServiceError

    try:
        return get_service_model(service)
    except UnknownServiceError as e:
        raise ApiError("UnknownService", f"This twin of AWS has no service {service!r}.") from e


def buffer(environ: dict[str, Any]) -> None:
    """Read the body as a whole, so that it can be read again after a `seek(0)` of `wsgi.input`."""
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
    """Turn S3's `bucket.localhost:port/key` into `localhost:port/bucket/key`."""
    found = _LOOPBACK_BUCKET.match(environ.get("HTTP_HOST", ""))
    if not found:
        return
    bucket = "/" + found["bucket"]
    raw = environ.get("RAW_URI") or quote(environ.get("PATH_INFO", "/"))
    environ["HTTP_HOST"] = f"localhost{found['port'] or ''}"
    environ["PATH_INFO"] = bucket + environ.get("PATH_INFO", "/")
    environ["RAW_URI"] = environ["REQUEST_URI"] = bucket + raw
