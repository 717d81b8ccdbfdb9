"""The registry's HTTP API on the twin's own port, as ECR has it: a login, permissions, and tags that may be immutable.

https://docs.aws.amazon.com/AmazonECR/latest/userguide/common-errors-docker.html for the words;
https://distribution.github.io/distribution/spec/api/ for the rest.
"""

import hashlib
import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Any

from werkzeug.wrappers import Request, Response

from contract.errors import KitError
from hosting.files import UnixConnection
from twins.aws import faults, registry
from twins.aws.calls import ApiError, Call
from twins.aws.registry import Holder
from twins.aws.registry_storage import Storage
from twins.aws.services import ecr_images
from twins.aws.twin import Twin

log = logging.getLogger("twins.aws.registry")
_PATH = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs|tags)/(?P<rest>.*)$")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}$")
_MOST_MANIFEST_BYTES = 4 << 20
_PIECE = 1 << 18
# What ECR asks a caller's policies for, by what is called; the reference of a manifest or blob is `ITEM`.
_OPERATIONS = {
    ("GET", "manifests", "ITEM"): "BatchGetImage",
    ("HEAD", "manifests", "ITEM"): "BatchGetImage",
    ("PUT", "manifests", "ITEM"): "PutImage",
    ("GET", "tags", "list"): "ListImages",
    ("HEAD", "blobs", "ITEM"): "BatchCheckLayerAvailability",
    ("GET", "blobs", "ITEM"): "GetDownloadUrlForLayer",
    ("POST", "blobs", "uploads/"): "InitiateLayerUpload",
    ("PATCH", "blobs", "uploads/ITEM"): "UploadLayerPart",
    ("GET", "blobs", "uploads/ITEM"): "UploadLayerPart",
    ("PUT", "blobs", "uploads/ITEM"): "CompleteLayerUpload",
}
_PULLS = ("BatchGetImage", "BatchCheckLayerAvailability", "GetDownloadUrlForLayer")
_PASSED_ON = ("Content-Type", "Content-Range", "Range", "Accept", "If-None-Match")
_PASSED_BACK = (
    "Content-Type",
    "Content-Length",
    "Content-Range",
    "Accept-Ranges",
    "Docker-Content-Digest",
    "Docker-Upload-UUID",
    "Etag",
    "Range",
)
# ECR's codes of its API's errors as the registry's API has them.
_CODES = {
    "RepositoryNotFoundException": ("NAME_UNKNOWN", 404),
    "ImageNotFoundException": ("MANIFEST_UNKNOWN", 404),
    "ImageTagAlreadyExistsException": ("TAG_INVALID", 400),
    "InvalidParameterException": ("MANIFEST_INVALID", 400),
    "ThrottlingException": ("TOOMANYREQUESTS", 429),
    "InternalFailure": ("UNKNOWN", 500),
}


@dataclass(frozen=True)
class _Asked:
    """A request for something of a repository; `holder` is None when the platform pulls."""

    operation: str
    repository: str
    region: str
    kind: str
    item: str
    holder: Holder | None

    @property
    def stored(self) -> str:
        """The repository's name in the storage, which knows no regions."""
        return f"{self.region}/{self.repository}"


