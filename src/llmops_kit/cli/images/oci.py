"""Attaches a document to an image in a registry, so that it can be found by the image's digest.

The document is an artifact whose manifest has the image as its `subject`. Registries with the referrers API list it by
themselves, such as ECR and Azure Container Registry; for others the list is kept under the tag `sha256-<digest>`, as
specified:
https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#referrers-tag-schema
"""

import base64
import hashlib
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException
from typing import Any

from llmops_kit.cli.interfaces.docker_push import Login
from llmops_kit.core.errors import KitError
from llmops_kit.core.twins import is_loopback

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_EMPTY = "application/vnd.oci.empty.v1+json"
_KINDS = (
    _MANIFEST,
    _INDEX,
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_SECONDS = 60
_MAX_BYTES = 64 << 20

Document = dict[str, Any]


class Repository:
    """A repository of a registry, as Docker's client reaches it."""

    def __init__(self, login: Login, name: str) -> None:
        scheme = "http" if is_loopback(f"//{login.host}") else "https"  # Docker uses plain HTTP only there
        self._base, self._name, self._login = f"{scheme}://{login.host}", name, login
        self._authorization = _basic(login)

    def attached(self, digest: str, media_type: str) -> list[str]:
        """Returns the digests of the artifacts of a kind that are attached to an image.

        Raises:
            KitError: the registry refuses, or does not answer.
        """
        kind = urllib.parse.quote(media_type, safe="")
        status, _, body = self._ask("GET", f"referrers/{digest}?artifactType={kind}")
        if status != 200:
            body = self._list(digest)
        listed = json.loads(body or b"{}").get("manifests", [])
        return [entry["digest"] for entry in listed if entry.get("artifactType") == media_type]

    def attach(self, digest: str, media_type: str, content: bytes) -> str:
        """Attaches a document to the image of a digest; returns the digest of the artifact.

        Raises:
            KitError: the registry refuses, or does not answer.
        """
        status, headers, image = self._ask("GET", f"manifests/{digest}", accept=_KINDS)
        self._require(status, {200}, f"manifests/{digest}", image)
        subject = {"mediaType": headers["Content-Type"], "digest": digest, "size": len(image)}
        layer = {"mediaType": media_type, "digest": self._upload(content), "size": len(content)}
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "artifactType": media_type,
            "config": {"mediaType": _EMPTY, "digest": self._upload(b"{}"), "size": 2},
            "layers": [layer],
            "subject": subject,
        }
        body = json.dumps(manifest).encode()
        artifact, answered = self._put(_sha256(body), _MANIFEST, body)
        if answered.get("OCI-Subject") != digest:
            entry = {"mediaType": _MANIFEST, "digest": artifact, "size": len(body), "artifactType": media_type}
            self._add_to_list(digest, entry)
        return artifact

    def _add_to_list(self, digest: str, entry: Document) -> None:
        found = json.loads(self._list(digest) or b"{}")
        entries = [e for e in found.get("manifests", []) if e["digest"] != entry["digest"]]
        index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [*entries, entry]}
        self._put(digest.replace(":", "-"), _INDEX, json.dumps(index).encode())

    def _list(self, digest: str) -> bytes:
        """Returns the list of a registry without the referrers API; empty if there is none."""
        place = f"manifests/{digest.replace(':', '-')}"
        status, _, body = self._ask("GET", place, accept=(_INDEX,))
        self._require(status, {200, 404}, place, body)
        return body if status == 200 else b""

    def _upload(self, content: bytes) -> str:
        digest = _sha256(content)
        if self._ask("HEAD", f"blobs/{digest}")[0] == 200:
            return digest
        status, headers, body = self._ask("POST", "blobs/uploads/", b"")
        self._require(status, {202}, "blobs/uploads/", body)
        place = urllib.parse.urljoin(f"{self._base}/v2/{self._name}/blobs/uploads/", headers["Location"])
        place += f"{'&' if '?' in place else '?'}digest={urllib.parse.quote(digest)}"
        status, _, body = self._ask("PUT", place, content, kind="application/octet-stream")
        self._require(status, {201}, f"blobs/{digest}", body)
        return digest

    def _put(self, reference: str, media_type: str, body: bytes) -> tuple[str, Any]:
        status, headers, answer = self._ask("PUT", f"manifests/{reference}", body, kind=media_type)
        self._require(status, {201}, f"manifests/{reference}", answer)
        return _sha256(body), headers

    def _ask(
        self, method: str, path: str, body: bytes | None = None, *, kind: str = "", accept: tuple[str, ...] = ()
    ) -> tuple[int, Any, bytes]:
        """Sends a request; returns status, headers and body. Retries it with the token that the registry requires, if
        any.
        """
        url = path if path.startswith("http") else f"{self._base}/v2/{self._name}/{path}"
        status, headers, text = self._ask_once(method, url, body, kind, accept)
        challenge = str(headers.get("WWW-Authenticate", ""))
        if status == 401 and challenge.lower().startswith("bearer"):
            self._authorization = self._token(challenge)
            return self._ask_once(method, url, body, kind, accept)
        return status, headers, text

    def _ask_once(
        self, method: str, url: str, body: bytes | None, kind: str, accept: tuple[str, ...]
    ) -> tuple[int, Any, bytes]:
        headers = {"Authorization": self._authorization} if url.startswith(f"{self._base}/") else {}
        headers |= {"Content-Type": kind} if kind else {}
        headers |= {"Accept": ", ".join(accept)} if accept else {}
        return self._send(urllib.request.Request(url, body, headers, method=method))

    def _token(self, challenge: str) -> str:
        asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        scope = f"repository:{self._name}:pull,push"
        query = urllib.parse.urlencode({"service": asked.get("service", ""), "scope": scope})
        request = urllib.request.Request(f"{asked['realm']}?{query}", headers={"Authorization": _basic(self._login)})
        status, _, body = self._send(request)
        self._require(status, {200}, asked["realm"], body)
        document = json.loads(body)
        return f"Bearer {document.get('access_token') or document['token']}"

    def _send(self, request: urllib.request.Request) -> tuple[int, Any, bytes]:
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
                return answer.status, answer.headers, answer.read(_MAX_BYTES)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read(_MAX_BYTES)
        except (OSError, HTTPException) as error:
            raise KitError(
                f"the registry can't be reached: {error}",
                where=self._base,
                fix="check the network, then rerun the command",
            ) from error

    def _require(self, status: int, wanted: set[int], place: str, body: bytes) -> None:
        if status not in wanted:
            words = body.decode(errors="replace")[:300]
            raise KitError(
                f"the registry answered {status}: {words}"
                if words.isprintable()
                else f"the registry answered {status}",
                where=f"{self._login.host}/{self._name}/{place}",
                fix="`llmops plan --policy` prints the deployer's permissions",
            )


def _basic(login: Login) -> str:
    return "Basic " + base64.b64encode(f"{login.user}:{login.password}".encode()).decode()


def _sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
