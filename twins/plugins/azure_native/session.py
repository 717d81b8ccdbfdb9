"""A configured provider: its subscription, cloud and credentials; and what it refuses before it calls anything.

Inputs and environment variables are the real plugin's: https://www.pulumi.com/registry/packages/azure-native/installation-configuration/
"""

import base64
import json
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from contract.twins import TWIN_SUBSCRIPTION, azure_twin_address, is_loopback
from twins.plugins.azure_native.arm import Answer, Arm, Connections
from twins.plugins.plugin import Failure, ProviderError, Session
from twins.plugins.values import UNKNOWN

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
PARTNER_ID = "a90539d8-a7a6-5826-95c4-1fbef22d4b22"
PACE = 100.0
"""How many times quicker than on Azure a stand-in waits between its tries and looks."""
_REFUSED = "the stand-in plugin serves twins on a loopback address alone"
_METADATA = "/metadata/endpoints?api-version=2022-09-01"
_FRESH_SECONDS = 300  # a token that ends sooner is asked for again


@dataclass(frozen=True)
class Cloud:
    """Addresses of a cloud, from its metadata."""

    login: str
    resource_manager: str
    audience: str


@dataclass
class AzureSession(Session):
    """Locations of resource groups are remembered, as the real plugin does."""

    subscription: str = ""
    tenant: str = ""
    client: str = ""
    location: str = ""
    """The provider's own."""
    reads_after_writes: bool = True
    known: bool = True
    """False in a preview whose provider settings are not known yet: nothing may be called."""
    arm: Arm | None = None
    group_locations: dict[str, str] = field(default_factory=dict)

    def reached(self) -> Arm:
        """Resource Manager. Raises: ProviderError: the provider's settings are not known yet."""
        if self.arm is None:
            raise ProviderError("the provider's settings are not known yet: nothing can be asked for")
        return self.arm

    def claims(self) -> dict[str, Any]:
        """What the token says of its owner."""
        arm = self.reached()
        payload = arm.token(arm.audience).split(".")[1]
        return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def settings_of(config: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    """A provider's inputs, and the environment's values for those that are not given."""
    found = {name: environ.get(variable, "") for name, variable in VARIABLES.items()}
    given = {name: value for name, value in config.items() if value not in (None, "")}
    return found | {n: json.dumps(v) if isinstance(v, bool | list | dict) else str(v) for n, v in given.items()}


def check_config(config: Mapping[str, Any]) -> list[Failure]:
    """What a stand-in can't honour in a provider's inputs."""
    failures = []
    host = config.get("metadataHost")
    if host and host != UNKNOWN and not is_loopback(f"https://{host}"):
        failures.append(Failure("metadataHost", f"{host} is not on this machine: {_REFUSED}"))
    if config.get("clientCertificatePath"):
        failures.append(Failure("clientCertificatePath", "a twin takes no certificate of a client: give its secret"))
    return failures


def open_session(config: Mapping[str, Any], twin: str, environ: Mapping[str, str], version: str) -> AzureSession:
    """The session of a provider's inputs.

    Raises:
        ProviderError: the address is not on this machine, or there are no credentials.
    """
    settings = settings_of(config, environ)
    if failures := check_config(settings):
        raise ProviderError("\n".join(f"{f.property}: {f.reason}" for f in failures))
    if UNKNOWN in settings.values():
        return AzureSession(location=settings.get("location", ""), known=False)
    host = settings["metadataHost"]
    address = f"https://{host}" if host else (twin or azure_twin_address(environ))
    if not address or not is_loopback(address):
        raise ProviderError(f"no address of a twin: set metadataHost or ARM_METADATA_HOSTNAME; {_REFUSED}")
    connections = Connections(_context(environ))
    cloud = _cloud(connections, address)
    tokens = Tokens(connections, cloud, settings, environ)
    subscription = settings["subscriptionId"]
    if not subscription:
        raise ProviderError("A Subscription ID must be configured: azure-native:subscriptionId, or ARM_SUBSCRIPTION_ID")
    if subscription != TWIN_SUBSCRIPTION:
        raise ProviderError(f"subscription {subscription} is not a twin's ({TWIN_SUBSCRIPTION}): {_REFUSED}")
    return AzureSession(
        subscription=subscription,
        tenant=settings["tenantId"],
        client=settings["clientId"],
        location=settings.get("location", ""),
        reads_after_writes=settings["skipReadOnUpdate"] != "true",
        arm=Arm(cloud.resource_manager, connections, tokens, _user_agent(settings, version), PACE, cloud.audience),
    )


class Tokens:
    """Bearer tokens for an audience, kept until they end."""

    def __init__(
        self, connections: Connections, cloud: Cloud, settings: Mapping[str, str], environ: Mapping[str, str]
    ) -> None:
        self.settings = settings
        self._connections, self._cloud, self._environ = connections, cloud, environ
        self._kept: dict[str, tuple[float, str]] = {}
        self._lock = threading.Lock()
        self._ask = self._method()

    def __call__(self, audience: str) -> str:
        with self._lock:
            until, token = self._kept.get(audience, (0.0, ""))
            if until - _FRESH_SECONDS < time.time():
                answer = self._ask(audience.rstrip("/") or audience)
                if answer.status != 200 or not isinstance(answer.body, dict):
                    raise ProviderError(f"authentication failed: {_told(answer)}")
                token = str(answer.body["access_token"])
                seconds = float(answer.body.get("expires_in") or 3600)
                self._kept[audience] = (time.time() + max(seconds, 2 * _FRESH_SECONDS), token)
            return token

    def _method(self) -> Callable[[str], Answer]:
        """The one way of the real plugin's, in its order, that the settings ask for."""
        settings = self.settings
        if settings["useDefaultAzureCredential"] == "true":
            self._need("the Default Azure Credential", "subscriptionId")
            mine = {n: self._environ.get(f"AZURE_{v}", "") for n, v in _DEFAULT_CREDENTIAL.items()}
            if not all(mine.values()):
                return self._identity
            self.settings = {**settings, **mine}
            return self._secret
        if settings["clientSecret"]:
            self._need("a Service Principal using a Client Secret", "subscriptionId", "tenantId", "clientId")
            return self._secret
        if settings["useOidc"] == "true":
            self._need("OIDC", "subscriptionId", "tenantId", "clientId")
            return self._assertion
        if settings["useMsi"] == "true":
            self._need("a Managed Identity using MSI", "subscriptionId")
            return self._identity
        raise ProviderError(
            "no credentials: set ARM_CLIENT_ID, ARM_CLIENT_SECRET and ARM_TENANT_ID, as `twins azure env` prints "
            "them (the Azure CLI's account is not a twin's)"
        )

    def _need(self, how: str, *names: str) -> None:
        words = {"subscriptionId": "Subscription ID", "tenantId": "Tenant ID", "clientId": "Client ID"}
        for name in names:
            if not self.settings[name]:
                kind = "with" if how == "OIDC" else "as" if how.startswith("a ") else "using"
                raise ProviderError(f"A {words[name]} must be configured when authenticating {kind} {how}.")

    def _secret(self, audience: str) -> Answer:
        return self._client(audience, {"client_secret": self.settings["clientSecret"]})

    def _assertion(self, audience: str) -> Answer:
        kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        return self._client(audience, {"client_assertion_type": kind, "client_assertion": self._oidc_token()})

    def _client(self, audience: str, proof: Mapping[str, str]) -> Answer:
        url = f"{self._cloud.login.rstrip('/')}/{self.settings['tenantId']}/oauth2/v2.0/token"
        form = {
            "grant_type": "client_credentials",
            "client_id": self.settings["clientId"],
            "scope": f"{audience}/.default",
            **proof,
        }
        return self._call("POST", url, {"Content-Type": "application/x-www-form-urlencoded"}, urlencode(form).encode())

    def _identity(self, audience: str) -> Answer:
        """https://learn.microsoft.com/en-us/azure/app-service/overview-managed-identity#rest-endpoint-reference"""
        endpoint, secret = self._environ.get("IDENTITY_ENDPOINT", ""), self._environ.get("IDENTITY_HEADER", "")
        if not endpoint or not is_loopback(endpoint):
            raise ProviderError("authentication failed: IDENTITY_ENDPOINT names no twin's identity endpoint")
        query = {"api-version": "2019-08-01", "resource": audience}
        if self.settings["clientId"]:
            query["client_id"] = self.settings["clientId"]
        return self._call("GET", f"{endpoint}?{urlencode(query)}", {"X-IDENTITY-HEADER": secret}, None)

    def _oidc_token(self) -> str:
        settings = self.settings
        if settings["oidcToken"]:
            return settings["oidcToken"]
        if path := settings["oidcTokenFilePath"]:
            try:
                return Path(path).read_text().strip()
            except OSError as error:
                raise ProviderError(f"failed to read OIDC token from {path}: {error}") from None
        url = settings["oidcRequestUrl"]
        if not url or not settings["oidcRequestToken"]:
            raise ProviderError(
                "A OIDC token or request URL and token must be configured when authenticating with OIDC."
            )
        if not is_loopback(url):
            raise ProviderError(f"{url} is not on this machine: {_REFUSED}")
        url += ("&" if "?" in url else "?") + urlencode({"audience": "api://AzureADTokenExchange"})
        answer = self._call("GET", url, {"Authorization": f"Bearer {settings['oidcRequestToken']}"}, None)
        if answer.status != 200 or not isinstance(answer.body, dict):
            raise ProviderError(f"GitHub OIDC: {answer.status} with response: {answer.text}")
        return str(answer.body.get("value", ""))

    def _call(self, method: str, url: str, headers: Mapping[str, str], data: bytes | None) -> Answer:
        try:
            return self._connections.call(method, url, headers, data)
        except OSError as error:
            raise ProviderError(f"authentication failed: {url.partition('?')[0]}: {error}") from None


_DEFAULT_CREDENTIAL = {"tenantId": "TENANT_ID", "clientId": "CLIENT_ID", "clientSecret": "CLIENT_SECRET"}


def _context(environ: Mapping[str, str]) -> ssl.SSLContext:
    """The engine's own authorities: an attached plugin is no child of it."""
    try:
        return ssl.create_default_context(cafile=environ.get("SSL_CERT_FILE") or None)
    except OSError as error:
        raise ProviderError(f"SSL_CERT_FILE {environ.get('SSL_CERT_FILE')}: {error}") from None


def _cloud(connections: Connections, address: str) -> Cloud:
    try:
        answer = connections.call("GET", f"{address}{_METADATA}", {"Accept": "application/json"}, None)
    except OSError as error:
        raise ProviderError(f"getting cloud metadata from {address}: {error}") from None
    found = answer.body[0] if isinstance(answer.body, list) and answer.body else answer.body
    if answer.status != 200 or not isinstance(found, dict):
        raise ProviderError(f"getting cloud metadata from {address}: status code {answer.status}, {answer.text}")
    authentication = found.get("authentication") or {}
    url = str(found.get("resourceManager") or address).rstrip("/")
    cloud = Cloud(authentication.get("loginEndpoint") or address, url, (authentication.get("audiences") or [url])[0])
    for each in (cloud.login, cloud.resource_manager):
        if not is_loopback(each):
            raise ProviderError(f"{urlsplit(each).netloc} is not on this machine: {_REFUSED}")
    return cloud


def _user_agent(settings: Mapping[str, str], version: str) -> str:
    partner = settings["partnerId"] or ("" if settings["disablePulumiPartnerId"] == "true" else PARTNER_ID)
    return f"pulumi-azure-native/{version}" + (f" pid-{partner}" if partner else "")


def _told(answer: Answer) -> str:
    body = answer.body if isinstance(answer.body, dict) else {}
    return str(body.get("error_description") or body.get("error") or f"status code {answer.status}, {answer.text}")
