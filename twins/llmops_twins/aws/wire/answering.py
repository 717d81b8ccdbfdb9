"""Serialises a handler's dict or an error in the service's protocol, and parses moto's answers."""

import uuid
from collections.abc import Mapping
from typing import Any

from botocore.parsers import create_parser
from moto.core.model import OperationModel, ServiceModel
from moto.core.serialize import SerializationContext, get_serializer_class
from werkzeug.wrappers import Response

from llmops_twins.aws.calls import AwsApiError, Streaming
from llmops_twins.aws.wire.reading import Reading


def answer(reading: Reading, result: Mapping[str, Any] | Streaming | None) -> Response:
    """Returns a handler's result as the operation's answer."""
    if isinstance(result, Streaming):
        request_id = str(uuid.uuid4())
        return Response(result.pieces, result.status, {"x-amzn-RequestId": request_id, **result.headers})
    return _serialised(reading.operation, reading.protocol, dict(result or {}))


def refusal(model: ServiceModel, operation: OperationModel | None, protocol: str, error: AwsApiError) -> Response:
    """Returns an error in the service's protocol."""
    response = _serialised(operation or OperationModel({}, model), protocol, error)
    response.status_code = error.status
    response.headers.extend(error.headers)
    return response


def parsed(reading: Reading, response: Response) -> dict[str, Any]:
    """Returns an answer in the form that boto3 gives its caller."""
    document = {
        "status_code": response.status_code,
        "headers": {name.lower(): value for name, value in response.headers.items()},
        "body": response.get_data(),
    }
    shape: Any = reading.operation.output_shape
    streams = shape is not None and shape.serialization.get("payload") and reading.operation.has_streaming_output
    if shape is None or streams:
        return {}
    result = create_parser(reading.model.protocol).parse(document, shape)
    result.pop("ResponseMetadata", None)
    return result


def _serialised(operation: OperationModel, protocol: str, result: object) -> Response:
    request_id = str(uuid.uuid4())
    serializer = get_serializer_class(str(operation.service_model.service_name), protocol)
    document = serializer(operation, context=SerializationContext(request_id)).serialize(result)
    headers = {"x-amzn-RequestId": request_id, "x-amz-request-id": request_id, **document["headers"]}
    return Response(document["body"], status=document["status_code"], headers=headers)
