"""AWS's messages for denials.

Sources: "Troubleshoot access denied error messages" in the IAM User Guide; each service's own error code.

https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
"""

from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.policy_evaluator.evaluator import PolicyVerdict

# (code, HTTP status); all others answer AccessDeniedException with 400 (JSON) as SageMaker, KMS and Logs do.
_CODES = {
    "s3": ("AccessDenied", 403),
    "s3control": ("AccessDenied", 403),
    "iam": ("AccessDenied", 403),
    "sts": ("AccessDenied", 403),
    "cloudwatch": ("AccessDenied", 403),
    "sns": ("AuthorizationError", 403),
    "sqs": ("AccessDenied", 403),
    "ec2": ("UnauthorizedOperation", 403),
    "budgets": ("AccessDeniedException", 400),
    "scheduler": ("AccessDeniedException", 403),
    "sagemaker-runtime": ("AccessDeniedException", 403),
}
_KINDS = {
    "identity": "identity-based policy",
    "resource": "resource-based policy",
    "session": "session policy",
    "pb": "permissions boundary",
}


def reason(principal: str, action: str, resource: str, verdict: PolicyVerdict) -> str:
    """Returns AWS's sentence: who is not authorized to do what on which resource, and why."""
    kind = _KINDS.get(verdict.by, "identity-based policy")
    if verdict.explicit:
        why = f"with an explicit deny in {'an' if kind[0] in 'aeiou' else 'a'} {kind}"
    else:
        why = f"because no {kind} allows the {action} action"
    shown = f'"{resource}"' if action.startswith("s3:") else resource
    on = "" if resource == "*" and action.startswith(("sts:", "s3:")) else f" on resource: {shown}"
    return f"User: {principal} is not authorized to perform: {action}{on} {why}"


def by_organization(call: ApiCall) -> AwsApiError:
    """Returns the message for an explicit deny in a service control policy, which no policy of the account outweighs.
    The operation stands for the action, and the twin knows no resource of it.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
    """
    who = f"User: {call.principal} is not authorized to perform: {call.service}:{call.operation}"
    return error(call.service, f"{who} on resource: * with an explicit deny in a service control policy")


def error(service: str, message: str) -> AwsApiError:
    """Returns the service's own error with that message."""
    code, status = _CODES.get(service, ("AccessDeniedException", 400))
    if service == "ec2":
        message = f"You are not authorized to perform this operation. {message}"
    return AwsApiError(code, message, status)
