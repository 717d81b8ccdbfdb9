"""Checks before a stack on AWS is changed: credentials, account, state, the engine's plugin."""

import re
from typing import Any

from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.cli.platforms.plugin import Plugin
from llmops_kit.cli.platforms.shared_state import prepare_state
from llmops_kit.cli.stacks.stack import PulumiStack
from llmops_kit.clouds.aws.errors import USE_TWIN
from llmops_kit.clouds.aws.location import AwsCaller
from llmops_kit.clouds.aws.settings import AwsSettings
from llmops_kit.core.errors import KitError, require_packages
from llmops_kit.core.twins import TWIN_ACCOUNT

PLUGIN = Plugin("aws", "pulumi-aws", "aws", "AWS", USE_TWIN)
_ARN = re.compile(r"^arn:aws[a-z-]*:[^:]*:[^:]*:(\d{12}):")


def preflight(stack: PulumiStack, say: Say, *, dev: bool, make: bool) -> None:
    """Detects problems that would fail late or change the wrong account; creates the stack if it is new.

    Raises:
        KitError: no credentials or region; state of a twin for AWS or the reverse; a state that only this machine
            would have; no plugin.
    """
    require_packages("aws", "boto3", "pulumi_aws")
    caller = clients_of(stack).caller
    place = f"the twin at {caller.twin}" if caller.twin else f"AWS account {caller.account}"
    say(f"{place}, region {caller.region}, as {caller.arn.rpartition(':')[2]}")
    prepare_state(
        stack,
        PLUGIN,
        caller.twin,
        lambda: _secrets_provider(stack, dev),
        lambda state: require_same_place(stack.name, state, caller),
        say,
        dev=dev,
        make=make,
    )


def clients_of(stack: PulumiStack) -> AwsClients:
    """Returns clients for a stack that need not be deployed: region and profile from its file, else from this shell."""
    settings = settings_of(stack)
    return AwsClients(settings.region, settings.profile)


def settings_of(stack: PulumiStack) -> AwsSettings:
    """Returns the key `aws` of the stack file.

    Raises:
        SettingError: names the first wrong key.
    """
    return stack.file.settings("aws").aws


def region_of(stack: PulumiStack) -> str:
    """Returns the region of a stack that may not be deployed yet."""
    return clients_of(stack).caller.region


def require_same_place(name: str, state: dict[str, Any], caller: AwsCaller) -> None:
    """Checks that a state has no resources of another account, of a twin on AWS, or of AWS on a twin.

    Raises:
        KitError: it has; names the first such resource.
    """
    for resource in state.get("resources") or []:
        for text in (resource.get("id"), (resource.get("outputs") or {}).get("arn")):
            match = _ARN.match(text) if isinstance(text, str) else None
            if match and match[1] != caller.account:
                raise _other_place(name, str(resource["urn"]), match[1], caller)


def _other_place(name: str, urn: str, account: str, caller: AwsCaller) -> KitError:
    there = "a twin" if account == TWIN_ACCOUNT else f"account {account}"
    here = "a twin" if caller.twin else f"account {caller.account}"
    return KitError(
        f"the state of stack {name} is of {there}, but this shell talks to {here}; nothing was touched",
        where=urn.rpartition("::")[2],
        fix=USE_TWIN
        if account == TWIN_ACCOUNT
        else "use that account's credentials and backend; a stack of the same name on a twin has a separate state",
    )


def _secrets_provider(stack: PulumiStack, dev: bool) -> str:
    """Returns the secrets provider of a new stack: that of its file, else for a bucket the key that bootstrap
    created.
    """
    if stack.file.secrets_provider or not stack.backend.startswith("s3://"):
        return stack.file.secrets_provider
    from llmops_kit.cli.platforms.aws.bootstrap.bootstrap import key_url

    try:
        return key_url(clients_of(stack), stack.project.name)
    except KitError:
        if dev:
            return ""  # a passphrase
        raise
