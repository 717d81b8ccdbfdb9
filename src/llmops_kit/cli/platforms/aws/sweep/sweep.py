"""Finds the kit's resources in an account by the tagging API, and by listing the kinds that it does not cover."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.cli.machines.prices import load_prices
from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.cli.platforms.aws.removal import tag_map
from llmops_kit.cli.platforms.aws.sweep import network, removal, sagemaker
from llmops_kit.cli.platforms.aws.sweep.look import AwsLook
from llmops_kit.cli.platforms.sweep import Thing
from llmops_kit.clouds.aws.budgets import refusal
from llmops_kit.clouds.aws.errors import error_code, explained
from llmops_kit.clouds.aws.names import ENDPOINT_LOGS, PROJECT_TAG


class AwsSweeper:
    """See llmops_kit.cli.platforms.sweep.Sweeper."""

    def __init__(self, clients: AwsClients) -> None:
        self._clients = clients
        caller = clients.caller
        self._account, self._region = caller.account, caller.region
        self.place = f"{'the twin' if caller.twin else f'account {caller.account}'}, {caller.region}"

    def things(self, project: str) -> list[Thing]:
        """See platforms.sweep.Sweeper. Omits ended jobs, which are records without costs."""
        with explained(f"sweep of {self.place}", "a sweep needs the right to list and describe in the whole account"):
            look = AwsLook(self._clients, project, _tagged(self._clients, project), load_prices(self._region))
            found = {t.id: t for kind in _KINDS for t in kind(look) if t.project == project}
            found |= {t.id: t for t in _by_name(look, {t.stack for t in found.values()}) if t.id not in found}
            return list(found.values())

    def lives_here(self, outputs: Mapping[str, Any]) -> bool:
        """See llmops_kit.cli.platforms.sweep.Sweeper."""
        aws = outputs.get("aws") or {}
        return (aws.get("account", self._account), aws.get("region", self._region)) == (self._account, self._region)

    def remove(self, things: Collection[Thing], say: Say) -> list[str]:
        """See llmops_kit.cli.platforms.sweep.Sweeper."""
        return removal.remove(self._clients, things, say)


def _tagged(clients: AwsClients, project: str) -> dict[str, dict[str, str]]:
    """Returns ARN -> tags: https://docs.aws.amazon.com/resourcegroupstagging/latest/APIReference/API_GetResources.html

    The API returns deleted resources for a while, and does not cover every kind, so each kind is listed too.
    """
    pages = clients("resourcegroupstaggingapi").get_paginator("get_resources")
    filters = [{"Key": PROJECT_TAG, "Values": [project]}]
    return {
        entry["ResourceARN"].removesuffix(":*"): tag_map(entry.get("Tags", []))
        for page in pages.paginate(TagFilters=filters)
        for entry in page["ResourceTagMappingList"]
    }


# -- by kind: resources in the account that may be the kit's ---------------------------------------------------------


def _buckets(look: AwsLook) -> Iterator[Thing]:
    for bucket in look.clients("s3").list_buckets()["Buckets"]:
        arn = f"arn:{look.clients.caller.partition}:s3:::{bucket['Name']}"
        yield look.thing("bucket", bucket["Name"], arn, created=bucket["CreationDate"], data=True)


def _keys(look: AwsLook) -> Iterator[Thing]:
    kms = look.clients("kms")
    for entry in look.pages("kms", "list_keys", "Keys"):
        try:
            key = kms.describe_key(KeyId=entry["KeyId"])["KeyMetadata"]
            if key["KeyManager"] != "CUSTOMER":
                continue
            tags = tag_map(kms.list_resource_tags(KeyId=key["KeyId"])["Tags"], "TagKey", "TagValue")
        except ClientError as e:
            if error_code(e) == "AccessDeniedException":
                continue  # a key policy may deny everybody; the kit's keys don't
            raise
        goes = key.get("DeletionDate")
        keep = f"will be deleted on {goes:%Y-%m-%d}" if goes else ""
        price = look.prices.other("kms_key_month")
        cost = 0.0 if goes else price and price.amount
        yield look.thing(
            "KMS key", key["KeyId"], key["Arn"], tags, created=key["CreationDate"], data=True, keep=keep, usd_month=cost
        )


def _repositories(look: AwsLook) -> Iterator[Thing]:
    read = look.clients("ecr").list_tags_for_resource
    for entry in look.pages("ecr", "describe_repositories", "repositories"):
        name, arn = entry["repositoryName"], entry["repositoryArn"]
        if name.startswith(look.prefix) and (tags := look.tags(read, "tags", resourceArn=arn)) is not None:
            yield look.thing("repository", name, arn, tags, created=entry["createdAt"], data=True)


def _scalings(look: AwsLook) -> Iterator[Thing]:
    service = "application-autoscaling"
    read = look.clients(service).list_tags_for_resource
    for entry in look.pages(service, "describe_scalable_targets", "ScalableTargets", ServiceNamespace="sagemaker"):
        name, arn = entry["ResourceId"], entry.get("ScalableTargetARN", "")
        if look.prefix in name and arn and (tags := look.tags(read, "Tags", ResourceARN=arn)) is not None:
            yield look.thing("scaling", name, arn, tags, created=entry["CreationTime"])


def _alarms(look: AwsLook) -> Iterator[Thing]:
    price = look.prices.other("alarm_month")
    for entry in look.pages("cloudwatch", "describe_alarms", "MetricAlarms", AlarmNamePrefix=look.prefix):
        made = entry.get("AlarmConfigurationUpdatedTimestamp")
        metrics = sum("MetricStat" in query for query in entry.get("Metrics", [])) or 1  # each is billed
        cost = price and price.amount * metrics
        yield look.thing("alarm", entry["AlarmName"], entry["AlarmArn"], created=made, usd_month=cost)


def _log_groups(look: AwsLook) -> Iterator[Thing]:
    for entry in _our_log_groups(look):
        yield look.thing("log group", entry["logGroupName"], _group_arn(entry), created=_created(entry))


def _topics(look: AwsLook) -> Iterator[Thing]:
    for entry in look.pages("sns", "list_topics", "Topics"):
        arn = entry["TopicArn"]
        yield look.thing("topic", arn.rpartition(":")[2], arn)


def _budgets(look: AwsLook) -> Iterator[Thing]:
    caller = look.clients.caller
    account = caller.account
    if refusal(look.clients("budgets"), account, look.prefix):
        return
    read = look.clients("budgets").list_tags_for_resource
    for entry in look.pages("budgets", "describe_budgets", "Budgets", AccountId=account):
        name = entry["BudgetName"]
        arn = f"arn:{caller.partition}:budgets::{account}:budget/{name}"
        if name.startswith(look.prefix) and (tags := look.tags(read, "ResourceTags", ResourceARN=arn)) is not None:
            yield look.thing("budget", name, arn, tags)


def _schedule_groups(look: AwsLook) -> Iterator[Thing]:
    for entry in look.pages("scheduler", "list_schedule_groups", "ScheduleGroups", NamePrefix=look.prefix):
        yield look.thing("schedules", entry["Name"], entry["Arn"], created=entry.get("CreationDate"))


def _roles(look: AwsLook) -> Iterator[Thing]:
    read = look.clients("iam").list_role_tags
    for entry in look.pages("iam", "list_roles", "Roles"):
        name = entry["RoleName"]
        if name.startswith(look.prefix) and (tags := look.tags(read, "Tags", RoleName=name)) is not None:
            # Roles are global to the account: some belong to stacks of other regions.
            yield look.thing("role", name, entry["Arn"], tags, created=entry["CreateDate"])


_KINDS = (
    *(_buckets, _keys, _repositories, _scalings, _alarms, _log_groups, _topics, _budgets, _schedule_groups),
    _roles,
    sagemaker.things,
    network.things,
)


# -- without tags ----------------------------------------------------------------------------------------------------


def _by_name(look: AwsLook, stacks: Collection[str]) -> Iterator[Thing]:
    """Yields log groups that SageMaker created itself (for an endpoint's last lines, after its removal), and
    dashboards.

    They are attributed by name, to stacks that have tagged resources here.
    """
    for entry in _our_log_groups(look):
        if stack := _stack_of(look, entry["logGroupName"].removeprefix(f"{ENDPOINT_LOGS}/"), stacks):
            thing = Thing("log group", entry["logGroupName"], _group_arn(entry), look.project, stack)
            yield replace(thing, created=_created(entry))
    for entry in look.pages("cloudwatch", "list_dashboards", "DashboardEntries", DashboardNamePrefix=look.prefix):
        if stack := _stack_of(look, entry["DashboardName"], stacks):
            thing = Thing("dashboard", entry["DashboardName"], entry["DashboardArn"], look.project, stack)
            yield replace(thing, created=entry.get("LastModified"))


def _stack_of(look: AwsLook, name: str, stacks: Collection[str]) -> str:
    """Returns the stack whose name a resource's name begins with; of several (`dev`, `dev-a`) the longest."""
    fitting = [s for s in stacks if name.startswith(f"{look.prefix}{s.lower()}-")]
    return max(fitting, key=len, default="")


def _our_log_groups(look: AwsLook) -> Iterator[Any]:
    prefix = f"{ENDPOINT_LOGS}/{look.prefix}"
    return look.pages("logs", "describe_log_groups", "logGroups", logGroupNamePrefix=prefix)


def _group_arn(entry: Mapping[str, Any]) -> str:
    return str(entry["arn"]).removesuffix(":*")


def _created(entry: Mapping[str, Any]) -> datetime:
    return datetime.fromtimestamp(entry["creationTime"] / 1000, UTC)
