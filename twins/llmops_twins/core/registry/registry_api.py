"""The registry's HTTP API in front of the storage: a cloud registry's refusals, and layers streamed in pieces.

https://distribution.github.io/distribution/spec/api/
"""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Any, Protocol

from werkzeug.wrappers import Request, Response

from llmops_kit.core.errors import KitError
from llmops_kit.local_runtime.files import UnixConnection
from llmops_twins.core.registry.registry_storage import Storage
from llmops_twins.core.relay import RelayedAnswer, pieces_of

log = logging.getLogger("twins.registry")
_PATH = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs|tags)/(?P<rest>.*)$")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}$")
_MAX_MANIFEST_BYTES = 4 << 20
# Operation by method, kind and path; `ITEM` stands for a tag, a digest or the id of an upload.
_OPERATIONS = {
    ("GET", "manifests", "ITEM"): "read manifest",
    ("HEAD", "manifests", "ITEM"): "read manifest",
    ("PUT", "manifests", "ITEM"): "write manifest",
    ("DELETE", "manifests", "ITEM"): "delete manifest",
    ("GET", "tags", "list"): "list tags",
    ("HEAD", "blobs", "ITEM"): "find layer",
    ("GET", "blobs", "ITEM"): "read layer",
    ("POST", "blobs", "uploads/"): "begin layer",
    ("PATCH", "blobs", "uploads/ITEM"): "write layer",
    ("GET", "blobs", "uploads/ITEM"): "write layer",
    ("PUT", "blobs", "uploads/ITEM"): "end layer",
}
PULLS = ("read manifest", "find layer", "read layer")
"""The operations that a pull consists of."""
_FORWARDED_HEADERS = ("Content-Type", "Content-Range", "Range", "Accept", "If-None-Match")
_RETURNED_HEADERS = (
    "Content-Type",
    "Content-Length",
    "Content-Range",
    "Accept-Ranges",
    "Docker-Content-Digest",
    "Docker-Upload-UUID",
    "Etag",
    "Range",
)


