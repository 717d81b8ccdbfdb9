"""The key pair that signs model versions. Only paths get into the state."""

from pathlib import Path

from pulumi import dynamic

from llmops_kit.core.integrity.stack_homes import foreign, home_of
from llmops_kit.infra.targets.dynamic import KitProvider, Properties, gone, inputs_of
from llmops_kit.infra.targets.local.providers.home import claim, is_there, remove_file
from llmops_kit.infra.targets.local.providers.store import require_moved

_FILES = {"private_key": ("keys", "signing.key"), "public_key_file": ("keys", "signing.pub")}


class SigningKeyProvider(KitProvider):
    """Creates an ECDSA P-256 key pair, or adopts an existing one."""

    def create(self, props: Properties) -> dynamic.CreateResult:
        """Creates the key pair; idempotent: an existing key is never replaced."""
        return dynamic.CreateResult(props["private_key"], _make_pair(props))

    def read(self, id_: str, props: Properties) -> dynamic.ReadResult:
        """Reports the pair as gone if the private key's file is missing."""
        exists = is_there(_home(props)) and Path(props["private_key"]).exists()
        return dynamic.ReadResult(id_, props) if exists else gone()

    def update(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.UpdateResult:
        """Requires that the keys were moved to the new folder."""
        require_moved(Path(_olds["private_key"]), Path(_news["private_key"]))
        return dynamic.UpdateResult(_make_pair(_news))

    def delete(self, _id: str, _props: Properties) -> None:
        """Remove the pair. The engine asks only after the resource was unprotected."""
        home = _home(_props)
        for below in _FILES.values():
            remove_file(home, *below)


def _home(props: Properties) -> Path:
    """Returns the home that both files lie in."""
    home, public = (home_of(props[name], *below) for name, below in _FILES.items())
    if home != public:
        raise foreign(props["public_key_file"])
    return home


def _make_pair(props: Properties) -> Properties:
    from llmops_kit.core.integrity.signing import make_key

    claim(_home(props))
    public_key = make_key(Path(props["private_key"]))
    Path(props["public_key_file"]).write_text(public_key)
    return inputs_of(props) | {"public_key": public_key}
