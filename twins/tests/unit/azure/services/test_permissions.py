"""What a caller may do, by roles at a scope and above it."""

from pathlib import Path

from tests.support.azure import Arm, local_twin
from twins.azure.entra import principals
from twins.azure.services import authorization, permissions


def test_roles_hold_at_their_scope_and_below(tmp_path: Path) -> None:
    twin = local_twin(tmp_path, authorization.install, permissions.install)
    group = Arm(twin).group()
    person = Arm(twin, principals.add(twin, "somebody", "application"))
    authorization.assign(twin, person.caller.object_id, "Reader", group)

    def allowed(scope: str) -> list[list[str]]:
        answer = person.get(f"{scope}/providers/Microsoft.Authorization/permissions", "2022-04-01")
        return [each["actions"] for each in answer.body["value"]]

    assert allowed(group) == [["*/read"]]
    assert allowed(f"{group}/providers/Microsoft.Storage/storageAccounts/x") == [["*/read"]]
    assert allowed("{sub}") == []
