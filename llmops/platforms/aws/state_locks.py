"""Locks of Pulumi's backend in a bucket: the same files as in a folder, read over S3."""

from collections.abc import Callable
from functools import partial
from urllib.parse import parse_qs, urlsplit

from llmops.platforms.aws.clients import Clients, explained
from llmops.platforms.aws.preflight import clients_of
from llmops.stacks.locks import (
    FOLDER,
    MAX_BYTES,
    Lock,
    is_of,
    parse,
)
from llmops.stacks.stack import PulumiStack


def locks_of_stack(stack: PulumiStack, name: str) -> Callable[[], list[Lock]]:
    """Looks for the locks on the stack `name` in the bucket of another one's backend."""
    return partial(_locks_in_bucket, stack.backend, name, stack.project.name, clients_of(stack))


def _locks_in_bucket(backend: str, stack: str, project: str, clients: Clients) -> list[Lock]:
    """The locks on a stack whose backend is `s3://bucket/path?region=…`.

    Raises:
        KitError: an object that is no lock of Pulumi's, or the bucket can't be read.
    """
    parts = urlsplit(backend)
    bucket, path = parts.netloc, parts.path.strip("/")
    s3 = clients("s3", parse_qs(parts.query).get("region", [""])[0])
    prefix = f"{path}/{FOLDER}/" if path else f"{FOLDER}/"
    found = []
    with explained(backend):
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for key in [entry["Key"] for entry in page.get("Contents", [])]:
                if not is_of(key, stack, project):
                    continue
                try:
                    content = s3.get_object(Bucket=bucket, Key=key)["Body"].read(MAX_BYTES + 1)
                except s3.exceptions.NoSuchKey:
                    continue  # given back meanwhile
                remove = partial(s3.delete_object, Bucket=bucket, Key=key)
                found.append(parse(content, f"s3://{bucket}/{key}", remove))
    return found
