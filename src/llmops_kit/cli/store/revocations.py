"""The signed lists of revocations in a store, `revoked/NUMBER.json`: DSSE envelopes of `revocations/1`.

A list is complete, so that only its newest one is read; whoever writes one signs all of it anew.
"""

from llmops_kit.cli.store.objects import Objects
from llmops_kit.core.documents.revocations import Revocation, Revocations
from llmops_kit.core.errors import IntegrityError, KitError
from llmops_kit.core.integrity.envelopes import SigningKey, open_envelope, read_keys, seal
from llmops_kit.core.layout import revocation_list_key

_KIND = "application/vnd.llmops-kit.revocations+json"
_FIX = (
    "nothing is loaded or promoted until it can be read, and endpoints keep serving: restore the object from the "
    "store's versions, or put back the public key that signed it"
)


def read_revocations(objects: Objects, public_keys: str) -> Revocations:
    """Returns the newest list of revocations of a store.

    Args:
        objects: of the store.
        public_keys: PEM, from the stack; one or several.

    Raises:
        IntegrityError: it can't be read: a list is missing, or no key signed it that counts.
    """
    keys = objects.list("revoked/")
    if keys != [revocation_list_key(number) for number in range(1, len(keys) + 1)]:
        raise _unreadable("its lists don't have the numbers from 1 on", f"{objects.url}/revoked/")
    if not keys:
        return Revocations.new(number=0)
    where = f"{objects.url}/{keys[-1]}"
    try:
        opened = open_envelope(objects.get(keys[-1]).decode(), _KIND, read_keys(public_keys, "public key"), where)
        found = Revocations.parse(opened.payload, where) if opened else None
    except (KitError, UnicodeDecodeError) as e:
        raise _unreadable(e.what if isinstance(e, KitError) else "it is not text", where) from e
    if not opened or not found:
        raise _unreadable("no key that the stack trusts signed it", where)
    if opened.key_id in found.keys:
        raise _unreadable("a key signed it that it revokes", where)
    if found.number != len(keys):
        raise _unreadable(f"it is list {found.number} under another number", where)
    return found


def write_revocation(objects: Objects, entry: Revocation, public_keys: str, key: SigningKey) -> bool:
    """Adds a revocation, in a new list; returns False if the key or version was revoked already.

    Raises:
        IntegrityError: the present list can't be read.
    """
    while True:
        before = read_revocations(objects, public_keys)
        if before.find(entry.kind, entry.id):
            return False
        after = Revocations.new(number=before.number + 1, entries=[*before.entries, entry])
        envelope = seal(_KIND, after.to_json().encode(), key) + "\n"
        if objects.create(revocation_list_key(after.number), envelope.encode()):
            return True


def _unreadable(why: str, where: str) -> IntegrityError:
    return IntegrityError(f"the list of revocations can't be read: {why}", where=where, fix=_FIX)
