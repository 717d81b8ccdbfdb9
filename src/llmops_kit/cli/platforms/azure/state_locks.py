"""Reads locks of Pulumi's backend in a blob container: the same files as in a folder, by the Blob Storage SDK."""

import os
from collections.abc import Callable
from functools import partial
from urllib.parse import parse_qs, urlsplit

from azure.core.exceptions import ResourceNotFoundError

from llmops_kit.cli.platforms.azure.preflight import clients_of
from llmops_kit.cli.stacks.locks import FOLDER, MAX_BYTES, Lock, is_of, parse
from llmops_kit.cli.stacks.stack import PulumiStack
from llmops_kit.clouds.azure.errors import explained
from llmops_kit.clouds.azure.session import AzureSession
from llmops_kit.core.errors import KitError

_DOMAIN = "blob.core.windows.net"


def locks_of_stack(stack: PulumiStack, name: str) -> Callable[[], list[Lock]]:
    """Returns a function that lists the locks on the stack `name` in the container of another stack's backend."""
    return partial(_locks_in_container, stack.backend, name, stack.project.name, clients_of(stack))


def account_url(backend: str) -> str:
    """Returns the blob URL of a backend's account, as the engine determines it.

    https://pkg.go.dev/gocloud.dev/blob/azureblob#NewServiceURL

    Raises:
        KitError: neither the backend nor the environment names the account.
    """
    query = parse_qs(urlsplit(backend).query)
    account = query.get("storage_account", [os.environ.get("AZURE_STORAGE_ACCOUNT", "")])[0]
    domain = query.get("domain", [os.environ.get("AZURE_STORAGE_DOMAIN", "")])[0] or _DOMAIN
    if not account:
        raise KitError("names no storage account", where=backend, fix="add ?storage_account=NAME to the backend's URL")
    # Host names of this machine have no subdomains.
    return f"https://{domain}/{account}" if domain.startswith("localhost") else f"https://{account}.{domain}"


def _locks_in_container(backend: str, stack: str, project: str, session: AzureSession) -> list[Lock]:
    """Returns the locks on a stack whose backend is `azblob://container/path?storage_account=…`.

    Raises:
        KitError: a blob is not a lock of Pulumi's, or the container can't be read.
    """
    parts = urlsplit(backend)
    path, account = parts.path.strip("/"), account_url(backend)
    prefix = f"{path}/{FOLDER}/" if path else f"{FOLDER}/"
    container = session.blobs(account).get_container_client(parts.netloc)
    found = []
    with explained(backend, role="Storage Blob Data Contributor on the storage account of states"):
        for name in list(container.list_blob_names(name_starts_with=prefix)):
            if not is_of(name, stack, project):
                continue
            blob = container.get_blob_client(name)
            try:
                content = blob.download_blob(offset=0, length=MAX_BYTES + 1).readall()
            except ResourceNotFoundError:
                continue  # released meanwhile
            found.append(parse(content, f"{account}/{parts.netloc}/{name}"))
    return found
