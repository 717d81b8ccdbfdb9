"""The token service and the endpoints of managed identities, called directly."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
from werkzeug.test import Client

from llmops_kit.core.twins import key_headers
from llmops_twins.azure import faults, metadata
from llmops_twins.azure.entra import identity_endpoints, principals, token_service, tokens
from llmops_twins.azure.main_port import ManagerApp
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.twin import TenantTwin
from llmops_twins.core import root
from llmops_twins.core.control import own_key
from tests.support.clouds.azure import local_twin

VAULT = "https://vault.azure.net"


@pytest.fixture
def twin(tmp_path: Path) -> TenantTwin:
    return local_twin(tmp_path, metadata.install, token_service.install, identity_endpoints.install)


def ask(twin: TenantTwin, path: str, form: dict[str, str] | None = None, **headers: str) -> tuple[int, Any]:
    """Status and body of a call."""
    written = {name.replace("_", "-"): value for name, value in headers.items()}
    if form is None:
        answer = Client(ManagerApp(twin)).get(path, headers=written)
    else:
        written["Content-Type"] = "application/x-www-form-urlencoded"
        answer = Client(ManagerApp(twin)).post(path, data=urlencode(form), headers=written)
    return answer.status_code, json.loads(answer.get_data())


def form(twin: TenantTwin, **changed: str) -> dict[str, str]:
    given = {
        "grant_type": "client_credentials",
        "client_id": principals.OWNER_APP,
        "client_secret": root.key(twin.home, principals.OWNER_PURPOSE),
        "scope": f"{VAULT}/.default",
        **changed,
    }
    return {name: value for name, value in given.items() if value}


def test_the_secret_of_an_expired_principal_gets_no_token(twin: TenantTwin) -> None:
    path = f"/{twin.tenant}/oauth2/v2.0/token"
    faults.of(twin).add("expired", {"principal": principals.OWNER.object_id})
    status, body = ask(twin, path, form(twin))
    assert (status, body["error"]) == (401, "invalid_client")
    assert body["error_description"].startswith("AADSTS7000222: ")
    faults.of(twin).clear()
    assert ask(twin, path, form(twin))[0] == 200


@pytest.mark.parametrize(
    ("changed", "status", "number"),
    [
        ({"grant_type": "password"}, 400, 70003),
        ({"grant_type": ""}, 400, 900144),
        ({"client_id": "nobody"}, 400, 700016),
        ({"client_secret": "wrong"}, 401, 7000215),
        ({"client_secret": ""}, 401, 7000218),
        ({"scope": ""}, 400, 90014),
        ({"scope": VAULT}, 400, 1002012),
        ({"client_secret": "", "client_assertion": "x"}, 401, 50027),
        ({"scope": "https://nothing.example/.default"}, 400, 500011),
    ],
)
def test_refusals_of_the_token_service(twin: TenantTwin, changed: dict[str, str], status: int, number: int) -> None:
    answered, body = ask(twin, f"/{twin.tenant}/oauth2/v2.0/token", form(twin, **changed))
    assert (answered, body["error_codes"]) == (status, [number])
    assert body["error_description"].startswith(f"AADSTS{number}: ")


@pytest.mark.parametrize(
    "scope", ["https://kit.blob.core.windows.net/.default", "https://graph.microsoft.com/.default"]
)
def test_a_token_of_a_service_that_the_tenant_knows(twin: TenantTwin, scope: str) -> None:
    assert ask(twin, f"/{twin.tenant}/oauth2/v2.0/token", form(twin, scope=scope))[0] == 200


def test_another_tenant_is_unknown(twin: TenantTwin) -> None:
    other = "00000000-0000-0000-0000-000000000002"
    status, body = ask(twin, f"/{other}/oauth2/v2.0/token", form(twin))
    assert (status, body["error"], body["error_codes"]) == (400, "invalid_request", [90002])
    assert f"Tenant '{other}' not found" in body["error_description"]
    status, body = ask(twin, f"/{other}/v2.0/.well-known/openid-configuration")
    assert (status, body["error"], body["error_codes"]) == (400, "invalid_tenant", [90002])


def test_an_identity_has_no_secret_to_be_guessed(twin: TenantTwin) -> None:
    identity = principals.add(twin, "somebody", "identity")
    wanted = form(twin, client_id=identity.app_id, client_secret="anything")
    assert ask(twin, f"/{twin.tenant}/oauth2/v2.0/token", wanted)[0] == 401


def test_a_token_is_for_one_audience_and_for_who_is_still_there(twin: TenantTwin) -> None:
    _, body = ask(twin, f"/{twin.tenant}/oauth2/v2.0/token", form(twin))
    headers = {"Authorization": f"Bearer {body['access_token']}"}
    assert tokens.caller_of(twin, headers, tokens.VAULT) == principals.OWNER
    with pytest.raises(ArmError, match="InvalidAuthenticationTokenAudience"):
        tokens.caller_of(twin, headers, tokens.MANAGEMENT)
    principals.remove(twin, principals.OWNER_ID)
    with pytest.raises(ArmError, match="not in the tenant"):
        tokens.caller_of(twin, headers, tokens.VAULT)


def test_a_token_that_has_expired(twin: TenantTwin) -> None:
    old = tokens.issue(twin, principals.OWNER, VAULT, lifetime=-1)
    with pytest.raises(ArmError, match="ExpiredAuthenticationToken"):
        tokens.caller_of(twin, {"Authorization": f"Bearer {old}"}, tokens.VAULT)


def test_a_program_gets_tokens_of_its_identities_alone(twin: TenantTwin) -> None:
    mine, second, others = (principals.add(twin, name, "identity", resource=f"/r/{name}") for name in "abc")
    variables = identity_endpoints.grant(twin, [mine.object_id, second.object_id])
    assert identity_endpoints.grant(twin, [mine.object_id, second.object_id]) == variables
    path = variables["IDENTITY_ENDPOINT"].removeprefix(twin.url) + f"?api-version=2019-08-01&resource={VAULT}"
    secret = variables["IDENTITY_HEADER"]

    def oid(query: str = "") -> str:
        status, body = ask(twin, path + query, X_IDENTITY_HEADER=secret)
        assert status == 200, body
        return jwt.decode(body["access_token"], options={"verify_signature": False})["oid"]

    assert oid() == mine.object_id
    assert oid(f"&client_id={second.app_id}") == oid("&mi_res_id=/R/b") == second.object_id
    assert ask(twin, path + f"&client_id={others.app_id}", X_IDENTITY_HEADER=secret)[0] == 400
    assert ask(twin, path, X_IDENTITY_HEADER="guessed")[0] == 403
    assert ask(twin, path)[0] == 403
    assert ask(twin, path, secret=secret)[0] == 200  # as Azure ML's clients ask
    unknown = ask(twin, path.replace(VAULT, "https://nothing.example"), X_IDENTITY_HEADER=secret)
    assert (unknown[0], unknown[1]["error_codes"]) == (400, [500011])


def test_metadata_in_the_form_of_each_version(twin: TenantTwin) -> None:
    def told(version: str) -> Any:
        return ask(twin, f"/metadata/endpoints?api-version={version}")

    clouds = {cloud["name"]: cloud for cloud in told("2019-05-01")[1]}
    assert list(clouds) == [metadata.OWN_CLOUD, metadata.CLOUD]
    assert clouds[metadata.CLOUD] == told("2022-09-01")[1]
    assert {cloud["resourceManager"] for cloud in clouds.values()} == {f"{twin.url}/"}
    for other in ("1999-01-01", "2015-01-01"):
        assert told(other)[1]["error"]["code"] == "InvalidApiVersionParameter"


def test_a_page_of_a_browser_does_not_reach_the_twins_own_routes(twin: TenantTwin) -> None:
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
        answer = Client(ManagerApp(twin)).post("/_twin/reset", headers=headers | key_headers(own_key(twin.home)))
        assert answer.status_code == 403
