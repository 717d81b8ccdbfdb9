"""Azure's own clients of key vaults on a twin: keys that sign, secrets, deletion and recovery, judged by roles."""

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.keyvault.keys import KeyClient, KeyCurveName
from azure.keyvault.keys.crypto import CryptographyClient, EncryptionAlgorithm, SignatureAlgorithm
from azure.keyvault.secrets import SecretClient
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from llmops_twins.azure.protocol.calls import Principal
from twins.tests.support.azure_hosts import LOCATION, Hosts, running_hosts

VERSION = "2024-11-01"
DIGEST = hashlib.sha256(b"signed").digest()


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with running_hosts(tmp_path_factory.mktemp("twin")) as made:
        yield made


@pytest.fixture(scope="module")
def vault(hosts: Hosts) -> dict[str, Any]:
    properties = {
        "tenantId": hosts.twin.tenant,
        "sku": {"family": "A", "name": "standard"},
        "enableRbacAuthorization": True,
        "enablePurgeProtection": True,
    }
    path = f"{hosts.arm.group()}/providers/Microsoft.KeyVault/vaults/kit-vault"
    assert hosts.arm.put(path, VERSION, {"location": LOCATION, "properties": properties}).status == 200
    return hosts.arm.get(path, VERSION).body


def options(hosts: Hosts, caller: Principal | None) -> dict[str, Any]:
    credential = hosts.credential(caller) if caller else hosts.credential()
    verified = {"connection_verify": hosts.trusted, "verify_challenge_resource": False, "retry_total": 0}
    return {"credential": credential, **verified}


def keys_of(hosts: Hosts, vault: dict[str, Any], caller: Principal | None = None) -> KeyClient:
    return KeyClient(vault["properties"]["vaultUri"], **options(hosts, caller))


def inner_code(error: HttpResponseError) -> str:
    """The code within a refusal of a vault."""
    assert error.error
    inner: Any = error.error.innererror
    return inner["code"]


def test_a_key_that_arm_declared_signs_and_stays_as_it_is(hosts: Hosts, vault: dict[str, Any]) -> None:
    body = {"properties": {"kty": "EC", "curveName": "P-256", "keyOps": ["sign", "verify"]}}
    made = hosts.arm.put(f"{vault['id']}/keys/signing", VERSION, body)
    assert made.status == 200
    again = hosts.arm.put(f"{vault['id']}/keys/signing", VERSION, {"properties": {"kty": "RSA"}})
    assert again.body["properties"]["keyUriWithVersion"] == made.body["properties"]["keyUriWithVersion"]
    assert hosts.arm.delete(f"{vault['id']}/keys/signing", VERSION).status == 405
    user = hosts.principal("signer", Key_Vault_Crypto_User=f"{vault['id']}/keys/signing")
    kid = made.body["properties"]["keyUriWithVersion"]
    with CryptographyClient(kid, **options(hosts, user)) as client:
        signature = client.sign(SignatureAlgorithm.es256, DIGEST).signature
        assert client.verify(SignatureAlgorithm.es256, DIGEST, signature).is_valid
        assert not client.verify(SignatureAlgorithm.es256, bytes(32), signature).is_valid
    with keys_of(hosts, vault, user) as client:
        jwk: Any = client.get_key("signing").key
    numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(jwk.x, "big"), int.from_bytes(jwk.y, "big"), ec.SECP256R1())
    der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    numbers.public_key().verify(der, b"signed", ec.ECDSA(hashes.SHA256()))


def test_an_rsa_key_wraps_a_key(hosts: Hosts, vault: dict[str, Any]) -> None:
    with keys_of(hosts, vault) as client:
        key = client.create_rsa_key("wrapping", size=2048)
        assert key.id
        with CryptographyClient(key.id, **options(hosts, None)) as crypto:
            encrypted = crypto.encrypt(EncryptionAlgorithm.rsa_oaep_256, b"plain").ciphertext
            assert crypto.decrypt(EncryptionAlgorithm.rsa_oaep_256, encrypted).plaintext == b"plain"


