"""A twin of an AWS account in a folder of its own, stacks on it, and an inventory of all that it holds."""

import json
import os
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import boto3

from contract.layout import MANIFEST
from contract.outputs import StackOutputs
from llmops.engine import ensure
from llmops.platforms.registry import open_platform
from tests.support import stacks
from tests.support.models import copy_model, tiny_model
from twins.aws import control

REGION = "eu-central-1"
SERVING = f"process:serving@sha256:{'5' * 64}"
TRAINING = f"process:training@sha256:{'7' * 64}"


@dataclass
class Account:
    """A running twin."""

    home: Path
    environ: dict[str, str]
    """What a client of the twin is started with; it holds the engine and the twin's own state backend too."""
    clients: dict[str, Any] = field(default_factory=dict, repr=False)
    region: str = REGION
    """Of the clients."""

    def client(self, service: str) -> Any:
        """A boto3 client of the account's root."""
        if service not in self.clients:
            self.clients[service] = self._session().client(service, endpoint_url=self.environ["AWS_ENDPOINT_URL"])
        return self.clients[service]

    def _session(self) -> boto3.Session:
        return boto3.Session(
            aws_access_key_id=self.environ["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environ["AWS_SECRET_ACCESS_KEY"],
            region_name=self.region,
        )

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This process's environment is the one of the twin's clients meanwhile."""
        with mock.patch.dict(os.environ, self.environ, clear=True):
            yield

    def fault(self, kind: str, **members: Any) -> None:
        """Let something go wrong from now on (twins/aws/faults.py)."""
        self._admin("PUT", {"kind": kind, **members})

    def clear_faults(self) -> None:
        """Let nothing more go wrong."""
        self._admin("DELETE", None)

    def _admin(self, method: str, body: Any) -> None:
        data = body if body is None else json.dumps(body).encode()
        url = f"{self.environ['AWS_ENDPOINT_URL']}/_twin/faults"
        with urllib.request.urlopen(urllib.request.Request(url, data, method=method), timeout=10):
            pass

    def inventory(self) -> dict[str, Any]:
        """All that the account holds, described; what AWS itself keeps in every account aside."""
        found: dict[str, Any] = {}
        for kind, describe in _KINDS.items():
            for name, document in describe(self.client):
                found[f"{kind} {name}"] = _plain(document)
        return found


@contextmanager
def running_account(folder: Path, *, name: str = "twin", containers: str = "none", **options: Any) -> Iterator[Account]:
    """A twin with its state in `folder`/`name`; ended afterwards. It runs no containers unless told to "run" them."""
    home = folder / name
    control.up(home, say=lambda _: None, containers=containers, **options)
    try:
        yield Account(home, client_environ(home))
    finally:
        control.down(home)


def client_environ(home: Path) -> dict[str, str]:
    """This process's environment as `llmops twin aws env` changes it."""
    environ = dict(os.environ) | ensure().env | {"PULUMI_SKIP_UPDATE_CHECK": "1", "VIRTUAL_ENV": sys.prefix}
    for name, value in control.environment(home).items():
        if value is None:
            environ.pop(name, None)
        else:
            environ[name] = value
    return environ


@dataclass
class AwsStack(stacks.Stack):
    """A stack on a twin."""

    account: Account | None = None

    def add_version(self, alias: str, licence: str = "") -> str:
        """Put the tiny model into the stack's store, signed with its key; what a promotion writes."""
        assert self.account
        folder = copy_model(tiny_model(), self.folder / "incoming" / alias)
        manifest = json.loads((folder / MANIFEST).read_text()) | {"name": alias.partition("@")[0]}
        manifest |= {"licence": licence} if licence else {}
        (folder / MANIFEST).write_text(json.dumps(manifest))
        with self.account.entered():
            platform = open_platform(StackOutputs.parse(json.dumps(self.outputs()), where="outputs"))
            ref = platform.store().put_model(folder, platform.sign)
        return f"{ref.alias}@sha256:{ref.sha256}"

    def serve(self, name: str, model: str, **fields: Any) -> None:
        """Write an entry. The tiny model was never evaluated, so its gate is waived."""
        self.entries[name] = {"model": model, "gate": "waived", **fields}


def make_stack(account: Account, folder: Path, name: str, *, deploy: bool = True, **settings: Any) -> AwsStack:
    """A stack in the account, deployed without endpoints."""
    defaults = {"target": "aws", "aws": {"region": REGION}, "images": {"serving": SERVING, "training": TRAINING}}
    stack = AwsStack(folder, name, account.environ, settings=defaults | settings, account=account)
    stack.make()
    if deploy:
        stack.up()
    return stack


Client = Callable[[str], Any]
Described = Iterator[tuple[str, Any]]


def _each(client: Any, operation: str, key: str, **arguments: Any) -> Iterator[Any]:
    if client.can_paginate(operation):
        for page in client.get_paginator(operation).paginate(**arguments):
            yield from page.get(key, [])
    else:
        yield from getattr(client, operation)(**arguments).get(key, [])


def _simple(service: str, operation: str, key: str, name: str, describe: str = "", by: str = "", **arguments: Any):
    """A kind that is listed, and each described by its name where the list says too little."""

    def listed(make: Client) -> Described:
        client = make(service)
        for item in _each(client, operation, key, **arguments):
            title = item if isinstance(item, str) else item[name]
            yield title, getattr(client, describe)(**{by: title}) if describe else item

    return listed


def _buckets(make: Client) -> Described:
    client = make("s3")
    for bucket in client.list_buckets()["Buckets"]:
        name = bucket["Name"]
        reads = ("versioning", "encryption", "policy", "lifecycle_configuration", "ownership_controls", "tagging")
        yield (
            name,
            {
                "keys": [o["Key"] for o in _each(client, "list_objects_v2", "Contents", Bucket=name)],
                **{part: _try(getattr(client, f"get_bucket_{part}"), Bucket=name) for part in reads},
            },
        )


def _keys(make: Client) -> Described:
    client = make("kms")
    for key in _each(client, "list_keys", "Keys"):
        document = client.describe_key(KeyId=key["KeyId"])["KeyMetadata"]
        if document["KeyState"] != "PendingDeletion" and document["KeyManager"] == "CUSTOMER":
            policy = client.get_key_policy(KeyId=key["KeyId"], PolicyName="default")["Policy"]
            yield key["KeyId"], document | {"policy": policy}


def _roles(make: Client) -> Described:
    client = make("iam")
    for role in _each(client, "list_roles", "Roles"):
        if role["Path"].startswith("/aws-service-role/"):
            continue
        names = [*_each(client, "list_role_policies", "PolicyNames", RoleName=role["RoleName"])]
        inline = {n: client.get_role_policy(RoleName=role["RoleName"], PolicyName=n)["PolicyDocument"] for n in names}
        yield role["RoleName"], role | {"inline": inline}


def _network(operation: str, key: str, name: str, default: str = ""):
    def listed(make: Client) -> Described:
        for item in _each(make("ec2"), operation, key):
            if not (default and item.get(default)):
                yield item[name], item

    return listed


def _security_groups(make: Client) -> Described:
    client = make("ec2")
    vpcs = {v["VpcId"] for v in client.describe_vpcs()["Vpcs"] if not v["IsDefault"]}
    for group in _each(client, "describe_security_groups", "SecurityGroups"):
        if group["VpcId"] in vpcs and group["GroupName"] != "default":
            yield group["GroupId"], group


def _log_groups(make: Client) -> Described:
    client = make("logs")
    for group in _each(client, "describe_log_groups", "logGroups"):
        filters = [*_each(client, "describe_metric_filters", "metricFilters", logGroupName=group["logGroupName"])]
        stable = {k: v for k, v in group.items() if k != "storedBytes"}
        yield group["logGroupName"], stable | {"filters": filters}


def _scaling(make: Client) -> Described:
    client = make("application-autoscaling")
    for target in _each(client, "describe_scalable_targets", "ScalableTargets", ServiceNamespace="sagemaker"):
        yield target["ResourceId"], target


def _alarms(make: Client) -> Described:
    pages = make("cloudwatch").get_paginator("describe_alarms").paginate()
    for alarm in (a for page in pages for a in [*page["MetricAlarms"], *page.get("CompositeAlarms", [])]):
        yield alarm["AlarmName"], {k: v for k, v in alarm.items() if not k.startswith("State")}


def _budgets(make: Client) -> Described:
    client = make("budgets")
    account = make("sts").get_caller_identity()["Account"]
    for budget in client.describe_budgets(AccountId=account).get("Budgets", []):
        yield budget["BudgetName"], budget


_KINDS: dict[str, Callable[[Client], Described]] = {
    "bucket": _buckets,
    "key": _keys,
    "alias": lambda make: (
        (a["AliasName"], a)
        for a in _each(make("kms"), "list_aliases", "Aliases")
        if not a["AliasName"].startswith("alias/aws/")
    ),
    "repository": _simple("ecr", "describe_repositories", "repositories", "repositoryName"),
    "role": _roles,
    "policy": _simple("iam", "list_policies", "Policies", "PolicyName", Scope="Local"),
    "log group": _log_groups,
    "alarm": _alarms,
    "dashboard": _simple(
        "cloudwatch", "list_dashboards", "DashboardEntries", "DashboardName", "get_dashboard", "DashboardName"
    ),
    "topic": _simple("sns", "list_topics", "Topics", "TopicArn", "get_topic_attributes", "TopicArn"),
    "vpc": _network("describe_vpcs", "Vpcs", "VpcId", "IsDefault"),
    "subnet": _network("describe_subnets", "Subnets", "SubnetId", "DefaultForAz"),
    "security group": _security_groups,
    "vpc endpoint": _network("describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId"),
    "flow log": _network("describe_flow_logs", "FlowLogs", "FlowLogId"),
    "model": _simple("sagemaker", "list_models", "Models", "ModelName", "describe_model", "ModelName"),
    "configuration": _simple(
        "sagemaker", "list_endpoint_configs", "EndpointConfigs", "EndpointConfigName", "describe_endpoint_config",
        "EndpointConfigName",
    ),
    "endpoint": _simple(
        "sagemaker", "list_endpoints", "Endpoints", "EndpointName", "describe_endpoint", "EndpointName"
    ),
    "model package group": _simple(
        "sagemaker", "list_model_package_groups", "ModelPackageGroupSummaryList", "ModelPackageGroupName"
    ),
    "schedule": _simple("scheduler", "list_schedules", "Schedules", "Name"),
    "schedule group": lambda make: (
        (g["Name"], g)
        for g in _each(make("scheduler"), "list_schedule_groups", "ScheduleGroups")
        if g["Name"] != "default"
    ),
    "scalable target": _scaling,
    "budget": _budgets,
}  # fmt: skip


def _try(call: Callable[..., Any], **arguments: Any) -> Any:
    """An answer, or the code of a refusal (no such configuration)."""
    from botocore.exceptions import ClientError

    try:
        return call(**arguments)
    except ClientError as e:
        return e.response["Error"].get("Code")


def _plain(document: Any) -> Any:
    """Without the answer's own metadata, so that two descriptions of the same thing are equal."""
    if isinstance(document, dict):
        return {k: _plain(v) for k, v in document.items() if k != "ResponseMetadata"}
    return document
