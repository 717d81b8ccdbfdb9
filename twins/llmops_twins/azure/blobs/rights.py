"""Actions that requests for blobs need, by method and query.

https://learn.microsoft.com/rest/api/storageservices/authorize-with-azure-active-directory#permissions-for-blob-service-operations
"""

from collections.abc import Mapping
from dataclasses import dataclass

_SERVICE = "Microsoft.Storage/storageAccounts/blobServices"
_CONTAINER = f"{_SERVICE}/containers"
_BLOB = f"{_CONTAINER}/blobs"


@dataclass(frozen=True)
class BlobNeed:
    """The actions of which one is required; `data`: they are data actions. `new_only`: the last one suffices only for a
    blob that does not exist.
    """

    actions: tuple[str, ...]
    data: bool
    new_only: bool = False


def need(method: str, container: str, blob: str, query: Mapping[str, str]) -> BlobNeed | None:
    """Returns the actions that a request needs; None if the operation does not exist, or does not accept tokens."""
    comp, on = query.get("comp", ""), query.get("restype", "")
    if not container:
        return _of_service(method, comp, on)
    if not blob:
        return _of_container(method, comp, on)
    return _of_blob(method, comp)


def _of_service(method: str, comp: str, on: str) -> BlobNeed | None:
    if method == "GET" and comp == "list":
        return BlobNeed((f"{_CONTAINER}/read",), data=False)
    if comp == "properties" and on == "service":
        return BlobNeed((f"{_SERVICE}/{'write' if method == 'PUT' else 'read'}",), data=False)
    if comp == "properties" and on == "account":
        return BlobNeed((f"{_SERVICE}/getInfo/action",), data=False)
    return None


def _of_container(method: str, comp: str, on: str) -> BlobNeed | None:
    if on != "container":
        return None
    if method == "GET" and comp == "list":
        return BlobNeed((f"{_BLOB}/read",), data=True)
    if comp == "acl":
        return BlobNeed((f"{_CONTAINER}/{'setAcl' if method == 'PUT' else 'getAcl'}/action",), data=False)
    verbs = {"GET": "read", "HEAD": "read", "PUT": "write", "DELETE": "delete"}
    return BlobNeed((f"{_CONTAINER}/{verbs[method]}",), data=False) if method in verbs else None


def _of_blob(method: str, comp: str) -> BlobNeed | None:
    if comp == "tags":
        return BlobNeed((f"{_BLOB}/tags/{'write' if method == 'PUT' else 'read'}",), data=True)
    if method in ("GET", "HEAD") or (method == "POST" and comp == "query"):
        return BlobNeed((f"{_BLOB}/read",), data=True)
    if method == "DELETE":
        return BlobNeed((f"{_BLOB}/delete",), data=True)
    if method == "PUT" and comp in ("", "block", "blocklist", "appendblock"):
        return BlobNeed((f"{_BLOB}/write", f"{_BLOB}/add/action"), data=True, new_only=comp != "appendblock")
    return BlobNeed((f"{_BLOB}/write",), data=True) if method == "PUT" else None
