"""Signatures of model versions: `manifest.json.sig`, beside the manifest.

Each line of it is a DSSE envelope with an in-toto statement about the manifest: that it is accepted, or that the
version is revoked; with the signer and the time. A version is loaded if one key that the stack trusts accepted it, and
none revoked it. A line of version 0.1.0 of the kit is the base64 of a bare signature over the manifest.
https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
"""

import base64
import getpass
import json
import os
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.errors import IntegrityError, KitError, RefusedError, SignatureError
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.integrity.envelopes import ALGORITHM, SigningKey, is_signed, open_envelope, read_keys, seal
from llmops_kit.core.layout import MANIFEST, SIGNATURE
from llmops_kit.core.rejections import now

ACCEPTED, REVOKED = "urn:llmops-kit:accepted:1", "urn:llmops-kit:revoked:1"
"""Types of statements."""
STATEMENT = "application/vnd.in-toto+json"
MOST_BYTES = 64 << 10
"""Maximum size of a version's signatures."""
_IN_TOTO = "https://in-toto.io/Statement/v1"
_SKEW = timedelta(minutes=10)


class ManifestSignature(NamedTuple):
    """A valid signature of a manifest."""

    key_id: str
    signer: str
    """Empty: a bare signature, which does not say."""
    at: str
    line: str
    """As it is in the file."""


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


def key_of_file(private_key: Path) -> SigningKey:
    """Returns the key in a file of this machine; its signer is this process's user."""
    key = _load_private(private_key)
    return SigningKey(public_key_of(private_key), this_user(), lambda message: key.sign(message, ALGORITHM))


def this_user() -> str:
    """Returns the name of this process's user; empty if it has none, as in containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def sign(folder: Path, private_key: Path) -> str:
    """Sign a model version's manifest with the key in a file of this machine; see `sign_manifest`."""
    return sign_manifest(folder, key_of_file(private_key))


def sign_manifest(folder: Path, key: SigningKey) -> str:
    """Sign a model version's manifest; write the signature beside it.

    Returns:
        The version's identity: the manifest's sha256.
    """
    manifest = (folder / MANIFEST).read_bytes()
    (folder / SIGNATURE).write_text(accept(manifest, key) + "\n")
    return sha256_bytes(manifest)


def accept(manifest: bytes, key: SigningKey) -> str:
    """Returns the line that accepts a version."""
    return _stated(ACCEPTED, manifest, key, {})


def revoke(manifest: bytes, key: SigningKey, reason: str) -> str:
    """Returns the line that revokes a version."""
    return _stated(REVOKED, manifest, key, {"reason": reason})


def verify_manifest(folder: Path, public_keys: str, expected_sha256: str = "") -> tuple[ModelManifest, str]:
    """Verify a model version's signature and identity, but none of its files.

    Returns:
        The manifest and its sha256, of the bytes that were verified.

    Raises:
        SignatureError: unsigned, or signed by no key that is trusted.
        RefusedError: the version is revoked.
        IntegrityError: another version than expected.
    """
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
    except OSError as e:
        raise IntegrityError(
            f"can't be read: {e.strerror}", where=str(path), fix="give a model version's folder"
        ) from e
    require_signed(content, _signatures_beside(folder), public_keys, str(folder / SIGNATURE))
    found = sha256_bytes(content)
    if expected_sha256 and found != expected_sha256:
        raise IntegrityError(
            f"is version sha256:{found}, but sha256:{expected_sha256} was promoted",
            where=str(path),
            fix="promote the intended version",
        )
    return ModelManifest.parse(content.decode(), where=str(path)), found


