"""ECR's images of a repository: their tags, whether a tag may move, and newly pushed ones.

https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_PutImage.html
"""

import json
from datetime import UTC, datetime
from typing import Any

from llmops_twins.aws.calls import AwsApiError
from llmops_twins.aws.twin import AccountTwin

_MEDIA_TYPES = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
)


def repository(twin: AccountTwin, region: str, name: str) -> Any:
    """Returns moto's repository of a name.

    Raises:
        AwsApiError: RepositoryNotFoundException.
    """
    from moto.ecr.models import ecr_backends

    found = ecr_backends[twin.account][region].repositories.get(name)
    if found is None:
        text = f"The repository with name '{name}' does not exist in the registry with id '{twin.account}'"
        raise AwsApiError("RepositoryNotFoundException", text)
    return found


def tags(twin: AccountTwin, region: str, name: str) -> list[str]:
    """Returns all tags of a repository's images."""
    return sorted(tag for image in repository(twin, region, name).images for tag in image.image_tags)


def digests(twin: AccountTwin, region: str, name: str) -> set[str]:
    """Returns the digests of a repository's images."""
    return {image.get_image_digest() for image in repository(twin, region, name).images}


def digest(twin: AccountTwin, region: str, name: str, reference: str) -> str:
    """Returns the digest of an image by its tag or digest.

    Raises:
        AwsApiError: ImageNotFoundException.
    """
    for image in repository(twin, region, name).images:
        if reference in (image.get_image_digest(), *image.image_tags):
            return image.get_image_digest()
    raise AwsApiError("ImageNotFoundException", "Requested image not found")


def require_free(twin: AccountTwin, region: str, name: str, tag: str, besides: str = "") -> None:
    """Refuses a tag in use if tags are immutable. `besides` is the digest that may have it.

    Raises:
        AwsApiError: ImageTagAlreadyExistsException.
    """
    found = repository(twin, region, name)
    if not tag or found.image_tag_mutability != "IMMUTABLE":
        return
    if any(tag in image.image_tags and image.get_image_digest() != besides for image in found.images):
        text = f"The image tag '{tag}' already exists in the '{name}' repository and cannot be overwritten because the tag is immutable."  # fmt: skip # noqa: E501
        raise AwsApiError("ImageTagAlreadyExistsException", text)


def require_layers(twin: AccountTwin, region: str, name: str, manifest: str) -> None:
    """Refuses an image whose layers or configuration were not pushed before. The words are seen in
    https://github.com/oras-project/oras-py/issues/54.

    Raises:
        AwsApiError: LayersNotFoundException.
    """
    found = repository(twin, region, name)
    missing = [part["digest"] for part in _parts(json.loads(manifest)) if part["digest"] not in found.layers]
    if missing:
        text = f"Layers with digests '[{', '.join(missing)}]' required for pushing image into repository with name '{name}' in the registry with id '{twin.account}' do not exist"  # fmt: skip # noqa: E501
        raise AwsApiError("LayersNotFoundException", text)


def _parts(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns a manifest's configuration and layers, each with its digest; none of an index."""
    parts = [manifest.get("config") or {}, *manifest.get("layers", [])]
    return [part for part in parts if part.get("digest")]


def put(twin: AccountTwin, region: str, name: str, manifest: str, media_type: str, tag: str) -> None:
    """Adds an image whose manifest and layers are in the registry; without a tag, by its digest alone.

    Raises:
        AwsApiError: InvalidParameterException, for a kind of manifest that ECR doesn't accept.
    """
    from moto.ecr.models import ecr_backends

    found, content = repository(twin, region, name), json.loads(manifest)
    media_type = media_type or content.get("mediaType", "")
    if media_type not in _MEDIA_TYPES:
        raise AwsApiError("InvalidParameterException", f"Unsupported manifest media type '{media_type}'")
    known = next((image for image in found.images if image.image_manifest == manifest), None)
    if known is None or (tag and tag not in known.image_tags):
        backend: Any = ecr_backends[twin.account][region]
        known = backend.put_image(name, manifest, tag or None, media_type)
    for layer in _parts(content):
        found.layers[layer["digest"]] = layer.get("size", 0)
    if (found.image_scanning_configuration or {}).get("scanOnPush"):
        known.last_scan = datetime.now(UTC).replace(tzinfo=None)
    twin.changed()
