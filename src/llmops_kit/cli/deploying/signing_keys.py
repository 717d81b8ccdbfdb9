"""Rotation and revocation of the keys that sign a stack's versions."""

from collections.abc import Mapping
from dataclasses import dataclass

from llmops_kit.cli.deploying.promotion import require_line
from llmops_kit.cli.interfaces.platform import Platform
from llmops_kit.cli.stacks.stack_file import StackFile
from llmops_kit.cli.store.resigning import signatures
from llmops_kit.cli.store.revocations import read_revocations, write_revocation
from llmops_kit.clouds.targets import TARGETS
from llmops_kit.core.documents.revocations import Revocation
from llmops_kit.core.errors import KitError, NotFoundError, RefusedError
from llmops_kit.core.integrity.envelopes import der_text, key_id, read_keys
from llmops_kit.core.names import parse_promoted
from llmops_kit.core.rejections import now

_SHORTEST = 8
_SETTING = "signing"


@dataclass(frozen=True)
class KeyState:
    """A key of a stack, as it is deployed."""

    id: str
    state: str
    """signs, trusted or revoked."""
    public_key: str
    """The base64 of its DER; empty: revoked."""
    reason: str = ""


def keys_of(platform: Platform) -> list[KeyState]:
    """Returns the keys of a deployed stack, the one that signs first, and revoked ones last.

    Raises:
        IntegrityError: the list of revocations can't be read.
    """
    output = platform.outputs.signing
    revoked = {each.id: each for each in read_revocations(platform.store().objects, output.public_key).entries}
    found = []
    for name, pem in _by_id(output.public_key).items():
        if name not in revoked:
            found.append(KeyState(name, "signs" if name == key_id(output.signs) else "trusted", der_text(pem)))
    keys = [each for each in revoked.values() if each.kind == "key"]
    return [*found, *(KeyState(each.id, "revoked", "", each.reason) for each in keys)]


def rotate(platform: Platform, file: StackFile, to: str = "") -> str:
    """Writes into the stack file that another key signs from the next `up` on; versions of the former key stay valid.

    Args:
        platform: the stack in operation.
        file: the stack's file, which is written.
        to: an existing key of the cloud, for a stack with such a key; empty: the stack makes another one.

    Returns:
        The change, as a diff.

    Raises:
        KitError: `to` is missing, or the stack makes its own keys.
    """
    target, output = platform.outputs.target, platform.outputs.signing
    setting = TARGETS[target].signing_key
    settings = file.settings(_SETTING, *([target] if setting else []))
    given = str(getattr(getattr(settings, target), setting)) if setting else ""
    if bool(given) != bool(to):
        what = f"the stack signs with an existing key, {given}" if given else "the stack makes its own keys"
        raise KitError(what, where=str(file.path), fix="name another key with --to" if given else "leave out --to")
    if given:
        file.set("trusted", key_id(output.signs), der_text(output.signs), key=_SETTING)
        file.set_field(target, setting, to)
    else:
        file.set_field(_SETTING, "keys", settings.signing.keys + 1)
    diff = file.diff()
    file.write()
    return diff


def revoke_key(platform: Platform, file: StackFile, key: str, reason: str) -> str:
    """Revokes a key, in the store's list and in the stack file; returns its id.

    From then on nothing that only it signed is promoted or copied. Endpoints stop trusting it at the next `up`.

    Args:
        platform: the stack in operation.
        file: the stack's file, which is written.
        key: its id, or the beginning of it.
        reason: in one line; recorded.

    Raises:
        NotFoundError: the stack has no such key.
        RefusedError: it is the key that signs, or the only one that signed a version in the stack file.
    """
    require_line(reason, "--reason")
    keys, store = platform.outputs.signing.public_key, platform.store()
    found = _by_id(keys)
    name = _find(key, found)
    where = f"{file.path}: signing"
    if name == key_id(platform.outputs.signing.signs):
        fix = "`llmops keys rotate`, `llmops up`, and sign versions anew with `llmops models resign`"
        raise RefusedError(f"{name} is the key that signs", where=where, fix=fix)
    for endpoint, entry in file.promoted().items():
        ref = parse_promoted(entry.model)
        if {each.key_id for each in signatures(store, ref, keys)} == {name}:
            what = f"only this key signed {ref.alias}, which endpoint {endpoint} would no longer load"
            raise RefusedError(what, where=where, fix=f"`llmops models resign {ref.alias}`, or promote another version")
    signer = platform.signing_key
    entry = Revocation(kind="key", id=name, public_key=found[name], reason=reason, by=signer.signer, at=now())
    file.set("revoked", name, reason, key=_SETTING)  # first: it may be refused
    write_revocation(store.objects, entry, keys, signer)
    file.write()
    return name


def _by_id(public_keys: str) -> dict[str, str]:
    """Returns id -> PEM."""
    begin = "-----BEGIN PUBLIC KEY-----"
    blocks = [begin + block for block in public_keys.split(begin)[1:]]
    return dict(zip(read_keys(public_keys, "outputs of the stack"), blocks, strict=True))


def _find(text: str, keys: Mapping[str, str]) -> str:
    wanted = text.removeprefix("sha256:")
    match = [name for name in keys if name.removeprefix("sha256:").startswith(wanted)]
    if len(wanted) < _SHORTEST or len(match) != 1:
        raise NotFoundError(
            f"the stack trusts no key {text!r}",
            where="KEY",
            fix=f"`llmops keys list` shows ids; give at least {_SHORTEST} digits",
        )
    return match[0]
