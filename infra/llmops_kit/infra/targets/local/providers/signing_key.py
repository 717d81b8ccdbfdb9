"""The key pairs that sign model versions. Only paths get into the state."""

from pathlib import Path

from pulumi import dynamic

from llmops_kit.core.integrity.stack_homes import foreign, home_of
from llmops_kit.infra.resource_names import signing_key_name
from llmops_kit.infra.targets.dynamic import KitProvider, Properties, gone, inputs_of
from llmops_kit.infra.targets.local.providers.home import claim, is_there, remove_file
from llmops_kit.infra.targets.local.providers.store import require_moved

_KEYS, _PUBLIC = "keys", "signing.pub"


class SigningKeyProvider(KitProvider):
    """Creates ECDSA P-256 key pairs, or adopts existing ones."""

    def create(self, props: Properties) -> dynamic.CreateResult:
        """Creates the key pairs; idempotent: an existing key is never replaced."""
        return dynamic.CreateResult(props["private_key"], _make_pairs(props))

    def read(self, id_: str, props: Properties) -> dynamic.ReadResult:
        """Reports the pairs as gone if the file of the newest private key is missing."""
        exists = is_there(_home(props)) and Path(props["private_key"]).exists()
        return dynamic.ReadResult(id_, props) if exists else gone()

    def update(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.UpdateResult:
        """Creates further pairs, and writes which are trusted. Requires that keys were moved to a new folder."""
        require_moved(_oldest(_olds), _oldest(_news))
        return dynamic.UpdateResult(_make_pairs(_news))

    def delete(self, _id: str, _props: Properties) -> None:
        """Remove the pairs. The engine asks only after the resource was unprotected."""
        home = _home(_props)
        for name in (*(Path(path).name for path in _private_keys(_props)), _PUBLIC):
            remove_file(home, _KEYS, name)


def _private_keys(props: Properties) -> list[str]:
    """Returns the paths of the private keys, the newest first."""
    return [props["private_key"], *(props.get("older_keys") or ())]


def _oldest(props: Properties) -> Path:
    return Path(_private_keys(props)[-1])


def _home(props: Properties) -> Path:
    """Returns the home that all files lie in."""
    private = _private_keys(props)
    home = home_of(props["public_key_file"], _KEYS, _PUBLIC)
    for number, path in zip(range(len(private), 0, -1), private, strict=True):
        if home_of(path, _KEYS, signing_key_name(number)) != home:
            raise foreign(path)
    return home


def _make_pairs(props: Properties) -> Properties:
    from llmops_kit.core.integrity.envelopes import bundle
    from llmops_kit.core.integrity.signing import make_key

    claim(_home(props))
    public_keys = [make_key(Path(path)) for path in _private_keys(props)]
    trusted = bundle(public_keys, props.get("trusted") or {}, props.get("revoked") or ())
    Path(props["public_key_file"]).write_text(trusted)
    return inputs_of(props) | {"public_key": trusted}
