"""Several deletions of blobs in one request.

https://learn.microsoft.com/rest/api/storageservices/blob-batch
"""

import uuid
from email.parser import BytesParser
from typing import TYPE_CHECKING

from werkzeug.datastructures import Headers
from werkzeug.wrappers import Response

from twins.azure.blobs.asked import Asked, RefusedError

if TYPE_CHECKING:
    from twins.azure.blobs.front import Front

_MOST_PARTS = 256
_MOST_BYTES = 4 << 20


def respond(front: "Front", asked: Asked, host: str) -> Response:
    """Carry out each part as a request of its own, and answer all of them."""
    from twins.azure.blobs.front import refusal

    content = b"".join(asked.body or ())
    head = f"Content-Type: {asked.headers.get('Content-Type', '')}\r\n\r\n".encode()
    message = BytesParser().parsebytes(head + content)
    parts = [part for part in message.walk() if not part.is_multipart()]
    if not message.is_multipart():
        return refusal(RefusedError(400, "InvalidInput", "The batch request's body is not multipart/mixed."))
    if len(content) > _MOST_BYTES or len(parts) > _MOST_PARTS:
        return refusal(RefusedError(400, "ExceedsMaxBatchRequestCount", f"A batch has at most {_MOST_PARTS} parts."))
    boundary = f"batchresponse_{uuid.uuid4()}"
    answers: list[bytes] = []
    for part in parts:
        payload = part.get_payload(decode=True)
        answer = _part(front, asked, payload if isinstance(payload, bytes) else b"", host)
        number = part.get("Content-ID", "0")
        answers.append(f"--{boundary}\r\nContent-Type: application/http\r\nContent-ID: {number}\r\n\r\n".encode())
        answers.append(answer)
    answers.append(f"--{boundary}--\r\n".encode())
    response = Response(b"".join(answers), 202, content_type=f"multipart/mixed; boundary={boundary}")
    response.headers["x-ms-request-id"] = str(uuid.uuid4())
    return response


def _part(front: "Front", asked: Asked, payload: bytes, host: str) -> bytes:
    from twins.azure.blobs.front import asked_of, refusal

    first, _, rest = payload.lstrip(b"\r\n").partition(b"\r\n")
    method, _, target = first.decode().partition(" ")
    target = target.rpartition(" ")[0] or target
    headers = Headers(list(BytesParser().parsebytes(rest, headersonly=True).items()))
    headers.setdefault("Authorization", asked.headers.get("Authorization", ""))
    one = asked_of(method, target, headers, None, None)
    if method == "DELETE":
        answer = front.respond(one, host)
    else:
        text = "The value for one of the HTTP headers is not in the correct format."
        answer = refusal(RefusedError(400, "InvalidHeaderValue", text))
    lines = [f"HTTP/1.1 {answer.status}", *(f"{name}: {value}" for name, value in answer.headers.items()), "", ""]
    return "\r\n".join(lines).encode() + answer.get_data() + b"\r\n"
