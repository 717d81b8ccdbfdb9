"""Shared parts of bootstrap's steps on AWS."""

import json
from contextlib import AbstractContextManager
from dataclasses import dataclass

from llmops_kit.cli.platforms.aws.bootstrap.names import AwsNames
from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.cli.platforms.bootstrap_steps import ADMINISTRATOR, Steps
from llmops_kit.clouds.aws.errors import explained

TAGS = {"llmops:managed-by": "bootstrap"}


@dataclass(kw_only=True)
class AwsSteps(Steps):
    """Steps in an account; see Steps."""

    clients: AwsClients
    names: AwsNames

    def explained(self, what: str) -> AbstractContextManager[None]:
        """See Steps."""
        return explained(what, ADMINISTRATOR)


def tags() -> list[dict[str, str]]:
    """Returns the kit's tags in the format of most services."""
    return [{"Key": k, "Value": v} for k, v in TAGS.items()]


def same_json(one: object, other: object) -> bool:
    """Returns whether two documents are equal, whatever the order of their keys."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