class RegistryError(Exception):
    """A refusal in the registry's own form."""

    def __init__(self, code: str, message: str, status: int, challenge: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.challenge = challenge


@dataclass(frozen=True)
class Asked:
    """A request to a repository. `name` is the repository's name in the path; `kind` is manifests, blobs or tags;
    `item` is a reference, a digest or the id of an upload.
    """

    operation: str
    name: str
    kind: str
    item: str


class RegistryRepository(Protocol):
    """A repository, opened for a caller with the required permission. `stored` is its name in the storage. All methods
    may raise RegistryError.
    """

    @property
    def stored(self) -> str: ...

    def tags(self) -> list[str]:
        """Returns all tags, sorted."""
        ...

    def digest(self, reference: str) -> str:
        """Returns the digest of an image by its tag or digest."""
        ...

    def check_tag(self, tag: str) -> None:
        """Refuses a tag that must not be moved; "" stands for no tag."""
        ...

    def put(self, manifest: str, media_type: str, tag: str) -> None:
        """Adds an image whose manifest and layers the storage has."""
        ...

    def delete(self, reference: str) -> None:
        """Deletes an image, or a tag."""
        ...


class RegistryCloud(Protocol):
    """The cloud's decisions: authentication and repositories."""

    def greet(self, request: Request) -> None:
        """Authenticates a request to the API's root.

        Raises:
            RegistryError: the login is missing or invalid; with a challenge.
        """
        ...

    def open(self, request: Request, asked: Asked) -> RegistryRepository:
        """Returns the repository for the caller.

        Raises:
            RegistryError: the caller lacks permission, or the repository does not exist.
        """
        ...


class RegistryFront:
    """The WSGI application at `/v2/`. Layers are streamed in both directions."""

    def __init__(self, cloud: RegistryCloud, storage: Storage) -> None:
        self._cloud = cloud
        self._storage = storage

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        try:
            response = self._respond(request)
        except RegistryError as e:
            response = refusal(e)
        except KitError as e:  # Docker shows the message only if the status is 4xx
            response = refusal(RegistryError("UNAVAILABLE", f"{e.what}. {e.fix}", 400))
        except (OSError, HTTPException) as e:
            log.exception("%s %s failed", request.method, request.path)
            response = refusal(RegistryError("UNKNOWN", f"The twin's registry failed: {e}", 400))
        response.headers["Docker-Distribution-Api-Version"] = "registry/2.0"
        return response(environ, start_response)

    def _respond(self, request: Request) -> Response:
        if found := _PATH.match(request.path):
            asked = _parsed(request, found)
            return self._carry_out(request, asked, self._cloud.open(request, asked))
        self._cloud.greet(request)
        if request.path == "/v2/":
            return Response("{}", content_type="application/json")
        raise unsupported()

    def _carry_out(self, request: Request, asked: Asked, repository: RegistryRepository) -> Response:
        if asked.operation == "write manifest":
            return self._put_manifest(request, asked, repository)
        if asked.operation == "list tags":
            text = json.dumps({"name": asked.name, "tags": repository.tags()})
            return Response(text, content_type="application/json")
        if asked.operation == "delete manifest":
            repository.delete(asked.item)
            return Response(status=202)
        if asked.kind == "manifests":
            return self._forward(request, asked, repository, f"manifests/{repository.digest(asked.item)}")
        # Without `mount` and `from`: the caller's permission on the other repository was not checked, so the layer is
        # uploaded again.
        query = "" if asked.operation == "begin layer" else request.query_string.decode()
        return self._forward(request, asked, repository, f"blobs/{asked.item}{f'?{query}' if query else ''}")

    def _put_manifest(self, request: Request, asked: Asked, repository: RegistryRepository) -> Response:
        body = request.input_stream.read(_MAX_MANIFEST_BYTES + 1)
        if len(body) > _MAX_MANIFEST_BYTES:
            raise RegistryError("MANIFEST_INVALID", "The manifest has more than 4 MiB.", 413)
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        tag = "" if _DIGEST.match(asked.item) else asked.item
        if not tag and asked.item != digest:
            raise RegistryError("DIGEST_INVALID", "The digest is not the manifest's.", 400)
        repository.check_tag(tag)
        answer = self._forward(request, asked, repository, f"manifests/{digest}", body)
        if answer.status_code >= 300:
            return answer
        # Refuses an immutable tag that another push has taken since `check_tag`.
        repository.put(body.decode(), request.content_type or "", tag)
        return answer

    def _forward(
        self, request: Request, asked: Asked, repository: RegistryRepository, path: str, body: bytes | None = None
    ) -> Response:
        """Passes a request to the storage, streaming body and answer; `body` is the request's body if it was read
        already.
        """
        headers = {name: request.headers[name] for name in _FORWARDED_HEADERS if name in request.headers}
        pieces: Any = body
        if body is None and request.method in ("POST", "PATCH", "PUT"):
            pieces = pieces_of(request)
            if request.content_length is not None:
                headers["Content-Length"] = str(request.content_length)
        connection = self._storage.connect()
        try:
            chunked = body is None and pieces is not None and "Content-Length" not in headers
            if chunked:
                headers["Transfer-Encoding"] = "chunked"
            url = f"/v2/{repository.stored}/{path}"
            connection.request(request.method, url, pieces, headers, encode_chunked=chunked)
            found = connection.getresponse()
        except BaseException:
            connection.close()
            raise
        return _relayed(request, asked, repository.stored, connection, found)


def unsupported() -> RegistryError:
    return RegistryError("UNSUPPORTED", "The operation is unsupported.", 405)


def refusal(error: RegistryError) -> Response:
    text = json.dumps({"errors": [{"code": error.code, "message": error.message}]})
    response = Response(text, error.status, content_type="application/json")
    if error.challenge:
        response.headers["WWW-Authenticate"] = error.challenge
    return response


def _parsed(request: Request, found: re.Match[str]) -> Asked:
    kind, rest = found["kind"], found["rest"]
    uploads = "uploads/" if kind == "blobs" and rest.startswith("uploads/") else ""
    shape = "list" if kind == "tags" else uploads + ("ITEM" if rest != uploads else "")
    operation = _OPERATIONS.get((request.method, kind, shape))
    if not operation or (kind == "tags" and rest != "list"):
        raise unsupported()
    return Asked(operation, found["name"], kind, rest)


def _relayed(request: Request, asked: Asked, stored: str, connection: UnixConnection, found: HTTPResponse) -> Response:
    response = Response(status=found.status)
    response.headers.clear()
    for name in _RETURNED_HEADERS:
        if value := found.headers.get(name):
            response.headers[name] = value
    if location := found.headers.get("Location"):
        response.headers["Location"] = location.replace(f"/v2/{stored}/", f"/v2/{asked.name}/", 1)
    if request.method == "HEAD" or found.length == 0:  # no body is read to its end, which would close these
        found.close()
        connection.close()
    else:
        response.response = RelayedAnswer(connection, found)
    return response
