"""AWS IAM: checked documents and references, AWS's managed policies by name, simulation by the judge."""

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from llmops_twins.aws import faults
from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.identity import policies
from llmops_twins.aws.service_documents import Document, now, page, shelf
from llmops_twins.aws.twin import AccountTwin

_MANAGED = "arn:aws:iam::aws:policy/"
_NAMES_A_POLICY = (
    *("AttachRolePolicy", "AttachUserPolicy", "AttachGroupPolicy", "GetPolicy", "GetPolicyVersion"),
    *("ListPolicyVersions", "ListEntitiesForPolicy", "SimulatePrincipalPolicy"),
)
_BOUNDED = ("CreateRole", "CreateUser", "PutRolePermissionsBoundary", "PutUserPermissionsBoundary")
_LINKED_ROLES = {
    "sagemaker.application-autoscaling.amazonaws.com": "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint",
}
_REPORT_FIELDS = (
    *("user", "arn", "user_creation_time", "password_enabled", "password_last_used", "password_last_changed"),
    *("password_next_rotation", "mfa_active", "access_key_1_active", "access_key_1_last_rotated"),
    *("access_key_1_last_used_date", "access_key_1_last_used_region", "access_key_1_last_used_service"),
    *("access_key_2_active", "access_key_2_last_rotated", "access_key_2_last_used_date"),
    *("access_key_2_last_used_region", "access_key_2_last_used_service", "cert_1_active", "cert_1_last_rotated"),
    *("cert_2_active", "cert_2_last_rotated"),
)


def install(twin: AccountTwin) -> None:
    """Corrects moto's IAM to match https://docs.aws.amazon.com/IAM/latest/APIReference/welcome.html."""
    iam = _Iam(twin)
    for operation in _NAMES_A_POLICY:
        twin.before("iam", operation, iam.load_managed_policy)
    for operation in _BOUNDED:
        twin.before("iam", operation, iam.refuse_missing_boundary)
    twin.before("iam", "CreateRole", iam.refuse_bad_trust)
    twin.before("iam", "UpdateAssumeRolePolicy", iam.refuse_bad_trust)
    twin.before("iam", "DeletePolicy", iam.refuse_policy_in_use)
    twin.after("iam", "CreateRole", iam.remember_creation)
    twin.before("iam", "CreateServiceLinkedRole", iam.refuse_taken_linked_role)
    twin.mend("iam", "CreateServiceLinkedRole", iam.name_linked_role)
    twin.mend("iam", "CreatePolicy", iam.give_policy_id)
    twin.implement("iam", "SimulatePrincipalPolicy", iam.simulate_principal)
    twin.implement("iam", "SimulateCustomPolicy", iam.simulate_custom)
    twin.implement("iam", "GetCredentialReport", iam.credential_report)


def is_settled(twin: AccountTwin, role_arn: str) -> bool:
    """Returns whether a role can be used yet: the fault `role_propagation` delays that for a new role."""
    created = shelf(twin, "iam", "created", "aws").get(role_arn, {}).get("at", 0)
    fault = faults.find(twin, "role_propagation")
    return not fault or created + fault["seconds"] <= now() or not faults.take(twin, "role_propagation")


def role_named(twin: AccountTwin, role_arn: str) -> Any | None:
    """Returns moto's role of an ARN, or None."""
    from moto.iam.models import iam_backends

    roles = iam_backends[twin.account]["aws"].roles.values()
    return next((role for role in roles if role.arn == role_arn), None)


def trusts(twin: AccountTwin, role_arn: str, service: str) -> bool:
    """Returns whether a role exists, can be used yet, and has a trust policy that names the service. The judge
    evaluates conditions.
    """
    role = role_named(twin, role_arn)
    if role is None or not is_settled(twin, role_arn):
        return False
    found = policies.statements(role.assume_role_policy_document)
    return any(
        policies.allows(statement, "sts:AssumeRole") and service in policies.principals(statement, "Service")
        for statement in found
    )


