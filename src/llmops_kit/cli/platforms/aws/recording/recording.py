"""Records the permissions that a deployer needs on AWS (llmops_kit.cli.deploying.policy)."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from llmops_kit.cli.platforms.aws.bootstrap.bootstrap import bootstrap
from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.cli.platforms.aws.preflight import clients_of, settings_of
from llmops_kit.cli.platforms.aws.recording import stand_ins
from llmops_kit.cli.platforms.twin_command import TwinCommand
from llmops_kit.cli.stacks.stack import PulumiStack
from llmops_kit.clouds.aws.names import SAGEMAKER, SCHEDULER
from llmops_kit.clouds.aws.policies import owned_by
from llmops_kit.core.documents.outputs import StackOutputs
from llmops_kit.core.errors import KitError, require_packages
from llmops_kit.core.twins import owner_headers


class AwsRecording:
    """See llmops_kit.cli.interfaces.recording.Recording."""

    some_types = ("ml.m5.xlarge", "ml.m5.2xlarge")
    bake_seconds = None

    def __init__(self, stack: PulumiStack) -> None:
        self._account, self._region, self._partition = _place(stack)
        self._moved: dict[str, str] = {}  # given resources: name on the twin -> name in the account
        self._boundary = settings_of(stack).permissions_boundary_arn
        self._job_prefix = ""

    def require(self) -> None:
        """See Recording."""
        require_packages("aws-twin", "twins", "moto", "flask", "boto3", "pulumi_aws")

    def up(self, home: Path) -> Mapping[str, str | None]:
        """See Recording."""
        region = "us-east-1" if self._region == "*" else self._region
        twin = TwinCommand("aws", home)
        twin.up(pace=0.0, region=region, containers="none")
        return twin.environment

    def down(self, home: Path) -> None:
        """See Recording."""
        TwinCommand("aws", home).down()

    def deployer(self) -> tuple[dict[str, str], str]:
        """Creates a user; returns its environment and its ARN."""
        iam = AwsClients()("iam")
        arn = iam.create_user(UserName="deployer")["User"]["Arn"]
        iam.put_user_policy(UserName="deployer", PolicyName="all", PolicyDocument=json.dumps(stand_ins.ALL))
        key = iam.create_access_key(UserName="deployer")["AccessKey"]
        credentials = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        return dict(os.environ) | credentials, arn

    def given(self, settings: dict[str, Any]) -> dict[str, Any]:
        """See Recording."""
        made, self._moved = stand_ins.make_given(settings)
        return made

    def backend(self, project: str, backend: str) -> dict[str, str | None]:
        """Creates a bucket and the key of its secrets; returns the environment of that backend."""
        made = bootstrap(AwsClients(), project, lambda _: None).names
        if backend.startswith("s3://"):
            self._moved[made.bucket] = urlsplit(backend).netloc
        return {"PULUMI_BACKEND_URL": made.backend, "PULUMI_CONFIG_PASSPHRASE": None}

    def fill(self, outputs: StackOutputs) -> None:
        """See Recording."""
        stand_ins.fill(outputs)

    def start_job(self, outputs: StackOutputs) -> None:
        """See Recording."""
        assert outputs.aws
        self._job_prefix = outputs.aws.job_prefix
        stand_ins.start_job(outputs)

    def recorded(self) -> list[dict[str, Any]]:
        """See Recording; given resources have their names in the account."""
        return [r | {"resource": self._named(r["resource"])} for r in _ask("recorded")["recorded"]]

    def document(self, records: list[dict[str, Any]]) -> dict[str, Any]:
        """Returns an IAM policy of the recorded calls, with IAM's conditions on the use of roles."""
        place = {"account": self._account, "region": self._region, "partition": self._partition}
        document = _ask("policies", {"records": [*records, *histories(records)], **place})
        found = [self._of_the_stack(statement) for statement in document["Statement"]]
        return {
            **document,
            "Statement": [part for each in found for part in conditioned(each, self._boundary, self._account)],
        }

    def _of_the_stack(self, statement: dict[str, Any]) -> dict[str, Any]:
        """Replaces recorded training jobs, whose names never recur, with the stack's prefix."""
        resources = statement["Resource"]
        if isinstance(resources, str) or not self._job_prefix:
            return statement
        own = f":training-job/{self._job_prefix}-*"
        return {**statement, "Resource": [re.sub(r":training-job/\*$", own, arn) for arn in resources]}

    def _named(self, resource: str) -> str:
        for on_the_twin, in_the_account in self._moved.items():
            resource = resource.replace(on_the_twin, in_the_account)
        return resource


def _ask(route: str, document: Any = None) -> Any:
    """Returns the response of an administrative route of the twin."""
    data = None if document is None else json.dumps(document).encode()
    url = f"{os.environ['AWS_ENDPOINT_URL']}/_twin/{route}"
    with urlopen(Request(url, data, owner_headers("aws", os.environ)), timeout=30) as answer:
        return json.load(answer)


_WATCHES = "cloudwatch:PutMetricAlarm"
_CALLERS = "${aws:PrincipalAccount}"
_BOUNDED = ("CreateRole", "DeleteRolePolicy", "PutRolePermissionsBoundary", "PutRolePolicy")


def histories(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns records of reading the history of the recorded alarms, as an `up` does after a rollback."""
    return [r | {"action": "cloudwatch:DescribeAlarmHistory"} for r in records if r["action"] == _WATCHES]


def conditioned(statement: dict[str, Any], boundary: str, account: str) -> list[dict[str, Any]]:
    """Narrows a recorded statement by IAM's conditions: services that receive roles, the boundary of the roles, and the
    owner of buckets.

    Without a boundary, a principal that may create a role and write its policy can do everything, whatever the role's
    name. If the account is not known (`*`), buckets must be the caller's.
    """
    own = owned_by(_CALLERS if account == "*" else account)["StringEquals"]
    asked = {"iam:PassRole": {"iam:PassedToService": [SAGEMAKER, SCHEDULER]}}
    if boundary:
        asked |= {f"iam:{action}": {"iam:PermissionsBoundary": boundary} for action in _BOUNDED}
    asked |= {a: own for a in statement["Action"] if a.startswith("s3:") and a != "s3:CreateBucket"}
    parts = [
        {**statement, "Action": actions, "Condition": {"StringEquals": condition}}
        for condition in {json.dumps(c): c for c in asked.values()}.values()
        if (actions := [a for a in statement["Action"] if asked.get(a) == condition])
    ]
    rest = [a for a in statement["Action"] if a not in asked]
    return [*([{**statement, "Action": rest}] if rest else []), *parts]


def _place(stack: PulumiStack) -> tuple[str, str, str]:
    """Returns account, region and partition of the policy."""
    try:
        caller = clients_of(stack).caller
    except KitError:
        return "*", settings_of(stack).region or os.environ.get("AWS_REGION") or "*", "aws"
    return caller.account, caller.region, caller.partition
