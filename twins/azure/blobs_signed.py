"""Signed URLs that the platform itself gives for a blob (of a job's logs, say): for one blob, or all below a path.

Their form is that of a user delegation SAS; only the twin that made one takes it.
https://learn.microsoft.com/rest/api/storageservices/create-user-delegation-sas
"""

import hmac
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote, urlencode

from twins.azure.twin import Twin
from twins.common import registry

_VERSION = "2021-08-06"
_OF_A_SIGNATURE = ("sv", "sr", "sp", "se", "spr", "sig")
_METHODS = {"r": ("GET", "HEAD"), "w": ("PUT",)}


def url(twin: Twin, endpoint: str, account: str, path: str, seconds: float, permissions: str = "r") -> str:
    """A URL by which anybody may read ("r") or write ("w", "rw") a blob for so long. `endpoint` is the account's
    primary endpoint for blobs, `path` "container/blob".
    """
    until = datetime.fromtimestamp(time.time() + seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    query = {"sv": _VERSION, "sr": "b", "sp": permissions, "se": until, "spr": "https"}
    query["sig"] = _signature(twin, account, path, query)
    return f"{endpoint.rstrip('/')}/{quote(path)}?{urlencode(query)}"


def is_signed(query: Mapping[str, str]) -> bool:
    """Does a query hold a signature, whoever made it?"""
    return "sig" in query


def is_good(twin: Twin, account: str, path: str, method: str, query: Mapping[str, str]) -> bool:
    """Did the twin make it, for this blob and method, and is its time not over?"""
    signature = _signature(twin, account, path, query)
    if not hmac.compare_digest(signature.encode(), query.get("sig", "").encode()):
        return False
    allowed = [name for letter in query.get("sp", "") for name in _METHODS.get(letter, ())]
    until = datetime.strptime(query["se"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    return method in allowed and datetime.now(UTC) < until


def unsigned(query: Mapping[str, str]) -> dict[str, str]:
    """A query without what belongs to a signature."""
    return {name: value for name, value in query.items() if name not in _OF_A_SIGNATURE}


def _signature(twin: Twin, account: str, path: str, query: Mapping[str, str]) -> str:
    text = "\n".join([account.lower(), path, *(query.get(name, "") for name in ("sv", "sr", "sp", "se", "spr"))])
    return registry.sign(twin, text)
