"""Credentials, subscription and clients for one stack, on Azure or on a twin.

Importing this module loads no SDK: the engine waits for what its dynamic providers import.
"""

import base64
import json
import os
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmops_kit.clouds.azure.errors import USE_AZURE, USE_TWIN, explained
from llmops_kit.clouds.azure.federation import federated_credential
from llmops_kit.clouds.azure.location import AzureCaller, AzureLocation
from llmops_kit.clouds.azure.settings import AzureSettings
from llmops_kit.core.errors import KitError
from llmops_kit.core.twins import METADATA_VARIABLE, TWIN_SUBSCRIPTION, azure_twin_address

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.keyvault.keys import KeyClient
    from azure.keyvault.keys.crypto import CryptographyClient
    from azure.keyvault.secrets import SecretClient
    from azure.storage.blob import BlobServiceClient

    from llmops_kit.clouds.azure.arm import ResourceManager

ARM_SCOPE = "https://management.azure.com/.default"
ML_SCOPE = "https://ml.azure.com/.default"
"""Scope of tokens for scoring URLs."""


class AzureSession:
    """Clients of Azure's services, created at first use and shared by threads.

    Attributes:
        twin: the twin's address; empty on Azure itself.
    """

    def __init__(self, subscription: str = "", observe: Callable[[Any], None] | None = None) -> None:
        """Uses the credentials of this process's environment.

        Args:
            subscription: a stack's; empty: the environment's, or that of `az login`.
            observe: called with each PipelineResponse of Azure Resource Manager.

        Raises:
            KitError: the environment names another cloud than the public one or a twin.
        """
        self.twin = azure_twin_address(os.environ)
        if os.environ.get(METADATA_VARIABLE) and not self.twin:
            raise KitError(
                "clients of this shell are pointed at another cloud than Azure's public one",
                where=f"${METADATA_VARIABLE}",
                fix=f"unset {METADATA_VARIABLE}; or {USE_TWIN}",
            )
        self._asked, self._observe = subscription, observe
        self._made: dict[str, Any] = {}

    @cached_property
    def credential(self) -> "TokenCredential":
        """The identity of a GitHub workflow if $ARM_USE_OIDC is true, which outlives the workflow's sign-in. Otherwise
        Azure's credential chain without interactive sources: $AZURE_*, workload and managed identity, `az login`.

        https://learn.microsoft.com/azure/developer/python/sdk/authentication/credential-chains

        Raises:
            KitError: $ARM_USE_OIDC is true, and a variable that belongs to it is missing.
        """
        from azure.identity import DefaultAzureCredential

        if federated := federated_credential(os.environ, self.twin):
            return federated
        return DefaultAzureCredential(
            exclude_interactive_browser_credential=True,
            exclude_shared_token_cache_credential=True,
            exclude_visual_studio_code_credential=True,
            exclude_broker_credential=True,
            exclude_cli_credential=bool(self.twin),  # there is no login to a twin
            exclude_powershell_credential=bool(self.twin),
            exclude_developer_cli_credential=bool(self.twin),
            # A twin's authority is not a host of Microsoft's, whose instance discovery would reject it.
            disable_instance_discovery=bool(self.twin),
        )

    @cached_property
    def subscription(self) -> str:
        """Id of the subscription: the requested one, else $AZURE_SUBSCRIPTION_ID, else the default of `az login`.

        Raises:
            KitError: none of these sets it.
        """
        given = self._asked or os.environ.get("AZURE_SUBSCRIPTION_ID") or os.environ.get("ARM_SUBSCRIPTION_ID")
        if given:
            return given
        profile = Path(os.environ.get("AZURE_CONFIG_DIR") or Path.home() / ".azure") / "azureProfile.json"
        if profile.is_file():
            for entry in json.loads(profile.read_text(encoding="utf-8-sig")).get("subscriptions", []):
                if entry.get("isDefault"):
                    return str(entry["id"])
        raise KitError(
            "no Azure subscription is set",
            where="$AZURE_SUBSCRIPTION_ID",
            fix=f"set it or llmops:azure.subscription, or `az login`; without a subscription: {USE_TWIN}",
        )

    @cached_property
    def arm(self) -> "ResourceManager":
        """Azure Resource Manager."""
        from llmops_kit.clouds.azure.arm import ARM, ResourceManager

        return ResourceManager(self.twin or ARM, self.credential, self._observe)

    def blobs(self, account_url: str) -> "BlobServiceClient":
        """Returns the client of a storage account's blobs."""
        from azure.storage.blob import BlobServiceClient

        return self._kept(account_url, partial(BlobServiceClient, account_url, credential=self.credential))

    def key(self, key_id: str) -> "CryptographyClient":
        """Returns the client of a vault's key, given by its id with the version."""
        from azure.keyvault.keys.crypto import CryptographyClient

        return self._kept(key_id, partial(CryptographyClient, key_id, self.credential, **self._vault_options))

    def keys(self, vault_url: str) -> "KeyClient":
        """Returns the client of a vault's keys."""
        from azure.keyvault.keys import KeyClient

        make = partial(KeyClient, vault_url, self.credential, **self._vault_options)
        return self._kept(f"{vault_url}/keys", make)

    def secrets(self, vault_url: str) -> "SecretClient":
        """Returns the client of a vault's secrets."""
        from azure.keyvault.secrets import SecretClient

        make = partial(SecretClient, vault_url, self.credential, **self._vault_options)
        return self._kept(f"{vault_url}/secrets", make)

    def token(self, scope: str) -> str:
        """Returns an access token for a scope. Don't put it into messages.

        Raises:
            KitError: there are no credentials.
        """
        with explained("Microsoft Entra ID"):
            return self.credential.get_token(scope).token

    @cached_property
    def caller(self) -> AzureCaller:
        """The identity of this process, read from its token without verification, which is Azure's task.

        Raises:
            KitError: there are no credentials.
        """
        body = self.token(ARM_SCOPE).split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        application = claims.get("idtyp") == "app" or ("upn" not in claims and "scp" not in claims)
        kind = "ServicePrincipal" if application else "User"
        return AzureCaller(claims.get("tid", ""), claims.get("oid", ""), kind)

    def require(self, subscription: str, tenant: str = "", stack: str = "") -> None:
        """Checks that this process's environment fits a stack: its tenant, and for a twin's stack, a twin.

        Args:
            subscription: the stack's.
            tenant: the stack's; empty: not known yet.
            stack: its name, for the error.

        Raises:
            KitError: it is another tenant, or the stack is a twin's and this environment Azure's, or the reverse.
        """
        this = f"stack {stack}" if stack else "this stack"
        if subscription == TWIN_SUBSCRIPTION and not self.twin:
            what = f"{this} lives on a twin, but Azure clients of this shell talk to Azure"
            raise KitError(what, where=subscription, fix=USE_TWIN)
        if subscription != TWIN_SUBSCRIPTION and self.twin:
            raise KitError(
                f"{this} lives in subscription {subscription}, but Azure clients of this shell talk to a twin",
                where=f"${METADATA_VARIABLE}={os.environ.get(METADATA_VARIABLE, '')}",
                fix=USE_AZURE,
            )
        if tenant and self.caller.tenant != tenant:
            raise KitError(
                f"{this} lives in tenant {tenant}, but these credentials are of {self.caller.tenant}",
                where=f"principal {self.caller.object_id}",
                fix=f"`az login --tenant {tenant}`, or $AZURE_* of it, then repeat the command",
            )

    @property
    def _vault_options(self) -> dict[str, Any]:
        # A twin's vault is a port of this machine, not a subdomain of the resource that its challenge names.
        return {"verify_challenge_resource": not self.twin}

    def _kept(self, key: str, make: Callable[[], Any]) -> Any:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


def location_of(session: AzureSession, settings: AzureSettings) -> str:
    """Returns the location of a stack: that of its settings, else that of its resource group.

    Raises:
        KitError: neither names one.
    """
    group = settings.resource_group
    found = session.arm.find(group) if group and not settings.location else {"location": settings.location}
    if not found or not found["location"]:
        raise KitError(
            f"there is no resource group {group}" if group else "no Azure location is set",
            where="llmops:azure.resource_group" if group else "llmops:azure.location",
            fix="`pulumi config set --path llmops:azure.location westeurope`",
        )
    return str(found["location"]).lower().replace(" ", "")


@lru_cache
def open_session(location: AzureLocation) -> AzureSession:
    """Opens this process's session for a stack's location and checks it: see AzureSession.require."""
    session = AzureSession(location.subscription)
    session.require(location.subscription, location.tenant)
    return session


def arm_of(props: Mapping[str, Any]) -> "ResourceManager":
    """Returns the client of Azure Resource Manager for a dynamic resource."""
    return open_session(AzureLocation.of(props)).arm
