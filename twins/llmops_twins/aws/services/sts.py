"""AWS STS: refuses to assume roles that don't exist or can't be used yet (the judge checks permissions), and web
identities without a token that the twin issued, even if permissions are not judged.

https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html
"""

from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.identity import iam
from llmops_twins.aws.judges import oidc
from llmops_twins.aws.twin import AccountTwin


def install(twin: AccountTwin) -> None:
    """Registers the checks of roles and web identities."""
    twin.before("sts", "AssumeRole", lambda call: _refuse_missing(twin, call))
    twin.before("sts", "AssumeRoleWithWebIdentity", lambda call: _refuse_missing(twin, call))
    twin.before("sts", "AssumeRoleWithWebIdentity", lambda call: _refuse_stranger(twin, call))


def _refuse_stranger(twin: AccountTwin, call: ApiCall) -> None:
    oidc.claims_of(twin, call.parameters["WebIdentityToken"])


def _refuse_missing(twin: AccountTwin, call: ApiCall) -> None:
    arn = call.parameters["RoleArn"]
    role = iam.role_named(twin, arn)
    if role is None or not iam.is_settled(twin, arn):
        if call.operation == "AssumeRoleWithWebIdentity":
            raise AwsApiError("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity", 403)
        text = f"User: {call.principal} is not authorized to perform: sts:AssumeRole on resource: {arn}"
        raise AwsApiError("AccessDenied", text, 403)
    longest = role.max_session_duration or 3600
    if call.parameters.get("DurationSeconds", 0) > longest:
        text = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
        raise AwsApiError("ValidationError", text)
