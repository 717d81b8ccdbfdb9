"""IAM: roles, their policies, managed policies and attachments."""

from typing import Any

from twins.plugins.aws.calls import AwsError, Work
from twins.plugins.aws.kinds import Kind, Part
from twins.plugins.aws.tags import Tagging
from twins.plugins.plugin import ProviderError

NOT_FOUND = ("NoSuchEntity",)
PASSING = ("MalformedPolicyDocument: Invalid principal in policy", "ConcurrentModification")


class Role(Kind):
    """A role, with the inline and attached policies of the older inputs; those of other resources are read too."""

    def complete(self, work: Work, answer: dict[str, Any]) -> None:
        try:
            self._add(work, self._inline(work.inputs), work.inputs.get("managedPolicyArns") or [])
        except ProviderError:
            self._take(work, self._inline(work.inputs), work.inputs.get("managedPolicyArns") or [])
            work.call("iam", "DeleteRole", RoleName=work.id)
            raise

    def find(self, work: Work) -> dict[str, Any] | None:
        found = super().find(work)
        if found is None:
            return None
        boundary = found.pop("permissionsBoundary", None)
        if boundary:
            found["permissionsBoundary"] = boundary
        names = work.call("iam", "ListRolePolicies", RoleName=work.id)["PolicyNames"]
        found["inlinePolicies"] = [
            {"name": name, "policy": _document(work.call("iam", "GetRolePolicy", RoleName=work.id, PolicyName=name))}
            for name in names
        ]
        attached = work.call("iam", "ListAttachedRolePolicies", RoleName=work.id)["AttachedPolicies"]
        found["managedPolicyArns"] = [policy["PolicyArn"] for policy in attached]
        return found

    def properties_of(self, work: Work, answer: dict[str, Any]) -> dict[str, Any]:
        boundary = answer.pop("PermissionsBoundary", None)
        found = super().properties_of(work, answer)
        return found | ({"permissionsBoundary": boundary["PermissionsBoundaryArn"]} if boundary else {})

    def change(self, work: Work) -> dict[str, Any]:
        if "inlinePolicies" in work.changed:
            old, new = self._inline(work.state), self._inline(work.inputs)
            self._take(work, {n: p for n, p in old.items() if n not in new}, [])
            self._add(work, {n: p for n, p in new.items() if old.get(n) != p}, [])
        if "managedPolicyArns" in work.changed:
            old, new = (list(d.get("managedPolicyArns") or []) for d in (work.state, work.inputs))
            self._take(work, {}, [arn for arn in old if arn not in new])
            self._add(work, {}, [arn for arn in new if arn not in old])
        return super().change(work)

    def call_delete(self, work: Work) -> None:
        for profile in work.call("iam", "ListInstanceProfilesForRole", RoleName=work.id)["InstanceProfiles"]:
            name = profile["InstanceProfileName"]
            work.call("iam", "RemoveRoleFromInstanceProfile", RoleName=work.id, InstanceProfileName=name)
        if work.state.get("forceDetachPolicies"):
            found = self.find(work) or {}
            self._take(work, self._inline(found), found.get("managedPolicyArns", []))
        else:
            given = work.state
            self._take(work, self._inline(given), given.get("managedPolicyArns") or [])
        super().call_delete(work)

    @staticmethod
    def _inline(properties: dict[str, Any]) -> dict[str, str]:
        return {p["name"]: p["policy"] for p in properties.get("inlinePolicies") or [] if p.get("name")}

    @staticmethod
    def _add(work: Work, inline: dict[str, str], arns: list[str]) -> None:
        for name, policy in inline.items():
            work.call("iam", "PutRolePolicy", RoleName=work.id, PolicyName=name, PolicyDocument=policy)
        for arn in arns:
            work.call("iam", "AttachRolePolicy", RoleName=work.id, PolicyArn=arn)

    @staticmethod
    def _take(work: Work, inline: dict[str, str], arns: list[str]) -> None:
        for name in inline:
            _ignoring_absence(work, "DeleteRolePolicy", RoleName=work.id, PolicyName=name)
        for arn in arns:
            _ignoring_absence(work, "DetachRolePolicy", RoleName=work.id, PolicyArn=arn)


