"""Who waits for role assignments that are new, for how long, and who does not."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pulumi
import pytest
from azure.core.exceptions import HttpResponseError

from llmops_kit.clouds.azure import roles
from llmops_kit.clouds.azure.location import AzureLocation
from llmops_kit.clouds.azure.objects import AzureContainer
from llmops_kit.core.errors import KitError
from llmops_kit.infra.resource_names import CloudNames
from llmops_kit.infra.targets.azure import role_retries
from llmops_kit.infra.targets.azure.inventory import AzureInventory
from llmops_kit.infra.targets.azure.providers import access
from llmops_kit.infra.targets.azure.resources.context import AzureIdentity, AzureStack
from llmops_kit.settings.stack_settings import Settings
from tests.support.clouds.settings import resolved
from tests.unit.infra.azure.arm import PLACE, InProcessArm, patch_session

ROLE, OTHER = "/scope/providers/Microsoft.Authorization/roleAssignments/1", "/scope/roleAssignments/2"
DENIED = "Code=BadArgument Startup task failed due to authorization error: identity /i may not pull"
NOW = datetime.now(UTC)


class RefusalError(HttpResponseError):
    """Azure's answer."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status_code, self.error_code = status, code


class Platform:
    """Azure, which refuses so many times."""

    def __init__(self, times: int, status: int = 403, code: str = "AuthorizationPermissionMismatch") -> None:
        self.left, self.asked, self.refusal = times, 0, RefusalError(status, code)

    def __call__(self, *_: Any) -> str:
        self.asked += 1
        if self.asked <= self.left:
            raise self.refusal
        return "well"


@pytest.fixture(autouse=True)
def arm(monkeypatch: pytest.MonkeyPatch) -> InProcessArm:
    found = InProcessArm()
    patch_session(monkeypatch, found, "deployer-id")
    monkeypatch.setattr(role_retries, "_LONGEST_PAUSE", 0.0)
    monkeypatch.setattr(roles, "_POLL_SECONDS", 0.0)
    return found


def assigned(arm: InProcessArm, **ages: float) -> None:
    """Role assignments, so many seconds old."""
    for name, seconds in ages.items():
        created = (NOW - timedelta(seconds=seconds)).isoformat()
        arm.documents[{"role": ROLE, "other": OTHER}[name]] = {"properties": {"createdOn": created}}


def again(monkeypatch: pytest.MonkeyPatch, error: str, *assignments: str) -> tuple[bool, int]:
    """Is it tried again, and how often was `before` called?"""
    called, hooks = list[int](), list[Any]()
    monkeypatch.setattr(pulumi, "ErrorHook", lambda _name, function: hooks.append(function))
    monkeypatch.setattr(pulumi, "ResourceHookBinding", lambda on_error: on_error)
    monkeypatch.setattr(pulumi.log, "info", lambda _: None)

    given = resolved(Settings(target="azure"))
    inventory = AzureInventory(CloudNames("llmops", "demo"), AzureLocation.of(PLACE), given)
    made, new = inventory.vault, inventory.registry
    stack = AzureStack(inventory, frozenset({made.key}), frozenset(), "g", Any, Any, Any)  # type: ignore[arg-type]
    identity, before = AzureIdentity("/i", "client", "principal", [], assignments), partial(called.append, 1)
    assert stack.retries(made, identity, before) is None
    assert stack.retries(new, None) is None
    assert stack.retries(new, identity, before)
    asked = pulumi.ErrorHookArgs("urn", "", "n", "t", failed_operation="create", errors=[error])
    return asyncio.run(hooks[0](asked)), len(called)


@pytest.mark.parametrize(
    "error",
    [
        DENIED,
        "does not have authorization to perform action 'x'. If access was recently granted, please refresh",
        "Startup task failed due to incorrect role assignments on resource",
        "Failed to pull image: 401 Unauthorized",
        # https://github.com/MicrosoftDocs/azure-docs/issues/107890
        "Code=BadArgument Message=Endpoint identity does not have pull permission on the registry..",
    ],
)
def test_what_needs_new_assignments_is_tried_again(
    arm: InProcessArm, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    assigned(arm, role=3600, other=10)
    assert again(monkeypatch, error, ROLE, OTHER) == (True, 1)


def test_another_reason_is_none(arm: InProcessArm, monkeypatch: pytest.MonkeyPatch) -> None:
    assigned(arm, role=10)
    assert again(monkeypatch, "Code=OutOfQuota Message=not enough cores", ROLE) == (False, 0)


def test_a_refusal_of_who_deploys_is_his_own_affair(arm: InProcessArm, monkeypatch: pytest.MonkeyPatch) -> None:
    assigned(arm, role=10)
    assert again(monkeypatch, f"{DENIED}: the client with object id 'deployer-id'", ROLE) == (False, 0)


def test_old_assignments_and_missing_ones_and_those_of_others_are_not_waited_for(
    arm: InProcessArm, monkeypatch: pytest.MonkeyPatch
) -> None:
    assigned(arm, role=3600)
    assert again(monkeypatch, DENIED, ROLE) == (False, 0)
    assigned(arm, role=10)
    assert again(monkeypatch, DENIED, ROLE, OTHER) == (False, 0)
    assert again(monkeypatch, DENIED) == (False, 0)


def test_a_try_that_began_while_assignments_were_new_may_fail_late(
    arm: InProcessArm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Azure gives up on an image that can't be pulled after ten minutes or more."""

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            del tz
            return NOW + timedelta(minutes=20 if arm.calls else 0)  # the roles are looked up after the failure

    assigned(arm, role=60)
    monkeypatch.setattr(role_retries, "datetime", Later)
    assert again(monkeypatch, DENIED, ROLE) == (True, 1)


def test_a_right_is_asked_for_until_it_works_and_that_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    platform = Platform(3)
    assert roles.until_allowed("the store can be read", platform, print) == "well"
    assert platform.asked == 4
    assert capsys.readouterr().out == "waiting until the store can be read: a new role assignment takes minutes\n"


@pytest.mark.parametrize(("status", "code"), [(404, "ContainerNotFound"), (403, "AuthorizationFailure")])
def test_what_no_role_changes_is_not_waited_for(status: int, code: str) -> None:
    platform = Platform(1, status, code)
    with pytest.raises(HttpResponseError):
        roles.until_allowed("the store can be read", platform, print)
    assert platform.asked == 1


def test_a_right_that_never_works_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roles, "ROLE_SECONDS", -1)
    with pytest.raises(HttpResponseError):
        roles.until_allowed("the store can be read", Platform(99), print)


def test_the_operator_alone_waits_for_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    provider, platform = access.AccessProvider(), Platform(1)
    monkeypatch.setattr(AzureContainer, "__init__", lambda *_: None)
    props = {**PLACE, "operator": "deployer-id", "containers": ["https://data/store"]}
    monkeypatch.setattr(AzureContainer, "look", lambda _: platform())
    assert provider.create(props).outs == props
    assert platform.asked == 2
    provider.update("", props, props | {"operator": "somebody-else"})
    assert platform.asked == 2
    missing = Platform(1, 404, "ContainerNotFound")
    monkeypatch.setattr(AzureContainer, "look", lambda _: missing())
    with pytest.raises(KitError, match="ContainerNotFound"):
        provider.create(props)
