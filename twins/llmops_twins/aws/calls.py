"""An API call as judges and handlers see it, and the errors that answer it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ApiCall:
    """A request that is well-formed by botocore's model of the service.

    `service` is boto3's name of the service ("sagemaker", "cloudwatch", "application-autoscaling", "s3"); `parameters`
    have the form that boto3's caller gives them: names in the model's own spelling, blobs and bodies as bytes,
    timestamps as datetime (UTC, naive). `principal` is the caller's ARN: account root, IAM user or assumed role; empty
    for an unsigned request.
    """

    service: str
    operation: str
    parameters: dict[str, Any]
    access_key: str
    region: str
    principal: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Streaming:
    """An answer in pieces, each sent as soon as it is available. `pieces` is closed (a generator's `finally` runs) when
    all are sent, and when the client has disconnected; an OSError from it closes the client's connection.
    """

    pieces: Iterable[bytes]
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True)
class Deferred:
    """A handler's answer that takes time: `work` produces it with the twin's lock released, and may raise AwsApiError.
    It gets the client's socket, to see whether the client is still connected.
    """

    work: Callable[[Any], Mapping[str, Any] | Streaming]


class AwsApiError(Exception):
    """An error in the service's own protocol, with a 4xx status, so that no SDK retries the call.

    Args:
        code: the vendor's error code ("ValidationException").
        message: the vendor's text where it is known.
        status: HTTP status of the response.
        headers: further headers of the response.
        fields: further members of the error's shape.
    """

    def __init__(
        self, code: str, message: str, status: int = 400, *, headers: Mapping[str, str] | None = None, **fields: Any
    ) -> None:
        super().__init__(message)
        self.headers = headers or {}
        self.code = code
        self.message = message
        self.status = status
        self.__dict__.update(fields)

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


def not_judged(what: str) -> AwsApiError:
    """Returns the refusal of something that AWS may accept and this twin does not evaluate."""
    return AwsApiError("NotImplemented", f"This twin of AWS does not judge {what}.")
