"""The signing key: created by Azure Resource Manager, read from the vault.

Azure Resource Manager creates a key without a role in the vault, or returns the existing one, but without its public
key, which only the vault returns. A dynamic resource does both.
https://learn.microsoft.com/rest/api/keyvault/keyvault/keys/create-if-not-exist
"""

from typing import Any

import pulumi
from pulumi import dynamic

from llmops_kit.clouds.azure.errors import explained
from llmops_kit.clouds.azure.location import AzureLocation
from llmops_kit.clouds.azure.roles import until_allowed
from llmops_kit.clouds.azure.session import AzureSession, open_session
from llmops_kit.core.errors import KitError
from llmops_kit.infra.targets.azure.providers.located import AzureLocatedResource
from llmops_kit.infra.targets.dynamic import KitProvider, Properties, gone, inputs_of, say

_OPERATIONS = ["sign", "verify"]


class SigningProvider(KitProvider):
    """Outputs: reference, public_key."""

    def create(self, props: Properties) -> dynamic.CreateResult:
        """Create the key, or adopt the existing one."""
        outputs = _provide(props)
        return dynamic.CreateResult(outputs["reference"], outputs)

    def update(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.UpdateResult:
        """Creates or adopts another key, or updates the tags."""
        return dynamic.UpdateResult(_provide(_news))

    def read(self, id_: str, props: Properties) -> dynamic.ReadResult:
        """Reports a missing key as gone, so that it is created again."""
        if not props["given"] and open_session(AzureLocation.of(props)).arm.find(_key_id(props)) is None:
            return gone()
        return dynamic.ReadResult(id_, props)

    def delete(self, _id: str, _props: Properties) -> None:
        """Deletes nothing: a key is deleted with its vault, and stays in an existing one to verify its signatures."""
        if _props["shared"] and not _props["given"]:
            say(f"{_key_id(_props)} stays in its vault, so that its signatures can still be verified")


class Signing(AzureLocatedResource, module="llmops", name="SigningKey"):
    """A P-256 key in a vault.

    Inputs: vault (resource id), name, given (URL of an existing key, with its version; then none is created), shared
    (whether others use the vault too), tags.
    """

    PROVIDER, COMPUTED, PROTECTED = SigningProvider, ("reference", "public_key"), True
    reference: pulumi.Output[str]
    public_key: pulumi.Output[str]


def _provide(props: Properties) -> Properties:
    session = open_session(AzureLocation.of(props))
    url = props["given"] or _make(session, props)
    public_key = _public_key(session, url)
    reference = url.replace("https://", "azurekeyvault://", 1)
    return inputs_of(props) | {"reference": reference, "public_key": public_key}


def _make(session: AzureSession, props: Properties) -> str:
    """Creates the key and returns its URL with the version."""
    body = {
        "properties": {
            "kty": "EC",
            "curveName": "P-256",
            "keyOps": _OPERATIONS,
            "attributes": {"enabled": True, "exportable": False},
        },
        "tags": props["tags"],
    }
    made = session.arm.put(_key_id(props), body)
    return str(made["properties"]["keyUriWithVersion"])


def _public_key(session: AzureSession, url: str) -> str:
    """Returns a public key as PEM; waits for the role that allows reading it, which may be new."""
    vault, _, rest = url.partition("/keys/")
    name, _, version = rest.partition("/")
    keys = session.keys(vault)
    with explained(url):
        return _pem(until_allowed(f"{url} can be read", lambda: keys.get_key(name, version), say).key)


def _pem(key: Any) -> str:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicNumbers
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if key.crv != "P-256":
        raise KitError(f"is a key of curve {key.crv}", where="llmops:azure.signing_key", fix="use a key of P-256")
    x, y = (int.from_bytes(part, "big") for part in (key.x, key.y))
    public = EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _key_id(props: Properties) -> str:
    return f"{props['vault']}/keys/{props['name']}"
