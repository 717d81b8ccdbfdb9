"""The registry behind ECR: tokens that open it, and the names by which this machine's Docker pulls from it."""

import base64
import time
from dataclasses import asdict, dataclass

from twins.aws.twin import AccountTwin
from twins.aws.wire.calls import ApiCall
from twins.core import web_identity
from twins.core.registry import registry

USER = "AWS"
TOKEN_HOURS = 12
_PURPOSE = "registry"
PULL_HOST = "localhost"
"""Who asks by this name is not asked for a login, and gets only what `pull_name` names."""


@dataclass(frozen=True)
class Holder:
    """Who a token was given to, and for which region's registry."""

    access_key: str
    principal: str
    region: str


def token(twin: AccountTwin, call: ApiCall) -> str:
    """A password for `docker login`, good for 12 hours: who asks now is who pushes and pulls with it."""
    claims = asdict(Holder(call.access_key, call.principal, call.region))
    return web_identity.issue(twin.home, {**claims, "exp": int(time.time()) + TOKEN_HOURS * 3600}, _PURPOSE)


def holder(twin: AccountTwin, authorization: str) -> Holder | None:
    """Who an `Authorization: Basic …` header stands for; None: nobody.

    Raises:
        TimeoutError: the token has expired.
    """
    kind, _, credentials = authorization.partition(" ")
    try:
        user, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
    except ValueError:  # no base64, or no text
        return None
    if kind.lower() != "basic" or user != USER:
        return None
    try:
        claims = web_identity.claims_of(twin.home, password, _PURPOSE)
    except ValueError:
        return None
    return Holder(claims["access_key"], claims["principal"], claims["region"])


def pull_name(twin: AccountTwin, repository: str, region: str) -> str:
    """HOST:PORT/NAME of a repository as SageMaker pulls it here: without a login, by a name that is the permission."""
    return f"{PULL_HOST}:{twin.describe()['port']}/{registry.pull_name(twin, region, repository)}"
