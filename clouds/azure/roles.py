"""Rights that this process was given just now: what needs one is asked for until it is allowed.

https://learn.microsoft.com/azure/role-based-access-control/troubleshooting#symptom---role-assignment-changes-are-not-being-detected
"""

import time
from collections.abc import Callable
from typing import TypeVar

from infra.targets.azure.session import error_code
from infra.targets.dynamic import say

ROLE_SECONDS = 15 * 60
"""Until a role assignment works everywhere: by Microsoft up to ten minutes."""
_POLL_SECONDS = 5.0
_OF_THE_NETWORK = "AuthorizationFailure"
"""Storage's word for a caller whom its network rules keep out: no role changes that."""
Answer = TypeVar("Answer")


def until_allowed(what: str, ask: Callable[[], Answer]) -> Answer:
    """Ask with a right that this process was given just now.

    Args:
        what: is waited for, as users read it.
        ask: a call of an Azure SDK.

    Raises:
        HttpResponseError: as `ask`, also when the time is over.
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
