"""Signatures over manifests: ECDSA P-256 with SHA-256, DER, base64.

The format of `cosign verify-blob` and `openssl dgst -sha256 -verify`, and of AWS KMS and Azure Key Vault.
"""

import base64
import binascii
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.errors import IntegrityError, KitError, SignatureError
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.layout import MANIFEST, SIGNATURE

_ALGORITHM = ec.ECDSA(hashes.SHA256())


def make_key(path: Path) -> str:
    """Write a new private key (PEM, mode 0600) unless the file exists; returns the public key as PEM."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
            f.write(pem)
        temporary.replace(path)
    return public_key_of(path)


def public_key_of(private_key: Path) -> str:
    """Return the public half of a private key file, as PEM."""
    return (
        _load_private(private_key)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def sign(folder: Path, private_key: Path) -> str:
    """Sign a model version's manifest; write the signature beside it.

    Returns:
        The version's identity: the manifest's sha256.
    """
    manifest = (folder / MANIFEST).read_bytes()
    signature = _load_private(private_key).sign(manifest, _ALGORITHM)
    (folder / SIGNATURE).write_text(base64.b64encode(signature).decode() + "\n")
    return sha256_bytes(manifest)


def verify_manifest(folder: Path, public_key: str, expected_sha256: str = "") -> tuple[ModelManifest, str]:
    """Verify a model version's signature and identity, but none of its files.

    Returns:
        The manifest and its sha256, of the bytes that were verified.

    Raises:
        SignatureError: unsigned, or signed by another key.
        IntegrityError: another version than expected.
    """
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
    except OSError as e:
        raise IntegrityError(
            f"can't be read: {e.strerror}", where=str(path), fix="give a model version's folder"
        ) from e
    _verify_signature(folder, content, public_key)
    found = sha256_bytes(content)
    if expected_sha256 and found != expected_sha256:
        raise IntegrityError(
            f"is version sha256:{found}, but sha256:{expected_sha256} was promoted",
            where=str(path),
            fix="promote the intended version",
        )
    return ModelManifest.parse(content.decode(), where=str(path)), found


def _verify_signature(folder: Path, content: bytes, public_key: str) -> None:
    where = folder / SIGNATURE
    try:
        signature = where.read_bytes()
    except FileNotFoundError:
        raise SignatureError(
            "is missing: the version is unsigned", where=str(where), fix="`llmops runs collect` signs it"
        ) from None
    require_signed(content, signature, public_key, str(where))


def require_signed(content: bytes, signature: bytes, public_key: str, where: str) -> None:
    """Verify a detached signature.

    Args:
        content: the signed bytes.
        signature: in base64.
        public_key: PEM, from the stack.
        where: place of the signature, for errors.

    Raises:
        SignatureError: the signature is not valid for content and key.
    """
    try:
        decoded = base64.b64decode(signature.strip(), validate=True)
    except binascii.Error:
        raise SignatureError("is not base64", where=where, fix="fetch the version from its store again") from None
    try:
        key = serialization.load_pem_public_key(public_key.encode())
    except (ValueError, UnsupportedAlgorithm) as e:
        raise SignatureError("the public key is not PEM", where=where, fix="take it from the stack's outputs") from e
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise SignatureError("the public key is not an EC key", where=where, fix="take it from the stack's outputs")
    try:
        key.verify(decoded, content, _ALGORITHM)
    except InvalidSignature:
        raise SignatureError(
            "does not match the manifest and the stack's public key",
            where=where,
            fix="the manifest was changed, or another stack signed it: `llmops models copy` signs for this stack",
        ) from None


def _load_private(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError) as e:
        raise KitError(f"the signing key can't be read: {e}", where=str(path), fix="`llmops up` creates it") from e
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise KitError("the signing key is not an EC key", where=str(path), fix="`llmops up` creates one")
    return key
