"""Reads locks of Pulumi's backend in a bucket: the same files as in a folder, over S3."""

from collections.abc import Callable
from functools import partial
from urllib.parse import parse_qs, urlsplit

from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.cli.platforms.aws.preflight import clients_of
from llmops_kit.cli.stacks.locks import FOLDER, MAX_BYTES, Lock, is_of, parse
from llmops_kit.cli.stacks.stack import PulumiStack
from llmops_kit.clouds.aws.objects import S3Bucket


def locks_of_stack(stack: PulumiStack, name: str) -> Callable[[], list[Lock]]:
    """Returns a function that lists the locks on the stack `name` in the bucket of another stack's backend."""
    return partial(_locks_in_bucket, stack.backend, name, stack.project.name, clients_of(stack))


def _locks_in_bucket(backend: str, stack: str, project: str, clients: AwsClients) -> list[Lock]:
    """Returns the locks on a stack whose backend is `s3://bucket/path?region=…`.

    Raises:
        KitError: an object is not a lock of Pulumi's, or the bucket can't be read.
    """
    parts = urlsplit(backend)
    path = parts.path.strip("/")
    bucket = S3Bucket(clients("s3", parse_qs(parts.query).get("region", [""])[0]), parts.netloc)
    prefix = f"{path}/{FOLDER}/" if path else f"{FOLDER}/"
    keys = [key for key in bucket.listed(prefix) if is_of(key, stack, project)]
    return [
        parse(content, f"{bucket.url}/{key}")
        for key in keys
        if (content := bucket.read(key, MAX_BYTES + 1)) is not None  # else it was released meanwhile
    ]
