"""Clients of Azure for one stack: the right tenant, and never a twin's for a real stack or the reverse."""

import base64
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

from contract.errors import KitError
from contract.twins import METADATA_VARIABLE, TWIN_SUBSCRIPTION, azure_twin_address

if TYPE_CHECKING:
    from azure.keyvault.keys.crypto import CryptographyClient
    from azure.keyvault.secrets import SecretClient
    from azure.storage.blob import BlobServiceClient

    from llmops.platforms.azure.arm import Arm

ARM_SCOPE = "https://management.azure.com/.default"
ML_SCOPE = "https://ml.azure.com/.default"
"""Of tokens for scoring addresses."""
USE_TWIN = '`eval "$(llmops twin azure env)"` points every Azure client of this shell at the twin'
USE_AZURE = f"unset {METADATA_VARIABLE} and AZURE_AUTHORITY_HOST, and `az login` with the subscription's account"
_SECRETS = re.compile(r"(?i)((?:[?&](?:sig|se|sp|code|access_token|refresh_token)=)|Bearer\s+)[^&\s\"']+")
_ACTION = re.compile(r"(?i)\baction:?\s*'?(Microsoft\.[A-Za-z]+/[\w/.*-]+)'?")
_SCOPE = re.compile(r"(?i)(?:over scope|resource:?)\s*'?(/subscriptions/[^'\s]+)'?")
# What an action begins with -> the built-in role that has it, in the stack's own scope.
_ROLES = {
    "microsoft.machinelearningservices/": "AzureML Data Scientist on the workspace",
    "microsoft.storage/": "Storage Blob Data Contributor on the storage account's containers",
    "microsoft.keyvault/vaults/keys/": "Key Vault Crypto User on the vault",
    "microsoft.keyvault/vaults/secrets/": "Key Vault Secrets User on the vault",
    "microsoft.containerregistry/": "AcrPush on the registry",
}
_DENIED = ("authorizationfailed", "authorizationpermissionmismatch", "forbidden", "forbiddenbyrbac", "denied")


@dataclass(frozen=True)
class Caller:
    """Who this process is for Azure, by its own token."""

    tenant: str
    object_id: str
    application: bool
    """A service principal or a managed identity, not a user."""
    twin: str
    """The twin's address; empty on Azure itself."""


class Clients:
    """Clients of Azure's services, made when they are first used, shared by threads."""

    def __init__(self, subscription: str = "") -> None:
        """Take the credentials of this process' environment.

        Args:
            subscription: a stack's; empty: the environment's, or that of `az login`.

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
        self._asked = subscription
        self._made: dict[str, Any] = {}

    @cached_property
    def credential(self) -> TokenCredential:
        """Azure's own chain without what asks somebody: $AZURE_*, workload and managed identity, `az login`.

        https://learn.microsoft.com/azure/developer/python/sdk/authentication/credential-chains
        """
        from azure.identity import DefaultAzureCredential

        return DefaultAzureCredential(
            exclude_interactive_browser_credential=True,
            exclude_shared_token_cache_credential=True,
            exclude_visual_studio_code_credential=True,
            exclude_broker_credential=True,
            exclude_cli_credential=bool(self.twin),  # nobody logs in to a twin
            exclude_powershell_credential=bool(self.twin),
            exclude_developer_cli_credential=bool(self.twin),
            # A twin's authority is no host of Microsoft's: asking Microsoft's hosts about it would be refused.
            disable_instance_discovery=bool(self.twin),
        )

    @cached_property
    def subscription(self) -> str:
        """Id of the subscription: what was asked for, else $AZURE_SUBSCRIPTION_ID, else the default of `az login`.

        Raises:
            KitError: nothing says one.
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
            "which subscription?",
            where="$AZURE_SUBSCRIPTION_ID",
            fix=f"set it, or `az login`; without a subscription: {USE_TWIN}",
        )

    @cached_property
    def arm(self) -> "Arm":
        """Azure Resource Manager."""
        from llmops.platforms.azure.arm import ARM, Arm

        return Arm(self.twin or ARM, self.credential)

    def blobs(self, account_url: str) -> "BlobServiceClient":
        """A storage account's blobs."""
        from azure.storage.blob import BlobServiceClient

        return self._kept(account_url, lambda: BlobServiceClient(account_url, credential=self.credential))

    def key(self, key_id: str) -> "CryptographyClient":
        """A key of a vault, by its id with the version."""
        from azure.keyvault.keys.crypto import CryptographyClient

        options = self._vault_options
        return self._kept(key_id, lambda: CryptographyClient(key_id, self.credential, **options))

    def secrets(self, vault_url: str) -> "SecretClient":
        """A vault's secrets."""
        from azure.keyvault.secrets import SecretClient

        options = self._vault_options
        return self._kept(f"{vault_url}/secrets", lambda: SecretClient(vault_url, self.credential, **options))

    def token(self, scope: str) -> str:
        """An access token for a scope, not for messages.

        Raises:
            KitError: there are no credentials.
        """
        with explained("Microsoft Entra ID"):
            return self.credential.get_token(scope).token

    @cached_property
    def caller(self) -> Caller:
        """Who this process is. (The token is read, not judged: Azure does that.)

        Raises:
            KitError: there are no credentials.
        """
        body = self.token(ARM_SCOPE).split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        application = claims.get("idtyp") == "app" or ("upn" not in claims and "scp" not in claims)
        return Caller(claims.get("tid", ""), claims.get("oid", ""), application, self.twin)

    def require(self, subscription: str, tenant: str, stack: str) -> None:
        """See that this process may touch a stack: of that tenant, a twin's from a twin's environment alone.

        Raises:
            KitError: it is another tenant, or the stack is a twin's and this environment Azure's, or the reverse.
        """
        if subscription == TWIN_SUBSCRIPTION and not self.twin:
            raise KitError(
                f"stack {stack} lives on a twin, but Azure clients of this shell talk to Azure",
                where=subscription,
                fix=USE_TWIN,
            )
        if subscription != TWIN_SUBSCRIPTION and self.twin:
            raise KitError(
                f"stack {stack} lives in subscription {subscription}, but Azure clients of this shell talk to a twin",
                where=f"${METADATA_VARIABLE}={os.environ[METADATA_VARIABLE]}",
                fix=USE_AZURE,
            )
        if self.caller.tenant != tenant:
            raise KitError(
                f"stack {stack} lives in tenant {tenant}, but these credentials are of {self.caller.tenant}",
                where=f"principal {self.caller.object_id}",
                fix=f"`az login --tenant {tenant}`, or $AZURE_* of it, then repeat the command",
            )

    @property
    def _vault_options(self) -> dict[str, Any]:
        # A twin's vault is a port of this machine, no subdomain of what it asks tokens for.
        return {"verify_challenge_resource": not self.twin}

    def _kept(self, key: str, make: Any) -> Any:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


