"""IAM: roles."""

import json
from typing import Any

from llmops_twins.plugins.aws.calls import ResourceOperation
from llmops_twins.plugins.aws.kinds import AwsResourceKind


class IamRole(AwsResourceKind):
    """A role; policies that other resources attached are read too, as in the real plugin."""

    def find(self, work: ResourceOperation) -> dict[str, Any] | None:
        found = super().find(work)
        if found is None:
            return None
        names = work.call("iam", "ListRolePolicies", RoleName=work.id)["PolicyNames"]
        found["inlinePolicies"] = [
            {"name": name, "policy": _document(work.call("iam", "GetRolePolicy", RoleName=work.id, PolicyName=name))}
            for name in names
        ]
        attached = work.call("iam", "ListAttachedRolePolicies", RoleName=work.id)["AttachedPolicies"]
        found["managedPolicyArns"] = [policy["PolicyArn"] for policy in attached]
        return found

    def properties_of(self, work: ResourceOperation, answer: dict[str, Any]) -> dict[str, Any]:
        boundary = answer.pop("PermissionsBoundary", None)
        found = super().properties_of(work, answer)
        return found | ({"permissionsBoundary": boundary["PermissionsBoundaryArn"]} if boundary else {})

    def call_delete(self, work: ResourceOperation) -> None:
        work.call("iam", "ListInstanceProfilesForRole", RoleName=work.id)  # the real plugin removes the role from these
        super().call_delete(work)


def _document(answer: dict[str, Any]) -> str:
    document = answer["PolicyDocument"]
    return document if isinstance(document, str) else json.dumps(document)
