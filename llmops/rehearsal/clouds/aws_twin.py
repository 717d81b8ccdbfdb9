"""The orders that AWS's twin takes in a rehearsal."""

import json
from contextlib import suppress
from typing import Any, ClassVar

from contract.twins import ENDPOINT_VARIABLE, KEY_VARIABLES
from llmops.rehearsal.clouds.cloud import Twin

REGION = "us-east-1"  # of which the kit knows prices
_TAKEN_AWAY = "taken-away"


class AwsTwin(Twin):
    """See llmops.rehearsal.clouds.cloud.Twin. Roles are IAM's, by ARN."""

    target = "aws"
    place: ClassVar = {"region": REGION}

    def url(self) -> str:
        return self.environment()[ENDPOINT_VARIABLE]

    def take(self, identity: str) -> dict[str, str | None]:
        """Assumes a role as GitHub's action for AWS does, with a token that the twin makes in GitHub's place."""
        answer = _client("sts").assume_role_with_web_identity(
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
        _client("iam").put_role_policy(
            RoleName=name, PolicyName=_policy_name(action), PolicyDocument=json.dumps(document)
        )

    def give_back(self, name: str, action: str) -> None:
        _client("iam").delete_role_policy(RoleName=name, PolicyName=_policy_name(action))

    def policies(self, name: str) -> list[dict[str, Any]] | None:
        """Returns the inline policies; the kit's roles have no others."""
        iam = _client("iam")
        with suppress(iam.exceptions.NoSuchEntityException):
            names = iam.list_role_policies(RoleName=name)["PolicyNames"]
            return [iam.get_role_policy(RoleName=name, PolicyName=n)["PolicyDocument"] for n in names]
        return None

    def bearer(self, principal: str) -> str:
        """Returns the role's name in arn:…:role/path/NAME or arn:…:assumed-role/NAME/session."""
        kind, _, rest = principal.rpartition(":")[2].partition("/")
        return rest.partition("/")[0] if kind == "assumed-role" else rest.rpartition("/")[2]


def _client(service: str) -> Any:
    from llmops.platforms.aws.clients import AwsClients

    return AwsClients()(service)


def _policy_name(action: str) -> str:
    return f"{_TAKEN_AWAY}-{action.replace(':', '-').replace('*', 'all')}"
