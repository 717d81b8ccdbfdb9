"""What opens a twin: the keys of its owner, and requests that are signed with them beside every SDK."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.request import Request

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from llmops_kit.core.twins import KEY_VARIABLES, key_headers
from llmops_twins.aws.wire.principals import ROOT_ACCESS_KEY, ROOT_PURPOSE
from llmops_twins.core import root
from llmops_twins.core.control import own_key


def root_secret(home: Path) -> str:
    """The secret access key of the root of the twin of AWS in a folder."""
    return root.key(home, ROOT_PURPOSE)


def root_keys(home: Path) -> dict[str, Any]:
    """The root's credentials, as boto3's functions take them."""
    return {"aws_access_key_id": ROOT_ACCESS_KEY, "aws_secret_access_key": root_secret(home)}


def root_environ(home: Path) -> dict[str, str]:
    """The root's credentials, and the key of the twin's own routes, as a client's environment has them."""
    keys = {"AWS_ACCESS_KEY_ID": ROOT_ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": root_secret(home)}
    return {**keys, KEY_VARIABLES["aws"]: own_key(home)}


def asked(home: Path, url: str, route: str, method: str = "GET", data: bytes | None = None) -> Request:
    """A request of its owner for one of a twin's own routes."""
    return Request(f"{url}/_twin/{route}", data, key_headers(own_key(home)), method=method)


def signed(
    method: str,
    url: str,
    service: str,
    keys: tuple[str, ...],
    *,
    region: str = "us-east-1",
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The headers of a request that botocore signed; `keys` are access key, secret, and a session's token."""
    request = AWSRequest(method, url, dict(headers or {}), body)
    auth = S3SigV4Auth if service == "s3" else SigV4Auth
    auth(Credentials(*keys), service, region).add_auth(request)
    return dict(request.headers.items())