class Policy(Kind):
    """A managed policy: IAM keeps five versions of it."""

    def find(self, work: Work) -> dict[str, Any] | None:
        found = super().find(work)
        if found is not None:
            version = work.call("iam", "GetPolicy", PolicyArn=work.id)["Policy"]["DefaultVersionId"]
            answer = work.call("iam", "GetPolicyVersion", PolicyArn=work.id, VersionId=version)
            found["policy"] = _document({"PolicyDocument": answer["PolicyVersion"]["Document"]})
        return found

    def call_update(self, work: Work) -> None:
        versions = work.call("iam", "ListPolicyVersions", PolicyArn=work.id)["Versions"]
        if len(versions) >= 5:
            oldest = min((v for v in versions if not v["IsDefaultVersion"]), key=lambda v: v["CreateDate"])
            work.call("iam", "DeletePolicyVersion", PolicyArn=work.id, VersionId=oldest["VersionId"])
        work.call(
            "iam", "CreatePolicyVersion", PolicyArn=work.id, PolicyDocument=work.inputs["policy"], SetAsDefault=True
        )

    def call_delete(self, work: Work) -> None:
        for version in work.call("iam", "ListPolicyVersions", PolicyArn=work.id)["Versions"]:
            if not version["IsDefaultVersion"]:
                work.call("iam", "DeletePolicyVersion", PolicyArn=work.id, VersionId=version["VersionId"])
        super().call_delete(work)

    def readable(self, work: Work) -> set[str]:
        return super().readable(work) | {"policy"}


class Attachment(Kind):
    """A managed policy on a role; found by listing the role's."""

    def call_read(self, work: Work) -> dict[str, Any] | None:
        wanted = work.properties
        answer = work.call("iam", "ListAttachedRolePolicies", RoleName=wanted["role"])
        there = any(policy["PolicyArn"] == wanted["policyArn"] for policy in answer["AttachedPolicies"])
        return {"role": wanted["role"], "policyArn": wanted["policyArn"]} if there else None


def _document(answer: dict[str, Any]) -> str:
    import json

    document = answer["PolicyDocument"]
    return document if isinstance(document, str) else json.dumps(document)


def _ignoring_absence(work: Work, operation: str, **parameters: Any) -> None:
    try:
        work.call("iam", operation, **parameters)
    except AwsError as error:
        if not error.is_one_of(NOT_FOUND):
            raise


ROLE = {"RoleName": "{id}"}
KINDS = (
    Role(
        "aws:iam/role:Role",
        "iam",
        "IAM Role",
        "{name}",
        create="CreateRole",
        read="GetRole",
        delete="DeleteRole",
        identity=ROLE,
        pick="Role",
        prefix="Role",
        renames={
            "assumeRolePolicy": "AssumeRolePolicyDocument",
            "uniqueId": "RoleId",
            "permissionsBoundary": "PermissionsBoundary",
            "inlinePolicies": "-",
            "managedPolicyArns": "-",
        },
        parts=(
            Part(("assumeRolePolicy",), "UpdateAssumeRolePolicy", renames={"assumeRolePolicy": "PolicyDocument"}),
            Part(("description",), "UpdateRoleDescription", off=()),
            Part(("maxSessionDuration",), "UpdateRole"),
            Part(("permissionsBoundary",), "PutRolePermissionsBoundary", clear="DeleteRolePermissionsBoundary"),
        ),
        tags=Tagging("TagRole", "UntagRole", "", ROLE),
        gone=NOT_FOUND,
        retry=PASSING,
        retry_delete=("DeleteConflict",),
    ),
    Kind(
        "aws:iam/rolePolicy:RolePolicy",
        "iam",
        "IAM Role Policy",
        "{role}:{name}",
        create="PutRolePolicy",
        read="GetRolePolicy",
        update="PutRolePolicy",
        delete="DeleteRolePolicy",
        identity={"RoleName": "{role}", "PolicyName": "{name}"},
        renames={"role": "RoleName", "name": "PolicyName", "policy": "PolicyDocument"},
        gone=NOT_FOUND,
    ),
    Policy(
        "aws:iam/policy:Policy",
        "iam",
        "IAM Policy",
        "{arn}",
        create="CreatePolicy",
        read="GetPolicy",
        update="CreatePolicyVersion",
        delete="DeletePolicy",
        identity={"PolicyArn": "{id}"},
        pick="Policy",
        prefix="Policy",
        renames={"policy": "PolicyDocument"},
        tags=Tagging("TagPolicy", "UntagPolicy", "", {"PolicyArn": "{id}"}),
        gone=NOT_FOUND,
        retry=PASSING,
    ),
    Attachment(
        "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
        "iam",
        "IAM Role Policy Attachment",
        "{role}/{policyArn}",
        create="AttachRolePolicy",
        read="ListAttachedRolePolicies",
        delete="DetachRolePolicy",
        identity={"RoleName": "{role}", "PolicyArn": "{policyArn}"},
        renames={"role": "RoleName"},
        gone=NOT_FOUND,
        retry=PASSING,
        retry_delete=("ConcurrentModification",),
    ),
)
