"""KMS: keys."""

from typing import Any

from twins.plugins.aws.calls import Work
from twins.plugins.aws.kinds import Kind


class Key(Kind):
    """A key that is waiting for its deletion counts as gone."""

    def call_read(self, work: Work) -> dict[str, Any] | None:
        answer = super().call_read(work)
        return None if answer and answer.get("KeyState") in ("PendingDeletion", "PendingReplicaDeletion") else answer

    def call_delete(self, work: Work) -> None:
        days = work.state.get("deletionWindowInDays")
        work.call("kms", "ScheduleKeyDeletion", KeyId=work.id, **({"PendingWindowInDays": days} if days else {}))
