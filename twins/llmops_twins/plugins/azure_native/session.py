"""A configured provider: its subscription, cloud and credentials; checks of its settings before any call.

Inputs and environment variables are the real plugin's:
https://www.pulumi.com/registry/packages/azure-native/installation-configuration/
"""

import base64
import functools
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from azure.core.credentials import AccessToken
from azure.core.exceptions import AzureError
from azure.identity import ClientAssertionCredential, ClientSecretCredential
from requests.adapters import HTTPAdapter

from llmops_kit.core.twins import TWIN_SUBSCRIPTION, azure_twin_address, is_loopback
from llmops_twins.plugins.azure_native.arm import ManagerClient, transport
from llmops_twins.plugins.plugin import Failure, ProviderError, Session
from llmops_twins.plugins.values import UNKNOWN

VARIABLES = {
    "subscriptionId": "ARM_SUBSCRIPTION_ID",
    "tenantId": "ARM_TENANT_ID",
    "clientId": "ARM_CLIENT_ID",
    "clientSecret": "ARM_CLIENT_SECRET",
    "clientCertificatePath": "ARM_CLIENT_CERTIFICATE_PATH",
    "metadataHost": "ARM_METADATA_HOSTNAME",
    "environment": "ARM_ENVIRONMENT",
    "useMsi": "ARM_USE_MSI",
    "useOidc": "ARM_USE_OIDC",
    "useDefaultAzureCredential": "ARM_USE_DEFAULT_AZURE_CREDENTIAL",
    "oidcToken": "ARM_OIDC_TOKEN",
    "oidcTokenFilePath": "ARM_OIDC_TOKEN_FILE_PATH",
    "oidcRequestToken": "ARM_OIDC_REQUEST_TOKEN",
    "oidcRequestUrl": "ARM_OIDC_REQUEST_URL",
    "partnerId": "ARM_PARTNER_ID",
    "disablePulumiPartnerId": "ARM_DISABLE_PULUMI_PARTNER_ID",
    "skipReadOnUpdate": "ARM_SKIP_READ_ON_UPDATE",
}
GITHUB = {
    "oidcRequestToken": "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "oidcRequestUrl": "ACTIONS_ID_TOKEN_REQUEST_URL",
}
"""Variables that GitHub sets and the plugin reads: section "OpenID Connect (OIDC)" of the same page."""
PARTNER_ID = "a90539d8-a7a6-5826-95c4-1fbef22d4b22"
_REFUSED = "the stand-in plugin serves twins on loopback addresses only"
_METADATA = "/metadata/endpoints?api-version=2022-09-01"
_FRESH_SECONDS = 300  # a token that expires sooner is renewed


@dataclass(frozen=True)
class CloudAddresses:
    """A cloud's addresses from /metadata/endpoints: login endpoint, Resource Manager, and the audience of tokens."""

    login: str
    resource_manager: str
    audience: str


