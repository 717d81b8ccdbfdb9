"""How a provider is configured: addresses from metadata, credentials in the real plugin's order, what is refused."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from llmops_kit.core.twins import TWIN_SUBSCRIPTION
from llmops_twins.plugins.azure_native import session
from llmops_twins.plugins.azure_native.session import PluginSession, check_config, open_session
from llmops_twins.plugins.plugin import ProviderError
from llmops_twins.plugins.values import UNKNOWN
from twins.tests.unit.plugins.azure_native.tiny_arm import TinyAnswer, answering

HOST = "localhost:4711"
CLIENT = {"subscriptionId": TWIN_SUBSCRIPTION, "tenantId": "tenant", "clientId": "app", "clientSecret": "secret"}
ARM = {f"ARM_{name}": value for name, value in (("SUBSCRIPTION_ID", TWIN_SUBSCRIPTION), ("TENANT_ID", "tenant"))}


class Servers:
    """Behind connections: metadata, tokens, an identity endpoint and an issuer of assertions."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], Mapping[str, str]]] = []
        self.metadata: Any = {
            "resourceManager": f"https://{HOST}/",
            "authentication": {"loginEndpoint": f"https://{HOST}", "audiences": ["https://management.azure.com"]},
        }
        self.refusal = ""

    def call(self, method: str, url: str, headers: Mapping[str, str], data: str) -> TinyAnswer:
        parts = urlsplit(url)
        if parts.path == "/metadata/endpoints":
            return TinyAnswer(200, self.metadata)
        if parts.path.endswith("/openid-configuration"):
            place = f"https://{HOST}/tenant"
            names = ("issuer", "authorization_endpoint")
            return TinyAnswer(200, dict.fromkeys(names, place) | {"token_endpoint": f"{place}/oauth2/v2.0/token"})
        form = {n: v[0] for n, v in parse_qs(data or parts.query).items()}
        self.asked.append((parts.path, form, headers))
        if self.refusal:
            return TinyAnswer(401, {"error": "invalid_client", "error_description": self.refusal})
        return TinyAnswer(
            200, {"access_token": "token", "token_type": "Bearer", "expires_in": 3600, "value": "assertion"}
        )


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Servers:
    made = Servers()
    monkeypatch.setattr(session, "connections_trusting", lambda file: answering(made.call))
    return made


def opened(config: dict[str, Any], environ: dict[str, str] | None = None, twin: str = "") -> PluginSession:
    return open_session({"metadataHost": HOST, **config}, twin, environ or {}, "3.29.0")


def asked_with(servers: Servers, config: dict[str, Any], environ: dict[str, str] | None = None) -> dict[str, str]:
    """What a token is asked for with."""
    arm = opened(config, environ).reached()
    assert arm.token(arm.audience) == "token"
    return servers.asked[-1][1]


def test_a_secret_is_exchanged_once(servers: Servers) -> None:
    arm = opened(CLIENT).reached()
    assert [arm.token(arm.audience) for _ in range(3)] == ["token"] * 3
    assert servers.asked[0][:2] == (
        "/tenant/oauth2/v2.0/token",
        {
            "grant_type": "client_credentials",
            "client_id": "app",
            "client_secret": "secret",
            "client_info": "1",
            "scope": "https://management.azure.com/.default",
        },
    )
    assert len(servers.asked) == 1
    assert arm.user_agent.startswith("pulumi-azure-native/3.29.0 pid-")


def test_the_environment_is_taken_where_inputs_say_nothing(servers: Servers) -> None:
    environ = {**ARM, "ARM_CLIENT_ID": "app", "ARM_CLIENT_SECRET": "environment"}
    assert asked_with(servers, {}, environ)["client_secret"] == "environment"
    assert asked_with(servers, {"clientSecret": "mine"}, environ)["client_secret"] == "mine"
    found = opened({"location": "westeurope"}, {**environ, "ARM_SKIP_READ_ON_UPDATE": "true"})
    assert (found.location, found.reads_after_writes) == ("westeurope", False)
    assert (found.subscription, found.tenant, found.client) == (TWIN_SUBSCRIPTION, "tenant", "app")


def test_the_twin_is_found_by_each_of_its_addresses(servers: Servers) -> None:
    for host, environ, twin in (
        (HOST, {}, ""),
        ("", {"ARM_METADATA_HOSTNAME": HOST}, ""),
        ("", {"ARM_CLOUD_METADATA_URL": f"https://{HOST}/metadata/endpoints"}, ""),
        ("", {}, f"https://{HOST}"),
    ):
        found = open_session({**CLIENT, "metadataHost": host}, twin, environ, "1")
        assert found.reached().url == f"https://{HOST}"


