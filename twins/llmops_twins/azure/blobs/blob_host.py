"""The host of a storage account's blobs: authenticates tokens, judges roles, and passes requests to Azurite.

https://learn.microsoft.com/rest/api/storageservices/blob-service-rest-api
"""

import logging
import time
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.sax.saxutils import escape

from werkzeug.wrappers import Request, Response

from llmops_kit.core.errors import KitError
from llmops_twins.azure.arm import arm
from llmops_twins.azure.blobs import blobs, copies, rights
from llmops_twins.azure.blobs.asked import BlobError, BlobRequest, pairs
from llmops_twins.azure.entra import tokens
from llmops_twins.azure.judges.conditions import SUB_OPERATION
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import Document, Principal
from llmops_twins.azure.twin import TenantTwin
from llmops_twins.core.relay import RelayedAnswer, pieces_of

log = logging.getLogger("llmops_twins.azure.blobs.blobs")
_PATH = "@resource[microsoft.storage/storageaccounts/blobservices/containers/blobs:path]"
# Headers of one connection, of the caller's identity, or without a meaning for Azurite.
_NOT_FORWARDED = {
    *("host", "connection", "keep-alive", "transfer-encoding", "te", "upgrade", "expect", "accept-encoding"),
    *("authorization", "x-ms-copy-source-authorization", "x-ms-blob-public-access"),
}
_NOT_RETURNED = {"connection", "keep-alive", "transfer-encoding", "server", "date"}