class _Iam:
    def __init__(self, twin: AccountTwin) -> None:
        self._twin = twin

    @property
    def _moto(self) -> Any:
        from moto.iam.models import iam_backends

        return iam_backends[self._twin.account]["aws"]

    def load_managed_policy(self, call: ApiCall) -> None:
        _load_managed(self._moto, call.parameters.get("PolicyArn", ""))

    def refuse_missing_boundary(self, call: ApiCall) -> None:
        arn = call.parameters.get("PermissionsBoundary")
        if not arn:
            return
        _load_managed(self._moto, arn)
        if arn not in self._moto.managed_policies:
            raise AwsApiError("NoSuchEntity", f"Scope ARN: {arn} does not exist or is not attachable.", 404)

    def refuse_bad_trust(self, call: ApiCall) -> None:
        text = call.parameters.get("AssumeRolePolicyDocument") or call.parameters.get("PolicyDocument", "")
        try:
            found = policies.resource_statements(text)
        except ValueError as e:
            reason = "This policy contains invalid Json" if isinstance(e, json.JSONDecodeError) else str(e)
            raise AwsApiError("MalformedPolicyDocument", reason) from e
        for statement in found:
            if "Resource" in statement:
                raise AwsApiError("MalformedPolicyDocument", "Has prohibited field Resource")
        for name in policies.missing_principals(self._twin, found):
            raise AwsApiError("MalformedPolicyDocument", f'Invalid principal in policy: "AWS":"{name}"')

    def refuse_policy_in_use(self, call: ApiCall) -> None:
        arn = call.parameters["PolicyArn"]
        policy = self._moto.managed_policies.get(arn)
        if policy is None:
            return
        holders = [*self._moto.roles.values(), *self._moto.users.values()]
        bounds = any(getattr(holder, "permissions_boundary_arn", None) == arn for holder in holders)
        if bounds or policy.attachment_count > 0:
            raise AwsApiError("DeleteConflict", "Cannot delete a policy attached to entities.", 409)
        if len(policy.versions) > 1:
            text = "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy."  # fmt: skip # noqa: E501
            raise AwsApiError("DeleteConflict", text, 409)

    def remember_creation(self, _call: ApiCall, answer: Document) -> None:
        shelf(self._twin, "iam", "created", "aws")[answer["Role"]["Arn"]] = {"at": now()}

    def _linked(self, service: str) -> Any | None:
        path = f"/aws-service-role/{service}/"
        return next((role for role in self._moto.roles.values() if role.path == path), None)

    def refuse_taken_linked_role(self, call: ApiCall) -> None:
        """https://github.com/Rayraegah/terraform-aws-hasura/issues/17 has code and words."""
        role = self._linked(call.parameters["AWSServiceName"])
        if role is not None and not call.parameters.get("CustomSuffix"):
            text = f"Service role name {role.name} has been taken in this account, please try a different suffix."
            raise AwsApiError("InvalidInput", text)

    def name_linked_role(self, call: ApiCall, answer: Document) -> None:
        """Gives a role the name that AWS gives it, where moto derives another from the service's.

        https://docs.aws.amazon.com/autoscaling/application/userguide/application-auto-scaling-service-linked-roles.html
        """
        name = _LINKED_ROLES.get(call.parameters["AWSServiceName"])
        role = self._linked(call.parameters["AWSServiceName"])
        if name and role is not None:
            role.name = name
            answer["Role"].update(RoleName=name, Arn=role.arn)

    def give_policy_id(self, _call: ApiCall, answer: Document) -> None:
        policy = self._moto.managed_policies[answer["Policy"]["Arn"]]
        policy.id = answer["Policy"]["PolicyId"] = "ANPA" + policy.id[-17:]

    def simulate_principal(self, call: ApiCall) -> Document:
        arn = call.parameters["PolicySourceArn"]
        decide = self._decider(arn)
        return _simulation(call, decide)

    def _decider(self, arn: str) -> Callable[[str, str, Document], str | None]:
        role = role_named(self._twin, arn)
        if role is None and not any(user.arn == arn for user in self._moto.users.values()):
            raise AwsApiError("NoSuchEntity", f"The entity {arn} cannot be found.", 404)

        def decide(action: str, resource: str, context: Document) -> str | None:
            return self._twin.may(arn, action, resource, context, service="")

        return decide

    def simulate_custom(self, call: ApiCall) -> Document:
        given = call.parameters
        bounds = given.get("PermissionsBoundaryPolicyInputList", [])
        for text in [*given["PolicyInputList"], *bounds]:
            try:
                policies.statements(text)
            except ValueError as e:
                raise AwsApiError("InvalidInput", f"Invalid Input Policy: {e}") from e
        judge = self._twin.judge_of_policies
        assert judge

        def decide(action: str, resource: str, context: Document) -> str | None:
            return judge(tuple(given["PolicyInputList"]), bounds[0] if bounds else None, action, resource, context)

        return _simulation(call, decide)

    def credential_report(self, _call: ApiCall) -> Document:
        backend = self._moto
        if not backend.credential_report:
            raise AwsApiError("ReportNotPresent", "Unable to find report. Perform GenerateCredentialReport.", 410)
        text = io.StringIO()
        writer = csv.DictWriter(text, _REPORT_FIELDS, restval="N/A", lineterminator="\n")
        writer.writeheader()
        writer.writerow(self._root_row())
        for user in backend.users.values():
            values = user.to_csv().strip().split(",")
            writer.writerow(dict(zip(_REPORT_FIELDS, values, strict=False)))
        return {"Content": text.getvalue().encode(), "ReportFormat": "text/csv", "GeneratedTime": datetime.now(UTC)}

    def _root_row(self) -> dict[str, str]:
        made = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")
        off = dict.fromkeys(("access_key_1_active", "access_key_2_active", "cert_1_active", "cert_2_active"), "false")
        arn = f"arn:aws:iam::{self._twin.account}:root"
        names = {"user": "<root_account>", "arn": arn, "user_creation_time": made}
        use = {"password_enabled": "not_supported", "password_last_used": "no_information", "mfa_active": "true"}
        return {**names, **use, **off}


