"""DSSE envelopes: signed bytes with their type and the id of the key, and the public keys that verify them.

https://github.com/secure-systems-lab/dsse/blob/v1.0.2/envelope.md; signatures are ECDSA P-256 with SHA-256, DER.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from llmops_kit.core.document import parse_json
from llmops_kit.core.errors import DocumentError, SignatureError
from llmops_kit.core.hashes import sha256_bytes

ALGORITHM = ec.ECDSA(hashes.SHA256())
_KEYS_FIX = "take it from the stack's outputs"
_BEGIN = "-----BEGIN PUBLIC KEY-----"


class SigningKey(NamedTuple):
    """A key that signs, wherever it is kept."""

    public_key: str
    """PEM."""
    signer: str
    """Who signs: a user, a role's ARN or an object id."""
    sign: Callable[[bytes], bytes]
    """Signs a message; returns DER."""


class Opened(NamedTuple):
    """The content of an envelope whose signature was verified."""

    payload: bytes
    key_id: str


def key_id(public_key: str) -> str:
    """Returns a public key's id: `sha256:` and the hash of its DER."""
    (found,) = read_keys(public_key, "public key")
    return found


def read_keys(text: str, where: str) -> dict[str, ec.EllipticCurvePublicKey]:
    """Returns id -> key of public keys in PEM, one after another.

    Args:
        text: PEM.
        where: names the keys in errors.

    Raises:
        SignatureError: one of them is cut off, or is not an EC key.
    """
    found: dict[str, ec.EllipticCurvePublicKey] = {}
    blocks = [_BEGIN + block for block in text.split(_BEGIN)[1:]]
    if not blocks:
        raise SignatureError("the public key is not PEM", where=where, fix=_KEYS_FIX)
    for number, block in enumerate(blocks, start=1):
        try:
            key = serialization.load_pem_public_key(block.encode())
        except (ValueError, UnsupportedAlgorithm) as e:
            what = f"public key {number} of {len(blocks)} is damaged or cut off"
            raise SignatureError(what, where=where, fix=_KEYS_FIX) from e
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise SignatureError(f"public key {number} of {len(blocks)} is not an EC key", where=where, fix=_KEYS_FIX)
        found[f"sha256:{sha256_bytes(_der(key))}"] = key
    return found


def bundle(public_keys: Collection[str], further: Mapping[str, str], revoked: Collection[str]) -> str:
    """Returns public keys in PEM one after another, without revoked ones.

    Args:
        public_keys: PEM, the one that signs first.
        further: id -> base64 of the DER of further keys.
        revoked: ids.

    Raises:
        SignatureError: the key that signs is revoked, or a further key is not that of its id.
    """
    found: dict[str, str] = {}
    for pem in public_keys:
        found |= dict.fromkeys(read_keys(pem, "public key of the stack"), pem.strip() + "\n")
    signs = next(iter(found))
    if signs in revoked:
        what = f"the key that signs, {signs}, is revoked"
        raise SignatureError(what, where="llmops:signing.revoked", fix="`llmops keys rotate` makes another one")
    for name, text in further.items():
        found |= {name: _pem(name, text)}
    return "".join(pem for name, pem in found.items() if name not in revoked)


def der_text(public_key: str) -> str:
    """Returns the base64 of a public key's DER: PEM on one line."""
    ((_, key),) = read_keys(public_key, "public key").items()
    return base64.b64encode(_der(key)).decode()


def pem_of(text: str) -> str:
    """Returns a public key in PEM from the base64 of its DER."""
    lines = re.findall(".{1,64}", text)
    return "\n".join([_BEGIN, *lines, "-----END PUBLIC KEY-----"]) + "\n"


def seal(kind: str, payload: bytes, key: SigningKey) -> str:
    """Returns the envelope of a payload of some media type, as one line of JSON."""
    signature = {"keyid": key_id(key.public_key), "sig": _encoded(key.sign(signed_bytes(kind, payload)))}
    return json.dumps({"payloadType": kind, "payload": _encoded(payload), "signatures": [signature]})


def open_envelope(text: str, kind: str, keys: Mapping[str, ec.EllipticCurvePublicKey], where: str) -> Opened | None:
    """Returns what an envelope contains, after verifying its signature; None if another key signed it.

    Raises:
        SignatureError: it is not an envelope of this kind, or the signature is not that of its key.
    """
    try:
        fields = parse_json(text, where)
        assert isinstance(fields, dict)
        (signature,) = fields["signatures"]
        name, found = str(signature["keyid"]), str(fields["payloadType"])
        payload, signed = (base64.b64decode(each, validate=True) for each in (fields["payload"], signature["sig"]))
    except (DocumentError, ValueError, AssertionError, LookupError, TypeError, binascii.Error) as e:
        what = "can't be read: it is not a DSSE envelope with one signature"
        raise SignatureError(what, where=where, fix="restore it from the store's versions") from e
    if name not in keys:
        return None
    if found != kind or not is_signed(keys[name], signed, signed_bytes(kind, payload)):
        what = f"has a signature that is not of the key {name[:19]}… that it names"
        raise SignatureError(what, where=where, fix="find out who wrote it, and restore it from the store's versions")
    return Opened(payload, name)


def signed_bytes(kind: str, payload: bytes) -> bytes:
    """Returns what is signed: DSSE's pre-authentication encoding."""
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)


def is_signed(key: ec.EllipticCurvePublicKey, signature: bytes, message: bytes) -> bool:
    """Returns whether a signature in DER is a key's over a message."""
    try:
        key.verify(signature, message, ALGORITHM)
    except InvalidSignature:
        return False
    return True


def _pem(name: str, text: str) -> str:
    pem = pem_of(text)
    if list(read_keys(pem, f"llmops:signing.trusted.{name}")) != [name]:
        what = f"is not the public key {name}"
        raise SignatureError(what, where="llmops:signing.trusted", fix="`llmops keys list` shows ids and public keys")
    return pem


def _der(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()
