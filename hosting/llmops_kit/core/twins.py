"""Distinguishes a local twin from the cloud, by its account and its address."""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

TWIN_ACCOUNT = "000000000000"
"""The AWS account id of every twin, which AWS never assigns."""
KEY_VARIABLES = {"aws": "LLMOPS_AWS_TWIN_KEY", "azure": "LLMOPS_AZURE_TWIN_KEY"}
"""Cloud -> variable with the key of its twin's own routes (/_twin/…); a shell may have both."""
ENDPOINT_VARIABLE = "AWS_ENDPOINT_URL"
"""Variable from which every AWS client reads an address that replaces the cloud's."""
TWIN_SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
"""The subscription id of every twin of Azure, which Azure never assigns."""
TWIN_TENANT = "00000000-0000-0000-0000-000000000001"
METADATA_VARIABLE = "ARM_CLOUD_METADATA_URL"
"""Variable with the URL from which Azure's clients read the addresses of a cloud other than the public one."""


def twin_address(environ: Mapping[str, str]) -> str:
    """Returns the URL of the twin that AWS clients with this environment talk to; empty if they talk to AWS."""
    url = environ.get(ENDPOINT_VARIABLE, "")
    return url if is_loopback(url) else ""


def azure_twin_address(environ: Mapping[str, str]) -> str:
    """Returns the base URL (https://localhost:PORT) of the twin that Azure clients with this environment talk to; empty
    if they talk to Azure.
    """
    parts = urlsplit(environ.get(METADATA_VARIABLE, ""))
    url = f"{parts.scheme}://{parts.netloc}"
    return url if is_loopback(url) else ""


def owner_headers(cloud: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the headers of requests for a twin's own routes, with the key in an environment."""
    return key_headers(environ.get(KEY_VARIABLES[cloud], ""))


def key_headers(key: str) -> dict[str, str]:
    """Returns the headers of requests for a twin's own routes."""
    return {"Authorization": f"Bearer {key}"}


def is_loopback(url: str) -> bool:
    """Returns whether a URL is on this machine's loopback interface."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
