"""Starts, stops and inspects the process of Azure's twin; the environment of its clients (core/control.py)."""

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from llmops_kit.core.twins import METADATA_VARIABLE
from llmops_twins.azure.blobs.azurite import AZURITE
from llmops_twins.azure.entra import certificates, identity_endpoints, principals
from llmops_twins.core import control as common
from llmops_twins.core import node_programs, root

_UNSET = (
    "AZURE_CLIENT_SECRET",  # with it DefaultAzureCredential would ask Microsoft's host whether it knows the twin's
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_USERNAME",
    "AZURE_PASSWORD",
    "AZURE_TOKEN_CREDENTIALS",
    "AZURE_REGIONAL_AUTHORITY_NAME",
    "AZURE_ADDITIONALLY_ALLOWED_TENANTS",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST",
    "AZURE_STORAGE_ACCOUNT",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_KEYVAULT_AUTH_VIA_CLI",
    "AZUREML_CURRENT_CLOUD",
    "IDENTITY_SERVER_THUMBPRINT",
    "IMDS_ENDPOINT",
    "MSI_ENDPOINT",
    "MSI_SECRET",
    "ARM_ENVIRONMENT",
    "ARM_USE_MSI",
    "ARM_USE_OIDC",
    "ARM_OIDC_TOKEN",
    "ARM_OIDC_TOKEN_FILE_PATH",
    "ARM_OIDC_REQUEST_TOKEN",
    "ARM_OIDC_REQUEST_URL",
    "ARM_CLIENT_CERTIFICATE_PATH",
    "ARM_CLIENT_CERTIFICATE_PASSWORD",
    "ARM_AUXILIARY_TENANT_IDS",
)


@dataclass(frozen=True, kw_only=True)
class AzureTwinInfo(common.TwinInfo):
    """A running twin of an Azure subscription. `location` is the default location of its clients."""

    subscription: str
    tenant: str
    location: str


class AzureControl(common.Control[AzureTwinInfo]):
    """Controls the twin of an Azure subscription."""

    name, word, package = "Azure", "azure", "azure-native"
    place = ("location", "westeurope")
    unset = _UNSET
    info = AzureTwinInfo

    def install(self, judge: str, say: Callable[[str], None]) -> None:
        """Installs Azurite, the emulator of blobs, in its pinned version unless it is there."""
        node_programs.install(AZURITE, say=say)

    def trust(self, home: Path) -> ssl.SSLContext:
        """Returns a TLS context that trusts the twin's certificate authority only."""
        return certificates.client_context(home)

    def variables(self, home: Path, running: AzureTwinInfo) -> Mapping[str, str | None]:
        """Returns the environment of Azure's SDKs and of Pulumi's plugin."""
        bundle = str(certificates.bundle(home))
        host = running.url.removeprefix("https://")
        return {
            "SSL_CERT_FILE": bundle,
            "REQUESTS_CA_BUNDLE": bundle,
            "CURL_CA_BUNDLE": bundle,
            METADATA_VARIABLE: f"{running.url}/metadata/endpoints?api-version=2019-05-01",
            "AZURE_AUTHORITY_HOST": running.url,
            "AZURE_SUBSCRIPTION_ID": running.subscription,
            "AZURE_TENANT_ID": running.tenant,
            "AZURE_CLIENT_ID": principals.OWNER_APP,
            "AZURE_CONFIG_DIR": str(home / "cli"),
            "IDENTITY_ENDPOINT": f"{running.url}/msi/token",
            "IDENTITY_HEADER": root.key(home, identity_endpoints.OWNER_PURPOSE),
            "ARM_METADATA_HOSTNAME": host,
            "ARM_METADATA_HOST": host,
            "ARM_DISABLE_INSTANCE_DISCOVERY": "true",
            "ARM_SUBSCRIPTION_ID": running.subscription,
            "ARM_TENANT_ID": running.tenant,
            "ARM_CLIENT_ID": principals.OWNER_APP,
            "ARM_CLIENT_SECRET": root.key(home, principals.OWNER_PURPOSE),
            "ARM_LOCATION": running.location,
        }


CONTROL = AzureControl()
up = CONTROL.up
environment = CONTROL.environment
status = CONTROL.status
down = CONTROL.down
reset = CONTROL.reset
snapshot = CONTROL.snapshot
restore = CONTROL.restore
faults = CONTROL.faults
kinds_of_faults = CONTROL.kinds_of_faults
add_fault = CONTROL.add_fault
clear_faults = CONTROL.clear_faults
