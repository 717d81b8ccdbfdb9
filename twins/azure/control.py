"""The life of the process of Azure's twin, and the environment of its clients (twins/core/control.py)."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from contract.twins import KEY_VARIABLES, METADATA_VARIABLE
from hosting.files import silent
from twins.azure.blobs.azurite import AZURITE
from twins.azure.entra import certificates, identity_endpoints, principals
from twins.azure.persistence import STATE_FILE
from twins.core import control as common
from twins.core import node_programs, root
from twins.core.control import Cloud, Control
from twins.core.fleet.fleet import end_containers
from twins.core.twin import TwinSettings

# Whatever else could bring a client other credentials, another subscription, or another place than the twin.
_UNSET = (
    "AZURE_CLIENT_SECRET",  # with it DefaultAzureCredential would ask Microsoft's own host whether the twin's is known
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
    "PULUMI_CONFIG_PASSPHRASE_FILE",
)


@dataclass(frozen=True, kw_only=True)
class AzureTwinInfo(common.TwinInfo):
    """A twin of an Azure subscription that runs. `location`: where clients are that name none."""

    subscription: str
    tenant: str
    location: str


def up(
    home: Path,
    port: int = 0,
    judge: str = TwinSettings.judge,
    pace: float = TwinSettings.pace,
    location: str = "westeurope",
    containers: str = TwinSettings.containers,
    say: Callable[[str], None] = silent,
) -> AzureTwinInfo:
    """Start the twin of a folder, or find it running, and wait until it answers.

    Args:
        home: its folder, made when missing.
        port: on 127.0.0.1; 0: the one it had before, or one that is free, kept from then on.
        judge: of permissions: strict or off.
        pace: seconds that a status transition takes.
        location: where clients are that name none.
        containers: of endpoints and jobs: run or none.
        say: told one line for each step.

    Raises:
        KitError: the port is taken, or the process ends or does not answer, with the end of its log; or Azurite can't
            be installed.
    """
    settings = {"judge": judge, "pace": pace, "containers": containers}
    node_programs.install(AZURITE, say=say)  # here, with the user's own environment: npm may have to fetch it once
    return _CONTROL.up(home, port, settings, {"location": location}, say)


def environment(home: Path) -> dict[str, str | None]:
    """Variables with which every Azure client, and plain `pulumi up`, talks to the twin; None: to be unset.

    Raises:
        KitError: the twin does not run.
    """
    home = home.absolute()
    running = _CONTROL.required(home)
    bundle = str(certificates.bundle(home))
    host = running.url.removeprefix("https://")
    values: dict[str, str | None] = dict.fromkeys(_UNSET)
    values |= {
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
        KEY_VARIABLES["azure"]: common.own_key(home),
        "ARM_LOCATION": running.location,
        "PULUMI_BACKEND_URL": f"file://{home / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": "",
        "PULUMI_DEBUG_PROVIDERS": f"azure-native:{running.provider_port}" if running.provider_port else None,
    }
    return values


def _forget(home: Path) -> None:
    (home / STATE_FILE).unlink(missing_ok=True)


_CONTROL = Control(
    Cloud("Azure", "azure", AzureTwinInfo, forget=_forget, end=end_containers, trust=certificates.client_context)
)
status = _CONTROL.status
down = _CONTROL.down
reset = _CONTROL.reset
faults = _CONTROL.faults
kinds_of_faults = _CONTROL.kinds_of_faults
add_fault = _CONTROL.add_fault
clear_faults = _CONTROL.clear_faults
