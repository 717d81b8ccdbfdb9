"""ECR's tokens, and the names under which this machine's Docker pulls from it."""

import base64
import time
from dataclasses import asdict, dataclass

from llmops_twins.aws.calls import ApiCall
from llmops_twins.aws.twin import AccountTwin
from llmops_twins.core import web_identity
from llmops_twins.core.registry import pull_names

USER = "AWS"
TOKEN_HOURS = 12
_PURPOSE = "registry"
PULL_HOST = "localhost"
"""Requests to this host need no login, and can only read names returned by `pull_name`."""


@dataclass(frozen=True)
class Holder:
    """The principal that a token was issued to, and the region of the registry."""

    access_key: str
    principal: str
    region: str


def token(twin: AccountTwin, call: ApiCall) -> str:
    """Returns a password for `docker login`, valid for 12 hours. Pushes and pulls with it are made as the caller."""
    claims = asdict(Holder(call.access_key, call.principal, call.region))
    return web_identity.issue(twin.home, {**claims, "exp": int(time.time()) + TOKEN_HOURS * 3600}, _PURPOSE)


def holder(twin: AccountTwin, authorization: str) -> Holder | None:
    """Returns the principal of an `Authorization: Basic …` header; None for an invalid one.

    Raises:
        TimeoutError: the token has expired.
    """
    kind, _, credentials = authorization.partition(" ")
    try:
        user, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
    except ValueError:  # not base64, or not text
        return None
    if kind.lower() != "basic" or user != USER:
        return None
    try:
        claims = web_identity.claims_of(twin.home, password, _PURPOSE)
    except ValueError:
        return None
    return Holder(claims["access_key"], claims["principal"], claims["region"])


def pull_name(twin: AccountTwin, repository: str, region: str) -> str:
    """Returns HOST:PORT/NAME of a repository for SageMaker's pulls. They need no login, because only the twin can
    compute the name.
    """
    return f"{PULL_HOST}:{twin.describe()['port']}/{pull_names.pull_name(twin, region, repository)}"
