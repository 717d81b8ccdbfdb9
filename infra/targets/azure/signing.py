"""The signing key: made by Azure Resource Manager, read from the vault.

Azure Resource Manager makes a key without a right in the vault, and answers with the key that is there; but it shows no
public half, which the vault itself has. A dynamic resource does both.
https://learn.microsoft.com/rest/api/keyvault/keyvault/keys/create-if-not-exist
"""

from collections.abc import Sequence
from typing import Any

import pulumi
from pulumi import dynamic

from contract.errors import KitError
from contract.twins import is_loopback
from infra.targets.azure.allowed import until_allowed
from infra.targets.azure.session import Place, credential, explained, find, send
from infra.targets.dynamic import KitProvider, Properties, gone, inputs_of, say

KEY_API = "2024-11-01"
_OPERATIONS = ["sign", "verify"]


class SigningProvider(KitProvider):
    """Outputs: reference, public_key."""

    def create(self, props: Properties) -> dynamic.CreateResult:
        """Make it, or take what is there."""
        outputs = _provide(props)
        return dynamic.CreateResult(outputs["reference"], outputs)

    def update(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.UpdateResult:
        """Another key, or other tags."""
        return dynamic.UpdateResult(_provide(_news))

    def read(self, id_: str, props: Properties) -> dynamic.ReadResult:
        """`refresh`: a key that is gone is made again."""
        if not props["given"] and find(Place.of(props), _key_id(props), KEY_API) is None:
            return gone()
        return dynamic.ReadResult(id_, props)

    def delete(self, _id: str, _props: Properties) -> None:
        """Nothing: a key goes with its vault, and stays in one that was given, for what it has signed."""
        if _props["shared"] and not _props["given"]:
            say(f"{_key_id(_props)} stays in its vault: what it has signed can be checked as long as it is there")


class Signing(dynamic.Resource, module="llmops", name="SigningKey"):
    """A P-256 key in a vault."""

    reference: pulumi.Output[str]
    public_key: pulumi.Output[str]

    def __init__(
        self,
        logical: str,
        place: Place,
        *,
        vault: str,
        name: str,
        given: str,
        shared: bool,
        tags: dict[str, str],
        after: Sequence[pulumi.Resource],
    ) -> None:
        """Declare it.

        Args:
            logical: name.
            place: where.
            vault: resource id of the vault that it is made in.
            name: of the key.
            shared: others use the vault, too.
            given: URL of a key that exists, with its version; then none is made.
            tags: put on it.
            after: what must be there first.
        """
        props: dict[str, Any] = {
            **place._asdict(),
            "vault": vault,
            "name": name,
            "given": given,
            "shared": shared,
            "tags": tags,
            "reference": None,
            "public_key": None,
        }
        options = pulumi.ResourceOptions(protect=True, depends_on=list(after))
        super().__init__(SigningProvider(), logical, props, options)


def _provide(props: Properties) -> Properties:
    place = Place.of(props)
    url = props["given"] or _make(place, props)
    public_key = _public_key(url)
    reference = url.replace("https://", "azurekeyvault://", 1)
    return inputs_of(props) | {"reference": reference, "public_key": public_key}


def _make(place: Place, props: Properties) -> str:
    """URL of the key with its version."""
    body = {
        "properties": {
            "kty": "EC",
            "curveName": "P-256",
            "keyOps": _OPERATIONS,
            "attributes": {"enabled": True, "exportable": False},
        },
        "tags": props["tags"],
    }
    made = send(place, "PUT", _key_id(props), KEY_API, body)
    if made is None:
        raise KitError("there is no such vault", where=props["vault"], fix="`pulumi refresh`, then `pulumi up`")
    return str(made["properties"]["keyUriWithVersion"])


def _public_key(url: str) -> str:
    """PEM of a key's public half. The role that lets this be read is new at times: then it is waited for."""
    from azure.keyvault.keys import KeyClient

    vault, _, rest = url.partition("/keys/")
    name, _, version = rest.partition("/")
    client = KeyClient(vault, credential(), verify_challenge_resource=not is_loopback(vault))
    with explained(url):
        return _pem(until_allowed(f"{url} can be read", lambda: client.get_key(name, version)).key)


def _pem(key: Any) -> str:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicNumbers
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if key.crv != "P-256":
        raise KitError(f"is a key of curve {key.crv}", where="llmops:azure.signing_key", fix="give one of P-256")
    x, y = (int.from_bytes(part, "big") for part in (key.x, key.y))
    public = EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _key_id(props: Properties) -> str:
    return f"{props['vault']}/keys/{props['name']}"
