"""KMS: keys and aliases."""

from typing import Any

from twins.plugins.aws.calls import Work
from twins.plugins.aws.kinds import Kind, Part
from twins.plugins.aws.tags import Tagging

NOT_FOUND = ("NotFoundException",)


class Key(Kind):
    """A key that is waiting for its deletion counts as gone."""

    def complete(self, work: Work, answer: dict[str, Any]) -> None:
        super().complete(work, answer)
        if work.inputs.get("isEnabled") is False:
            work.call("kms", "DisableKey", KeyId=work.id)

    def call_read(self, work: Work) -> dict[str, Any] | None:
        answer = super().call_read(work)
        return None if answer and answer.get("KeyState") in ("PendingDeletion", "PendingReplicaDeletion") else answer

    def change(self, work: Work) -> dict[str, Any]:
        enabled = work.inputs.get("isEnabled") is not False
        if "isEnabled" in work.changed and enabled:
            work.call("kms", "EnableKey", KeyId=work.id)
        found = super().change(work)
        if "isEnabled" in work.changed and not enabled:
            work.call("kms", "DisableKey", KeyId=work.id)
            return self.state_after(work)
        return found

    def call_delete(self, work: Work) -> None:
        days = work.state.get("deletionWindowInDays")
        work.call("kms", "ScheduleKeyDeletion", KeyId=work.id, **({"PendingWindowInDays": days} if days else {}))


class Alias(Kind):
    """Aliases are found by listing all of them."""

    def call_read(self, work: Work) -> dict[str, Any] | None:
        marker: dict[str, Any] = {}
        while True:
            answer = work.call("kms", "ListAliases", **marker)
            for alias in answer["Aliases"]:
                if alias["AliasName"] == work.id:
                    key = alias["AliasArn"].partition(":alias/")[0] + f":key/{alias.get('TargetKeyId', '')}"
                    return {**alias, "TargetKeyArn": key}
            if not answer.get("Truncated"):
                return None
            marker = {"Marker": answer["NextMarker"]}

    def readable(self, work: Work) -> set[str]:
        return {"name", "arn", "targetKeyId", "targetKeyArn"}


KINDS = (
    Key(
        "aws:kms/key:Key",
        "kms",
        "KMS Key",
        "{keyId}",
        create="CreateKey",
        read="DescribeKey",
        delete="ScheduleKeyDeletion",
        identity={"KeyId": "{id}"},
        pick="KeyMetadata",
        renames={
            "customerMasterKeySpec": "KeySpec",
            "isEnabled": "Enabled",
            "keyId": "KeyId",
            "bypassPolicyLockoutSafetyCheck": "BypassPolicyLockoutSafetyCheck",
        },
        unread=("deletionWindowInDays",),
        parts=(
            Part(
                ("enableKeyRotation", "rotationPeriodInDays"),
                "EnableKeyRotation",
                clear="DisableKeyRotation",
                get="GetKeyRotationStatus",
                renames={"enableKeyRotation": "KeyRotationEnabled"},
                absent=("UnsupportedOperationException",),
            ),
            Part(("description",), "UpdateKeyDescription", off=()),
            Part(("policy",), "PutKeyPolicy", get="GetKeyPolicy", extra={"PolicyName": "default"}),
        ),
        tags=Tagging("TagResource", "UntagResource", "ListResourceTags", {"KeyId": "{id}"}),
        gone=(*NOT_FOUND, "KMSInvalidStateException: is pending deletion"),
        retry=("MalformedPolicyDocumentException",),
    ),
    Alias(
        "aws:kms/alias:Alias",
        "kms",
        "KMS Alias",
        "{name}",
        create="CreateAlias",
        read="ListAliases",
        update="UpdateAlias",
        delete="DeleteAlias",
        identity={"AliasName": "{id}"},
        prefix="Alias",
        gone=NOT_FOUND,
        retry=NOT_FOUND,
    ),
)
