"""Blocks of a blob copied from another blob, which Azurite lacks: the twin reads one and writes the other.

The source is read with its own authorization: a token in a separate header, or a signature in its URL. A source in the
same account needs it too. https://learn.microsoft.com/rest/api/storageservices/put-block-from-url;
refusals: https://github.com/Azure/azure-sdk-for-net/issues/48992, and in the same account:
https://github.com/Azure/azure-sdk-for-python/issues/36176.
"""

import re
from collections.abc import Callable
from http.client import HTTPResponse
from urllib.parse import unquote, urlsplit

from werkzeug.datastructures import Headers
from werkzeug.wrappers import Response

from llmops_twins.azure.blobs import blobs
from llmops_twins.azure.blobs.asked import BlobError, BlobRequest, pairs
from llmops_twins.azure.protocol.calls import Document
from llmops_twins.azure.twin import TenantTwin

LARGEST_BLOCK = 4000 << 20
_PIECE = 1 << 20
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")
_CONDITIONS = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")
Require = Callable[[Document, BlobRequest], None]


def is_block_from_url(asked: BlobRequest) -> bool:
    """Returns whether a request is a Put Block From URL."""
    return asked.method == "PUT" and asked.query.get("comp") == "block" and "x-ms-copy-source" in asked.headers


def block_from_url(twin: TenantTwin, account: Document, asked: BlobRequest, require: Require) -> Response:
    """Answers such a request; `require` refuses callers who may not read the source.

    Raises:
        RefusedError: with the service's error.
    """
    if asked.length:
        raise BlobError(400, "InvalidHeaderValue", "The value for one of the HTTP headers is not in the correct format.")  # fmt: skip # noqa: E501
    source_account, reading = _source(twin, asked)
    try:
        require(source_account, reading)
        if not twin.find(blobs.container_id(source_account, reading.container)):
            raise BlobError(404, "ContainerNotFound", "The specified container does not exist.")
    except BlobError as e:
        raise BlobError(e.status, "CannotVerifyCopySource", e.message) from e
    store = blobs.store(twin)
    store.ensure(twin, source_account[blobs.SLOT], reading.container)
    headers = {name.lower(): value for name, value in reading.headers.items() if name.lower() != "authorization"}
    connection, found = store.azurite.request(source_account[blobs.SLOT], "GET", reading.path, {}, headers)
    try:
        _refuse_source(found, ranged="Range" in reading.headers)
        return _put(twin, account, asked, found)
    finally:
        found.close()
        connection.close()


def _source(twin: TenantTwin, asked: BlobRequest) -> tuple[Document, BlobRequest]:
    """Returns the account of a source, and the request that reads it.

    Raises:
        BlobError: 404, the source is not a blob of this twin.
    """
    url = asked.headers["x-ms-copy-source"]
    with twin.lock:
        accounts = [each for each in twin.resources.values() if each["type"] == blobs.ACCOUNTS]
    for account in accounts:
        place = account["properties"]["primaryEndpoints"]["blob"].rstrip("/") + "/"
        if url.startswith(place):
            parts = urlsplit(url.removeprefix(place))
            container, _, blob = unquote(parts.path).partition("/")
            if container and blob:
                return account, BlobRequest(
                    "GET", container, blob, dict(pairs(parts.query)), _headers(asked), None, None
                )
    text = "The specified copy source can't be read: on this twin it must be a blob of one of its accounts."
    raise BlobError(404, "CannotVerifyCopySource", text)


def _headers(asked: BlobRequest) -> Headers:
    headers = Headers({"x-ms-version": asked.headers.get("x-ms-version", "")})
    if token := asked.headers.get("x-ms-copy-source-authorization"):
        headers["Authorization"] = token
    for name in _CONDITIONS:
        if value := asked.headers.get(f"x-ms-source-{name}"):
            headers[name] = value
    if range_ := asked.headers.get("x-ms-source-range"):
        found = _RANGE.fullmatch(range_)
        if not found or int(found[1]) > int(found[2]):
            raise BlobError(400, "InvalidHeaderValue", f"The value {range_} of x-ms-source-range is not in the correct format.")  # fmt: skip # noqa: E501
        headers["Range"] = range_
    return headers


def _refuse_source(found: HTTPResponse, *, ranged: bool) -> None:
    empty = ranged and found.headers["Content-Length"] == "0"  # Azurite's answer to a range beyond the end
    if found.status < 300 and not empty:
        return
    if found.status == 416 or empty:
        text = "The range specified is invalid for the current size of the resource."
        raise BlobError(416, "InvalidRange", text)
    if found.status in (304, 412):
        text = "The source condition specified using HTTP conditional header(s) is not met."
        raise BlobError(412, "SourceConditionNotMet", text)
    text = f"The specified copy source can't be read: {found.headers.get('x-ms-error-code', found.status)}."
    raise BlobError(found.status, "CannotVerifyCopySource", text)


def _put(twin: TenantTwin, account: Document, asked: BlobRequest, content: HTTPResponse) -> Response:
    size = int(content.headers["Content-Length"])
    if size > LARGEST_BLOCK:
        text = f"The request body is too large and exceeds the maximum permissible limit ({LARGEST_BLOCK})."
        raise BlobError(413, "RequestBodyTooLarge", text)
    pieces = iter(lambda: content.read(_PIECE), b"")
    query = {name: asked.query[name] for name in ("comp", "blockid")}
    azurite = blobs.store(twin).azurite
    sent = {"content-length": str(size)}
    connection, found = azurite.request(account[blobs.SLOT], "PUT", asked.path, query, sent, pieces)
    try:
        response = Response(found.read(), found.status, content_type=found.headers.get("Content-Type"))
        for name, value in found.headers.items():
            if name.lower().startswith("x-ms-") or name.lower() == "content-md5":
                response.headers[name] = value
        return response
    finally:
        connection.close()
