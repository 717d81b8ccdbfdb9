"""Turns Azure's errors into KitErrors. Importing this module loads no SDK."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llmops_kit.core.errors import KitError
from llmops_kit.core.twins import METADATA_VARIABLE, azure_twin_address

USE_TWIN = '`eval "$(llmops twin azure env)"` points every Azure client of this shell at the twin'
USE_AZURE = f"unset {METADATA_VARIABLE} and AZURE_AUTHORITY_HOST, and `az login` with the subscription's account"
NO_SUBSCRIPTION = ("SubscriptionNotFound", "InvalidSubscriptionId")
_SECRETS = re.compile(r"(?i)((?:[?&](?:sig|se|sp|code|access_token|refresh_token)=)|Bearer\s+)[^&\s\"']+")
_ACTION = re.compile(r"(?i)\baction:?\s*'?(Microsoft\.[A-Za-z]+/[\w/.*-]+)'?")
_SCOPE = re.compile(r"(?i)(?:over scope|resource:?)\s*'?(/subscriptions/[^'\s]+)'?")
# Prefix of an action -> the built-in role that allows it, in the stack's own scope.
_ROLES = {
    "microsoft.machinelearningservices/": "AzureML Data Scientist on the workspace",
    "microsoft.storage/": "Storage Blob Data Contributor on the storage account's containers",
    "microsoft.keyvault/vaults/keys/": "Key Vault Crypto User on the vault",
    "microsoft.keyvault/vaults/secrets/": "Key Vault Secrets User on the vault",
    "microsoft.containerregistry/": "AcrPush on the registry",
}
_DENIED = ("authorizationfailed", "authorizationpermissionmismatch", "forbidden", "forbiddenbyrbac", "denied")


@contextmanager
def explained(where: str, fix: str = "", role: str = "") -> Iterator[None]:
    """Turns Azure's errors in the block into KitErrors with Azure's message, the resource and the fix.

    Args:
        where: the resource.
        fix: empty: chosen by the error.
        role: the role that the caller needs, if the error does not name the action.
    """
    from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

    try:
        yield
    except ClientAuthenticationError as e:
        raise KitError(
            f"Azure accepts no credentials of this environment: {_words(e)}",
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
            else "check the network, then repeat the command",
        ) from e


def error_code(error: Any) -> str:
    """Returns the code of an azure.core HttpResponseError, such as `ResourceNotFound`, or its HTTP status."""
    code = getattr(getattr(error, "error", None), "code", None) or getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or error.status_code or "")


def is_missing(error: Any) -> bool:
    """Returns whether an azure.core HttpResponseError says that the resource is missing."""
    return error.status_code == 404


def _refusal(error: Any, where: str, fix: str, role: str) -> KitError:
    code, said = error_code(error), _words(error)
    if error.status_code != 403 and code.lower() not in _DENIED:
        return KitError(f"Azure refused: {code}: {said}", where=where, fix=fix or _fix(error))
    action, scope = _ACTION.search(str(error)), _SCOPE.search(str(error))
    if action:
        role = next((r for begin, r in _ROLES.items() if action[1].lower().startswith(begin)), role)
    return KitError(
        f"these credentials may not {f'do {action[1]}' if action else 'do this'} ({code}: {said})",
        where=scope[1] if scope else where,
        fix=f"the role {role}" if role else "`llmops plan --policy` prints the deployer's permissions",
    )


def _fix(error: Any) -> str:
    if error.status_code == 429:
        return "Azure throttles requests: repeat the command in a minute"
    if error.status_code == 401:
        return "`az login`, or new credentials in $AZURE_*, then repeat the command"
    if error_code(error) in NO_SUBSCRIPTION:
        return "$AZURE_SUBSCRIPTION_ID of a subscription that `az account list` shows"
    if "quota" in str(error).lower():
        return "another VM size, or a higher quota: `llmops plan` says what is allowed, the portal's Quotas raise it"
    return "docs/troubleshooting.md lists Azure's own error texts"


def _words(error: Any) -> str:
    """Returns the first line of the service's message, with credentials masked."""
    if error_body := getattr(error, "error", None):
        text = str(getattr(error_body, "message", "") or error_body)
    else:
        text = str(error.message)
    line = next((line for line in text.strip().splitlines() if line.strip()), type(error).__name__)
    return _SECRETS.sub(r"\1…", line.strip())
