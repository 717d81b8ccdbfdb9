"""Who gets as far as a vault, and in which words the others are refused."""

from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client, TestResponse

from llmops_twins.azure.entra import principals, tokens
from llmops_twins.azure.protocol.calls import Principal
from llmops_twins.azure.services import authorization, keyvault
from llmops_twins.azure.vault.vault_host import VaultApp
from tests.support.clouds.azure import Arm, local_twin

VERSION = "2024-11-01"
DIGEST = "A" * 43


@pytest.fixture
def arm(tmp_path: Path) -> Arm:
    return Arm(local_twin(tmp_path, authorization.install, keyvault.install))


def made(arm: Arm, **properties: Any) -> str:
    sku = {"family": "A", "name": "standard"}
    given = {"tenantId": arm.twin.tenant, "sku": sku, "enableRbacAuthorization": True, **properties}
    path = f"{arm.group()}/providers/Microsoft.KeyVault/vaults/kit-vault"
    assert arm.put(path, VERSION, {"location": "westeurope", "properties": given}).status == 200
    return path


def ask(
    arm: Arm,
    method: str,
    path: str,
    body: Any = None,
    caller: Principal | None = principals.OWNER,
    audience: str = tokens.VAULT[0],
) -> TestResponse:
    headers = {"Authorization": f"Bearer {tokens.issue(arm.twin, caller, audience)}"} if caller else {}
    return Client(VaultApp(arm.twin, "kit-vault")).open(path, method=method, json=body, headers=headers)


def test_who_brings_no_token_is_challenged(arm: Arm) -> None:
    made(arm)
    for refused in (
        ask(arm, "GET", "/keys/signing?api-version=7.4", caller=None),
        ask(arm, "GET", "/keys/signing?api-version=7.4", audience=tokens.STORAGE[0]),
    ):
        assert refused.status_code == 401
        place = f"{arm.twin.url}/{arm.twin.tenant}"
        challenge = f'Bearer authorization="{place}", resource="https://vault.azure.net"'
        assert refused.headers["WWW-Authenticate"] == challenge


def test_a_version_of_the_api_is_asked_for(arm: Arm) -> None:
    made(arm)
    refused: Any = ask(arm, "GET", "/keys/signing").json
    assert refused["error"]["code"] == "BadParameter"


def test_a_vault_with_access_policies_lets_nobody_in(arm: Arm) -> None:
    made(arm, enableRbacAuthorization=False, accessPolicies=[])
    refused: Any = ask(arm, "GET", "/keys?api-version=7.4").json
    assert refused["error"]["innererror"]["code"] == "AccessDenied"


def test_a_list_has_25_items_or_fewer_to_a_page(arm: Arm) -> None:
    made(arm)
    for n in range(27):
        assert ask(arm, "PUT", f"/secrets/s{n:02}?api-version=7.4", {"value": "x"}).status_code == 200
    first: Any = ask(arm, "GET", "/secrets?api-version=7.4").json
    assert len(first["value"]) == 25
    rest: Any = ask(arm, "GET", "/secrets?" + first["nextLink"].partition("?")[2]).json
    assert ([each["id"][-3:] for each in rest["value"]], rest["nextLink"]) == (["s25", "s26"], None)
    few: Any = ask(arm, "GET", "/secrets?api-version=7.4&maxresults=2").json
    assert (len(few["value"]), "maxresults=2" in few["nextLink"]) == (2, True)
    for wrong in ("0", "26", "few"):
        refused: Any = ask(arm, "GET", f"/secrets?api-version=7.4&maxresults={wrong}").json
        assert refused["error"]["code"] == "BadParameter"


def test_a_new_vault_registers_its_dns(arm: Arm) -> None:
    path = made(arm)
    assert arm.get(path, VERSION).body["properties"]["provisioningState"] == "RegisteringDns"
    arm.pass_time()
    assert arm.get(path, VERSION).body["properties"]["provisioningState"] == "Succeeded"
    changed = arm.call("PATCH", path, VERSION, {"tags": {"a": "b"}})
    assert (changed.status, changed.body["properties"]["provisioningState"]) == (200, "Succeeded")
    assert not {"Azure-AsyncOperation", "Location"} & set(changed.headers)


def test_a_key_does_what_it_is_for(arm: Arm) -> None:
    made(arm)
    query = "?api-version=7.4"
    key: Any = ask(arm, "POST", f"/keys/signing/create{query}", {"kty": "EC", "key_ops": ["sign"]}).json
    version = key["key"]["kid"].rpartition("/")[2]
    place = f"/keys/signing/{version}"
    signed: Any = ask(arm, "POST", f"{place}/sign{query}", {"alg": "ES256", "value": DIGEST}).json
    assert signed["kid"].endswith(place)
    refusals = {
        "verify": ({"alg": "ES256", "digest": DIGEST, "value": signed["value"]}, "Forbidden"),
        "sign": ({"alg": "ES384", "value": DIGEST}, "BadParameter"),
        "encrypt": ({"alg": "RSA-OAEP-256", "value": DIGEST}, "Forbidden"),
    }
    for verb, (body, code) in refusals.items():
        refused: Any = ask(arm, "POST", f"{place}/{verb}{query}", body).json
        assert refused["error"]["code"] == code
    short: Any = ask(arm, "POST", f"{place}/sign{query}", {"alg": "ES256", "value": "AAAA"}).json
    assert short["error"]["code"] == "BadParameter"
    wrong: Any = ask(arm, "POST", f"/keys/other/create{query}", {"kty": "EC", "key_ops": ["encrypt"]}).json
    assert wrong["error"]["code"] == "BadParameter"


@pytest.mark.parametrize(
    ("times", "code"),
    [({"exp": 1_700_000_000}, "KeyExpired"), ({"nbf": 4_000_000_000}, "KeyNotYetValid"), ({"nbf": 1, "exp": 4e9}, "")],
)
def test_a_key_signs_in_its_time_and_checks_at_any(arm: Arm, times: dict[str, float], code: str) -> None:
    made(arm)
    query = "?api-version=7.4"
    wanted = {"kty": "EC", "key_ops": ["sign", "verify"], "attributes": times}
    key: Any = ask(arm, "POST", f"/keys/timed/create{query}", wanted).json
    place = f"/keys/timed/{key['key']['kid'].rpartition('/')[2]}"
    signed: Any = ask(arm, "POST", f"{place}/sign{query}", {"alg": "ES256", "value": DIGEST}).json
    assert signed.get("error", {}).get("innererror", {}).get("code", "") == code
    checked: Any = ask(
        arm, "POST", f"{place}/verify{query}", {"alg": "ES256", "digest": DIGEST, "value": "A" * 86}
    ).json
    assert checked["value"] is False


def test_what_is_no_operation_is_refused(arm: Arm) -> None:
    made(arm)
    for method, path, status in (
        ("GET", "/certificates", 404),
        ("PUT", "/keys/signing", 405),
        ("GET", "/keys/a_b", 400),
        ("GET", "/keys/nothing", 404),
    ):
        assert ask(arm, method, f"{path}?api-version=7.4").status_code == status
