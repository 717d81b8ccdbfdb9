"""A configured provider: its region, account, tags and clients; checks of its settings before any call."""

import functools
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmops_kit.core.twins import ENDPOINT_VARIABLE, TWIN_ACCOUNT, is_loopback
from llmops_twins.plugins.plugin import Failure, ProviderError, Session
from llmops_twins.plugins.values import UNKNOWN

NESTED = ("allowedAccountIds", "forbiddenAccountIds", "assumeRoles", "defaultTags", "endpoints", "ignoreTags")
"""Provider inputs that are not plain values: the SDK passes them as JSON texts."""
ELSEWHERE = ("profile", "sharedConfigFiles", "sharedCredentialsFiles", "assumeRoles", "assumeRoleWithWebIdentities")
"""Inputs that select credentials or accounts outside of a twin."""
PLUGIN_SERVICES = {"iam": "us-east-1", "budgets": "us-east-1"}
"""Services without regions, and the region for which their clients sign."""
ENDPOINT_NAMES = {
    "application-autoscaling": ("appautoscaling", "applicationautoscaling"),
    "logs": ("logs", "cloudwatchlogs"),
    "budgets": ("budgets",),
    "s3": ("s3", "s3api"),
}
"""Names in the `endpoints` setting that differ from boto3's."""


@dataclass
class AwsSession(Session):
    """A session. Each client is created once, and is thread-safe."""

    region: str = ""
    account: str = ""
    partition: str = "aws"
    default_tags: dict[str, str] = field(default_factory=dict)
    ignored_tags: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    """Ignored keys, and prefixes of keys."""
    known: bool = True
    """Whether the provider's settings are known. False in some previews, in which nothing may be called."""
    endpoints: dict[str, str] = field(default_factory=dict)
    url: str = ""
    credentials: dict[str, str] = field(default_factory=dict)
    path_style: bool = True
    _clients: dict[tuple[str, str], Any] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def client(self, service: str, region: str = "") -> Any:
        """Returns a boto3 client for the twin."""
        region = PLUGIN_SERVICES.get(service, region or self.region)
        key = (service, region)
        with self._lock:
            if key not in self._clients:
                self._clients[key] = self._make(service, region)
            return self._clients[key]

    def _make(self, service: str, region: str) -> Any:
        import boto3
        from botocore.config import Config
        from botocore.session import get_session

        names = ENDPOINT_NAMES.get(service, (service,))
        url = next((self.endpoints[n] for n in names if self.endpoints.get(n)), self.url)
        config = Config(
            retries={"mode": "standard", "total_max_attempts": 6},
            max_pool_connections=64,
            connect_timeout=5,
            read_timeout=60,
            s3={"addressing_style": "path" if self.path_style else "auto"},
            inject_host_prefix=False,
        )
        session = get_session()
        session.register_component("data_loader", _loader())
        own = boto3.Session(botocore_session=session, **self.credentials)
        return own.client(service, region_name=region, endpoint_url=url, config=config)


@functools.cache
def _loader() -> Any:
    """Returns the loader of the services' models, shared by the whole process because loading takes a second."""
    from botocore.loaders import create_loader

    return create_loader()


