"""Secrets Manager: secrets and their versions."""

from base64 import b64decode, b64encode
from typing import Any

from twins.plugins.aws.calls import AwsError, Work
from twins.plugins.aws.kinds import MINUTE, Kind, Part
from twins.plugins.aws.tags import Tagging

NOT_FOUND = ("ResourceNotFoundException",)
DELETED = ("InvalidRequestException: was deleted", "InvalidRequestException: marked for deletion")
NAME_TAKEN = ("InvalidRequestException: scheduled for deletion", "InvalidRequestException: was deleted")


class Secret(Kind):
    """A secret; one with a date of deletion counts as gone, though its name stays taken."""

    def call_read(self, work: Work) -> dict[str, Any] | None:
        answer = super().call_read(work)
        if answer and answer.get("DeletedDate"):
            return None
        return answer

    def properties_of(self, work: Work, answer: dict[str, Any]) -> dict[str, Any]:
        replicas = [
            {"region": r["Region"], "kmsKeyId": r.get("KmsKeyId", ""), "status": r.get("Status", "")}
            for r in answer.get("ReplicationStatus", [])
        ]
        return super().properties_of(work, answer) | ({"replicas": replicas} if replicas else {})

    def change(self, work: Work) -> dict[str, Any]:
        if "replicas" in work.changed:
            old, new = ({r["region"]: r for r in d.get("replicas") or []} for d in (work.state, work.inputs))
            gone = [region for region in old if region not in new]
            added = [_replica(r) for region, r in new.items() if region not in old]
            if gone:
                work.call("secretsmanager", "RemoveRegionsFromReplication", SecretId=work.id, RemoveReplicaRegions=gone)
            if added:
                work.call("secretsmanager", "ReplicateSecretToRegions", SecretId=work.id, AddReplicaRegions=added)
        return super().change(work)

    def parameters(self, work: Work, operation: str) -> dict[str, Any]:
        found = super().parameters(work, operation)
        if operation == self.create and work.inputs.get("replicas"):
            found["AddReplicaRegions"] = [_replica(r) for r in work.inputs["replicas"]]
        return found

    def call_delete(self, work: Work) -> None:
        regions = [r["region"] for r in work.state.get("replicas") or []]
        if regions:
            work.call("secretsmanager", "RemoveRegionsFromReplication", SecretId=work.id, RemoveReplicaRegions=regions)
        days = work.state.get("recoveryWindowInDays", 30)
        how: dict[str, Any] = {"RecoveryWindowInDays": days} if days else {"ForceDeleteWithoutRecovery": True}
        work.call("secretsmanager", "DeleteSecret", SecretId=work.id, **how)

    @property
    def silent(self) -> frozenset[str]:
        return frozenset({"recoveryWindowInDays", "forceOverwriteReplicaSecret", "replicas"})

    def readable(self, work: Work) -> set[str]:
        return super().readable(work) | {"replicas"}


class SecretVersion(Kind):
    """A version of a secret's value: it stays in AWS when it is deleted, without its labels."""

    def parameters(self, work: Work, operation: str) -> dict[str, Any]:
        found: dict[str, Any] = {"SecretId": work.inputs["secretId"]}
        text = work.inputs.get("secretString") or work.inputs.get("secretStringWo")
        if text:
            found["SecretString"] = text
        elif work.inputs.get("secretBinary"):
            found["SecretBinary"] = b64decode(work.inputs["secretBinary"])
        if work.inputs.get("versionStages"):
            found["VersionStages"] = work.inputs["versionStages"]
        return found

    def properties_of(self, work: Work, answer: dict[str, Any]) -> dict[str, Any]:
        secret = work.id.rpartition("|")[0]
        found = {
            "secretId": secret,
            "secretArn": answer["ARN"],
            "arn": answer["ARN"],
            "versionId": answer["VersionId"],
            "versionStages": answer.get("VersionStages", []),
        }
        if work.properties.get("secretStringWoVersion") is not None:
            return {**found, "hasSecretStringWo": True}
        if "SecretBinary" in answer:
            return {**found, "secretBinary": b64encode(answer["SecretBinary"]).decode()}
        return {**found, "secretString": answer.get("SecretString", "")}

    def call_update(self, work: Work) -> None:
        old = set(work.state.get("versionStages") or [])
        new = set(work.inputs.get("versionStages") or old)
        secret, _, version = work.id.rpartition("|")
        for stage in sorted(new - old):
            place = {"SecretId": secret, "VersionStage": stage, "MoveToVersionId": version}
            holder = self._holder(work, secret, stage)
            place |= {"RemoveFromVersionId": holder} if holder else {}
            work.call("secretsmanager", "UpdateSecretVersionStage", **place)
        self._take(work, sorted(old - new))

    def call_delete(self, work: Work) -> None:
        try:
            self._take(work, work.state.get("versionStages") or [])
        except AwsError as error:
            if not error.is_one_of(DELETED):
                raise

    def readable(self, work: Work) -> set[str]:
        return {"secretId", "secretArn", "arn", "versionId", "versionStages", "secretString", "secretBinary"}

    @staticmethod
    def _take(work: Work, stages: list[str]) -> None:
        secret, _, version = work.id.rpartition("|")
        for stage in stages:
            if stage != "AWSCURRENT":  # it can't be taken off, only moved
                work.call(
                    "secretsmanager",
                    "UpdateSecretVersionStage",
                    SecretId=secret,
                    VersionStage=stage,
                    RemoveFromVersionId=version,
                )

    @staticmethod
    def _holder(work: Work, secret: str, stage: str) -> str:
        stages = work.call("secretsmanager", "DescribeSecret", SecretId=secret).get("VersionIdsToStages", {})
        return next((version for version, held in stages.items() if stage in held), "")


def _replica(told: dict[str, Any]) -> dict[str, str]:
    return {"Region": told["region"], **({"KmsKeyId": told["kmsKeyId"]} if told.get("kmsKeyId") else {})}


KINDS = (
    Secret(
        "aws:secretsmanager/secret:Secret",
        "secretsmanager",
        "Secrets Manager Secret",
        "{arn}",
        create="CreateSecret",
        read="DescribeSecret",
        update="UpdateSecret",
        delete="DeleteSecret",
        identity={"SecretId": "{id}"},
        renames={"policy": "-", "replicas": "-"},
        parts=(
            Part(
                ("policy",),
                "PutResourcePolicy",
                clear="DeleteResourcePolicy",
                get="GetResourcePolicy",
                renames={"policy": "ResourcePolicy"},
                off=(None, "", "{}"),
                absent=NOT_FOUND,
            ),
        ),
        tags=Tagging("TagResource", "UntagResource", "", {"SecretId": "{id}"}),
        gone=NOT_FOUND,
        retry=NAME_TAKEN,
        wait_gone=2 * MINUTE,
    ),
    SecretVersion(
        "aws:secretsmanager/secretVersion:SecretVersion",
        "secretsmanager",
        "Secrets Manager Secret Version",
        "{secretId}|{versionId}",
        create="PutSecretValue",
        read="GetSecretValue",
        update="UpdateSecretVersionStage",
        identity={"SecretId": "{secretId}", "VersionId": "{versionId}"},
        gone=(*NOT_FOUND, *DELETED),
    ),
)
