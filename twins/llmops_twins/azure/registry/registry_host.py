"""A container registry's host: challenge, tokens for the caller's roles, and the storage that all twins' registries
use.

https://learn.microsoft.com/azure/container-registry/container-registry-authentication
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from werkzeug.wrappers import Request, Response

from llmops_kit.core.errors import KitError
from llmops_twins.azure.protocol.calls import Document
from llmops_twins.azure.registry import registry, tokens
from llmops_twins.azure.twin import TenantTwin
from llmops_twins.core.registry import pull_names as common
from llmops_twins.core.registry import registry_api
from llmops_twins.core.registry.registry_api import PULLS, Asked, RegistryError
from llmops_twins.core.registry.registry_storage import Storage

_NEEDS = {
    "read manifest": "pull",
    "find layer": "pull",
    "read layer": "pull",
    "list tags": "metadata_read",
    "delete manifest": "delete",
}


class RegistryApp:
    """The WSGI application of one registry, by its name."""

    def __init__(self, twin: TenantTwin, name: str, storage: Storage) -> None:
        self._twin = twin
        self._name = name
        self._front = registry_api.RegistryFront(_Acr(twin, name, storage), storage)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        if request.path.startswith("/oauth2/"):
            return self._token(request)(environ, start_response)
        return self._front(environ, start_response)

    def _token(self, request: Request) -> Response:
        route = request.method, request.path
        try:
            document = _document(self._twin, self._name)
            if route == ("POST", "/oauth2/exchange"):
                reply = tokens.exchange(self._twin, document, request)
            elif request.path == "/oauth2/token" and request.method in ("GET", "POST"):
                reply = tokens.token(self._twin, document, request)
            else:
                raise registry_api.unsupported()
        except RegistryError as e:
            return registry_api.refusal(e)
        return Response(json.dumps(reply.body), reply.status, content_type="application/json; charset=utf-8")


@dataclass(frozen=True)
class _AcrRepository:
    twin: TenantTwin
    registry: str
    name: str
    storage: Storage

    @property
    def stored(self) -> str:
        """The name in the storage, which all registries share."""
        return f"{self.registry.lower()}/{self.name}"

    def tags(self) -> list[str]:
        with self.twin.lock:
            found = registry.repositories(self.twin, self.registry).get(self.name)
        if found is None:
            raise RegistryError("NAME_UNKNOWN", "repository name not known to registry", 404)
        return sorted(found["tags"])

    def digest(self, reference: str) -> str:
        with self.twin.lock:
            found = registry.digest_of(self.twin, self.registry, self.name, reference)
        if not found:
            raise RegistryError("MANIFEST_UNKNOWN", f"manifest tagged by {reference!r} is not found", 404)
        return found

    def check_tag(self, tag: str) -> None:
        """Allows every tag to be moved."""

    def put(self, manifest: str, media_type: str, tag: str) -> None:
        digest = f"sha256:{hashlib.sha256(manifest.encode()).hexdigest()}"
        with self.twin.lock:
            if not registry.put(self.twin, self.registry, self.name, manifest, media_type, digest, tag):
                raise RegistryError("MANIFEST_INVALID", f"media type {media_type!r} is not supported", 400)

    def delete(self, reference: str) -> None:
        digest = self.digest(reference)
        with self.twin.lock:
            registry.delete(self.twin, self.registry, self.name, digest)
        try:
            self.storage.delete(self.stored, digest)
        except (KitError, OSError) as e:  # clients no longer see the image; its layers stay on disk
            raise RegistryError("UNKNOWN", f"the registry's files stay: {e}", 500) from e


class _Acr:
    """Azure's decisions about a registry request."""

    def __init__(self, twin: TenantTwin, name: str, storage: Storage) -> None:
        self._twin = twin
        self._name = name
        self._storage = storage

    def greet(self, request: Request) -> None:
        if _by_platform(request) and request.path == "/v2/":
            return
        document = _document(self._twin, self._name)
        if not tokens.access_of(self._twin, document, request.headers.get("Authorization", "")):
            raise _challenge(document, "")

    def open(self, request: Request, asked: Asked) -> _AcrRepository:
        if _by_platform(request) and asked.operation in PULLS:
            place = common.pulled(self._twin, asked.name)
            if place and place[0] == self._name.lower():
                return _AcrRepository(self._twin, self._name, place[1], self._storage)
        document = _document(self._twin, self._name)
        needed = _NEEDS.get(asked.operation, "push")
        access = tokens.access_of(self._twin, document, request.headers.get("Authorization", ""))
        scope = f"repository:{asked.name}:{'pull,push' if needed == 'push' else needed}"
        if access is None or asked.name not in access.actions:
            raise _challenge(document, scope)
        if needed not in access.actions[asked.name]:
            raise _challenge(document, scope, denied=True)
        return _AcrRepository(self._twin, self._name, asked.name, self._storage)


def _document(twin: TenantTwin, name: str) -> Document:
    with twin.lock:
        found = registry.named(twin, name)
    if found is None:
        raise RegistryError("NAME_UNKNOWN", f"there is no registry {name}", 404)
    return found


def _challenge(document: Document, scope: str, *, denied: bool = False) -> RegistryError:
    """Returns the error that tells clients where to get a token; with `denied`, one with more than the roles have
    allowed.
    """
    server = document["properties"]["loginServer"]
    parts = [f'realm="http://{server}/oauth2/token"', f'service="{server}"']
    parts += [f'scope="{scope}"'] if scope else []
    parts += ['error="insufficient_scope"'] if denied else []
    message = "authentication required, visit https://aka.ms/acr/authorization for more information."
    code = "DENIED" if denied else "UNAUTHORIZED"
    message = "requested access to the resource is denied" if denied else message
    return RegistryError(code, message, 401, f"Bearer {','.join(parts)}")


def _by_platform(request: Request) -> bool:
    return request.host.partition(":")[0] == registry.PULL_HOST
