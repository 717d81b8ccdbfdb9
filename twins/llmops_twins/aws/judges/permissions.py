"""The permission judge, which evaluates identity, boundary, session and resource policies.

It judges every call before it is carried out, and on behalf of the platform, the actions of a service under a role.
`mapping` turns a call into actions on resources; `evaluator` decides by IAM's own logic.

https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_AssociateKmsKey.html
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
"""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from llmops_kit.core.errors import KitError
from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.identity.iam import is_settled
from llmops_twins.aws.judges import behalf, oidc
from llmops_twins.aws.judges.access import JudgedAction
from llmops_twins.aws.judges.account import AwsIdentity, JudgedAccount
from llmops_twins.aws.judges.context import Context, context_of_caller, context_of_service
from llmops_twins.aws.judges.mapping import Mapping as AccessMapping
from llmops_twins.aws.judges.reference import Reference
from llmops_twins.aws.policy_evaluator import denials
from llmops_twins.aws.policy_evaluator.evaluator import Evaluator, PolicyQuestion, PolicyVerdict
from llmops_twins.aws.policy_evaluator.installation import Installation, install
from llmops_twins.aws.twin import AccountTwin

_ALL = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'
_ALLOWED = PolicyVerdict(True)
UNJUDGED = [
    "permissions: service control policies, VPC endpoint policies, multi-factor authentication, source addresses",
    "permissions: web identity tokens of a real issuer are refused: the twin accepts only those that it issued",
]
# Calls with a policy: its parameter, and its kind. As on AWS, a faulty policy is refused when it is stored.
_POLICY_PARAMETERS = {
    ("iam", "CreateRole"): ("AssumeRolePolicyDocument", "trust"),
    ("iam", "UpdateAssumeRolePolicy"): ("PolicyDocument", "trust"),
    ("iam", "PutRolePolicy"): ("PolicyDocument", "identity"),
    ("iam", "PutUserPolicy"): ("PolicyDocument", "identity"),
    ("iam", "PutGroupPolicy"): ("PolicyDocument", "identity"),
    ("iam", "CreatePolicy"): ("PolicyDocument", "identity"),
    ("iam", "CreatePolicyVersion"): ("PolicyDocument", "identity"),
    ("s3", "PutBucketPolicy"): ("Policy", "resource"),
    ("kms", "PutKeyPolicy"): ("Policy", "resource"),
    ("kms", "CreateKey"): ("Policy", "resource"),
}


