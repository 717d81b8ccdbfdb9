"""Clients of AWS for one stack: the right account, and never a twin's for a real stack or the reverse."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError, ProfileNotFound

from contract.errors import KitError
from contract.twins import ENDPOINT_VARIABLE, TWIN_ACCOUNT, twin_address
from llmops.platforms.exchanges import recorder

_CONFIG = Config(retries={"mode": "standard", "max_attempts": 6}, max_pool_connections=32, connect_timeout=10)
# An answer takes as long as SageMaker allows for a stream; one that is lost was paid for: it is not asked for twice.
_CONFIGS = {"sagemaker-runtime": Config(retries={"total_max_attempts": 1}, connect_timeout=10, read_timeout=500)}
USE_TWIN = '`eval "$(llmops twin aws env)"` points every AWS client of this shell at the twin'
USE_AWS = f"unset {ENDPOINT_VARIABLE} and give this shell the credentials of the account"


@dataclass(frozen=True)
class Caller:
    """Who this process is for AWS."""

    account: str
    arn: str
    region: str
    twin: str  # the twin's address; empty on AWS itself


class Clients:
    """boto3 clients, made when they are first used, shared by threads.

    Attributes:
        profile: whose credentials they take; empty: the environment's.
    """

    def __init__(self, region: str = "", profile: str = "") -> None:
        if twin_address(os.environ):
            profile = ""  # a twin's environment has no profiles: none of them could lead to it
        self.profile = profile
        region = region or os.environ.get("AWS_REGION", "")  # boto3 reads AWS_DEFAULT_REGION alone
        try:
            self._session = boto3.Session(region_name=region or None, profile_name=profile or None)
        except ProfileNotFound as e:
            raise KitError(
                f"AWS profile {profile or os.environ.get('AWS_PROFILE', '')} does not exist",
                where="~/.aws/config",
                fix="`aws configure sso` makes one; `llmops:aws: {profile: …}` or $AWS_PROFILE names it",
            ) from e
        self._made: dict[str, Any] = {}

    def __call__(self, service: str, region: str = "") -> Any:
        """The client of a service, such as `clients("sagemaker")`; errors come as `explained` says."""
        key = f"{service}/{region}"
        if key not in self._made:
            with explained(service):
                self._made[key] = self._session.client(
                    service, region_name=region or None, config=_CONFIGS.get(service, _CONFIG)
                )  # type: ignore[call-overload]
            if to := recorder():
                from llmops.platforms.aws.exchanges import record

                record(self._made[key], to)
        return self._made[key]

    @property
    def region(self) -> str:
        """As given, else the environment's or the profile's.

        Raises:
            KitError: none of these says it.
        """
        if not self._session.region_name:
            raise _no_region()
        return self._session.region_name

    @property
    def credentials(self) -> ReadOnlyCredentials | None:
        """Those that the clients sign with, all parts of one version; None: there are none."""
        with explained("credentials"):
            found = self._session.get_credentials()
            return found.get_frozen_credentials() if found else None

    @cached_property
    def caller(self) -> Caller:
        """Who this process is, by STS.

        Raises:
            KitError: no credentials, or they are refused.
        """
        twin, region = twin_address(os.environ), self.region
        with explained("sts"):
            answer = self("sts").get_caller_identity()
        if bool(twin) != (answer["Account"] == TWIN_ACCOUNT):
            raise KitError(
                f"account {answer['Account']} answers at {twin or 'AWS'}, which can't be",
                where=f"${ENDPOINT_VARIABLE}",
                fix=f"{USE_TWIN}; or {USE_AWS}",
            )
        return Caller(answer["Account"], answer["Arn"], region, twin)

    def require(self, account: str, stack: str) -> None:
        """See that this process may touch a stack: that account, a twin's from a twin's environment alone.

        Raises:
            KitError: it is another account, or the stack is a twin's and this environment AWS's, or the reverse.
        """
        twin = twin_address(os.environ)
        if account == TWIN_ACCOUNT and not twin:
            raise KitError(
                f"stack {stack} lives on a twin, but AWS clients of this shell talk to AWS", where=account, fix=USE_TWIN
            )
        if account != TWIN_ACCOUNT and twin:
            raise KitError(
                f"stack {stack} lives in account {account}, but AWS clients of this shell talk to a twin",
                where=f"${ENDPOINT_VARIABLE}={twin}",
                fix=USE_AWS,
            )
        if self.caller.account != account:
            raise KitError(
                f"stack {stack} lives in account {account}, but these credentials are of {self.caller.account}",
                where=self.caller.arn,
                fix="take the account's credentials (`aws sso login`, $AWS_PROFILE), then repeat the command",
            )


@contextmanager
def explained(where: str, fix: str = "") -> Iterator[None]:
    """Turn AWS's errors into KitErrors that say what AWS said, where, and the way out."""
    try:
        yield
    except NoCredentialsError as e:
        raise KitError(
            "there are no AWS credentials",
            where=where,
            fix=f"`aws sso login` or $AWS_PROFILE gives them; without an account: {USE_TWIN}",
        ) from e
    except NoRegionError as e:
        raise _no_region() from e
    except ClientError as e:
        code, message = error_code(e), e.response.get("Error", {}).get("Message", "")
        raise KitError(
            f"AWS refused {e.operation_name}: {code}: {message}", where=where, fix=fix or _way_out(code)
        ) from e
    except BotoCoreError as e:
        twin = twin_address(os.environ)
        raise KitError(
            f"{'the twin' if twin else 'AWS'} can't be reached: {e}",
            where=twin or where,
            fix="`llmops twin aws status` says whether it runs" if twin else "see the network, then repeat the command",
        ) from e


def error_code(error: ClientError) -> str:
    """The code that AWS gave, such as `NoSuchKey`."""
    return str(error.response.get("Error", {}).get("Code", ""))


def is_missing(error: ClientError) -> bool:
    """Whether SageMaker has no such thing: it has no code of its own for that, and several texts."""
    text = str(error.response.get("Error", {}).get("Message", "")).lower()
    return error_code(error) in ("ValidationException", "ValidationError", "ResourceNotFound") and (
        "could not find" in text or "not found" in text
    )


def _way_out(code: str) -> str:
    if code in ("ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException"):
        return "`aws sso login`, or new credentials, then repeat the command"
    if "AccessDenied" in code or "Unauthorized" in code:
        return "`llmops plan --policy` prints what the deployer must be allowed"
    if code == "ResourceLimitExceeded":
        return "another instance type, or a higher quota: `llmops plan` says what is allowed, Service Quotas raises it"
    if code in ("ThrottlingException", "TooManyRequestsException"):
        return "AWS is asked too much at the moment: repeat the command in a minute"
    return "docs/troubleshooting.md lists AWS's own error texts"


def _no_region() -> KitError:
    return KitError(
        "no AWS region is set", where="$AWS_REGION", fix="`export AWS_REGION=eu-central-1`, or set it in the profile"
    )
