"""Amazon ECR: images have the digests of their manifests; keys, policies, tokens and the registry are real."""

import base64
import hashlib
import json
import logging
from datetime import UTC, datetime, timedelta

from llmops_kit.core.errors import KitError
from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.identity import policies
from llmops_twins.aws.registry import registry, registry_host, repository_images
from llmops_twins.aws.service_documents import Document
from llmops_twins.aws.services import kms
from llmops_twins.aws.twin import AccountTwin
from llmops_twins.core.registry import pull_names as common
from llmops_twins.core.registry.registry_storage import Storage

UNJUDGED = [
    "images: layers are neither encrypted, whatever key a repository has, nor scanned",
    "images: layers pushed through ECR's API (upload-layer-part) and through the registry are kept apart",
]
log = logging.getLogger("llmops_twins.aws.registry.registry")


def install(twin: AccountTwin) -> None:
    """Corrects moto's ECR to match https://docs.aws.amazon.com/AmazonECR/latest/APIReference/Welcome.html."""
    _digest_manifests()
    twin.before("ecr", "CreateRepository", lambda call: _refuse_bad_key(twin, call))
    twin.before("ecr", "SetRepositoryPolicy", lambda call: _refuse_bad_policy(twin, call))
    twin.before("ecr", "PutImage", lambda call: _refuse_bad_image(twin, call))
    twin.after("ecr", "PutImage", lambda call, answer: _scan_on_push(twin, call, answer))
    twin.mend("ecr", "BatchGetImage", _name_missing)
    twin.mend("ecr", "GetAuthorizationToken", lambda call, answer: _authorize(twin, call, answer))
    twin.unjudged += UNJUDGED
    storage = Storage(common.folder(twin), "twins aws up")
    twin.route("/v2/", registry_host.front(twin, storage))
    twin.after("ecr", "BatchDeleteImage", lambda call, answer: _drop_images(twin, storage, call, answer))
    twin.after(
        "ecr",
        "DeleteRepository",
        lambda call, _answer: storage.forget(f"{call.region}/{call.parameters['repositoryName']}"),
    )
    twin.seeds.append(lambda: _empty(twin, storage))
    twin.closers.append(storage.close)
    twin.implement("ecr", "DescribePullThroughCacheRules", lambda call: {"pullThroughCacheRules": []})
    twin.implement("ecr", "DescribeRepositoryCreationTemplates", lambda call: {"repositoryCreationTemplates": []})


def _digest_manifests() -> None:
    """Replaces moto's image digest, a hash of the layers' digests, by the SHA-256 of the manifest, so that images with
    the same layers stay distinct.
    """
    from moto.ecr.models import Image

    def create_digest(self: Image) -> None:
        self._image_digest = "sha256:" + hashlib.sha256(self.image_manifest.encode()).hexdigest()

    def size(self: Image) -> int | None:
        manifest = json.loads(self.image_manifest)
        parts = [manifest.get("config", {}), *manifest.get("layers", [])]
        return sum(part.get("size", 0) for part in parts) if "layers" in manifest else None

    setattr(Image, "_create_digest", create_digest)  # noqa: B010
    setattr(Image, "get_image_size_in_bytes", size)  # noqa: B010


def _refuse_bad_key(twin: AccountTwin, call: ApiCall) -> None:
    key = (call.parameters.get("encryptionConfiguration") or {}).get("kmsKey", "")
    if key.startswith("arn:") and kms.key_state(twin, key) != "Enabled":
        text = f"KmsError: the key {key} does not exist, is not enabled or you are not allowed to access it"
        raise AwsApiError("KmsException", text)


def _refuse_bad_policy(twin: AccountTwin, call: ApiCall) -> None:
    problem = "Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Invalid repository policy provided'"
    try:
        found = policies.resource_statements(call.parameters["policyText"])
    except ValueError as e:
        raise AwsApiError("InvalidParameterException", problem) from e
    if any(policies.missing_principals(twin, found)):
        raise AwsApiError("InvalidParameterException", problem)


def _refuse_bad_image(twin: AccountTwin, call: ApiCall) -> None:
    name = call.parameters["repositoryName"]
    repository_images.repository(twin, call.region, name)
    try:
        json.loads(call.parameters["imageManifest"])
    except ValueError as e:
        text = "Invalid parameter at 'ImageManifest' failed to satisfy constraint: 'Invalid JSON syntax'"
        raise AwsApiError("InvalidParameterException", text) from e
    digest = "sha256:" + hashlib.sha256(call.parameters["imageManifest"].encode()).hexdigest()
    asked = call.parameters.get("imageDigest", digest)
    if asked != digest:
        text = f"The calculated digest '{digest}' does not match the provided digest '{asked}'"
        raise AwsApiError("ImageDigestDoesNotMatchException", text)

    repository_images.require_layers(twin, call.region, name, call.parameters["imageManifest"])
    repository_images.require_free(twin, call.region, name, call.parameters.get("imageTag", ""), digest)


def _scan_on_push(twin: AccountTwin, call: ApiCall, answer: Document) -> None:
    repository = repository_images.repository(twin, call.region, call.parameters["repositoryName"])
    if (repository.image_scanning_configuration or {}).get("scanOnPush"):
        for image in repository.images:
            if image.get_image_digest() == answer["image"]["imageId"]["imageDigest"]:
                image.last_scan = datetime.now(UTC).replace(tzinfo=None)


def _name_missing(call: ApiCall, answer: Document) -> None:
    asked = call.parameters["imageIds"]
    if len(asked) == len(answer["images"]):  # an image with several tags is returned with the requested tag
        for each, image in zip(asked, answer["images"], strict=True):
            image["imageId"].update(each)
    for failure in answer.get("failures", []):
        if failure["imageId"].get("imageTag") == "null":
            found = {image["imageId"]["imageDigest"] for image in answer["images"]}
            failure["imageId"] = next(each for each in asked if each.get("imageDigest") not in (None, *found))


def _authorize(twin: AccountTwin, call: ApiCall, answer: Document) -> None:
    password = f"{registry.USER}:{registry.token(twin, call)}"
    for each in answer["authorizationData"]:
        each["authorizationToken"] = base64.b64encode(password.encode()).decode()
        each["expiresAt"] = datetime.now(UTC) + timedelta(hours=registry.TOKEN_HOURS)
        each["proxyEndpoint"] = twin.describe()["url"]


def _empty(twin: AccountTwin, storage: Storage) -> None:
    if storage.empty():
        common.forget_pulled(twin)


def _drop_images(twin: AccountTwin, storage: Storage, call: ApiCall, answer: Document) -> None:
    """Deletes from the registry's storage the images that have lost their last tag, or were deleted by digest."""
    name = call.parameters["repositoryName"]
    left = repository_images.digests(twin, call.region, name)
    try:
        for digest in {each["imageDigest"] for each in answer.get("imageIds", [])} - left:
            storage.delete(f"{call.region}/{name}", digest)
    except (KitError, OSError) as e:  # clients no longer see the image; its layers stay on disk
        log.warning("the registry's files of %s stay: %s", name, e)
