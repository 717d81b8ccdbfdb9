"""Revoked keys and versions are refused, and so is everything while the list of them can't be read."""

from collections.abc import Callable
from pathlib import Path

import pytest

from llmops_kit.cli.platforms.local.platform import LocalPlatform
from llmops_kit.cli.store.objects import FolderObjects
from llmops_kit.cli.store.resigning import resign, revoke_version, signatures
from llmops_kit.cli.store.revocations import read_revocations, write_revocation
from llmops_kit.core.documents.revocations import Revocation
from llmops_kit.core.errors import IntegrityError, RefusedError, SignatureError
from llmops_kit.core.integrity.envelopes import SigningKey, key_id
from llmops_kit.core.integrity.signing import key_of_file, make_key
from llmops_kit.core.layout import SIGNATURE, model_key
from tests.support.tiny_models.versions import open_verified

MakeVersion = Callable[..., Path]


@pytest.fixture
def newer(tmp_path: Path) -> SigningKey:
    make_key(tmp_path / "newer.key")
    return key_of_file(tmp_path / "newer.key")


def root_of(platform: LocalPlatform) -> Path:
    objects = platform.store().objects
    assert isinstance(objects, FolderObjects)
    return objects.root


def revoked_key(key: SigningKey) -> Revocation:
    id_ = key_id(key.public_key)
    return Revocation(
        kind="key", id=id_, public_key=key.public_key, reason="stolen", by="me", at="2026-01-01T00:00:00Z"
    )


def test_versions_of_the_former_key_are_valid_until_it_is_revoked(
    platform: LocalPlatform, make_version: MakeVersion, newer: SigningKey
) -> None:
    store, former = platform.store(), platform.signing_key
    one, two = (store.put_model(make_version(weights=each), platform.sign) for each in ("one", "two"))
    both = newer.public_key + former.public_key
    store.verify_model(one, both, print)
    assert resign(store, one, both, newer, print)
    assert not resign(store, one, both, newer, print)
    assert len(signatures(store, one, both)) == 2

    assert write_revocation(store.objects, revoked_key(former), both, newer)
    assert not write_revocation(store.objects, revoked_key(former), both, newer)
    assert [each.key_id for each in signatures(store, one, both)] == [key_id(newer.public_key)]
    with pytest.raises(SignatureError, match="a public key that the stack trusts"):
        store.verify_model(two, both, print)
    open_verified(store.model_folder(one.sha256), newer.public_key, one.sha256)


def test_a_version_that_only_a_revoked_key_signed_can_be_signed_anew_by_name(
    platform: LocalPlatform, make_version: MakeVersion, newer: SigningKey
) -> None:
    store, former = platform.store(), platform.signing_key
    ref, said = store.put_model(make_version(), platform.sign), list[str]()
    write_revocation(store.objects, revoked_key(former), newer.public_key, newer)
    assert resign(store, ref, newer.public_key, newer, said.append)
    assert "only a revoked key signed chatbot@1" in said[0]
    assert len(signatures(store, ref, newer.public_key)) == 1


def test_what_nobody_of_the_stack_signed_is_not_signed_anew(
    platform: LocalPlatform, make_version: MakeVersion, newer: SigningKey
) -> None:
    ref = platform.store().put_model(make_version(), platform.sign)
    with pytest.raises(SignatureError):
        resign(platform.store(), ref, newer.public_key, newer, print)
    model = platform.store().model_folder(ref.sha256) / "model.safetensors"
    model.chmod(0o600)
    model.write_bytes(b"other weights")
    with pytest.raises(IntegrityError):
        resign(platform.store(), ref, newer.public_key + platform.signing_key.public_key, newer, print)


def test_a_revoked_version_is_refused_by_the_list_and_where_it_lies(
    platform: LocalPlatform, make_version: MakeVersion
) -> None:
    store, key = platform.store(), platform.signing_key
    ref = store.put_model(make_version(), platform.sign)
    before = (store.model_folder(ref.sha256) / SIGNATURE).read_bytes()
    assert revoke_version(store, ref, key.public_key, key, "leaked data")
    with pytest.raises(RefusedError, match="leaked data"):
        open_verified(store.model_folder(ref.sha256), key.public_key, ref.sha256)
    store.objects.put(f"{model_key(ref.sha256)}/{SIGNATURE}", before)  # somebody with write access
    for refused in (
        lambda: store.verify_model(ref, key.public_key, print),
        lambda: resign(store, ref, key.public_key, key, print),
    ):
        with pytest.raises(RefusedError, match="leaked data"):
            refused()


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda folder: (folder / "000001.json").write_text('{"payload"'), "not a DSSE envelope"),
        (lambda folder: (folder / "000001.json").write_bytes(b"\xff\xfe"), "not text"),
        (lambda folder: (folder / "000001.json").rename(folder / "000002.json"), "numbers from 1"),
        (lambda folder: (folder / "000002.json").write_bytes((folder / "000001.json").read_bytes()), "another number"),
    ],
    ids=["cut", "binary", "gap", "repeated"],
)
def test_a_list_that_cannot_be_read_stops_everything(
    platform: LocalPlatform, make_version: MakeVersion, damage: Callable[[Path], object], why: str
) -> None:
    store, key = platform.store(), platform.signing_key
    ref, other = (store.put_model(make_version(weights=each), platform.sign) for each in ("one", "two"))
    revoke_version(store, other, key.public_key, key, "leaked data")
    folder = root_of(platform) / "revoked"
    (folder / "000001.json").chmod(0o600)
    damage(folder)
    with pytest.raises(IntegrityError, match=why) as e:
        store.verify_model(ref, key.public_key, print)
    assert "endpoints keep serving" in e.value.fix


def test_a_list_of_a_key_that_does_not_count_is_not_taken(platform: LocalPlatform, newer: SigningKey) -> None:
    objects, key = platform.store().objects, platform.signing_key
    write_revocation(objects, revoked_key(newer), key.public_key, key)
    with pytest.raises(IntegrityError, match="no key that the stack trusts"):
        read_revocations(objects, newer.public_key)
    both = key.public_key + newer.public_key
    write_revocation(objects, revoked_key(key), both, key)
    with pytest.raises(IntegrityError, match="that it revokes"):
        read_revocations(objects, both)