class BlobApp:
    """The WSGI application of one storage account, by its name."""

    def __init__(self, twin: TenantTwin, account: str) -> None:
        self._twin = twin
        self._account = account

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        asked = _asked(request)
        return self.respond(asked, request.host + request.environ.get("SCRIPT_NAME", ""))(environ, start_response)

    def respond(self, asked: BlobRequest, host: str) -> Response:
        """Answers a request. `host` is the account's address, with a path if it has no host of its own."""
        try:
            with self._twin.lock:
                account = blobs.account_named(self._twin, self._account)
            if account is None:
                raise BlobError(404, "ResourceNotFound", "The specified resource does not exist.")
            self._require(account, asked)
            return self._carry_out(account, asked, host)
        except BlobError as e:
            return refusal(e)
        except ArmError as e:
            return refusal(BlobError(e.status, e.code, e.message, e.headers))
        except KitError as e:
            return refusal(BlobError(400, "TwinFailure", f"{e.what}. {e.fix}"))
        except (OSError, HTTPException) as e:
            log.exception("%s %s failed", asked.method, asked.path)
            return refusal(BlobError(500, "InternalError", f"The twin's Azurite failed: {e}"))

    def _require(self, account: Document, asked: BlobRequest) -> None:
        """Refuses a request with an invalid name or an account key, or without the required permission.

        Raises:
            BlobError: 400 or 403.
        """
        _check_key(account, asked)
        _check_name(asked)
        caller = self._caller(asked)
        needed = rights.need(asked.method, asked.container, asked.blob, asked.query)
        if needed is None:
            raise BlobError(400, "UnsupportedQueryParameter", "One of the query parameters is not supported.")
        scope = blobs.container_id(account, asked.container) if asked.container else account["id"]
        if not self._may(caller, needed, scope, asked):
            text = "This request is not authorized to perform this operation using this permission."
            raise BlobError(403, "AuthorizationPermissionMismatch", text)

    def _may(self, caller: Principal, needed: rights.BlobNeed, scope: str, asked: BlobRequest) -> bool:
        for action in needed.actions:
            if action.endswith("/add/action") and needed.new_only and asked.headers.get("If-None-Match") != "*":
                continue
            attributes = {_PATH: asked.blob} if asked.blob else {SUB_OPERATION: "Blob.List"}
            if self._twin.may(caller.object_id, action, scope, needed.data, attributes):
                return True
        return False

    def _caller(self, asked: BlobRequest) -> Principal:
        try:
            return tokens.caller_of(self._twin, dict(asked.headers), tokens.STORAGE)
        except ArmError as e:
            place = f"{self._twin.url}/{self._twin.tenant}/oauth2/authorize"
            challenge = {"WWW-Authenticate": f"Bearer authorization_uri={place} resource_id={tokens.STORAGE[0]}"}
            if "Authorization" not in asked.headers:
                text = "Server failed to authenticate the request. Please refer to the information in the www-authenticate header."  # fmt: skip # noqa: E501
                raise BlobError(401, "NoAuthenticationInformation", text, challenge) from e
            text = f"Server failed to authenticate the request. {e.message}"
            raise BlobError(401, "InvalidAuthenticationInfo", text, challenge) from e

    def _carry_out(self, account: Document, asked: BlobRequest, host: str) -> Response:
        of_container = bool(asked.container) and not asked.blob and "comp" not in asked.query
        if asked.query.get("comp") == "acl" or asked.headers.get("x-ms-blob-public-access"):
            text = "Public access is not permitted on this storage account."
            raise BlobError(409, "PublicAccessNotPermitted", text)
        known = self._known(account, asked.container)
        if of_container and asked.method == "PUT":
            return self._make_container(account, asked, known)
        if not known:
            raise BlobError(404, "ContainerNotFound", "The specified container does not exist.")
        store = blobs.store(self._twin)
        for name in known:
            store.ensure(self._twin, account[blobs.SLOT], name)
        if copies.is_block_from_url(asked):
            return copies.block_from_url(self._twin, account, asked, self._require)
        answer = self._relay(account, asked, host)
        if of_container and asked.method == "DELETE" and answer.status_code < 300:
            self._twin.drop(blobs.container_id(account, asked.container))
        return answer

    def _known(self, account: Document, container: str) -> list[str]:
        """Returns the container if it exists; without a name, all containers of the account, or one empty name if it
        has none.
        """
        with self._twin.lock:
            if container:
                return [container] if self._twin.find(blobs.container_id(account, container)) else []
            return [each["name"] for each in self._twin.children(account["id"], blobs.CONTAINERS)] or [""]

    def _make_container(self, account: Document, asked: BlobRequest, known: list[str]) -> Response:
        if known:
            raise BlobError(409, "ContainerAlreadyExists", "The specified container already exists.")
        metadata = {name[10:]: value for name, value in asked.headers.items() if name.lower().startswith("x-ms-meta-")}
        body = {"properties": {"metadata": metadata} if metadata else {}}
        document = arm.put(self._twin, blobs.container_id(account, asked.container), body)
        response = Response(status=201)
        response.headers.update({"ETag": document["etag"], "x-ms-request-id": str(uuid.uuid4())})
        response.headers["Last-Modified"] = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
        return response

    def _relay(self, account: Document, asked: BlobRequest, host: str) -> Response:
        azurite = blobs.store(self._twin).azurite
        headers = {name.lower(): value for name, value in asked.headers.items() if name.lower() not in _NOT_FORWARDED}
        headers |= {"content-length": str(asked.length)} if asked.length is not None else {}
        if source := asked.headers.get("x-ms-copy-source"):
            headers["x-ms-copy-source"] = self._source(account, asked, source, host)
        slot = account[blobs.SLOT]
        connection, found = azurite.request(slot, asked.method, asked.path, asked.query, headers, asked.body)
        response = Response(status=found.status)
        response.headers.clear()
        for name, value in found.headers.items():
            if name.lower() not in _NOT_RETURNED:
                response.headers.add(name, value)
        if asked.method == "HEAD" or found.length == 0 or found.status in (204, 304):
            found.close()
            connection.close()
        elif "xml" in found.headers.get("Content-Type", "") and not (asked.blob and found.status < 300):
            text = found.read().replace(azurite.endpoint(slot).encode(), f"https://{host}".encode())
            connection.close()
            response.headers.pop("Content-Length", None)
            response.set_data(text)
        else:
            response.response = RelayedAnswer(connection, found)
        return response

    def _source(self, account: Document, asked: BlobRequest, source: str, host: str) -> str:
        """Returns the URL from which Azurite reads a copy's source."""
        parts = urlsplit(source)
        place = f"{parts.netloc}{parts.path}"
        container, _, blob = unquote(place.removeprefix(f"{host}/")).partition("/")
        if not place.startswith(f"{host}/") or not blob:
            text = "The specified copy source can't be read: on this twin it must be a blob of the same account."
            raise BlobError(404, "CannotVerifyCopySource", text)
        reading = BlobRequest("GET", container, blob, dict(pairs(parts.query)), asked.headers, None, None)
        self._require(account, reading)
        for name in self._known(account, container):
            blobs.store(self._twin).ensure(self._twin, account[blobs.SLOT], name)
        return blobs.store(self._twin).azurite.url(account[blobs.SLOT], f"{container}/{blob}")


