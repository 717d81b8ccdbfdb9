"""Which keys a stack has, and what `keys rotate` and `keys revoke` write and refuse."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from llmops_kit.cli.deploying.signing_keys import keys_of, revoke_key, rotate
from llmops_kit.cli.interfaces.platform import Platform
from llmops_kit.cli.platforms.local.platform import LocalPlatform
from llmops_kit.cli.stacks.stack_file import StackFile
from llmops_kit.cli.store.resigning import resign
from llmops_kit.core.errors import KitError, NotFoundError, RefusedError, SignatureError
from llmops_kit.core.integrity.envelopes import der_text, key_id
from llmops_kit.core.integrity.signing import make_key

MakeVersion = Callable[..., Path]
GIVEN = "arn:aws:kms:eu-central-1:111122223333:key/{}"


@pytest.fixture
def file(tmp_path: Path) -> StackFile:
    path = tmp_path / "Pulumi.demo.yaml"
    path.write_text("config:\n  llmops:target: local\n")
    return StackFile(path)


@pytest.fixture
def rotated(platform: LocalPlatform, tmp_path: Path) -> LocalPlatform:
    """The stack after an `up` with a second key."""
    former = platform.outputs.signing
    newest = make_key(tmp_path / "signing-2.key")
    signing = {"private_key": str(tmp_path / "signing-2.key"), "public_key": newest + former.public_key}
    return LocalPlatform(platform.outputs.model_copy(update={"signing": former.model_copy(update=signing)}))


def test_a_rotation_is_one_number_in_the_stack_file(platform: LocalPlatform, file: StackFile) -> None:
    assert "+    keys: 2" in rotate(platform, file)
    assert "+    keys: 3" in rotate(platform, file)
    assert file.settings("signing").signing.keys == 3
    with pytest.raises(KitError, match="makes its own keys"):
        rotate(platform, file, GIVEN.format(2))


def test_a_rotation_of_an_existing_key_names_another_and_keeps_the_former_trusted(
    platform: LocalPlatform, tmp_path: Path
) -> None:
    path = tmp_path / "Pulumi.prod.yaml"
    path.write_text(f"config:\n  llmops:target: aws\n  llmops:aws:\n    signing_key_arn: {GIVEN.format(1)}\n")
    file = StackFile(path)
    on_aws = cast(Platform, SimpleNamespace(outputs=platform.outputs.model_copy(update={"target": "aws"})))
    with pytest.raises(KitError, match="an existing key"):
        rotate(on_aws, file)
    rotate(on_aws, file, GIVEN.format(2))
    settings, public_key = StackFile(path).settings("signing", "aws"), platform.outputs.signing.public_key
    assert settings.aws.signing_key_arn == GIVEN.format(2)
    assert settings.signing.trusted == {key_id(public_key): der_text(public_key)}


def test_a_key_is_revoked_once_what_is_served_has_another_signature(
    platform: LocalPlatform, rotated: LocalPlatform, file: StackFile, make_version: MakeVersion
) -> None:
    ref, former = platform.store().put_model(make_version(), platform.sign), platform.outputs.signing.public_key
    file.set("chat", "model", str(ref))
    assert [key.state for key in keys_of(rotated)] == ["signs", "trusted"]
    with pytest.raises(RefusedError, match="only this key signed chatbot@1") as e:
        revoke_key(rotated, file, key_id(former), "laptop stolen")
    assert "models resign chatbot@1" in e.value.fix
    resign(rotated.store(), ref, rotated.outputs.signing.public_key, rotated.signing_key, print)
    assert revoke_key(rotated, file, key_id(former)[7:19], "laptop: stolen #1") == key_id(former)
    assert [key.state for key in keys_of(rotated)] == ["signs", "revoked"]
    assert StackFile(file.path).settings("signing").signing.revoked == {key_id(former): "laptop: stolen #1"}
    other = rotated.store().put_model(make_version(weights="planted"), platform.sign)
    with pytest.raises(SignatureError):
        rotated.store().verify_model(other, rotated.outputs.signing.public_key, print)


@pytest.mark.parametrize(
    ("key", "reason", "error"),
    [
        ("signs", "stolen", RefusedError),
        ("0" * 12, "stolen", NotFoundError),
        ("", "stolen", NotFoundError),
        ("trusted", "two\nlines", KitError),
    ],
)
def test_other_keys_are_not_revoked(
    rotated: LocalPlatform, file: StackFile, key: str, reason: str, error: type[KitError]
) -> None:
    ids: dict[str, Any] = {each.state: each.id for each in keys_of(rotated)}
    before = file.path.read_text()
    with pytest.raises(error):
        revoke_key(rotated, file, ids.get(key, key), reason)
    assert file.path.read_text() == before
    assert [each.state for each in keys_of(rotated)] == ["signs", "trusted"]
