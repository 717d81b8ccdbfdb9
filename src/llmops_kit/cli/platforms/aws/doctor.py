"""Checks of `llmops doctor` for AWS. Imports no SDK, so that it can report a missing one."""

from llmops_kit.settings.stack_settings import Settings

PACKAGES = ("boto3", "pulumi_aws")
TWIN_PACKAGE = "moto"
TWIN_WORDS = "moto; permissions judged by {node}"
NODE_IS_FOR = "permissions can't be judged"
PLUGIN = "aws"
VARIABLES = ("AWS_",)


def caller(settings: Settings | None) -> str:
    """Returns a description of this shell's identity on AWS.

    Args:
        settings: of a stack on AWS; None: there is none.

    Raises:
        KitError: this shell has no credentials.
    """
    from llmops_kit.cli.platforms.aws.clients import AwsClients

    wanted = (settings or Settings()).aws
    found = AwsClients(wanted.region, wanted.profile).caller
    place = f"the twin at {found.twin}" if found.twin else f"account {found.account}"
    return f"{place}, {found.region}, as {found.arn.rpartition(':')[2]}"
