"""Signatures of versions that are in a store already: signing anew, revoking, and who signed."""

from collections.abc import Collection

from llmops_kit.cli.store.objects import Say
from llmops_kit.cli.store.revocations import write_revocation
from llmops_kit.cli.store.store import Store
from llmops_kit.core.documents.revocations import Revocation
from llmops_kit.core.integrity.envelopes import SigningKey, key_id
from llmops_kit.core.integrity.signing import ManifestSignature, accept, require_signed, revoke
from llmops_kit.core.layout import MANIFEST, SIGNATURE, model_key
from llmops_kit.core.names import ModelRef
from llmops_kit.core.rejections import now


def signatures(store: Store, ref: ModelRef, public_keys: str) -> list[ManifestSignature]:
    """Returns the signatures of a version that count.

    Raises:
        SignatureError: there is none.
        RefusedError: the version is revoked.
    """
    revoked = store.require_not_revoked(ref, public_keys)
    return _signatures(store, ref, public_keys, revoked.keys)


def resign(store: Store, ref: ModelRef, public_keys: str, key: SigningKey, say: Say) -> bool:
    """Signs a version anew, after checking its files; returns False if the key had signed it already.

    Signatures of other keys that the stack trusts are kept, for endpoints that don't know the new key yet. A version
    that a revoked key signed can be signed anew, since its caller names it: that it is the right one, nothing proves.

    Args:
        store: has the version.
        ref: the version.
        public_keys: PEM, from the stack; one or several.
        key: signs.
        say: called with the method of checking files, and with the revoked key.

    Raises:
        SignatureError: no key of the stack ever signed it.
        RefusedError: the version is revoked.
    """
    revoked = store.require_not_revoked(ref, public_keys)
    former = "".join(each.public_key for each in revoked.entries if each.kind == "key")
    found = _signatures(store, ref, public_keys + former)
    ours, kept = key_id(key.public_key), [each for each in found if each.key_id not in revoked.keys]
    if any(each.key_id == ours and each.at for each in kept):
        return False
    if not kept:
        say(f"only a revoked key signed {ref.alias}, {found[0].key_id}: sign it only if you know that it is yours")
    manifest = store.manifest(ref)
    store.objects.verify(model_key(ref.sha256), manifest.files, say)
    content = store.objects.get(f"{model_key(ref.sha256)}/{MANIFEST}")
    lines = [accept(content, key), *(each.line for each in kept if each.key_id != ours)]
    store.objects.put(f"{model_key(ref.sha256)}/{SIGNATURE}", ("\n".join(lines) + "\n").encode())
    return True


def revoke_version(store: Store, ref: ModelRef, public_keys: str, key: SigningKey, reason: str) -> bool:
    """Revokes a version, in the store's list and beside its manifest, where endpoints read it when they load; returns
    False if it was revoked already.
    """
    entry = Revocation(kind="version", id=f"sha256:{ref.sha256}", reason=reason, by=key.signer, at=now())
    is_new = write_revocation(store.objects, entry, public_keys, key)
    content = store.objects.get(f"{model_key(ref.sha256)}/{MANIFEST}")
    store.objects.put(f"{model_key(ref.sha256)}/{SIGNATURE}", (revoke(content, key, reason) + "\n").encode())
    return is_new


def _signatures(
    store: Store, ref: ModelRef, public_keys: str, revoked: Collection[str] = ()
) -> list[ManifestSignature]:
    key = model_key(ref.sha256)
    content, lines = (store.objects.get(f"{key}/{name}") for name in (MANIFEST, SIGNATURE))
    return require_signed(content, lines, public_keys, f"{store.objects.url}/{key}/{SIGNATURE}", revoked)