class AwsPermissionJudge:
    """Refuses calls that a principal may not make, with the service's own error. Starts no process if permissions are
    not judged.

    Raises:
        KitError: on creation, if Node or its packages are missing and can't be installed.
    """

    def __init__(self, twin: AccountTwin) -> None:
        self._twin = twin
        self.account = JudgedAccount(twin)
        self._recorded: set[tuple[str, str, str, bool]] = set()
        twin.unjudged += UNJUDGED
        if twin.settings.judge != "off":
            _ = self._evaluator  # starts in the background

    @cached_property
    def _installation(self) -> Installation:
        return install()

    @cached_property
    def _mapping(self) -> AccessMapping:
        return AccessMapping(Reference(self._installation.data), self.account)

    @cached_property
    def _evaluator(self) -> Evaluator:
        return Evaluator(self._installation)

    def __call__(self, call: ApiCall) -> None:
        """Judges a call, and records the permissions that it needed.

        Raises:
            AwsApiError: the call is denied, or contains a policy that IAM refuses.
        """
        if self._twin.settings.judge == "off":
            return
        if not call.principal:
            self._judge_unsigned(call)
            return
        who = self.account.identity(call.principal, call.access_key)
        accesses = self._mapping.accesses_of(call)
        verdicts = self._verdicts(who, accesses, call.region)
        for access, verdict in zip(accesses, verdicts, strict=True):
            self._record(call.principal, access, verdict.allowed)
        for access, verdict in zip(accesses, verdicts, strict=True):
            if not verdict.allowed:
                raise denials.error(call.service, denials.reason(who.arn, access.action, access.resource, verdict))
        self._judge_services(call)
        self._judge_policy(call)

    def may(
        self,
        role_arn: str,
        action: str,
        resource: str,
        context: Mapping[str, Any] | None = None,
        *,
        service: str = "sagemaker.amazonaws.com",
        region: str = "",
    ) -> str | None:
        """Returns AWS's message if a service may not do something under a role; None if it may.

        Judged as on AWS: the role's trust policy first (with aws:SourceAccount, and aws:SourceArn if the context has
        it), then the permissions of a session of the role: the role's policies, its boundary and the resource's policy.
        With an empty `service` this is a simulation: `role_arn` may be a user's too, and no trust policy is checked.
        """
        given: Context = dict(context or {})
        trust: Context = {"aws:SourceAccount": self.account.id}
        if "aws:SourceArn" in given:
            trust["aws:SourceArn"] = given.pop("aws:SourceArn")
        if not service:
            return self._would(role_arn, JudgedAction(action, resource, given), region or self._region_of(resource))
        who = self.account.session_of(role_arn, _session_name(service))
        if who is None or not is_settled(self._twin, role_arn) or not self._trusts(role_arn, service, trust):
            return (
                f"Could not assume role {role_arn}. Please ensure that the role exists and allows principal "
                f"'{service}' to assume the role."
            )
        access = JudgedAction(action, resource, given)
        verdict = self._verdicts(who, [access], region or self._region_of(resource))[0]
        self._record(role_arn, access, verdict.allowed)
        return None if verdict.allowed else denials.reason(who.arn, action, resource, verdict)

    def _would(self, arn: str, access: JudgedAction, region: str) -> str | None:
        """Returns AWS's message if a user, or a session of a role, would be denied; None if allowed. Records
        nothing.
        """
        who = self.account.session_of(arn, "simulated") or self.account.identity(arn)
        verdict = self._verdicts(who, [access], region)[0]
        return None if verdict.allowed else denials.reason(who.arn, access.action, access.resource, verdict)

    def would_allow(
        self, policies: tuple[str, ...], boundary: str | None, action: str, resource: str, context: Mapping[str, Any]
    ) -> str | None:
        """Returns why a set of unattached policies would deny an action; None if they allow it."""
        nobody = f"arn:{self.account.partition}:iam::{self.account.id}:user/simulated"
        question = PolicyQuestion(nobody, self.account.id, action, resource, context, policies, boundary)
        verdict = self._evaluator.judge([question])[0]
        return None if verdict.allowed else denials.reason(nobody, action, resource, verdict)

    def may_call(self, role_arn: str, call: ApiCall, *, service: str, source_arn: str = "") -> str | None:
        """Returns why a service, such as EventBridge Scheduler, may not make a call under a role; None if it may."""
        source = {"aws:SourceArn": source_arn} if source_arn else {}
        for access in self._mapping.accesses_of(call):
            context = {**access.context, **source}
            if denied := self.may(role_arn, access.action, access.resource, context, service=service):
                return denied
        return None

    def trusts(self, role_arn: str, service: str, source_arn: str = "") -> bool:
        """Returns whether a role's trust policy lets a service assume it; always true if permissions are not judged."""
        if self._twin.settings.judge == "off":
            return True
        trust: Context = {"aws:SourceAccount": self.account.id}
        trust |= {"aws:SourceArn": source_arn} if source_arn else {}
        return is_settled(self._twin, role_arn) and self._trusts(role_arn, service, trust)

    def service_may(self, service: str, action: str, resource: str, context: Mapping[str, Any] | None = None) -> bool:
        """Returns whether a resource's policy (key, topic, bucket, queue) lets a service act in its own name."""
        if self._twin.settings.judge == "off":
            return True
        return self._of_service(service, [JudgedAction(action, resource, dict(context or {}))])[0].allowed

    def close(self) -> None:
        """Ends the evaluator if it was started."""
        if "_evaluator" in vars(self):
            self._evaluator.close()

    # -- questions to the evaluator -----------------------------------------------------------------------------------

    def _verdicts(self, who: AwsIdentity, accesses: list[JudgedAction], region: str) -> list[PolicyVerdict]:
        base: Context = {}
        asked: dict[int, PolicyQuestion] = {}
        for i, access in enumerate(accesses):
            policy = self.account.policy_of(access.action, access.resource)
            ours = self.account.owner_of(access.resource) == self.account.id
            if who.is_root and ours and not _binds_root(access, policy):
                continue
            base = base or context_of_caller(who, self.account, region)
            asked[i] = self._question(who, access, policy, base)
        found = dict(zip(asked, self._evaluator.judge(list(asked.values())) if asked else [], strict=True))
        return [
            self._with_grants(who, access, found[i]) if i in found else _ALLOWED for i, access in enumerate(accesses)
        ]

    def _question(self, who: AwsIdentity, access: JudgedAction, policy: str | None, base: Context) -> PolicyQuestion:
        context = {**base, **access.context, **self._owner_keys(access)}
        if access.action.startswith("kms:"):
            context = {**self.account.conditions_of_key(access.resource), **context}
        policies = (_ALL,) if who.is_root else who.policies
        if any("ResourceTag" in text for text in (*policies, policy or "", who.boundary or "")):
            for key, value in self.account.tags_of(access.resource).items():
                context[f"aws:ResourceTag/{key}"] = value
                context[f"{access.action.partition(':')[0]}:ResourceTag/{key}"] = value
        if access.action.startswith("iam:") and "iam:PermissionsBoundary" not in context:
            kind, _, name = access.resource.rpartition(":")[2].partition("/")
            if boundary := self.account.boundary_of(kind, name.rpartition("/")[2]):
                context["iam:PermissionsBoundary"] = boundary
        return PolicyQuestion(
            who.arn,
            self.account.owner_of(access.resource),
            access.action,
            access.asked,
            context,
            policies,
            who.boundary,
            who.session_policy,
            policy,
        )

    def _owner_keys(self, access: JudgedAction) -> Context:
        """Returns the condition keys that name the resource's owner."""
        owner = self.account.owner_of(access.resource)
        return {"aws:ResourceAccount": owner, **({"s3:ResourceAccount": owner} if access.action[:3] == "s3:" else {})}

    def _with_grants(self, who: AwsIdentity, access: JudgedAction, verdict: PolicyVerdict) -> PolicyVerdict:
        """Returns an allowing verdict if a grant on the KMS key covers the access; an explicit denial stands."""
        if verdict.allowed or verdict.explicit or not access.action.startswith("kms:"):
            return verdict
        operation = access.action.partition(":")[2]
        for grant in self.account.grants_of(access.resource):
            if grant.grantee_principal in (who.arn, who.role) and operation in grant.operations:
                return _ALLOWED
        return verdict

    def _trusts(self, role_arn: str, service: str, context: Context) -> bool:
        return self._of_service(service, [JudgedAction("sts:AssumeRole", role_arn, context)])[0].allowed

    def _of_service(self, service: str, accesses: Iterable[JudgedAction]) -> list[PolicyVerdict]:
        base = context_of_service(service, self.account, self._twin.region)
        questions = [
            PolicyQuestion(
                service,
                self.account.owner_of(access.resource),
                access.action,
                access.asked,
                {**base, **access.context, **self._owner_keys(access)},
                resource_policy=self.account.policy_of(access.action, access.resource),
            )
            for access in accesses
        ]
        return self._evaluator.judge(questions)

    # -- special calls ------------------------------------------------------------------------------------------------

    def _judge_unsigned(self, call: ApiCall) -> None:
        """Judges AssumeRoleWithWebIdentity by the role's trust policy and the token's claims; ignores other unsigned
        calls.
        """
        if (call.service, call.operation) != ("sts", "AssumeRoleWithWebIdentity"):
            return
        role = call.parameters["RoleArn"]
        provider, context = oidc.read(call.parameters["WebIdentityToken"], self.account)
        policy = self.account.policy_of("sts:AssumeRoleWithWebIdentity", role)
        question = PolicyQuestion(
            provider, self.account.id, "sts:AssumeRoleWithWebIdentity", role, context, resource_policy=policy
        )
        if policy is None or not self._evaluator.judge([question])[0].allowed:
            raise AwsApiError("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity", 403)

    def _judge_services(self, call: ApiCall) -> None:
        needed = list(behalf.service_accesses_of(call, self.account))
        for service, access in needed:
            if not self._of_service(service, [access])[0].allowed:
                raise _not_granted(access)

    def _judge_policy(self, call: ApiCall) -> None:
        parameter, kind = _POLICY_PARAMETERS.get((call.service, call.operation), ("", ""))
        text = call.parameters.get(parameter)
        if not text:
            return
        if isinstance(text, bytes):
            text = text.decode()
        try:
            errors = self._evaluator.errors_of(text, kind)
        except KitError:
            errors = ["This policy contains invalid Json"]
        if errors:
            raise _malformed(call.service, errors[0])

    def _record(self, principal: str, access: JudgedAction, allowed: bool) -> None:
        entry = (principal, access.action, access.resource, allowed)
        if not self._twin.state.get("recorded"):
            self._recorded.clear()  # a reset of the twin dropped the records
        if entry not in self._recorded:
            self._recorded.add(entry)
            self._twin.record(*entry)

    def _region_of(self, arn: str) -> str:
        parts = arn.split(":")
        return parts[3] if len(parts) > 3 and parts[3] else self._twin.region


