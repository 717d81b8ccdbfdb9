"""Shared access signatures that a principal of the tenant delegates: by a key of its own, for what it may do itself.

https://learn.microsoft.com/rest/api/storageservices/create-user-delegation-sas
"""

import base64
import hashlib
import hmac
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import product

from twins.azure.arm.calls import Caller
from twins.azure.entra import principals
from twins.azure.twin import Twin
from twins.core.registry import registry

_VERSION = "2025-05-05"
_KEY = ("skoid", "sktid", "skt", "ske", "sks", "skv")
_RESPONSE = ("rscc", "rscd", "rsce", "rscl", "rsct")
_OF_A_SIGNATURE = (
    *_KEY,
    *_RESPONSE,
    *("sig", "sv", "sr", "sp", "st", "se", "sip", "spr", "ses", "saoid", "suoid", "scid", "skdutid", "sduoid"),
)
# Any one of these letters is enough for a method on a blob, or for listing a container.
_LETTERS = {"GET": "r", "HEAD": "r", "PUT": "wca", "DELETE": "d", "LIST": "l"}


def key(twin: Twin, caller: Caller, body: bytes) -> str:
    """The answer, as XML, to who asks for a key of user delegation with a body of Start and Expiry.

    Raises:
        ValueError: the body holds no such times.
    """
    given = ET.fromstring(body)
    start, expiry = given.findtext("Start", ""), given.findtext("Expiry", "")
    _time(expiry)
    fields = {
        "SignedOid": caller.object_id,
        "SignedTid": twin.tenant,
        "SignedStart": start,
        "SignedExpiry": expiry,
        "SignedService": "b",
        "SignedVersion": _VERSION,
    }
    value = base64.b64encode(_key(twin, tuple(fields.values()))).decode()
    inner = "".join(f"<{name}>{text}</{name}>" for name, text in {**fields, "Value": value}.items())
    return f'<?xml version="1.0" encoding="utf-8"?><UserDelegationKey>{inner}</UserDelegationKey>'


def is_signed(query: Mapping[str, str]) -> bool:
    """Does a query hold a signature, whoever made it?"""
    return "sig" in query


def signer(twin: Twin, account: str, container: str, blob: str, query: Mapping[str, str]) -> Caller | None:
    """Who delegated what a query holds, for this blob or container; None: the signature is none, or not any more."""
    place = f"/blob/{account}/{container}" + (f"/{blob}" if query.get("sr") == "b" else "")
    try:
        signature = base64.b64decode(query["sig"])
        secret = _key(twin, tuple(query[name] for name in _KEY))
        now = datetime.now(UTC)
        if not now < min(_time(query["se"]), _time(query["ske"])) or ("st" in query and now < _time(query["st"])):
            return None
    except (KeyError, ValueError):
        return None
    digests = (hmac.new(secret, text.encode(), hashlib.sha256).digest() for text in _signed_texts(place, query))
    if not any(hmac.compare_digest(digest, signature) for digest in digests):
        return None
    with twin.lock:
        return principals.find(twin, query["skoid"])


def permits(query: Mapping[str, str], method: str, blob: str) -> bool:
    """Do the letters of a signature allow a method on a blob, or ("" for the blob) the listing of a container?"""
    letters = _LETTERS.get(method if blob else "LIST" if query.get("comp") == "list" else "", "")
    return any(letter in query.get("sp", "") for letter in letters)


def unsigned(query: Mapping[str, str]) -> dict[str, str]:
    """A query without what belongs to a signature."""
    return {name: value for name, value in query.items() if name not in _OF_A_SIGNATURE}


def _signed_texts(place: str, query: Mapping[str, str]) -> Iterator[str]:
    """What may have been signed: later versions have lines more, which are empty here."""

    def of(*names: str) -> list[str]:
        return [query.get(name, "") for name in names]

    for delegated, requests in product((True, False), repeat=2):
        lines = [*of("sp", "st", "se"), place, *of(*_KEY), *of("saoid", "suoid", "scid")]
        lines += of("skdutid", "sduoid") if delegated else []
        lines += of("sip", "spr", "sv", "sr", "snapshot", "ses")
        lines += ["", ""] if requests else []
        yield "\n".join([*lines, *of(*_RESPONSE)])


def _key(twin: Twin, fields: tuple[str, ...]) -> bytes:
    return bytes.fromhex(registry.sign(twin, "\n".join(("user delegation", *fields))))


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
