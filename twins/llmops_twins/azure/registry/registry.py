"""Contents of the twin's container registries, and the names under which this machine's Docker pulls from them."""

import json
import re
import time
from dataclasses import dataclass
from typing import Any

from llmops_twins.azure.protocol.calls import Document
from llmops_twins.azure.twin import TenantTwin
from llmops_twins.core.registry import pull_names as registry

REGISTRIES = "Microsoft.ContainerRegistry/registries"
PULL_HOST = "127.0.0.1"
"""Requests to this host need no login, and can only read names in `Found.pull_name`."""
_IMAGE = re.compile(r"(?P<host>[^/]+)/(?P<name>[^:@]+)(?::(?P<tag>[\w.-]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?$")
_MEDIA_TYPES = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
)


@dataclass(frozen=True)
class Found:
    """An image in a registry of the twin. `registry` is the registry's id; `pull_name` is HOST:PORT/NAME for pulls of
    the platform, which need no login, because only the twin can compute the name.
    """

    registry: str
    pull_name: str
    digest: str


def resolve(twin: TenantTwin, image: str) -> Found | None:
    """Returns the image of a reference (localhost:PORT/NAME:TAG, or @DIGEST); None if no registry of the twin has
    it.
    """
    match = _IMAGE.match(image)
    if not match:
        return None
    with twin.lock:
        document = by_login_server(twin, match["host"])
        if document is None:
            return None
        digest = digest_of(twin, document["name"], match["name"], match["digest"] or match["tag"] or "latest")
    if not digest:
        return None
    port = match["host"].rpartition(":")[2]
    name = registry.pull_name(twin, document["name"].lower(), match["name"])
    return Found(document["id"], f"{PULL_HOST}:{port}/{name}", digest)


def by_login_server(twin: TenantTwin, host: str) -> Document | None:
    """Returns the registry whose login server a client asked; None if no registry has it."""
    for document in twin.resources.values():
        if document["type"] == REGISTRIES and document["properties"].get("loginServer") == host.lower():
            return document
    return None


def named(twin: TenantTwin, name: str) -> Document | None:
    """Returns a registry by its name, which is unique."""
    for document in twin.resources.values():
        if document["type"] == REGISTRIES and document["name"].lower() == name.lower():
            return document
    return None


def repositories(twin: TenantTwin, name: str) -> dict[str, Any]:
    """Returns a registry's repositories by name: `manifests` (mediaType, size and time by digest) and `tags` (digests
    by tag).
    """
    return twin.state.setdefault("registries", {}).setdefault(name.lower(), {})


def digest_of(twin: TenantTwin, name: str, repository: str, reference: str) -> str:
    """Returns the digest of an image by its tag or digest; empty if it does not exist."""
    found = repositories(twin, name).get(repository)
    if not found:
        return ""
    digest = found["tags"].get(reference, reference)
    return digest if digest in found["manifests"] else ""


def put(twin: TenantTwin, name: str, repository: str, manifest: str, media_type: str, digest: str, tag: str) -> bool:
    """Adds an image, and moves a tag to it. Returns False for a kind of image that registries don't accept."""
    content = json.loads(manifest)
    media_type = media_type or content.get("mediaType", "")
    if media_type not in _MEDIA_TYPES:
        return False
    size = sum(part.get("size", 0) for part in [content.get("config", {}), *content.get("layers", [])])
    found = repositories(twin, name).setdefault(repository, {"manifests": {}, "tags": {}})
    found["manifests"].setdefault(digest, {"mediaType": media_type, "size": size, "created": time.time()})
    if tag:
        found["tags"][tag] = digest
    twin.changed()
    return True


def delete(twin: TenantTwin, name: str, repository: str, digest: str) -> None:
    """Deletes an image and its tags; a repository without images disappears."""
    found = repositories(twin, name)[repository]
    found["manifests"].pop(digest, None)
    found["tags"] = {tag: each for tag, each in found["tags"].items() if each != digest}
    if not found["manifests"]:
        del repositories(twin, name)[repository]
    twin.changed()


def forget(twin: TenantTwin, name: str) -> list[str]:
    """Drops a registry's contents, and returns the names of its repositories."""
    found = twin.state.setdefault("registries", {}).pop(name.lower(), {})
    twin.changed()
    return list(found)