def test_keys_are_listed_versioned_deleted_and_recovered(hosts: Hosts, vault: dict[str, Any]) -> None:
    with keys_of(hosts, vault) as client:
        one = client.create_ec_key("moving", curve=KeyCurveName.p_256)
        two = client.create_ec_key("moving", curve=KeyCurveName.p_256)
        assert one.id != two.id
        assert {each.version for each in client.list_properties_of_key_versions("moving")} == {
            one.properties.version,
            two.properties.version,
        }
        client.update_key_properties("moving", enabled=False)
        with (
            CryptographyClient(two.id or "", **options(hosts, None)) as crypto,
            pytest.raises(HttpResponseError) as off,
        ):
            crypto.sign(SignatureAlgorithm.es256, DIGEST)
        assert inner_code(off.value) == "KeyDisabled"
        client.begin_delete_key("moving").result()
        with pytest.raises(ResourceNotFoundError):
            client.get_key("moving")
        assert hosts.arm.get(f"{vault['id']}/keys/moving", VERSION).status == 404
        with pytest.raises(ResourceExistsError) as blocked:
            client.create_ec_key("moving")
        assert inner_code(blocked.value) == "ObjectIsDeletedButRecoverable"
        assert [each.name for each in client.list_deleted_keys()] == ["moving"]
        with pytest.raises(HttpResponseError) as protected:
            client.purge_deleted_key("moving")
        assert protected.value.status_code == 403
        client.begin_recover_deleted_key("moving").result()
        assert client.get_key("moving").id == two.id


def test_secrets_are_set_read_listed_and_deleted(hosts: Hosts, vault: dict[str, Any]) -> None:
    place = vault["properties"]["vaultUri"]
    with SecretClient(place, **options(hosts, None)) as client:
        first = client.set_secret("token", "one", content_type="text/plain", tags={"a": "b"})
        client.set_secret("token", "two")
        assert client.get_secret("token").value == "two"
        assert client.get_secret("token", first.properties.version).value == "one"
        (listed,) = client.list_properties_of_secrets()
        assert listed.name == "token"
        client.begin_delete_secret("token").result()
        with pytest.raises(ResourceNotFoundError):
            client.get_secret("token")
        client.begin_recover_deleted_secret("token").wait()
    reader = hosts.principal("secrets", Key_Vault_Secrets_User=vault["id"])
    with SecretClient(place, **options(hosts, reader)) as client:
        assert client.get_secret("token").value == "two"
        with pytest.raises(HttpResponseError) as refused:
            client.set_secret("token", "three")
        assert inner_code(refused.value) == "ForbiddenByRbac"


def test_an_owner_of_the_subscription_alone_signs_nothing(hosts: Hosts, vault: dict[str, Any]) -> None:
    owner = hosts.principal("boss", Owner=f"/subscriptions/{hosts.twin.subscription}")
    with keys_of(hosts, vault, owner) as client, pytest.raises(HttpResponseError) as refused:
        client.get_key("signing")
    assert refused.value.status_code == 403
    assert inner_code(refused.value) == "ForbiddenByRbac"
    action = "Microsoft.KeyVault/vaults/keys/read"
    assert [owner.object_id, action, f"{vault['id']}/keys/signing", False] in hosts.twin.state["recorded"]


def test_a_client_that_insists_on_azures_host_is_told_what_to_pass(hosts: Hosts, vault: dict[str, Any]) -> None:
    careful = {**options(hosts, None), "verify_challenge_resource": True}
    with (
        KeyClient(vault["properties"]["vaultUri"], **careful) as client,
        pytest.raises(ValueError, match="verify_challenge_resource=False"),
    ):
        client.get_key("signing")


def test_a_deleted_vault_comes_back_with_all_that_it_held(hosts: Hosts, vault: dict[str, Any]) -> None:
    path = vault["id"].replace("kit-vault", "kit-other")
    body = {"location": LOCATION, "properties": {**vault["properties"], "enablePurgeProtection": None}}
    assert hosts.arm.put(path, VERSION, body).status == 200
    hosts.arm.put(f"{path}/keys/signing", VERSION, {"properties": {"kty": "EC"}})
    before = hosts.arm.get(f"{path}/keys/signing", VERSION).body["properties"]["keyUriWithVersion"]
    place = hosts.arm.get(path, VERSION).body["properties"]["vaultUri"]
    hosts.arm.delete(path, VERSION)
    hosts.arm.pass_time()
    assert hosts.arm.get(path, VERSION).status == 404
    with KeyClient(place, **options(hosts, None)) as client, pytest.raises(HttpResponseError):
        client.get_key("signing")
    assert hosts.arm.put(path, VERSION, body).status == 409
    recover = {"location": LOCATION, "properties": {**body["properties"], "createMode": "recover"}}
    assert hosts.arm.put(path, VERSION, recover).status == 200
    assert hosts.arm.get(f"{path}/keys/signing", VERSION).body["properties"]["keyUriWithVersion"] == before
    with KeyClient(place, **options(hosts, None)) as client:
        assert client.get_key("signing").id == before
