"""Starts, stops and inspects the process of AWS's twin; the environment of its clients (core/control.py)."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from llmops_kit.local_runtime.files import write_atomic
from llmops_twins.aws.policy_evaluator import installation
from llmops_twins.aws.wire.principals import ROOT_ACCESS_KEY, ROOT_PURPOSE
from llmops_twins.core import control as common
from llmops_twins.core import root

_UNSET = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CREDENTIAL_EXPIRATION",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_CA_BUNDLE",
)


@dataclass(frozen=True, kw_only=True)
class AwsTwinInfo(common.TwinInfo):
    """A running twin of an AWS account."""

    account: str
    region: str


class AwsControl(common.Control[AwsTwinInfo]):
    """Controls the twin of an AWS account."""

    name, word, package = "AWS", "aws", "aws"
    place = ("region", "us-east-1")
    unset = _UNSET
    info = AwsTwinInfo

    def install(self, judge: str, say: Callable[[str], None]) -> None:
        """Installs the permission judge, unless permissions are not judged."""
        if judge != "off":
            installation.install(say=say)

    def forget(self, home: Path) -> None:
        """Deletes the account's state and the objects of S3."""
        super().forget(home)
        for body in (home / "objects").glob("*"):
            body.unlink(missing_ok=True)

    def variables(self, home: Path, running: AwsTwinInfo) -> Mapping[str, str | None]:
        """Returns the environment of AWS's SDKs and command line. Writes empty configuration files for them."""
        write_atomic(home / "config", f"[default]\nregion = {running.region}\n")
        write_atomic(home / "credentials", "")
        return {
            # The address of one service would take precedence over AWS_ENDPOINT_URL.
            **{name: None for name in os.environ if name.startswith("AWS_ENDPOINT_URL_")},
            "AWS_ENDPOINT_URL": running.url,
            "AWS_REGION": running.region,
            "AWS_DEFAULT_REGION": running.region,
            "AWS_ACCESS_KEY_ID": ROOT_ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": root.key(home, ROOT_PURPOSE),
            "AWS_CONFIG_FILE": str(home / "config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(home / "credentials"),
            "AWS_EC2_METADATA_DISABLED": "true",
        }


CONTROL = AwsControl()
up = CONTROL.up
environment = CONTROL.environment
status = CONTROL.status
down = CONTROL.down
reset = CONTROL.reset
snapshot = CONTROL.snapshot
restore = CONTROL.restore
faults = CONTROL.faults
kinds_of_faults = CONTROL.kinds_of_faults
add_fault = CONTROL.add_fault
clear_faults = CONTROL.clear_faults
