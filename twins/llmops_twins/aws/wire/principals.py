"""Access keys and their owners: the account's root, IAM users, and STS's temporary keys, which moto stores."""

import hmac
from dataclasses import dataclass

from llmops_kit.core.twins import TWIN_ACCOUNT
from llmops_twins.aws import faults
from llmops_twins.aws.calls import ApiCall
from llmops_twins.aws.twin import AccountTwin
from llmops_twins.aws.wire.refusals import Refusals
from llmops_twins.core import root

ROOT_ACCESS_KEY = "AKIALLMOPSTWINROOT00"
"""The id of the root's access key, the same for every twin; its secret differs."""
ROOT_ARN = f"arn:aws:iam::{TWIN_ACCOUNT}:root"
ROOT_PURPOSE = "aws secret access key"


@dataclass(frozen=True)
class AccessKey:
    """A valid access key: its secret, and the ARN of its owner."""

    secret: str
    principal: str


def install(twin: AccountTwin) -> None:
    """Registers GetCallerIdentity."""
    twin.implement("sts", "GetCallerIdentity", lambda call: _identity(call, twin))


def key_of(twin: AccountTwin, access_key: str, token: str, refusals: Refusals) -> AccessKey:
    """Returns an access key; a temporary key requires its session token.

    Raises:
        AwsApiError: the key is unknown, inactive or expired, or the token does not belong to it; with AWS's code.
    """
    with twin.lock:
        if access_key == ROOT_ACCESS_KEY and not token:
            found = AccessKey(root.key(twin.home, ROOT_PURPOSE), ROOT_ARN)
        else:
            found = _of_session(access_key, token, refusals) if token else _of_user(access_key)
        if found is None:
            raise refusals.unknown_key()
        if faults.take(twin, "expired", principal=found.principal):
            raise refusals.expired_token()
    return found


def _of_user(access_key: str) -> AccessKey | None:
    from moto.iam.models import iam_backends

    backend = iam_backends[TWIN_ACCOUNT]["aws"]
    for user in backend.users.values():
        for key in user.access_keys:
            if key.access_key_id == access_key and key.status == "Active":
                return AccessKey(key.secret_access_key, user.arn)
    return None


def _of_session(access_key: str, token: str, refusals: Refusals) -> AccessKey | None:
    from moto.core.utils import utcnow
    from moto.sts.models import sts_backends

    session = sts_backends[TWIN_ACCOUNT]["aws"].get_assumed_role_from_access_key(access_key)
    if session is None or not hmac.compare_digest(token.encode(), session.session_token.encode()):
        return None
    if session.expiration < utcnow():
        raise refusals.expired_token()
    return AccessKey(session.secret_access_key, session.arn)


def _identity(call: ApiCall, twin: AccountTwin) -> dict[str, str]:
    return {"Account": twin.account, "Arn": call.principal, "UserId": _user_id(call, twin)}


def _user_id(call: ApiCall, twin: AccountTwin) -> str:
    from moto.iam.models import iam_backends
    from moto.sts.models import sts_backends

    if call.principal == ROOT_ARN:
        return twin.account
    session = sts_backends[twin.account]["aws"].get_assumed_role_from_access_key(call.access_key)
    if session:
        return session.user_id
    return iam_backends[twin.account]["aws"].get_user(call.principal.rsplit("/", 1)[-1]).id