@dataclass
class PluginSession(Session):
    """A session. Locations of resource groups are cached, as in the real plugin."""

    subscription: str = ""
    tenant: str = ""
    client: str = ""
    location: str = ""
    """The provider's default location."""
    reads_after_writes: bool = True
    known: bool = True
    """Whether the provider's settings are known. False in some previews, in which nothing may be called."""
    arm: ManagerClient | None = None
    group_locations: dict[str, str] = field(default_factory=dict)

    def reached(self) -> ManagerClient:
        """Returns the client of Resource Manager.

        Raises:
            ProviderError: the provider's settings are not known yet.
        """
        if self.arm is None:
            raise ProviderError("the provider's settings are not known yet: no call can be made")
        return self.arm

    def claims(self) -> dict[str, Any]:
        """Returns the token's claims about its owner."""
        arm = self.reached()
        payload = arm.token(arm.audience).split(".")[1]
        return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def settings_of(config: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    """Returns a provider's inputs, with defaults from the environment."""
    found = {name: environ.get(variable, "") for name, variable in VARIABLES.items()}
    found |= {name: found[name] or environ.get(variable, "") for name, variable in GITHUB.items()}
    given = {name: value for name, value in config.items() if value not in (None, "")}
    return found | {n: json.dumps(v) if isinstance(v, bool | list | dict) else str(v) for n, v in given.items()}


def check_config(config: Mapping[str, Any]) -> list[Failure]:
    """Returns settings in a provider's inputs that the stand-in can't honour."""
    failures = []
    host = config.get("metadataHost")
    if host and host != UNKNOWN and not is_loopback(f"https://{host}"):
        failures.append(Failure("metadataHost", f"{host} is not on this machine: {_REFUSED}"))
    if config.get("clientCertificatePath"):
        failures.append(Failure("clientCertificatePath", "a twin takes no certificates: give a client secret"))
    return failures


def open_session(config: Mapping[str, Any], twin: str, environ: Mapping[str, str], version: str) -> PluginSession:
    """Opens the session of a provider's inputs.

    Raises:
        ProviderError: the address is not on this machine, or there are no credentials.
    """
    settings = settings_of(config, environ)
    if failures := check_config(settings):
        raise ProviderError("\n".join(f"{f.property}: {f.reason}" for f in failures))
    if UNKNOWN in settings.values():
        return PluginSession(location=settings.get("location", ""), known=False)
    host = settings["metadataHost"]
    address = f"https://{host}" if host else (twin or azure_twin_address(environ))
    if not address or not is_loopback(address):
        raise ProviderError(f"no address of a twin: set metadataHost or ARM_METADATA_HOSTNAME; {_REFUSED}")
    connections = connections_trusting(environ.get("SSL_CERT_FILE", ""))
    cloud = _cloud(connections, address)
    tokens = BearerTokens(_credential(connections, cloud, settings, environ))
    subscription = settings["subscriptionId"]
    if not subscription:
        raise ProviderError("A Subscription ID must be configured: azure-native:subscriptionId, or ARM_SUBSCRIPTION_ID")
    if subscription != TWIN_SUBSCRIPTION:
        raise ProviderError(f"subscription {subscription} is not a twin's ({TWIN_SUBSCRIPTION}): {_REFUSED}")
    return PluginSession(
        subscription=subscription,
        tenant=settings["tenantId"],
        client=settings["clientId"],
        location=settings.get("location", ""),
        reads_after_writes=settings["skipReadOnUpdate"] != "true",
        arm=ManagerClient(cloud.resource_manager, tokens, connections, cloud.audience, _user_agent(settings, version)),
    )


@functools.cache
def connections_trusting(authorities: str) -> requests.Session:
    """Returns connections that all sessions with the same file of authorities share. The file is the engine's, because
    an attached plugin is not its child.

    Raises:
        ProviderError: the file does not exist.
    """
    if authorities and not Path(authorities).is_file():
        raise ProviderError(f"SSL_CERT_FILE {authorities}: no such file")
    made = requests.Session()
    made.verify, made.trust_env = authorities or True, False
    made.mount("https://", HTTPAdapter(pool_maxsize=64))
    return made


class BearerTokens:
    """Bearer tokens by audience, cached until they expire."""

    def __init__(self, credential: Any) -> None:
        self._credential = credential
        self._kept: dict[str, AccessToken] = {}
        self._lock = threading.Lock()

    def __call__(self, audience: str) -> str:
        with self._lock:
            found = self._kept.get(audience)
            if not found or found.expires_on - _FRESH_SECONDS < time.time():
                try:
                    found = self._credential.get_token(f"{audience.rstrip('/')}/.default")
                except (AzureError, requests.RequestException) as error:
                    raise ProviderError(f"authentication failed: {error}") from None
                self._kept[audience] = found
            return found.token


def _credential(
    connections: requests.Session, cloud: CloudAddresses, settings: Mapping[str, str], environ: Mapping[str, str]
) -> Any:
    """Returns the credential that the settings select, in the real plugin's order of precedence.

    Raises:
        ProviderError: the settings contain no credentials, or lack a value for the selected kind.
    """
    options = {"authority": cloud.login, "disable_instance_discovery": True, "transport": transport(connections)}
    if settings["useDefaultAzureCredential"] == "true":
        _require(settings, "using the Default Azure Credential", "subscriptionId")
        mine = [environ.get(f"AZURE_{name}", "") for name in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET")]
        if all(mine):
            return ClientSecretCredential(*mine, **options)
        return _ManagedIdentity(connections, settings["clientId"], environ)
    client = settings["tenantId"], settings["clientId"]
    if settings["clientSecret"]:
        how = "as a Service Principal using a Client Secret"
        _require(settings, how, "subscriptionId", "tenantId", "clientId")
        return ClientSecretCredential(*client, settings["clientSecret"], **options)
    if settings["useOidc"] == "true":
        _require(settings, "with OIDC", "subscriptionId", "tenantId", "clientId")
        return ClientAssertionCredential(*client, lambda: _oidc_token(connections, settings), **options)
    if settings["useMsi"] == "true":
        _require(settings, "as a Managed Identity using MSI", "subscriptionId")
        return _ManagedIdentity(connections, settings["clientId"], environ)
    raise ProviderError(
        "no credentials: set ARM_CLIENT_ID, ARM_CLIENT_SECRET and ARM_TENANT_ID, as `twins azure env` prints "
        "them (the Azure CLI's account is not a twin's)"
    )


def _require(settings: Mapping[str, str], how: str, *names: str) -> None:
    words = {"subscriptionId": "Subscription ID", "tenantId": "Tenant ID", "clientId": "Client ID"}
    if absent := [words[name] for name in names if not settings[name]]:
        raise ProviderError(f"A {absent[0]} must be configured when authenticating {how}.")


@dataclass(frozen=True)
class _ManagedIdentity:
    """A credential in place of azure-identity's, which reads this process's environment rather than the engine's.

    https://learn.microsoft.com/en-us/azure/app-service/overview-managed-identity#rest-endpoint-reference
    """

    connections: requests.Session
    client: str
    environ: Mapping[str, str]

    def get_token(self, scope: str) -> AccessToken:
        endpoint, secret = self.environ.get("IDENTITY_ENDPOINT", ""), self.environ.get("IDENTITY_HEADER", "")
        if not endpoint or not is_loopback(endpoint):
            raise ProviderError("authentication failed: IDENTITY_ENDPOINT names no twin's identity endpoint")
        query = {"api-version": "2019-08-01", "resource": scope.removesuffix("/.default")}
        query |= {"client_id": self.client} if self.client else {}
        answer = self.connections.get(endpoint, params=query, headers={"X-IDENTITY-HEADER": secret})
        if answer.status_code != 200:
            raise ProviderError(f"authentication failed: status code {answer.status_code}, {answer.text}")
        return AccessToken(answer.json()["access_token"], int(time.time() + float(answer.json()["expires_in"])))


def _oidc_token(connections: requests.Session, settings: Mapping[str, str]) -> str:
    if settings["oidcToken"]:
        return settings["oidcToken"]
    if path := settings["oidcTokenFilePath"]:
        try:
            return Path(path).read_text().strip()
        except OSError as error:
            raise ProviderError(f"failed to read OIDC token from {path}: {error}") from None
    url, token = settings["oidcRequestUrl"], settings["oidcRequestToken"]
    if not url or not token:
        raise ProviderError("A OIDC token or request URL and token must be configured when authenticating with OIDC.")
    if not is_loopback(url):
        raise ProviderError(f"{url} is not on this machine: {_REFUSED}")
    audience = {"audience": "api://AzureADTokenExchange"}
    answer = connections.get(url, params=audience, headers={"Authorization": f"Bearer {token}"})
    if answer.status_code != 200:
        raise ProviderError(f"GitHub OIDC: {answer.status_code} with response: {answer.text}")
    return str(answer.json().get("value", ""))


def _cloud(connections: requests.Session, address: str) -> CloudAddresses:
    try:
        answer = connections.get(f"{address}{_METADATA}")
        answer.raise_for_status()
    except requests.RequestException as error:
        raise ProviderError(f"getting cloud metadata from {address}: {error}") from None
    found: dict[str, Any] = answer.json()
    authentication = found["authentication"]
    url = found["resourceManager"].rstrip("/")
    cloud = CloudAddresses(authentication["loginEndpoint"], url, authentication["audiences"][0])
    for each in (cloud.login, cloud.resource_manager):
        if not is_loopback(each):
            raise ProviderError(f"{urlsplit(each).netloc} is not on this machine: {_REFUSED}")
    return cloud


def _user_agent(settings: Mapping[str, str], version: str) -> str:
    partner = settings["partnerId"] or ("" if settings["disablePulumiPartnerId"] == "true" else PARTNER_ID)
    return f"pulumi-azure-native/{version}" + (f" pid-{partner}" if partner else "")
