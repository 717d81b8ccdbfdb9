"""Ids of Azure's built-in roles, and the wait for role assignments, which take minutes to work.

https://learn.microsoft.com/azure/role-based-access-control/troubleshooting#symptom---role-assignment-changes-are-not-being-detected
"""

import time
from collections.abc import Callable
from typing import TypeVar

from llmops_kit.clouds.azure.errors import error_code

BUILT_IN = {
    "AcrPull": "7f951dda-4ed3-4680-a7ca-43fe172d538d",
    "AcrPush": "8311e382-0749-4cb8-b61a-304f252e45ec",
    "Azure AI Enterprise Network Connection Approver": "b556d68e-0be0-4f35-a333-ad7ee1ce17ea",
    "AzureML Data Scientist": "f6c7c914-8db3-469d-8ca1-694a8f32e121",
    "AzureML Metrics Writer (preview)": "635dd51f-9968-44d3-b7fb-6d9a6bd613ae",
    "Contributor": "b24988ac-6180-42a0-ab88-20f7382dd24c",
    "Key Vault Administrator": "00482a5a-887f-4fb3-b363-3b7fe8e74483",
    "Key Vault Crypto Service Encryption User": "e147488a-f6f5-4113-8e2d-b22465e65bf6",
    "Key Vault Crypto User": "12338af0-0e69-4776-bea7-57ae8d297424",
    "Key Vault Secrets Officer": "b86a8fe4-44ce-4948-aee5-eccb2c155cd7",
    "Log Analytics Reader": "73c42c96-874c-492b-b04d-ab87d138a893",
    "Owner": "8e3af657-a8ff-443c-a75c-2fe8c4bcb635",
    "Reader": "acdd72a7-3385-48ef-bd42-f606fba81ae7",
    "Role Based Access Control Administrator": "f58310d9-a9f6-439a-9e8d-f62e7b41a168",
    "Storage Blob Data Contributor": "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
    "Storage Blob Data Owner": "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
    "Storage Blob Data Reader": "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1",
}
"""https://learn.microsoft.com/azure/role-based-access-control/built-in-roles"""
ROLE_SECONDS = 15 * 60
"""Time limit for a role assignment to work everywhere; according to Microsoft it takes up to ten minutes."""
_POLL_SECONDS = 2.0
_OF_THE_NETWORK = "AuthorizationFailure"
"""Storage's code for a caller whom its network rules reject; no role changes that."""
Answer = TypeVar("Answer")


def until_allowed(what: str, ask: Callable[[], Answer], say: Callable[[str], None]) -> Answer:
    """Retries a call until a role that this process has just received works; returns its result.

    Args:
        what: the awaited state, for users.
        ask: a call of an Azure SDK.
        say: called once, before the wait.

    Raises:
        HttpResponseError: that of `ask`, also after the time limit.
    """
    from azure.core.exceptions import HttpResponseError

    deadline, told = time.monotonic() + ROLE_SECONDS, False
    while True:
        try:
            return ask()
        except HttpResponseError as e:
            lacks_role = e.status_code == 403 and error_code(e) != _OF_THE_NETWORK
            if not lacks_role or time.monotonic() > deadline:
                raise
        if not told:
            told = True
            say(f"waiting until {what}: a new role assignment takes minutes")
        time.sleep(_POLL_SECONDS)
