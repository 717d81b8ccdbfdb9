"""Who calls: the stand-in root key, access keys of IAM users, and STS's temporary keys, which moto keeps."""

from collections.abc import Mapping

from contract.twin import TWIN_ACCOUNT
from twins.aws.calls import ApiError, Call
from twins.aws.twin import Twin

ROOT_ACCESS_KEY = "AKIALLMOPSTWINROOT00"
ROOT_SECRET_KEY = "stand-in-secret-of-the-twin-opens-nothing"
ROOT_ARN = f"arn:aws:iam::{TWIN_ACCOUNT}:root"
_UNSIGNED = {("sts", "AssumeRoleWithWebIdentity"), ("sts", "AssumeRoleWithSAML")}
_QUERY_CODE = "InvalidClientTokenId"
_OTHER_CODE = "UnrecognizedClientException"


def install(twin: Twin) -> None:
    """Let STS say who calls."""
    twin.implement("sts", "GetCallerIdentity", lambda call: _identity(call, twin))


def principal_of(access_key: str, service: str, operation: str, protocol: str, headers: Mapping[str, str]) -> str:
    """The ARN of an access key's owner; empty for operations that nobody signs.

    Raises:
        ApiError: as AWS answers for an unknown, inactive or expired key.
    """
    if access_key == ROOT_ACCESS_KEY:
        return ROOT_ARN
    if not access_key:
        if (service, operation) in _UNSIGNED:
            return ""
        if service == "s3":
            raise ApiError("AccessDenied", "Access Denied", 403)
        raise ApiError("MissingAuthenticationToken", "Missing Authentication Token", 403)
    return _of_user(access_key) or _of_session(access_key, headers) or _refuse(service, protocol)


def secret_of(access_key: str) -> str:
    """The secret of an access key that is known; empty for another."""
    from moto.iam.models import iam_backends
    from moto.sts.models import sts_backends

    if access_key == ROOT_ACCESS_KEY:
        return ROOT_SECRET_KEY
    users = iam_backends[TWIN_ACCOUNT]["aws"].users.values()
    keys = [key for user in users for key in user.access_keys if key.access_key_id == access_key]
    session = sts_backends[TWIN_ACCOUNT]["aws"].get_assumed_role_from_access_key(access_key)
    return keys[0].secret_access_key if keys else session.secret_access_key if session else ""


def _of_user(access_key: str) -> str:
    from moto.iam.models import iam_backends

    backend = iam_backends[TWIN_ACCOUNT]["aws"]
    for user in backend.users.values():
        for key in user.access_keys:
            if key.access_key_id == access_key and key.status == "Active":
                return user.arn
    return ""


def _of_session(access_key: str, headers: Mapping[str, str]) -> str:
    from moto.core.utils import utcnow
    from moto.sts.models import sts_backends

    session = sts_backends[TWIN_ACCOUNT]["aws"].get_assumed_role_from_access_key(access_key)
    token = {name.lower(): value for name, value in headers.items()}.get("x-amz-security-token", "")
    if session is None or token != session.session_token:
        return ""
    if session.expiration < utcnow():
        raise ApiError("ExpiredTokenException", "The security token included in the request is expired", 403)
    return session.arn


def _refuse(service: str, protocol: str) -> str:
    if service == "s3":
        message = "The AWS Access Key Id you provided does not exist in our records."
        raise ApiError("InvalidAccessKeyId", message, 403)
    code = _QUERY_CODE if protocol in ("query", "ec2") else _OTHER_CODE
    raise ApiError(code, "The security token included in the request is invalid.", 403)


def _identity(call: Call, twin: Twin) -> dict[str, str]:
    return {"Account": twin.account, "Arn": call.principal, "UserId": _user_id(call, twin)}


def _user_id(call: Call, twin: Twin) -> str:
    from moto.iam.models import iam_backends
    from moto.sts.models import sts_backends

    if call.principal == ROOT_ARN:
        return twin.account
    session = sts_backends[twin.account]["aws"].get_assumed_role_from_access_key(call.access_key)
    if session:
        return session.user_id
    return iam_backends[twin.account]["aws"].get_user(call.principal.rsplit("/", 1)[-1]).id
