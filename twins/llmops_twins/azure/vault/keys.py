"""Keys of a vault: their creation, their form as JSON web keys, and their use.

https://learn.microsoft.com/azure/key-vault/keys/about-keys-details
"""

import base64
import time
from collections.abc import Callable
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from llmops_twins.azure.protocol.calls import Document
from llmops_twins.azure.vault.vault import VaultError

_CURVES: dict[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
_SIZES = (2048, 3072, 4096)
_EC_OPS = ("sign", "verify")
_RSA_OPS = ("encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey")
_HASHES: dict[str, hashes.HashAlgorithm] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_EC_ALGORITHMS = {"ES256": ("P-256", "256"), "ES384": ("P-384", "384"), "ES512": ("P-521", "512")}
_ENCRYPTIONS: dict[str, Callable[[], Any]] = {
    "RSA-OAEP": lambda: padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None),
    "RSA-OAEP-256": lambda: padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None),
    "RSA1_5": padding.PKCS1v15,
}


def make(kty: str, curve: str, size: int, operations: list[str] | None, *, premium: bool) -> Document:
    """Returns a new key: `pem` (private), `kty`, `crv`, `key_ops`.

    Raises:
        VaultError: 400, this kind of key is not supported.
    """
    if kty not in ("EC", "EC-HSM", "RSA", "RSA-HSM"):
        raise _bad(f"Property 'kty' has invalid value: {kty!r}")
    if kty.endswith("-HSM") and not premium:
        raise VaultError(400, "BadParameter", f"Keys of type {kty} need a vault of the tier Premium.")
    known = _EC_OPS if kty.startswith("EC") else _RSA_OPS
    if wrong := [each for each in operations or () if each not in known]:
        raise _bad(f"Key operation {wrong[0]!r} is not valid for a key of type {kty}")
    if kty.startswith("EC"):
        if curve and curve not in _CURVES:
            raise _bad(f"Property 'crv' has invalid value: {curve!r}")
        crv = curve or "P-256"
        private: Any = ec.generate_private_key(_CURVES[crv])
    else:
        if size and size not in _SIZES:
            raise _bad(f"Property 'key_size' has invalid value: {size}")
        crv = ""
        private = rsa.generate_private_key(65537, size or 2048)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return {"kty": kty, "crv": crv, "pem": pem, "key_ops": list(operations or known)}


def public(key: Document, kid: str) -> Document:
    """Returns the JSON web key of a key's public half."""
    numbers: Any = _private(key).public_key().public_numbers()
    shown: Document = {"kid": kid, "kty": key["kty"], "key_ops": key["key_ops"]}
    if key["crv"]:
        length = (_CURVES[key["crv"]].key_size + 7) // 8
        return shown | {"crv": key["crv"], "x": _encoded(numbers.x, length), "y": _encoded(numbers.y, length)}
    length = (numbers.n.bit_length() + 7) // 8
    return shown | {"n": _encoded(numbers.n, length), "e": _encoded(numbers.e, 3)}


def use(key: Document, operation: str, algorithm: str, value: bytes, digest: bytes = b"") -> bytes | bool:
    """Returns the result of sign, verify (of `value`, the signature of a digest), encrypt, decrypt, wrapKey, unwrapKey.

    Raises:
        VaultError: 400, the key does not support the algorithm, or the value does not fit; 403, the key is disabled,
            outside of its validity period, or does not permit the operation.
    """
    if not key["attributes"]["enabled"]:
        raise VaultError(403, "Forbidden", f"Operation {operation} is not allowed on a disabled key.", "KeyDisabled")
    _check_time(key["attributes"], operation)
    if operation not in key["key_ops"]:
        message = f"Operation {operation} is not permitted on this key."
        raise VaultError(403, "Forbidden", message, "KeyOperationForbidden")
    private = _private(key)
    if operation == "sign":
        return _signed(key, private, algorithm, value)
    if operation == "verify":
        return _verified(key, private, algorithm, digest, value)
    if algorithm not in _ENCRYPTIONS or key["crv"]:
        raise _unknown(algorithm)
    try:
        if operation in ("encrypt", "wrapKey"):
            return private.public_key().encrypt(value, _ENCRYPTIONS[algorithm]())
        return private.decrypt(value, _ENCRYPTIONS[algorithm]())
    except ValueError as e:
        raise _bad("The parameter is incorrect.") from e


def _check_time(attributes: Document, operation: str) -> None:
    """Refuses the use of a key outside of its validity period; decrypting, unwrapping and verifying are always allowed.

    https://learn.microsoft.com/azure/key-vault/keys/about-keys-details#date-time-controlled-operations

    Raises:
        VaultError: 403.
    """
    if operation in ("decrypt", "unwrapKey", "verify"):
        return
    now = time.time()
    if now < attributes.get("nbf", now):
        message = f"Operation {operation} is not allowed on a key that is not yet valid."
        raise VaultError(403, "Forbidden", message, "KeyNotYetValid")
    if now >= attributes.get("exp", now + 1):
        message = f"Operation {operation} is not allowed on an expired key."
        raise VaultError(403, "Forbidden", message, "KeyExpired")


def _signed(key: Document, private: Any, algorithm: str, digest: bytes) -> bytes:
    prehashed, how = _algorithm(key, algorithm, digest)
    if how is None:
        r, s = decode_dss_signature(private.sign(digest, ec.ECDSA(prehashed)))
        length = (private.curve.key_size + 7) // 8
        return r.to_bytes(length, "big") + s.to_bytes(length, "big")
    return private.sign(digest, how, prehashed)


def _verified(key: Document, private: Any, algorithm: str, digest: bytes, signature: bytes) -> bool:
    prehashed, how = _algorithm(key, algorithm, digest)
    try:
        if how is None:
            half = len(signature) // 2
            r, s = int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
            private.public_key().verify(encode_dss_signature(r, s), digest, ec.ECDSA(prehashed))
        else:
            private.public_key().verify(signature, digest, how, prehashed)
    except InvalidSignature:
        return False
    return True


def _algorithm(key: Document, algorithm: str, digest: bytes) -> tuple[Prehashed, Any]:
    """Returns the hash of an algorithm, and the padding of RSA (None for elliptic curves).

    Raises:
        VaultError: 400.
    """
    if algorithm in _EC_ALGORITHMS:
        curve, bits = _EC_ALGORITHMS[algorithm]
        if key["crv"] != curve:
            raise _unknown(algorithm)
        how = None
    else:
        bits = algorithm[2:]
        if key["crv"] or algorithm[:2] not in ("RS", "PS") or bits not in _HASHES:
            raise _unknown(algorithm)
        found = _HASHES[bits]
        how = padding.PKCS1v15() if algorithm[:2] == "RS" else padding.PSS(padding.MGF1(found), found.digest_size)
    if len(digest) != _HASHES[bits].digest_size:
        raise _bad(f"Invalid length of 'value': {len(digest)} bytes. Expected: {_HASHES[bits].digest_size} bytes.")
    return Prehashed(_HASHES[bits]), how


def _private(key: Document) -> Any:
    return load_pem_private_key(key["pem"].encode(), None)


def _bad(message: str) -> VaultError:
    return VaultError(400, "BadParameter", message)


def _unknown(algorithm: str) -> VaultError:
    return _bad(f"Key and signing key properties do not match, or the algorithm {algorithm!r} is not supported.")


def _encoded(number: int, length: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(length, "big")).rstrip(b"=").decode()