class Registry:
    """The WSGI application at `/v2/`. Layers are handed through as they come, in both directions."""

    def __init__(self, twin: Twin, storage: Storage) -> None:
        self._twin = twin
        self._storage = storage

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        try:
            response = self._respond(request)
        except ApiError as e:
            code, status = _CODES.get(e.code, ("DENIED", 403))
            response = _refusal(code, e.message, status)
        except KitError as e:
            response = _refusal("UNAVAILABLE", f"{e.what}. {e.fix}", 400)  # Docker shows the words of 4xx alone
        except (OSError, HTTPException) as e:
            log.exception("%s %s failed", request.method, request.path)
            response = _refusal("UNKNOWN", f"The twin's registry failed: {e}", 400)
        response.headers["Docker-Distribution-Api-Version"] = "registry/2.0"
        return response(environ, start_response)

    def _respond(self, request: Request) -> Response:
        by_platform = request.host.partition(":")[0] == registry.PULL_HOST
        if request.path == "/v2/" and by_platform:
            return Response("{}", content_type="application/json")
        if found := _PATH.match(request.path):
            asked = self._asked(request, found, by_platform)
            if isinstance(asked, Response):
                return asked
            self._require_permission(asked)
            return self._carry_out(request, asked)
        holder = self._holder(request)
        if isinstance(holder, Response):
            return holder
        if request.path == "/v2/":
            return Response("{}", content_type="application/json")
        return _refusal("UNSUPPORTED", "The operation is unsupported.", 405)

    def _holder(self, request: Request) -> Holder | Response:
        try:
            holder = registry.holder(self._twin, request.headers.get("Authorization", ""))
        except TimeoutError:
            text = "Your authorization token has expired. Reauthenticate and try again."
            return _refusal("DENIED", text, 403)
        if holder:
            return holder
        url = self._twin.describe()["url"]
        refusal = _refusal("UNAUTHORIZED", f"Not Authorized: log in to {url} by the token of ECR", 401)
        refusal.headers["WWW-Authenticate"] = f'Basic realm="{url}/",service="ecr.amazonaws.com"'
        return refusal

    def _asked(self, request: Request, found: re.Match[str], by_platform: bool) -> _Asked | Response:
        kind, rest = found["kind"], found["rest"]
        uploads = "uploads/" if kind == "blobs" and rest.startswith("uploads/") else ""
        shape = "list" if kind == "tags" else uploads + ("ITEM" if rest != uploads else "")
        operation = _OPERATIONS.get((request.method, kind, shape))
        if not operation or (kind == "tags" and rest != "list"):
            return _refusal("UNSUPPORTED", "The operation is unsupported.", 405)
        place = registry.pulled(self._twin, found["name"]) if by_platform and operation in _PULLS else None
        if place:
            return _Asked(operation, place[1], place[0], kind, rest, None)
        holder = self._holder(request)
        if isinstance(holder, Response):
            return holder
        return _Asked(operation, found["name"], holder.region, kind, rest, holder)

    def _require_permission(self, asked: _Asked) -> None:
        """As for a call of ECR's own API; the twin's lock is held no longer than that takes."""
        slower = 0.0
        with self._twin.lock:
            if who := asked.holder:
                parameters = {"repositoryName": asked.repository}
                call = Call("ecr", asked.operation, parameters, who.access_key, who.region, who.principal)
                slower = faults.delay(self._twin, call)
                faults.meet(self._twin, call, list)
                for judge in self._twin.judges:
                    judge(call)
            ecr_images.repository(self._twin, asked.region, asked.repository)
        time.sleep(slower)

    def _carry_out(self, request: Request, asked: _Asked) -> Response:
        if asked.operation == "PutImage":
            return self._put_manifest(request, asked)
        if asked.operation == "ListImages":
            with self._twin.lock:
                tags = ecr_images.tags(self._twin, asked.region, asked.repository)
            text = json.dumps({"name": asked.repository, "tags": tags})
            return Response(text, content_type="application/json")
        if asked.kind == "manifests":
            with self._twin.lock:
                digest = ecr_images.digest(self._twin, asked.region, asked.repository, asked.item)
            return self._hand_on(request, asked, f"manifests/{digest}")
        query = request.query_string.decode()
        if asked.operation == "InitiateLayerUpload":
            query = ""  # a layer of another repository is uploaded again, as ECR has it
        return self._hand_on(request, asked, f"blobs/{asked.item}{f'?{query}' if query else ''}")

    def _put_manifest(self, request: Request, asked: _Asked) -> Response:
        body = request.input_stream.read(_MOST_MANIFEST_BYTES + 1)
        if len(body) > _MOST_MANIFEST_BYTES:
            return _refusal("MANIFEST_INVALID", "The manifest has more than 4 MiB.", 413)
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        tag = "" if _DIGEST.match(asked.item) else asked.item
        if not tag and asked.item != digest:
            return _refusal("DIGEST_INVALID", "The digest is not the manifest's.", 400)
        media_type = request.content_type or ""
        with self._twin.lock:
            ecr_images.require_free(self._twin, asked.region, asked.repository, tag)
        answer = self._hand_on(request, asked, f"manifests/{digest}", body)
        if answer.status_code >= 300:
            return answer
        with self._twin.lock:
            ecr_images.require_free(
                self._twin, asked.region, asked.repository, tag
            )  # someone else may have been faster
            ecr_images.put(self._twin, asked.region, asked.repository, body.decode(), media_type, tag)
        return answer

    def _hand_on(self, request: Request, asked: _Asked, path: str, body: bytes | None = None) -> Response:
        """Let the storage answer, body and answer in pieces; `body` is what was read of the request already."""
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        pieces: Any = body
        if body is None and request.method in ("POST", "PATCH", "PUT"):
            pieces = _pieces(request)
            if request.content_length is not None:
                headers["Content-Length"] = str(request.content_length)
        connection = self._storage.connect()
        try:
            chunked = body is None and pieces is not None and "Content-Length" not in headers
            if chunked:
                headers["Transfer-Encoding"] = "chunked"
            connection.request(request.method, f"/v2/{asked.stored}/{path}", pieces, headers, encode_chunked=chunked)
            found = connection.getresponse()
        except BaseException:
            connection.close()
            raise
        return self._passed_back(request, asked, connection, found)

    def _passed_back(
        self, request: Request, asked: _Asked, connection: UnixConnection, found: HTTPResponse
    ) -> Response:
        response = Response(status=found.status)
        response.headers.clear()
        for name in _PASSED_BACK:
            if value := found.headers.get(name):
                response.headers[name] = value
        if location := found.headers.get("Location"):
            name = request.path.removeprefix("/v2/").partition(f"/{asked.kind}/")[0]
            response.headers["Location"] = location.replace(f"/v2/{asked.stored}/", f"/v2/{name}/", 1)
        if request.method == "HEAD" or found.length == 0:  # nobody asks such an answer for its end
            found.close()
            connection.close()
        else:
            response.response = _Answer(connection, found)
        return response


class _Answer:
    """What the storage answers, piece by piece; its connection is closed at the end, or when the client has gone."""

    def __init__(self, connection: UnixConnection, found: HTTPResponse) -> None:
        self._connection = connection
        self._found = found

    def __iter__(self) -> Iterator[bytes]:
        while piece := self._found.read(_PIECE):
            yield piece

    def close(self) -> None:
        self._found.close()
        self._connection.close()


def _pieces(request: Request) -> Iterator[bytes]:
    while piece := request.input_stream.read(_PIECE):
        yield piece


def _refusal(code: str, message: str, status: int) -> Response:
    text = json.dumps({"errors": [{"code": code, "message": message}]})
    return Response(text, status, content_type="application/json")
