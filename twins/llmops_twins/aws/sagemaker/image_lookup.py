"""Finds images and model data for SageMaker, in the account's ECR and S3.

https://github.com/aws/amazon-sagemaker-feedback/issues/180 (manifests of OCI)
https://github.com/aws/sagemaker-python-sdk/pull/4700 (images that are not in ECR)
"""

import re
import shutil
from typing import Any

from llmops_kit.core.errors import HostingError
from llmops_kit.local_runtime import process_images
from llmops_twins.aws.buckets import bucket_named
from llmops_twins.aws.calls import AwsApiError
from llmops_twins.aws.registry import registry
from llmops_twins.aws.twin import AccountTwin

_ECR = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/"
    r"(?P<repository>[^:@]+)(?::(?P<tag>[^@]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?$"
)
_S3 = re.compile(r"s3://(?P<bucket>[^/]+)/?(?P<key>.*)$")
PROCESS = "process:"
"""Prefix of image references that the kit's twin runs as a process; AWS refuses them."""


def require_usable(twin: AccountTwin, image: str, access_mode: str = "") -> None:
    """Refuses an image that SageMaker would not accept, by its name or its manifest.

    Raises:
        AwsApiError: the image is not in ECR, or its manifest is of a kind that SageMaker does not read.
    """
    if image.startswith(PROCESS):
        return
    if not _ECR.match(image):
        if access_mode != "Vpc":
            message = f'Using non-ECR image "{image}" without Vpc repository access mode is not supported.'
            raise AwsApiError("ValidationException", message)
        return
    found = _in_ecr(twin, image)
    media_type = found.image_manifest_media_type if found else None
    if media_type and "vnd.oci.image" in media_type:
        raise AwsApiError(
            "ValidationException",
            f"Unsupported manifest media type {media_type} for image {image}. "
            "Ensure that valid manifest media type is used for specified image.",
        )


def is_there(twin: AccountTwin, image: str) -> bool:
    """Returns whether an image exists. Images of other accounts, which the twin doesn't hold, count as existing."""
    match = _ECR.match(image)
    if image.startswith(PROCESS) or not match or match["account"] != twin.account:
        return True
    return _in_ecr(twin, image) is not None


def runnable(twin: AccountTwin, image: str) -> str:
    """Returns the local runtime's reference of an image: `process:NAME@sha256:…` or
    `docker:HOST:PORT/REPOSITORY@sha256:…`.

    Returns quickly, and may be called with the twin's lock held: pulling is left to
    `llmops_kit.local_runtime.runtimes.pull`.

    Raises:
        AwsApiError: the image can't run here; the message gives the reason and the fix.
    """
    if image.startswith(PROCESS):
        try:
            return process_images.find(image).ref
        except HostingError as e:
            # the twin's own: an image that stands for a process here
            raise AwsApiError("ValidationException", f"{e.what}; {e.fix}" if e.fix else e.what) from e
    match, found = _ECR.match(image), _in_ecr(twin, image)
    if not match or found is None:
        raise AwsApiError("ValidationException", f"{image} is in no registry of this twin: push it there.")
    if not shutil.which("docker"):
        # the twin's own: AWS always has something to run it
        text = f"{image} runs in Docker, which is not on this machine: install it, or give a process image."
        raise AwsApiError("ValidationException", text)
    return f"docker:{registry.pull_name(twin, match['repository'], match['region'])}@{found.get_image_digest()}"


def resolved(twin: AccountTwin, image: str) -> str:
    """Returns an image with its digest, as in the response of DescribeEndpoint."""
    match, found = _ECR.match(image), _in_ecr(twin, image)
    if not match or found is None:
        return image
    return f"{image.partition('/')[0]}/{match['repository']}@{found.get_image_digest()}"


def has_data(twin: AccountTwin, uri: str) -> bool:
    """Returns whether an object exists at this S3 URI, or below it."""
    match = _S3.match(uri)
    if not match:
        return False
    bucket = bucket_named(twin, match["bucket"])
    return bucket is not None and any(key.startswith(match["key"]) for key in bucket.keys)


def _in_ecr(twin: AccountTwin, image: str) -> Any | None:
    match = _ECR.match(image)
    if not match or match["account"] != twin.account:
        return None
    from moto.ecr.models import ecr_backends

    repository = ecr_backends[twin.account][match["region"]].repositories.get(match["repository"])
    for found in repository.images if repository else []:
        by_digest = match["digest"] and found.get_image_digest() == match["digest"]
        if by_digest or (not match["digest"] and (match["tag"] or "latest") in found.image_tags):
            return found
    return None
