"""Amazon ECR: images have the digests of their manifests; keys, policies and tokens are real."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from twins.aws.calls import ApiError, Call
from twins.aws.services import kms, policies
from twins.aws.services.documents import Document
from twins.aws.twin import Twin

_TOKEN_HOURS = 12


def install(twin: Twin) -> None:
    """Mend moto's ECR to https://docs.aws.amazon.com/AmazonECR/latest/APIReference/Welcome.html."""
    _digest_manifests()
    twin.before("ecr", "CreateRepository", lambda call: _refuse_bad_key(twin, call))
    twin.before("ecr", "SetRepositoryPolicy", lambda call: _refuse_bad_policy(twin, call))
    twin.before("ecr", "PutImage", lambda call: _refuse_bad_image(twin, call))
    twin.after("ecr", "PutImage", lambda call, answer: _scan_on_push(twin, call, answer))
    twin.mend("ecr", "BatchGetImage", _name_missing)
    twin.mend("ecr", "GetAuthorizationToken", _renew)
    twin.implement("ecr", "DescribePullThroughCacheRules", lambda call: {"pullThroughCacheRules": []})
    twin.implement("ecr", "DescribeRepositoryCreationTemplates", lambda call: {"repositoryCreationTemplates": []})


def _digest_manifests() -> None:
    """moto digests the layers' digests, so that images of one base are one image; a digest is the manifest's."""
    from moto.ecr.models import Image

    def create_digest(self: Image) -> None:
        self._image_digest = "sha256:" + hashlib.sha256(self.image_manifest.encode()).hexdigest()

    def size(self: Image) -> int | None:
        manifest = json.loads(self.image_manifest)
        parts = [manifest.get("config", {}), *manifest.get("layers", [])]
        return sum(part.get("size", 0) for part in parts) if "layers" in manifest else None

    setattr(Image, "_create_digest", create_digest)  # noqa: B010
    setattr(Image, "get_image_size_in_bytes", size)  # noqa: B010


def _refuse_bad_key(twin: Twin, call: Call) -> None:
    key = (call.parameters.get("encryptionConfiguration") or {}).get("kmsKey", "")
    if key.startswith("arn:") and kms.key_state(twin, key) != "Enabled":
        text = f"KmsError: the key {key} does not exist, is not enabled or you are not allowed to access it"
        raise ApiError("KmsException", text)


def _refuse_bad_policy(twin: Twin, call: Call) -> None:
    problem = "Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Invalid repository policy provided'"
    try:
        found = policies.resource_statements(call.parameters["policyText"])
    except ValueError as e:
        raise ApiError("InvalidParameterException", problem) from e
    if any(policies.missing_principals(twin, found)):
        raise ApiError("InvalidParameterException", problem)


def _refuse_bad_image(twin: Twin, call: Call) -> None:
    name = call.parameters["repositoryName"]
    if name not in _repositories(twin, call.region):
        text = f"The repository with name '{name}' does not exist in the registry with id '{twin.account}'"
        raise ApiError("RepositoryNotFoundException", text)
    try:
        json.loads(call.parameters["imageManifest"])
    except ValueError as e:
        text = "Invalid parameter at 'ImageManifest' failed to satisfy constraint: 'Invalid JSON syntax'"
        raise ApiError("InvalidParameterException", text) from e
    digest = "sha256:" + hashlib.sha256(call.parameters["imageManifest"].encode()).hexdigest()
    asked = call.parameters.get("imageDigest", digest)
    if asked != digest:
        text = f"The calculated digest '{digest}' does not match the provided digest '{asked}'"
        raise ApiError("ImageDigestDoesNotMatchException", text)

    _refuse_moved_tag(_repositories(twin, call.region)[name], call.parameters.get("imageTag"), digest)


def _refuse_moved_tag(repository: Any, tag: str | None, digest: str) -> None:
    if tag is None or repository.image_tag_mutability != "IMMUTABLE":
        return
    if any(tag in image.image_tags and image.get_image_digest() != digest for image in repository.images):
        text = f"The image tag '{tag}' already exists in the '{repository.name}' repository and cannot be overwritten because the tag is immutable."  # fmt: skip # noqa: E501
        raise ApiError("ImageTagAlreadyExistsException", text)


def _scan_on_push(twin: Twin, call: Call, answer: Document) -> None:
    repository = _repositories(twin, call.region)[call.parameters["repositoryName"]]
    if (repository.image_scanning_configuration or {}).get("scanOnPush"):
        for image in repository.images:
            if image.get_image_digest() == answer["image"]["imageId"]["imageDigest"]:
                image.last_scan = datetime.now(UTC).replace(tzinfo=None)


def _name_missing(call: Call, answer: Document) -> None:
    asked = call.parameters["imageIds"]
    if len(asked) == len(answer["images"]):  # an image of several tags is answered by the tag that was asked for
        for each, image in zip(asked, answer["images"], strict=True):
            image["imageId"].update(each)
    for failure in answer.get("failures", []):
        if failure["imageId"].get("imageTag") == "null":
            found = {image["imageId"]["imageDigest"] for image in answer["images"]}
            failure["imageId"] = next(each for each in asked if each.get("imageDigest") not in (None, *found))


def _renew(call: Call, answer: Document) -> None:
    for each in answer["authorizationData"]:
        each["expiresAt"] = datetime.now(UTC) + timedelta(hours=_TOKEN_HOURS)


def _repositories(twin: Twin, region: str) -> dict[str, Any]:
    from moto.ecr.models import ecr_backends

    return ecr_backends[twin.account][region].repositories