def _binds_root(access: JudgedAction, policy: str | None) -> bool:
    """Returns whether a resource policy can refuse the account's root: by a denial, or as a key policy that does not
    grant it kms:*.
    """
    if policy is None:
        return False
    if '"Deny"' in policy:
        return True
    return access.action.startswith("kms:") and not (":root" in policy and ('"kms:*"' in policy))


def _session_name(service: str) -> str:
    return {"sagemaker.amazonaws.com": "SageMaker"}.get(service, service.partition(".")[0])


def _not_granted(access: JudgedAction) -> AwsApiError:
    """Returns the error for a resource whose policy doesn't let a service do what a call needs."""
    if group := access.context.get("kms:EncryptionContext:aws:logs:arn"):
        return AwsApiError(
            "AccessDeniedException",
            f"The specified KMS key does not exist or is not allowed to be used with LogGroup '{group}'",
        )
    # CreateTrail in CloudTrail's API reference: "when the policy on the S3 bucket is not sufficient", "when the policy
    # on the S3 bucket or KMS key does not have sufficient permissions for the operation".
    if access.action.startswith("s3:"):
        bucket = access.resource.rpartition(":::")[2].partition("/")[0]
        return AwsApiError(
            "InsufficientS3BucketPolicyException", f"Incorrect S3 bucket policy is detected for bucket: {bucket}"
        )
    return AwsApiError(
        "InsufficientEncryptionPolicyException",
        f"Insufficient permissions to access S3 bucket or KMS key {access.resource}.",
    )


def _malformed(service: str, why: str) -> AwsApiError:
    if service == "s3":
        return AwsApiError("MalformedPolicy", f"Policies must be valid JSON and follow IAM's grammar: {why}", 400)
    code = "MalformedPolicyDocumentException" if service == "kms" else "MalformedPolicyDocument"
    return AwsApiError(code, f"Syntax errors in policy: {why}", 400)