@contextmanager
def explained(where: str, fix: str = "", role: str = "") -> Iterator[None]:
    """Turn Azure's errors into KitErrors that say what Azure said, where, and the way out.

    Args:
        where: the resource.
        fix: the way out; empty: by the error.
        role: the role that the caller needs, where the error does not say what it may not do.
    """
    try:
        yield
    except ClientAuthenticationError as e:
        raise KitError(
            f"Azure takes no credentials from here: {_words(e)}",
            where=where,
            fix=f"`az login`, or $AZURE_CLIENT_ID, $AZURE_TENANT_ID and a secret; without a subscription: {USE_TWIN}",
        ) from e
    except HttpResponseError as e:
        raise _refusal(e, where, fix, role) from e
    except AzureError as e:
        twin = azure_twin_address(os.environ)
        raise KitError(
            f"{'the twin' if twin else 'Azure'} can't be reached: {_words(e)}",
            where=where,
            fix="`llmops twin azure status` says whether it runs"
            if twin
            else "see the network, then repeat the command",
        ) from e


def error_code(error: HttpResponseError) -> str:
    """Azure's word, such as `ResourceNotFound`; else the status."""
    code = getattr(error.error, "code", None) or getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or error.status_code or "")


def is_missing(error: HttpResponseError) -> bool:
    """Whether there is no such thing."""
    return error.status_code == 404


def _refusal(error: HttpResponseError, where: str, fix: str, role: str) -> KitError:
    code, said = error_code(error), _words(error)
    if error.status_code != 403 and code.lower() not in _DENIED:
        return KitError(f"Azure refused: {code}: {said}", where=where, fix=fix or _way_out(error))
    action, scope = _ACTION.search(str(error)), _SCOPE.search(str(error))
    if action:
        role = next((r for begin, r in _ROLES.items() if action[1].lower().startswith(begin)), role)
    return KitError(
        f"these credentials may not {f'do {action[1]}' if action else 'do this'} ({code}: {said})",
        where=scope[1] if scope else where,
        fix=f"the role {role}" if role else "`llmops plan --policy` prints what the deployer must be allowed",
    )


def _way_out(error: HttpResponseError) -> str:
    if error.status_code == 429:
        return "Azure is asked too much at the moment: repeat the command in a minute"
    if error.status_code == 401:
        return "`az login`, or new credentials in $AZURE_*, then repeat the command"
    if error_code(error) in ("SubscriptionNotFound", "InvalidSubscriptionId"):
        return "$AZURE_SUBSCRIPTION_ID of a subscription that `az account list` shows"
    if "quota" in str(error).lower():
        return "another VM size, or a higher quota: `llmops plan` says what is allowed, the portal's Quotas raise it"
    return "docs/troubleshooting.md lists Azure's own error texts"


def _words(error: AzureError) -> str:
    """What the service said, without its code, its own number of the request and anything that lets somebody in."""
    if error_body := getattr(error, "error", None):
        text = str(getattr(error_body, "message", "") or error_body)
    else:
        text = str(error.message)
    line = next((line for line in text.strip().splitlines() if line.strip()), type(error).__name__)
    return _SECRETS.sub(r"\1…", line.strip())