def test_an_assertion_is_exchanged(servers: Servers, tmp_path: Path) -> None:
    config = {n: v for n, v in CLIENT.items() if n != "clientSecret"} | {"useOidc": True}
    assert asked_with(servers, {**config, "oidcToken": "mine"})["client_assertion"] == "mine"
    (tmp_path / "token").write_text("from a file\n")
    file = {"oidcTokenFilePath": str(tmp_path / "token")}
    assert asked_with(servers, {**config, **file})["client_assertion"] == "from a file"
    there = {"oidcRequestUrl": "https://localhost:1/token?x=1", "oidcRequestToken": "bearer"}
    assert asked_with(servers, {**config, **there})["client_assertion"] == "assertion"
    assert servers.asked[-2][1] == {"x": "1", "audience": "api://AzureADTokenExchange"}
    assert servers.asked[-2][2]["Authorization"] == "Bearer bearer"
    github = {
        "ACTIONS_ID_TOKEN_REQUEST_URL": "https://localhost:1/token?x=2",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "github's",
    }
    assert asked_with(servers, config, github)["client_assertion"] == "assertion"
    assert (servers.asked[-2][1]["x"], servers.asked[-2][2]["Authorization"]) == ("2", "Bearer github's")
    with pytest.raises(ProviderError, match="OIDC token or request URL and token must be configured"):
        asked_with(servers, config)


def test_an_identity_is_asked_where_it_is(servers: Servers) -> None:
    environ = {"IDENTITY_ENDPOINT": "https://localhost:2/msi", "IDENTITY_HEADER": "header"}
    config = {"subscriptionId": TWIN_SUBSCRIPTION, "useMsi": "true"}
    assert asked_with(servers, config, environ)["resource"] == "https://management.azure.com"
    assert servers.asked[-1][2]["X-IDENTITY-HEADER"] == "header"
    with pytest.raises(ProviderError, match="IDENTITY_ENDPOINT"):
        asked_with(servers, config, {"IDENTITY_ENDPOINT": "http://169.254.169.254/"})


def test_the_default_credential_takes_azures_own_variables(servers: Servers) -> None:
    config = {"subscriptionId": TWIN_SUBSCRIPTION, "useDefaultAzureCredential": True}
    environ = {"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_CLIENT_SECRET": "s"}
    assert asked_with(servers, config, environ)["client_secret"] == "s"
    assert asked_with(servers, config, {"IDENTITY_ENDPOINT": "https://localhost:2/msi"})["resource"]


@pytest.mark.parametrize(
    ("config", "environ", "told"),
    [
        ({**CLIENT, "metadataHost": "management.azure.com"}, {}, "management.azure.com is not on this machine"),
        ({**CLIENT, "metadataHost": ""}, {}, "no address of a twin"),
        ({**CLIENT, "subscriptionId": "11111111-0000-0000-0000-000000000000"}, {}, "is not a twin's"),
        ({**CLIENT, "tenantId": ""}, {}, "A Tenant ID must be configured when authenticating as a Service Principal"),
        ({"useOidc": True}, {}, "A Subscription ID must be configured when authenticating with OIDC"),
        ({"useMsi": True}, {}, "A Subscription ID must be configured when authenticating as a Managed Identity"),
        ({}, ARM, "no credentials"),
        ({**CLIENT, "clientCertificatePath": "c.pfx"}, {}, "takes no certificate"),
    ],
)
def test_what_can_not_be_used_is_refused(
    servers: Servers, config: dict[str, Any], environ: dict[str, str], told: str
) -> None:
    with pytest.raises(ProviderError, match=told):
        opened(config, environ)


def test_a_file_of_authorities_must_be_there() -> None:
    with pytest.raises(ProviderError, match=r"SSL_CERT_FILE /nowhere.pem"):
        opened(CLIENT, {"SSL_CERT_FILE": "/nowhere.pem"})


def test_metadata_that_leads_elsewhere_is_refused(servers: Servers) -> None:
    servers.metadata["authentication"]["loginEndpoint"] = "https://login.microsoftonline.com"
    with pytest.raises(ProviderError, match=r"login.microsoftonline.com is not on this machine"):
        opened(CLIENT)


def test_a_refused_client_is_told_why(servers: Servers) -> None:
    servers.refusal = "AADSTS7000215: Invalid client secret provided."
    arm = opened(CLIENT).reached()
    with pytest.raises(ProviderError, match="AADSTS7000215"):
        arm.token(arm.audience)


def test_settings_that_are_not_known_yet_call_nobody(servers: Servers) -> None:
    found = opened({**CLIENT, "clientSecret": UNKNOWN})
    assert not found.known
    with pytest.raises(ProviderError, match="not known yet"):
        found.reached()
    assert check_config({"metadataHost": UNKNOWN}) == []


def test_a_token_tells_of_its_owner(servers: Servers) -> None:
    found = opened(CLIENT)
    payload = base64.urlsafe_b64encode(json.dumps({"oid": "me"}).encode()).decode().rstrip("=")
    found.reached().token = lambda _: f"a.{payload}.c"
    assert found.claims() == {"oid": "me"}