class BlobsByPath:
    """The blobs of all accounts at one address, <address>/<account>/<container>/<blob>, for clients that don't use
    accounts' own hosts.
    """

    def __init__(self, twin: TenantTwin, prefix: str) -> None:
        self._twin = twin
        self._prefix = prefix

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        account, _, rest = environ["PATH_INFO"].removeprefix(self._prefix).partition("/")
        changed = {"SCRIPT_NAME": f"{self._prefix}{account}", "PATH_INFO": f"/{rest}"}
        return BlobApp(self._twin, account)({**environ, **changed}, start_response)


def refusal(error: BlobError) -> Response:
    """Returns a refusal as HTTP: XML, with the code in a header."""
    request_id = str(uuid.uuid4())
    stamp = datetime.fromtimestamp(time.time(), UTC).isoformat().replace("+00:00", "0Z")
    message = escape(f"{error.message}\nRequestId:{request_id}\nTime:{stamp}")
    text = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{error.code}</Code><Message>{message}</Message></Error>'
    headers = {"x-ms-error-code": error.code, "x-ms-request-id": request_id, "x-ms-version": "2025-05-05"}
    return Response(text, error.status, {**headers, **error.headers}, content_type="application/xml")


def _asked(request: Request) -> BlobRequest:
    body = pieces_of(request) if request.method in ("PUT", "POST") else None
    length = request.content_length or 0 if body is not None else None
    query = request.query_string.decode()
    path = request.environ["PATH_INFO"].encode("latin-1").decode()
    container, _, blob = path.lstrip("/").partition("/")
    return BlobRequest(request.method, container, blob, dict(pairs(query)), request.headers, body, length)


def _check_name(asked: BlobRequest) -> None:
    """Refuses names that Azurite stores but can't list, and container operations on a path that names a blob.

    https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata

    Raises:
        BlobError: 400.
    """
    if any(ord(letter) < 0x20 or letter == "\x7f" for letter in asked.path):
        raise BlobError(400, "InvalidResourceName", "The specified resource name contains invalid characters.")
    if asked.blob and "restype" in asked.query:
        text = "Value for one of the query parameters specified in the request URI is invalid."
        raise BlobError(400, "InvalidQueryParameterValue", text)


def _check_key(account: Document, asked: BlobRequest) -> None:
    """Refuses authorization by an account key or its signatures, which count as shared keys, and by user delegation
    signatures (skoid), which the twin does not evaluate.

    https://learn.microsoft.com/azure/storage/common/shared-key-authorization-prevent

    Raises:
        BlobError: 403.
    """
    if "skoid" in asked.query:
        # the twin's own
        raise BlobError(403, "AuthenticationFailed", "This twin of Azure takes no delegated signatures: use a token.")
    if "sig" not in asked.query and not asked.headers.get("Authorization", "").startswith("SharedKey"):
        return
    if account["properties"].get("allowSharedKeyAccess") is False:
        text = "Key based authentication is not permitted on this storage account."
        raise BlobError(403, "KeyBasedAuthenticationNotPermitted", text)
    raise BlobError(403, "AuthenticationFailed", "This twin of Azure takes no account keys: use a token.")
