"""Permanently removes a stack's data: every version of every object, every image, every model package.

In existing buckets and registries that the stack uses, only what the kit wrote is removed.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.clouds.aws.errors import explained, find
from llmops_kit.clouds.aws.names import STACK_TAG
from llmops_kit.core.documents.outputs import StackOutputs
from llmops_kit.core.errors import KitError

STORE_KEYS = ("aliases/", "models/", "datasets/", "promotions/", "rejections/", "revoked/", "endpoints/", "store.json")
WORK_KEYS = ("runs/", "captures/", "async/")
"""Flow logs are not among them: other programs may write below AWSLogs/ in a shared bucket."""
_AT_ONCE = 1000  # the limit of DeleteObjects


def remove_data(clients: AwsClients, outputs: StackOutputs) -> None:
    """Empties the stack's buckets, registries and model package group; repeated, it continues where it stopped."""
    assert outputs.aws
    store = outputs.store.url.removeprefix("s3://").partition("/")[0]
    for bucket, keys in ((store, STORE_KEYS), (outputs.aws.work_bucket, WORK_KEYS)):
        if bucket:
            with explained(f"s3://{bucket}", "repeat the command: it resumes"):
                empty_bucket(clients("s3"), bucket, keys, outputs.stack)
    for repository in outputs.aws.repositories.values():
        with explained(f"repository {repository}"):
            _empty_repository(clients("ecr"), repository_name(repository), outputs.stack)
    if group := outputs.aws.model_package_group:
        with explained(f"model package group {group}"):
            empty_group(clients("sagemaker"), group)


def empty_bucket(s3: Any, bucket: str, keys: Iterable[str], stack: str) -> None:
    """Removes every version of every object and unfinished uploads; in an existing bucket, only those below `keys`."""
    if find(s3.head_bucket, Bucket=bucket) is None:
        return
    ours = _is_ours(find(s3.get_bucket_tagging, Bucket=bucket), "TagSet", stack)
    for prefix in [""] if ours else keys:
        delete_versions(s3, bucket, prefix)
        for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix):
            for upload in page.get("Uploads", []):
                s3.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])


def audit_log(s3: Any, bucket: str) -> str:
    """Returns the URL of the bucket of a trail's files; empty if it has none, or is gone."""
    with explained(f"s3://{bucket}"):
        found = find(s3.list_object_versions, Bucket=bucket, MaxKeys=1) or {}
    return f"s3://{bucket}" if found.get("Versions") or found.get("DeleteMarkers") else ""


def delete_versions(s3: Any, bucket: str, prefix: str = "") -> None:
    """Removes every version of every object below a prefix. Lists all of them first: the documentation doesn't promise
    that paging works while the object at the next page's marker is deleted.
    """
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix)
    found = [each for page in pages for each in (*page.get("Versions", []), *page.get("DeleteMarkers", []))]
    objects = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in found]
    for begin in range(0, len(objects), _AT_ONCE):
        _delete_objects(s3, bucket, objects[begin : begin + _AT_ONCE])


def _delete_objects(s3: Any, bucket: str, objects: list[dict[str, str]]) -> None:
    """Removes versions of objects, at most a thousand."""
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
    if errors := answer.get("Errors"):
        first = errors[0]
        raise KitError(
            f"{len(errors)} objects can't be deleted: {first.get('Code')}: {first.get('Message')}",
            where=f"s3://{bucket}/{first.get('Key')}",
            fix="check the bucket's policy and object locks, then repeat the command",
        )


def _empty_repository(ecr: Any, repository: str, stack: str) -> None:
    if not (found := find(ecr.describe_repositories, repositoryNames=[repository])):
        return
    tags = find(ecr.list_tags_for_resource, resourceArn=found["repositories"][0]["repositoryArn"])
    if not _is_ours(tags, "tags", stack):
        return  # an existing registry, which may have others' images
    for page in ecr.get_paginator("list_images").paginate(repositoryName=repository):
        images = [{"imageDigest": i["imageDigest"]} for i in page["imageIds"] if "imageDigest" in i]
        for begin in range(0, len(images), 100):
            ecr.batch_delete_image(repositoryName=repository, imageIds=images[begin : begin + 100])


def empty_group(sagemaker: Any, group: str) -> None:
    """Deletes every model package of a group."""
    pages = sagemaker.get_paginator("list_model_packages").paginate(ModelPackageGroupName=group)
    for package in (find(pages.build_full_result) or {}).get("ModelPackageSummaryList", []):
        sagemaker.delete_model_package(ModelPackageName=package["ModelPackageArn"])


def tag_map(tags: Collection[Mapping[str, str]], key: str = "Key", value: str = "Value") -> dict[str, str]:
    """Returns tags as a mapping; services name the fields of a tag `Key` or `TagKey`."""
    return {tag[key]: tag[value] for tag in tags}


def _is_ours(answer: Mapping[str, Any] | None, field: str, stack: str) -> bool:
    """Returns whether the stack created a resource, by a response with its tags; None: it has none."""
    return tag_map((answer or {}).get(field, [])).get(STACK_TAG) == stack


def repository_name(repository: str) -> str:
    """Returns `team/serving` for `<account>.dkr.ecr.<region>.amazonaws.com/team/serving`, and a plain name
    unchanged.
    """
    host, slash, name = repository.partition("/")
    return name if slash and ".dkr.ecr." in host else repository
