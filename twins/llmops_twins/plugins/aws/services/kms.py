"""KMS: keys."""

from typing import Any

from llmops_twins.plugins.aws.calls import ResourceOperation
from llmops_twins.plugins.aws.kinds import AwsResourceKind


class KmsKey(AwsResourceKind):
    """A key; one pending deletion counts as deleted."""

    def call_read(self, work: ResourceOperation) -> dict[str, Any] | None:
        answer = super().call_read(work)
        return None if answer and answer.get("KeyState") in ("PendingDeletion", "PendingReplicaDeletion") else answer

    def call_delete(self, work: ResourceOperation) -> None:
        days = work.state.get("deletionWindowInDays")
        work.call("kms", "ScheduleKeyDeletion", KeyId=work.id, **({"PendingWindowInDays": days} if days else {}))
