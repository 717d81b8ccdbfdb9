"""Signatures by several keys: rotated, revoked, of another time, damaged."""

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from llmops_kit.core.errors import KitError, RefusedError, SignatureError
from llmops_kit.core.integrity import envelopes, signing
from llmops_kit.core.integrity.envelopes import SigningKey

MANIFEST = b'{"schema": "model/2"}'


@pytest.fixture
def keys(tmp_path: Path) -> list[SigningKey]:
    for name in ("one", "two", "three"):
        signing.make_key(tmp_path / name)
    return [signing.key_of_file(tmp_path / name) for name in ("one", "two", "three")]


def signed_by(lines: list[str], trusted: list[SigningKey], *revoked: SigningKey) -> list[str]:
    found = signing.require_signed(
        MANIFEST,
        "\n".join(lines).encode(),
        "".join(key.public_key for key in trusted),
        "sig",
        [envelopes.key_id(key.public_key) for key in revoked],
    )
    return [each.key_id for each in found]


def test_a_signature_says_who_when_and_by_which_key(keys: list[SigningKey]) -> None:
    key = keys[0]._replace(signer="arn:aws:iam::1:role/promote")
    (found,) = signing.require_signed(MANIFEST, signing.accept(MANIFEST, key).encode(), key.public_key, "sig")
    assert (found.signer, found.key_id) == ("arn:aws:iam::1:role/promote", envelopes.key_id(key.public_key))
    assert abs(datetime.fromisoformat(found.at) - datetime.now(UTC)) < timedelta(minutes=1)


def test_any_trusted_key_verifies_unless_it_is_revoked(keys: list[SigningKey]) -> None:
    one, two, three = keys
    lines = [signing.accept(MANIFEST, one), signing.accept(MANIFEST, two)]
    assert len(signed_by(lines, [two, one])) == 2
    assert signed_by(lines, [three, one]) == [envelopes.key_id(one.public_key)]
    assert signed_by(lines, [two, one], one) == [envelopes.key_id(two.public_key)]
    for trusted, revoked in (([three], []), ([one], [one])):
        with pytest.raises(SignatureError, match="a public key that the stack trusts"):
            signed_by(lines, trusted, *revoked)


def test_a_bare_signature_of_the_first_release_still_verifies(keys: list[SigningKey]) -> None:
    one, two, _ = keys
    bare = base64.b64encode(one.sign(MANIFEST)).decode()
    assert signed_by([bare], [two, one]) == [envelopes.key_id(one.public_key)]
    with pytest.raises(SignatureError):
        signed_by([bare], [two, one], one)


def test_a_statement_about_another_manifest_does_not_count(keys: list[SigningKey]) -> None:
    with pytest.raises(SignatureError, match="signed for another one"):
        signed_by([signing.accept(MANIFEST + b" ", keys[0])], keys)


def test_a_revoked_version_is_refused_whoever_else_signed_it(keys: list[SigningKey]) -> None:
    one, two, three = keys
    lines = [signing.accept(MANIFEST, two), signing.revoke(MANIFEST, one, "leaked data")]
    with pytest.raises(RefusedError, match="leaked data"):
        signed_by(lines, [two, one])
    assert signed_by(lines, [two, three]) == [envelopes.key_id(two.public_key)], "revoked by nobody that counts"


@pytest.mark.parametrize(("minutes", "counts"), [(9, True), (-9, True), (30, False)])
def test_clocks_may_differ_by_ten_minutes(
    keys: list[SigningKey], monkeypatch: pytest.MonkeyPatch, minutes: int, counts: bool
) -> None:
    ahead = (datetime.now(UTC) + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
    monkeypatch.setattr(signing, "now", lambda: ahead)
    line = signing.accept(MANIFEST, keys[0])
    monkeypatch.undo()
    if counts:
        assert signed_by([line], keys)
    else:
        with pytest.raises(SignatureError, match="set the clock"):
            signed_by([line], keys)


def test_an_envelope_whose_content_was_changed_is_refused(keys: list[SigningKey]) -> None:
    envelope = json.loads(signing.accept(MANIFEST, keys[0]))
    statement = json.loads(base64.b64decode(envelope["payload"])) | {"predicateType": "urn:other"}
    envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    with pytest.raises(SignatureError, match="not of the key"):
        signed_by([json.dumps(envelope)], keys)


@pytest.mark.parametrize("line", ["{", '{"payload": 1}', "{}", '{"signatures": []}', "half of a l\u00efne", "[1]"])
def test_what_cannot_be_read_is_refused_beside_a_valid_signature(keys: list[SigningKey], line: str) -> None:
    with pytest.raises(SignatureError, match="can't be read"):
        signed_by([signing.accept(MANIFEST, keys[0]), line], keys)


def test_signatures_are_bounded(keys: list[SigningKey]) -> None:
    with pytest.raises(SignatureError, match="larger than 64 KiB"):
        signed_by([signing.accept(MANIFEST, keys[0])] * 200, keys)


def test_a_key_file_that_is_half_written_is_named(tmp_path: Path, keys: list[SigningKey]) -> None:
    private, public = tmp_path / "one", keys[0].public_key + keys[1].public_key
    private.write_bytes(private.read_bytes()[:100])
    with pytest.raises(KitError) as e:
        signing.key_of_file(private)
    assert e.value.where == str(private)
    with pytest.raises(SignatureError, match="public key 2 of 2 is damaged or cut off") as cut:
        envelopes.read_keys(public[:-40], "signing.pub")
    assert cut.value.where == "signing.pub"


def test_a_bundle_has_the_signing_key_first_and_no_revoked_one(keys: list[SigningKey]) -> None:
    one, two, three = (key.public_key for key in keys)
    ids = [envelopes.key_id(key) for key in (one, two, three)]
    found = envelopes.bundle([two, one], {ids[2]: envelopes.der_text(three)}, [ids[0]])
    assert list(envelopes.read_keys(found, "bundle")) == [ids[1], ids[2]]
    assert envelopes.bundle([one], {}, []) == one, "as before there were several"
    with pytest.raises(SignatureError, match="is revoked"):
        envelopes.bundle([two, one], {}, [ids[1]])
    with pytest.raises(SignatureError, match="is not the public key"):
        envelopes.bundle([one], {ids[1]: envelopes.der_text(three)}, [])
