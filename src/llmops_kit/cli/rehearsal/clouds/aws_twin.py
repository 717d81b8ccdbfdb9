"""Control of the AWS twin in a rehearsal."""

import json
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from llmops_kit.cli.rehearsal.cloud import Twin
from llmops_kit.core.twins import ENDPOINT_VARIABLE, KEY_VARIABLES

if TYPE_CHECKING:
    from llmops_kit.cli.platforms.aws.clients import AwsClients

REGION = "us-east-1"  # the kit knows its prices
_DENIED = "taken-away"


class AwsTwin(Twin):
    """See llmops_kit.cli.rehearsal.cloud.Twin. Roles are IAM's, by ARN."""

    target = "aws"
    place: ClassVar = {"region": REGION}

    @cached_property
    def _clients(self) -> "AwsClients":
        """The owner's clients, created once, since a session and the model of IAM take longer to load than its
        response.
        """
        from llmops_kit.cli.platforms.aws.clients import AwsClients

        return AwsClients()

    def url(self) -> str:
        return self.environment()[ENDPOINT_VARIABLE]

    def take(self, identity: str) -> dict[str, str | None]:
        """Assumes a role as GitHub's action for AWS does, with a token that the twin issues instead of GitHub."""
        answer = self._clients("sts").assume_role_with_web_identity(
            RoleArn=identity,
            RoleSessionName="rehearsal",
            WebIdentityToken=self.web_identity(identity, "sts.amazonaws.com"),
        )["Credentials"]
        return {
            "AWS_ACCESS_KEY_ID": answer["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": answer["SecretAccessKey"],
            "AWS_SESSION_TOKEN": answer["SessionToken"],
            KEY_VARIABLES["aws"]: None,
        }

    def name_of(self, identity: str) -> str:
        return identity.rpartition("/")[2]

    def deny(self, name: str, action: str) -> None:
        document = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": action, "Resource": "*"}]}
        self._clients("iam").put_role_policy(
            RoleName=name, PolicyName=_policy_name(action), PolicyDocument=json.dumps(document)
        )

    def give_back(self, name: str, action: str) -> None:
        self._clients("iam").delete_role_policy(RoleName=name, PolicyName=_policy_name(action))

    def policies(self, name: str) -> list[dict[str, Any]] | None:
        """Returns the inline policies; the kit's roles have no others."""
        iam = self._clients("iam")
        with suppress(iam.exceptions.NoSuchEntityException):
            names = iam.list_role_policies(RoleName=name)["PolicyNames"]
            return [iam.get_role_policy(RoleName=name, PolicyName=n)["PolicyDocument"] for n in names]
        return None

    def bearer(self, principal: str) -> str:
        """Returns the role's name in arn:…:role/path/NAME or arn:…:assumed-role/NAME/session."""
        kind, _, rest = principal.rpartition(":")[2].partition("/")
        return rest.partition("/")[0] if kind == "assumed-role" else rest.rpartition("/")[2]


def _policy_name(action: str) -> str:
    return f"{_DENIED}-{action.replace(':', '-').replace('*', 'all')}"
