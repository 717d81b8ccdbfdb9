"""The life of the process of AWS's twin, and the environment of its clients (twins/core/control.py)."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from contract.twins import KEY_VARIABLES
from hosting.files import silent, write_atomic
from twins.aws.judges import installation
from twins.aws.sagemaker.fleet.fleet import end_containers
from twins.aws.twin import TwinSettings
from twins.aws.wire.principals import ROOT_ACCESS_KEY, ROOT_PURPOSE
from twins.core import control as common
from twins.core import root
from twins.core.control import Cloud, Control

# Whatever else could bring a client other credentials, another account, or another place than the twin.
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
    "PULUMI_CONFIG_PASSPHRASE_FILE",
)


@dataclass(frozen=True, kw_only=True)
class AwsTwinInfo(common.TwinInfo):
    """A twin of an AWS account that runs."""

    account: str
    region: str


def up(
    home: Path,
    port: int = 0,
    judge: str = TwinSettings.judge,
    pace: float = TwinSettings.pace,
    region: str = "us-east-1",
    containers: str = TwinSettings.containers,
    say: Callable[[str], None] = silent,
) -> AwsTwinInfo:
    """Start the twin of a folder, or find it running, and wait until it answers.

    Args:
        home: its folder, made when missing.
        port: on 127.0.0.1; 0: the one it had before, or one that is free, kept from then on.
        judge: of permissions: strict or off.
        pace: seconds that a status transition takes.
        region: of clients that name none.
        containers: of endpoints and jobs: run or none.
        say: told one line for each step.

    Raises:
        KitError: the port is taken, the judge can't be installed, or the process ends or does not answer; with the end
            of its log.
    """
    if judge != "off":
        installation.install(say=say)  # here, with the user's own environment: npm may have to fetch it once
    settings = {"judge": judge, "pace": pace, "containers": containers}
    return _CONTROL.up(home, port, settings, {"region": region}, say)


def environment(home: Path) -> dict[str, str | None]:
    """Variables with which every AWS client, and plain `pulumi up`, talks to the twin; None: to be unset.

    Raises:
        KitError: the twin does not run.
    """
    home = home.absolute()
    running = _CONTROL.required(home)
    values: dict[str, str | None] = dict.fromkeys(_UNSET)
    # One service's own address would win over the address of all.
    values |= {name: None for name in os.environ if name.startswith("AWS_ENDPOINT_URL_")}
    values |= {
        "AWS_ENDPOINT_URL": running.url,
        "AWS_REGION": running.region,
        "AWS_DEFAULT_REGION": running.region,
        "AWS_ACCESS_KEY_ID": ROOT_ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": root.key(home, ROOT_PURPOSE),
        KEY_VARIABLES["aws"]: common.own_key(home),
        "AWS_CONFIG_FILE": str(home / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(home / "credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "PULUMI_BACKEND_URL": f"file://{home / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": "",
        "PULUMI_DEBUG_PROVIDERS": f"aws:{running.provider_port}" if running.provider_port else None,
    }
    write_atomic(home / "config", f"[default]\nregion = {running.region}\n")
    write_atomic(home / "credentials", "")
    return values


def _forget(home: Path) -> None:
    (home / "state.pickle").unlink(missing_ok=True)
    for body in (home / "objects").glob("*"):
        body.unlink(missing_ok=True)


_CONTROL = Control(Cloud("AWS", "aws", AwsTwinInfo, forget=_forget, end=end_containers))
status = _CONTROL.status
down = _CONTROL.down
reset = _CONTROL.reset
faults = _CONTROL.faults
kinds_of_faults = _CONTROL.kinds_of_faults
add_fault = _CONTROL.add_fault
clear_faults = _CONTROL.clear_faults