def parse(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a provider's inputs with JSON texts and booleans parsed."""
    found = dict(config)
    for name, value in config.items():
        if not isinstance(value, str) or value == UNKNOWN:
            continue
        if name in NESTED or name.startswith(("assume", "shared")):
            found[name] = json.loads(value)
        elif value in ("true", "false"):
            found[name] = value == "true"
    return found


def check_config(config: Mapping[str, Any]) -> list[Failure]:
    """Returns settings in a provider's inputs that the stand-in can't honour."""
    settings = parse(config)
    failures = [
        Failure(name, f"a twin has no {name}: `twins aws env` prints the environment for a twin")
        for name in ELSEWHERE
        if settings.get(name)
    ]
    for place in settings.get("endpoints") or []:
        for service, url in place.items() if isinstance(place, dict) else ():
            if url and url != UNKNOWN and not is_loopback(url):
                failures.append(Failure("endpoints", f"{service}: {url} is not on this machine: {_REFUSED}"))
    return failures


def open_session(config: Mapping[str, Any], twin: str, environ: Mapping[str, str]) -> AwsSession:
    """Opens the session of a provider's inputs, and checks which account answers.

    Raises:
        ProviderError: the address is not on this machine, or the account is not a twin's or not allowed.
    """
    settings = parse(config)
    failures = check_config(settings)
    if failures:
        raise ProviderError("\n".join(f"{f.property}: {f.reason}" for f in failures))
    if any(settings.get(name) == UNKNOWN for name in ("region", *NESTED)):
        return AwsSession(region=str(settings.get("region", "")), known=False)
    tags = settings.get("defaultTags") or {}
    ignored = settings.get("ignoreTags") or {}
    session = AwsSession(
        region=settings.get("region") or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION", ""),
        default_tags=dict(tags.get("tags") or {}),
        ignored_tags=(tuple(ignored.get("keys") or ()), tuple(ignored.get("keyPrefixes") or ())),
        endpoints={s: u for place in settings.get("endpoints") or [] for s, u in place.items() if u},
        url=environ.get(ENDPOINT_VARIABLE) or twin,
        credentials=_credentials(settings, environ),
        path_style=settings.get("s3UsePathStyle") is not False,
    )
    if not session.region:
        raise ProviderError("invalid AWS Region: the provider's region is not set (aws:region, or AWS_REGION)")
    _refuse_elsewhere(session)
    _identify(session, settings)
    return session


_REFUSED = "the stand-in plugin serves twins on loopback addresses only"


def _credentials(settings: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    if settings.get("accessKey"):
        found = {
            "aws_access_key_id": settings["accessKey"],
            "aws_secret_access_key": settings.get("secretKey") or "",
            "aws_session_token": settings.get("token") or "",
        }
    else:
        found = {
            "aws_access_key_id": environ.get("AWS_ACCESS_KEY_ID") or "",
            "aws_secret_access_key": environ.get("AWS_SECRET_ACCESS_KEY") or "",
            "aws_session_token": environ.get("AWS_SESSION_TOKEN") or "",
        }
    return {name: value for name, value in found.items() if value}


def _refuse_elsewhere(session: AwsSession) -> None:
    for url in [session.url, *session.endpoints.values()]:
        if url and not is_loopback(url):
            raise ProviderError(f"{url} is not on this machine: {_REFUSED}")
    if not session.url:
        services = set(session.endpoints)
        if not services:
            raise ProviderError(
                f"no address of a twin: set {ENDPOINT_VARIABLE} or the provider's endpoints; {_REFUSED}"
            )
        session.url = session.endpoints.get("sts") or next(iter(session.endpoints.values()))


def _identify(session: AwsSession, settings: Mapping[str, Any]) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    if not {"aws_access_key_id", "aws_secret_access_key"} <= session.credentials.keys():
        raise ProviderError(
            "No valid credential sources found: `twins aws env` prints those of the twin's root (a profile or a "
            "role of the machine is not a twin's)"
        )
    try:
        identity = session.client("sts").get_caller_identity()
    except (BotoCoreError, ClientError) as error:
        raise ProviderError(f"validating provider credentials: retrieving caller identity from STS: {error}") from None
    account = session.account = identity["Account"]
    session.partition = identity["Arn"].split(":")[1]
    allowed, forbidden = settings.get("allowedAccountIds") or [], settings.get("forbiddenAccountIds") or []
    if (allowed and account not in allowed) or account in forbidden:
        raise ProviderError(f"AWS account ID not allowed: {account}")
    if account != TWIN_ACCOUNT:
        raise ProviderError(f"account {account} at {session.url} is not a twin's ({TWIN_ACCOUNT}): {_REFUSED}")
