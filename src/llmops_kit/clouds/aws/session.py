"""Credentials, region and clients for one stack, on AWS or on a twin.

Importing this module loads no SDK: the engine waits for what its dynamic providers import.
"""

import os
from functools import cache, cached_property, lru_cache
from typing import Any

from llmops_kit.clouds.aws.errors import USE_AWS, USE_TWIN, explained, no_region
from llmops_kit.clouds.aws.location import AwsCaller, AwsLocation
from llmops_kit.core.errors import KitError
from llmops_kit.core.twins import ENDPOINT_VARIABLE, TWIN_ACCOUNT, twin_address

_CONFIG = {"retries": {"mode": "standard", "max_attempts": 6}, "max_pool_connections": 32, "connect_timeout": 10}
# The read time-out is what SageMaker allows for a stream. No retries: a lost answer was computed and billed.
_CONFIGS = {"sagemaker-runtime": {"retries": {"total_max_attempts": 1}, "connect_timeout": 10, "read_timeout": 500}}


class StackSession:
    """boto3 clients by service, created at first use and shared by threads.

    Attributes:
        profile: whose credentials they use; empty: the environment's.
    """

    def __init__(self, region: str = "", profile: str = "") -> None:
        import boto3
        import botocore.session

        self.profile = "" if twin_address(os.environ) else profile  # a profile can't point to a twin
        region = region or os.environ.get("AWS_REGION", "")  # boto3 reads only AWS_DEFAULT_REGION
        core = botocore.session.Session(profile=self.profile or None)
        with explained("profile"):
            core.register_component("data_loader", _loader(core.get_config_variable("data_path")))
            self._session = boto3.Session(botocore_session=core, region_name=region or None)
        self._made: dict[tuple[str, str], Any] = {}

    def __call__(self, service: str, region: str = "") -> Any:
        """Returns the client of a service, such as `session("sagemaker")`; creates it at first use."""
        if (service, region) not in self._made:
            self._made[service, region] = self._make(service, region)
        return self._made[service, region]

    def _make(self, service: str, region: str) -> Any:
        from botocore.config import Config

        config = Config(**_CONFIGS.get(service, _CONFIG))
        with explained(service):
            return self._session.client(service, region_name=region or None, config=config)  # type: ignore[call-overload]

    @property
    def region(self) -> str:
        """The given region, else the environment's or the profile's.

        Raises:
            KitError: none of these sets it.
        """
        if not self._session.region_name:
            raise no_region()
        return self._session.region_name

    @property
    def credentials(self) -> Any:
        """A consistent snapshot of the clients' credentials (botocore's ReadOnlyCredentials); None: there are none."""
        with explained("credentials"):
            found = self._session.get_credentials()
            return found.get_frozen_credentials() if found else None

    @cached_property
    def caller(self) -> AwsCaller:
        """The identity of this process, from STS.

        https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html

        Raises:
            KitError: no region; no credentials, or refused ones; or the account is a twin's on AWS, or the reverse.
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
        return AwsCaller(answer["Account"], answer["Arn"], region, twin)

    def require(self, account: str, stack: str = "") -> None:
        """Checks that this process's environment fits a stack: its account, and for a twin's stack, a twin.

        Raises:
            KitError: it is another account, or the stack is a twin's and this environment AWS's, or the reverse.
        """
        twin, this = twin_address(os.environ), f"stack {stack}" if stack else "this stack"
        if account == TWIN_ACCOUNT and not twin:
            what = f"{this} lives on a twin, but AWS clients of this shell talk to AWS"
            raise KitError(what, where=account, fix=USE_TWIN)
        if account != TWIN_ACCOUNT and twin:
            raise KitError(
                f"{this} lives in account {account}, but AWS clients of this shell talk to a twin",
                where=f"${ENDPOINT_VARIABLE}={twin}",
                fix=USE_AWS,
            )
        if self.caller.account != account:
            raise KitError(
                f"{this} lives in account {account}, but these credentials are of {self.caller.account}",
                where=self.caller.arn,
                fix="use the account's credentials (`aws sso login`, $AWS_PROFILE), then repeat the command",
            )


def find_session(region: str, profile: str) -> StackSession:
    """Returns this process's session for a region and a profile; an empty one is taken from the environment."""
    return _session(region or os.environ.get("AWS_REGION", ""), profile)


def client(service: str, location: AwsLocation) -> Any:
    """Returns the client of a service, such as "sagemaker", in a stack's account.

    Raises:
        KitError: this process may not touch the stack: see StackSession.require.
    """
    return require_account(location)(service)


def require_account(location: AwsLocation) -> StackSession:
    """Returns the session of a stack, after checking its account.

    Raises:
        KitError: this process may not touch the stack: see StackSession.require.
    """
    session = find_session(location.region, location.profile)
    session.require(location.account)
    return session


@cache
def _loader(data_path: str | None) -> Any:
    """Returns this process's shared loader of AWS's models: a loader per session would parse them, and the endpoints of
    all regions, again.
    """
    from botocore.loaders import create_loader

    return create_loader(data_path)


@lru_cache
def _session(region: str, profile: str) -> StackSession:
    return StackSession(region, profile)