def _load_managed(backend: Any, arn: str) -> None:
    """Adds one of AWS's managed policies to moto's account on first use; loading all would put 1,600 into every
    list.
    """
    if not arn.startswith(_MANAGED) or arn in backend.managed_policies:
        return
    from moto.iam.aws_managed_policies import aws_managed_policies_data
    from moto.iam.models import AWSManagedPolicy

    name = arn.rsplit("/", 1)[-1]
    data = json.loads(aws_managed_policies_data).get(name)
    if data is None:
        return
    policy = AWSManagedPolicy.from_data(name, backend.account_id, backend.region_name, data)
    if policy.arn == arn:
        backend.managed_policies[arn] = policy
        backend.aws_managed_policies.append(policy)


def _simulation(call: ApiCall, decide: Callable[[str, str, Document], str | None]) -> Document:
    context = {
        entry["ContextKeyName"]: entry["ContextKeyValues"]
        if len(entry["ContextKeyValues"]) > 1
        else entry["ContextKeyValues"][0]
        for entry in call.parameters.get("ContextEntries", [])
    }
    results = []
    for action in call.parameters["ActionNames"]:
        for resource in call.parameters.get("ResourceArns") or ["*"]:
            reason = decide(action, resource, context)
            denial = (
                "explicitDeny"
                if reason and "explicit" in reason.lower() and "deny" in reason.lower()
                else "implicitDeny"
            )
            results.append(
                {
                    "EvalActionName": action,
                    "EvalResourceName": resource,
                    "EvalDecision": denial if reason else "allowed",
                    "MatchedStatements": [],
                    "MissingContextValues": [],
                }
            )
    found, marker = page(results, call.parameters.get("Marker"), call.parameters.get("MaxItems"))
    return {"EvaluationResults": found, "IsTruncated": marker is not None, **({"Marker": marker} if marker else {})}
