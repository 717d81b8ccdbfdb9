"""Retries while new role assignments propagate, for resources that Azure creates with an identity.

Only the identity itself can tell whether an assignment works. So a creation that fails for lack of a role is retried if
it began while the assignments were new: a deployment whose image can't be pulled fails after ten minutes or more. For
roles of this process, see llmops_kit.clouds.azure.roles.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pulumi

from llmops_kit.clouds.azure.location import AzureLocation
from llmops_kit.clouds.azure.roles import ROLE_SECONDS
from llmops_kit.clouds.azure.session import open_session

_LONGEST_PAUSE = 30.0
_LACKS_A_ROLE = re.compile(
    r"authoriz|role assignment|recently granted|forbidden|access denied|pull permission", re.IGNORECASE
)


def retry_while_roles_are_new(
    location: AzureLocation, logical: str, assignments: Sequence[str], before: Callable[[], object] = lambda: None
) -> pulumi.ResourceHookBinding:
    """Returns hooks that retry the creation of a resource by Azure with an identity.

    Args:
        location: the stack's.
        logical: name of the resource.
        assignments: resource ids of the role assignments that the identity needs.
        before: called before each retry.
    """
    tried = [datetime.now(UTC)]  # when the last try began, or before that

    async def again(args: pulumi.ErrorHookArgs) -> bool:
        newest = await asyncio.to_thread(_newest_in_vain, location, assignments, args.errors[0])
        if newest is None or tried[-1] > newest + timedelta(seconds=ROLE_SECONDS):
            return False
        pulumi.log.info(
            f"{logical} needs role assignments that were created at {newest:%H:%M:%S} UTC and may not work everywhere "
            f"yet: retrying until {ROLE_SECONDS // 60} minutes after that"
        )
        await asyncio.sleep(min(2.0 ** len(args.errors), _LONGEST_PAUSE))
        await asyncio.to_thread(before)
        tried.append(datetime.now(UTC))
        return True

    return pulumi.ResourceHookBinding(on_error=[pulumi.ErrorHook(f"patient-{logical}", again)])


def _newest_in_vain(location: AzureLocation, assignments: Sequence[str], error: str) -> datetime | None:
    """Returns when the newest of an identity's assignments was created; None if they are not the cause of the error.

    Args:
        location: the stack's.
        assignments: resource ids; if one is gone, waiting does not help.
        error: Azure's message, which names the caller if the caller lacks the permission.
    """
    if not assignments or not _LACKS_A_ROLE.search(error):
        return None
    session = open_session(location)
    if session.caller.object_id in error:
        return None
    found = [session.arm.find(id_) for id_ in assignments]
    if not all(found):
        return None
    return max(datetime.fromisoformat(each["properties"]["createdOn"]) for each in found if each)
