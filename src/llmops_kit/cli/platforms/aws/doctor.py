"""AWS's part of `llmops doctor`. Imports no SDK, so that it can say that one is missing."""

from collections.abc import Mapping
from typing import Any

from llmops_kit.clouds.aws.settings import AwsSettings
from llmops_kit.clouds.settings import parse_cloud_settings

PACKAGES = ("boto3", "pulumi_aws")
TWIN_PACKAGE = "moto"
TWIN_WORDS = "moto; permissions judged by {node}"
NODE_IS_FOR = "permissions can't be judged"
PLUGIN = "aws"
VARIABLES = ("AWS_",)


def caller(settings: Mapping[str, Any]) -> str:
    """Describe the identity of this shell on AWS.

    Args:
        settings: the key `aws` of a stack, or nothing.

    Raises:
        KitError: this shell has no credentials.
    """
    from llmops_kit.cli.platforms.aws.clients import AwsClients

    wanted = parse_cloud_settings(AwsSettings, "aws", {"aws": settings}, "stack file")
    found = AwsClients(wanted.region, wanted.profile).caller
    place = f"the twin at {found.twin}" if found.twin else f"account {found.account}"
    return f"{place}, {found.region}, as {found.arn.rpartition(':')[2]}"
