"""Inventory of an AWS account, by the kinds of resources that the kit uses; comparing two finds leftovers."""

from collections.abc import Callable, Iterator
from typing import Any

from llmops_kit.clouds.aws.budgets import refusal
from llmops_kit.clouds.aws.errors import error_code

Client = Callable[[str], Any]
Described = Iterator[tuple[str, Any]]


def inventory(make: Client, only: str = "") -> dict[str, Any]:
    """Returns `kind name` -> description, without AWS's defaults of every account. `make` returns a service's client.

    With `only`, resources that need a call each are described only if their name contains it: an account may have many
    others.
    """
    found: dict[str, Any] = {}
    for kind, describe in KINDS.items():
        for name, document in describe(make, only):
            found[f"{kind} {name}"] = _plain(document)
    return found


def each(client: Any, operation: str, key: str, **arguments: Any) -> Iterator[Any]:
    """Yields the items of a listing, page by page."""
    if client.can_paginate(operation):
        for page in client.get_paginator(operation).paginate(**arguments):
            yield from page.get(key, [])
    else:
        yield from getattr(client, operation)(**arguments).get(key, [])


def _simple(service: str, operation: str, key: str, name: str, describe: str = "", by: str = "", **arguments: Any):
    """Returns a kind that is listed, and described one by one by name if the list has too few fields."""

    def listed(make: Client, only: str) -> Described:
        client = make(service)
        for item in each(client, operation, key, **arguments):
            title = item if isinstance(item, str) else item[name]
            yield title, getattr(client, describe)(**{by: title}) if describe and only in title else item

    return listed


def _buckets(make: Client, only: str) -> Described:
    client = make("s3")
    for bucket in client.list_buckets()["Buckets"]:
        name = bucket["Name"]
        if only not in name:
            yield name, {}
            continue
        reads = ("versioning", "encryption", "policy", "lifecycle_configuration", "ownership_controls", "tagging")
        yield (
            name,
            {
                "keys": [o["Key"] for o in each(client, "list_objects_v2", "Contents", Bucket=name)],
                **{part: _try(client, f"get_bucket_{part}", Bucket=name) for part in reads},
            },
        )


def _keys(make: Client, _only: str) -> Described:
    client = make("kms")
    for key in each(client, "list_keys", "Keys"):
        answer = _open(client, "describe_key", KeyId=key["KeyId"])
        if answer is None:
            yield key["KeyId"], {}  # its policy denies everybody: none of the kit's does
            continue
        document = answer["KeyMetadata"]
        if document["KeyState"] != "PendingDeletion" and document["KeyManager"] == "CUSTOMER":
            policy = _open(client, "get_key_policy", KeyId=key["KeyId"], PolicyName="default")
            yield key["KeyId"], document | {"policy": policy and policy["Policy"]}


def _roles(make: Client, only: str) -> Described:
    client = make("iam")
    for role in each(client, "list_roles", "Roles"):
        if role["Path"].startswith("/aws-service-role/"):
            continue
        if only not in role["RoleName"]:
            yield role["RoleName"], {}
            continue
        names = [*each(client, "list_role_policies", "PolicyNames", RoleName=role["RoleName"])]
        inline = {n: client.get_role_policy(RoleName=role["RoleName"], PolicyName=n)["PolicyDocument"] for n in names}
        yield role["RoleName"], role | {"inline": inline}


def _network(operation: str, key: str, name: str, default: str = ""):
    def listed(make: Client, _only: str) -> Described:
        for item in each(make("ec2"), operation, key):
            if not (default and item.get(default)):
                yield item[name], item

    return listed


def _security_groups(make: Client, _only: str) -> Described:
    client = make("ec2")
    vpcs = {v["VpcId"] for v in client.describe_vpcs()["Vpcs"] if not v["IsDefault"]}
    for group in each(client, "describe_security_groups", "SecurityGroups"):
        if group["VpcId"] in vpcs and group["GroupName"] != "default":
            yield group["GroupId"], group


def _log_groups(make: Client, _only: str) -> Described:
    client = make("logs")
    for group in each(client, "describe_log_groups", "logGroups"):
        filters = [*each(client, "describe_metric_filters", "metricFilters", logGroupName=group["logGroupName"])]
        stable = {k: v for k, v in group.items() if k != "storedBytes"}
        yield group["logGroupName"], stable | {"filters": filters}


def _scaling(make: Client, _only: str) -> Described:
    client = make("application-autoscaling")
    for target in each(client, "describe_scalable_targets", "ScalableTargets", ServiceNamespace="sagemaker"):
        yield target["ResourceId"], target


def _alarms(make: Client, _only: str) -> Described:
    pages = make("cloudwatch").get_paginator("describe_alarms").paginate()
    for alarm in (a for page in pages for a in [*page["MetricAlarms"], *page.get("CompositeAlarms", [])]):
        yield alarm["AlarmName"], {k: v for k, v in alarm.items() if not k.startswith("State")}


def _budgets(make: Client, _only: str) -> Described:
    client = make("budgets")
    account = make("sts").get_caller_identity()["Account"]
    if refusal(client, account, "any"):
        return
    for budget in client.describe_budgets(AccountId=account).get("Budgets", []):
        yield budget["BudgetName"], budget


KINDS: dict[str, Callable[[Client, str], Described]] = {
    "bucket": _buckets,
    "key": _keys,
    "alias": lambda make, _only: (
        (a["AliasName"], a)
        for a in each(make("kms"), "list_aliases", "Aliases")
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
    "schedule group": lambda make, _only: (
        (g["Name"], g)
        for g in each(make("scheduler"), "list_schedule_groups", "ScheduleGroups")
        if g["Name"] != "default"
    ),
    "scalable target": _scaling,
    "budget": _budgets,
}  # fmt: skip


def _try(client: Any, operation: str, **arguments: Any) -> Any:
    """Returns a response, or the error's code (such as for a missing configuration)."""
    try:
        return getattr(client, operation)(**arguments)
    except client.exceptions.ClientError as e:
        return e.response["Error"].get("Code")


def _open(client: Any, operation: str, **arguments: Any) -> Any:
    """Returns a response; None if the caller is denied access."""
    try:
        return getattr(client, operation)(**arguments)
    except client.exceptions.ClientError as e:
        if error_code(e) == "AccessDeniedException":
            return None
        raise


def _plain(document: Any) -> Any:
    """Returns a response without its metadata, so that two descriptions of the same resource are equal."""
    if isinstance(document, dict):
        return {k: _plain(v) for k, v in document.items() if k != "ResponseMetadata"}
    return document
