"""boto3 clients of the program and of its dynamic providers: in the stack's account alone, a twin's or AWS's."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

from contract.errors import KitError
from contract.twins import ENDPOINT_VARIABLE, TWIN_ACCOUNT, twin_address

_USE_TWIN = '`eval "$(llmops twin aws env)"` points every AWS client of this shell at the twin'
_USE_AWS = f"unset {ENDPOINT_VARIABLE} and give this shell the account's credentials"


class Place(NamedTuple):
    """Where a stack lives, and as whom it is reached. Kept by every dynamic resource; nothing in it is secret."""

    account: str
    region: str
    profile: str = ""

    @classmethod
    def of(cls, props: dict[str, Any]) -> "Place":
        """From a dynamic resource's properties."""
        return cls(props["account"], props["region"], props["profile"])

    @property
    def twin(self) -> bool:
        """On a twin, not on AWS."""
        return self.account == TWIN_ACCOUNT


class Caller(NamedTuple):
    """Who this process is for AWS, and where its clients go."""

    account: str
    region: str
    partition: str
    twin: str  # the twin's URL; empty on AWS


def find_caller(region: str, profile: str) -> Caller:
    """Ask STS who this process is.

    https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html

    Args:
        region: empty: that of the environment or of the profile.
        profile: empty: the environment's credentials.

    Raises:
        KitError: no region, no credentials, or a twin's account where no twin is.
    """
    twin = twin_address(os.environ)
    region = region or os.environ.get("AWS_REGION", "")  # boto3 reads AWS_DEFAULT_REGION alone
    with explained("sts"):
        session = _session(region, profile)
        if not session.region_name:
            raise KitError(
                "no AWS region is set",
                where="llmops:aws.region",
                fix="`pulumi config set --path llmops:aws.region eu-central-1`, or export AWS_REGION",
            )
        answer = _client("sts", region, profile).get_caller_identity()
    account, partition = answer["Account"], answer["Arn"].split(":")[1]
    if bool(twin) != (account == TWIN_ACCOUNT):
        raise KitError(
            f"account {account} answers at {twin or 'AWS'}, which can't be",
            where=f"${ENDPOINT_VARIABLE}",
            fix=f"{_USE_TWIN}; or {_USE_AWS}",
        )
    return Caller(account, session.region_name, partition, twin)


def client(service: str, place: Place) -> Any:
    """The client of a service, such as "sagemaker", in the stack's account.

    Raises:
        KitError: the stack is a twin's and this process' AWS clients go to AWS, or the reverse; or another account's.
    """
    require_account(place)
    with explained(service):
        return _client(service, place.region, place.profile)


def require_account(place: Place) -> None:
    """See that this process may touch the stack.

    Raises:
        KitError: as `client`.
    """
    twin = twin_address(os.environ)
    if place.twin and not twin:
        raise KitError(
            "this stack lives on a twin, but AWS clients here talk to AWS", where=place.account, fix=_USE_TWIN
        )
    if twin and not place.twin:
        raise KitError(
            f"this stack lives in account {place.account}, but AWS clients here talk to a twin",
            where=f"${ENDPOINT_VARIABLE}={twin}",
            fix=_USE_AWS,
        )
    account = _account(place.region, place.profile)
    if account != place.account:
        raise KitError(
            f"this stack lives in account {place.account}, but these credentials are of {account}",
            where="AWS credentials",
            fix="take the account's credentials (`aws sso login`, $AWS_PROFILE), and repeat",
        )


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Turn AWS's errors into KitErrors that say what AWS said, where, and the way out."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ProfileNotFound

    try:
        yield
    except NoCredentialsError as e:
        raise KitError(
            "there are no AWS credentials",
            where=where,
            fix=f"`aws sso login` or $AWS_PROFILE gives them; without an account: {_USE_TWIN}",
        ) from e
    except ProfileNotFound as e:
        raise KitError(str(e), where="llmops:aws.profile", fix="`aws configure sso` makes it") from e
    except ClientError as e:
        raise KitError(
            f"AWS refused {e.operation_name}: {error_code(e)}: {error_message(e)}",
            where=where,
            fix="see that the credentials are current and may do this: `llmops plan --policy` prints what it takes",
        ) from e
    except BotoCoreError as e:
        fix = "`llmops twin aws status`" if twin_address(os.environ) else "see that AWS is reachable from here"
        raise KitError(f"AWS does not answer: {e}", where=where, fix=fix) from e


def error_code(error: Exception) -> str:
    """The code of a botocore ClientError."""
    return str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))


def error_message(error: Exception) -> str:
    """The message of a botocore ClientError."""
    return str(getattr(error, "response", {}).get("Error", {}).get("Message", ""))


@lru_cache
def _session(region: str, profile: str) -> Any:
    import boto3

    return boto3.Session(region_name=region or None, profile_name=profile or None)


@lru_cache
def _client(service: str, region: str, profile: str) -> Any:
    from botocore.config import Config

    config = Config(retries={"mode": "standard", "max_attempts": 5}, connect_timeout=10)
    return _session(region, profile).client(service, config=config)


@lru_cache
def _account(region: str, profile: str) -> str:
    with explained("sts"):
        return _client("sts", region, profile).get_caller_identity()["Account"]