def require_signed(
    content: bytes, signatures: bytes, public_keys: str, where: str, revoked: Collection[str] = ()
) -> list[ManifestSignature]:
    """Returns the valid signatures of a manifest.

    Args:
        content: the manifest.
        signatures: lines of its file of signatures.
        public_keys: PEM, from the stack; one or several.
        where: place of the signatures, for errors.
        revoked: ids of revoked keys, whose signatures don't count.

    Raises:
        SignatureError: there is none, or a line can't be read.
        RefusedError: the version is revoked by a key that counts.
    """
    if len(signatures) > MOST_BYTES:
        what = f"is larger than {MOST_BYTES >> 10} KiB"
        raise SignatureError(what, where=where, fix="find out who wrote it, and restore it from the store's versions")
    keys = {name: key for name, key in read_keys(public_keys, "public key").items() if name not in revoked}
    found, faults = list[ManifestSignature](), list[str]()
    for line in signatures.decode(errors="replace").split("\n"):
        if not line.strip():
            continue
        try:
            signature = _read(line.strip(), content, keys, where)
        except _FaultError as e:
            faults.append(str(e))
        else:
            found += [signature] if signature else []
    if not found:
        what = "; ".join(faults) or "does not match the manifest and a public key that the stack trusts"
        fix = "the manifest was changed, another stack signed it (`llmops models copy` signs for this stack), or its "
        raise SignatureError(what, where=where, fix=f"{fix}key is revoked (`llmops models resign` signs it anew)")
    return found


class _FaultError(Exception):
    """A signature that does not count."""


def _read(line: str, content: bytes, keys: Mapping[str, Any], where: str) -> ManifestSignature | None:
    """Returns the signature in a line; None if a key signed it that does not count.

    Raises:
        _FaultError: it is not of this manifest, or of a time to come.
        RefusedError: it revokes the version.
        SignatureError: it can't be read.
    """
    if not line.startswith("{"):
        return _bare(line, content, keys, where)
    opened = open_envelope(line, STATEMENT, keys, where)
    if opened is None:
        return None
    try:
        statement = json.loads(opened.payload)
        (subject,) = statement["subject"]
        kind, sha256, facts = statement["predicateType"], subject["digest"]["sha256"], statement["predicate"]
        signer, at = str(facts["signer"]), str(facts["signedAt"])
        reason = str(facts.get("reason", ""))
        when = datetime.fromisoformat(at)
        ahead = when - datetime.now(UTC)
    except (ValueError, LookupError, TypeError, AttributeError) as e:
        raise SignatureError("can't be read: it is not a statement of the kit", where=where) from e
    if sha256 != sha256_bytes(content) or kind not in (ACCEPTED, REVOKED):
        raise _FaultError("does not match the manifest: it was signed for another one")
    if kind == REVOKED:
        raise RefusedError(
            f"the version was revoked by {signer or 'somebody'} at {at}: {reason}",
            where=where,
            fix="promote another version",
        )
    if ahead > _SKEW:
        raise _FaultError(f"was signed at {at}, and this machine's clock is at {now()}: set the clock that is wrong")
    return ManifestSignature(opened.key_id, signer, at, line)


def _bare(line: str, content: bytes, keys: Mapping[str, Any], where: str) -> ManifestSignature | None:
    try:
        decoded = base64.b64decode(line, validate=True)
    except ValueError:  # binascii.Error among them
        what = "can't be read: it is neither an envelope nor base64"
        raise SignatureError(what, where=where, fix="fetch the version from its store again") from None
    name = next((name for name, key in keys.items() if is_signed(key, decoded, content)), "")
    return ManifestSignature(name, "", "", line) if name else None


def _stated(kind: str, manifest: bytes, key: SigningKey, more: Mapping[str, str]) -> str:
    statement = {
        "_type": _IN_TOTO,
        "subject": [{"name": MANIFEST, "digest": {"sha256": sha256_bytes(manifest)}}],
        "predicateType": kind,
        "predicate": {"signer": key.signer, "signedAt": now(), **more},
    }
    return seal(STATEMENT, json.dumps(statement).encode(), key)


def _signatures_beside(folder: Path) -> bytes:
    where = folder / SIGNATURE
    try:
        with where.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise SignatureError(
            "is missing: the version is unsigned", where=str(where), fix="`llmops runs collect` signs it"
        ) from None


def _load_private(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError) as e:
        raise KitError(
            f"the signing key can't be read, as if it was half written: {e}",
            where=str(path),
            fix="restore the file; or remove it and `llmops up`, which makes another key, and sign the versions anew",
        ) from e
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise KitError("the signing key is not an EC key", where=str(path), fix="`llmops up` creates one")
    return key
