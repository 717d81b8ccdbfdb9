"""Removes leftovers that a sweep found, in order of dependency: users before the resources that they use."""

import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.cli.platforms.aws import removal
from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.cli.platforms.sweep import RUN, Thing
from llmops_kit.clouds.aws.errors import find, is_missing
from llmops_kit.clouds.aws.names import scalable_target

_WAIT_SECONDS = 15 * 60
_POLL_SECONDS = 2.0
_KEY_DAYS = 30


def remove(clients: AwsClients, things: Collection[Thing], say: Say) -> list[str]:
    """Removes resources, and says each; returns a line with AWS's reason for each that could not be removed."""
    problems = []
    for kind, removed in _REMOVALS.items():
        for thing in (t for t in things if t.kind == kind):
            say(f"removing {thing.kind} {thing.name}")
            try:
                removed(clients, thing)
            except (ClientError, BotoCoreError, TimeoutError) as e:
                if not (is_missing(e)):
                    problems.append(f"{thing.kind} {thing.name}: {e}")
    unknown = [t for t in things if t.kind not in _REMOVALS]
    return problems + [f"{t.kind} {t.name}: remove it by hand" for t in unknown]


def _call(
    service: str, operation: str, argument: str, value: Callable[[Thing], object] = lambda t: t.name, **more: Any
) -> Callable[[AwsClients, Thing], None]:
    """Returns a removal that is one call with the resource's name, or another of its values."""

    def removed(clients: AwsClients, thing: Thing) -> None:
        getattr(clients(service), operation)(**{argument: value(thing)}, **more)

    return removed


def _listed(thing: Thing) -> list[str]:
    return [thing.name]


def _scaling(clients: AwsClients, thing: Thing) -> None:
    *_, endpoint, _, variant = thing.name.split("/")
    clients("application-autoscaling").deregister_scalable_target(**scalable_target(endpoint, variant))


def _endpoint(clients: AwsClients, thing: Thing) -> None:
    """Waits while an endpoint is created or updated, deletes it, and waits until it is gone, so that the resources that
    it uses can be removed.
    """
    client = clients("sagemaker")

    def status() -> str:
        return (find(client.describe_endpoint, EndpointName=thing.name) or {}).get("EndpointStatus", "")

    _wait(lambda: status() not in ("Creating", "Updating", "SystemUpdating", "RollingBack"), thing)
    if status() != "Deleting":
        client.delete_endpoint(EndpointName=thing.name)
    _wait(lambda: status() == "", thing)


def _budget(clients: AwsClients, thing: Thing) -> None:
    clients("budgets").delete_budget(AccountId=clients.caller.account, BudgetName=thing.name)


def _role(clients: AwsClients, thing: Thing) -> None:
    iam, role = clients("iam"), {"RoleName": thing.name}
    for name in _all(iam, "list_role_policies", "PolicyNames", **role):
        iam.delete_role_policy(**role, PolicyName=name)
    for policy in _all(iam, "list_attached_role_policies", "AttachedPolicies", **role):
        iam.detach_role_policy(**role, PolicyArn=policy["PolicyArn"])
    iam.delete_role(**role)


# -- network ----------------------------------------------------------------------------------------------------------


def _vpc_endpoint(clients: AwsClients, thing: Thing) -> None:
    """Waits until the VPC endpoint's interfaces are gone (minutes): they hold subnets and security groups."""
    client = clients("ec2")
    client.delete_vpc_endpoints(VpcEndpointIds=[thing.name])

    def is_gone() -> bool:
        found = find(client.describe_vpc_endpoints, VpcEndpointIds=[thing.name]) or {"VpcEndpoints": []}
        return all(entry.get("State", "").lower() == "deleted" for entry in found["VpcEndpoints"])

    _wait(is_gone, thing)


def _security_group(clients: AwsClients, thing: Thing) -> None:
    """Deletes a group's rules first, and rules of other groups that name it: groups that name each other can't go
    otherwise.
    """
    client = clients("ec2")
    mine = [{"Name": "group-id", "Values": [thing.name]}]
    naming = [{"Name": "ip-permission.group-id", "Values": [thing.name]}]
    groups = [g for f in (mine, naming) for g in _all(client, "describe_security_groups", "SecurityGroups", Filters=f)]
    for group in groups:
        if rules := group.get("IpPermissions"):
            client.revoke_security_group_ingress(GroupId=group["GroupId"], IpPermissions=rules)
        if group["GroupId"] == thing.name and (rules := group.get("IpPermissionsEgress")):
            client.revoke_security_group_egress(GroupId=group["GroupId"], IpPermissions=rules)
    client.delete_security_group(GroupId=thing.name)


def _route_table(clients: AwsClients, thing: Thing) -> None:
    client = clients("ec2")
    for table in client.describe_route_tables(RouteTableIds=[thing.name])["RouteTables"]:
        for association in table.get("Associations", []):
            client.disassociate_route_table(AssociationId=association["RouteTableAssociationId"])
    client.delete_route_table(RouteTableId=thing.name)


# -- data, if its stack was named -------------------------------------------------------------------------------------


def _bucket(clients: AwsClients, thing: Thing) -> None:
    removal.empty_bucket(clients("s3"), thing.name, (), thing.stack)
    clients("s3").delete_bucket(Bucket=thing.name)


def _group(clients: AwsClients, thing: Thing) -> None:
    removal.empty_group(clients("sagemaker"), thing.name)
    clients("sagemaker").delete_model_package_group(ModelPackageGroupName=thing.name)


def _key(clients: AwsClients, thing: Thing) -> None:
    """Schedules a key's deletion, without its aliases.
    https://docs.aws.amazon.com/kms/latest/developerguide/deleting-keys.html
    """
    for alias in _all(clients("kms"), "list_aliases", "Aliases", KeyId=thing.name):
        clients("kms").delete_alias(AliasName=alias["AliasName"])
    clients("kms").schedule_key_deletion(KeyId=thing.name, PendingWindowInDays=_KEY_DAYS)


_REMOVALS: dict[str, Callable[[AwsClients, Thing], None]] = {
    "schedules": _call("scheduler", "delete_schedule_group", "Name"),  # with the schedules in it
    RUN: _call("sagemaker", "stop_training_job", "TrainingJobName"),  # the job's record stays
    "scaling": _scaling,
    "endpoint": _endpoint,
    "endpoint configuration": _call("sagemaker", "delete_endpoint_config", "EndpointConfigName"),
    "model": _call("sagemaker", "delete_model", "ModelName"),
    "alarm": _call("cloudwatch", "delete_alarms", "AlarmNames", _listed),
    "dashboard": _call("cloudwatch", "delete_dashboards", "DashboardNames", _listed),
    "log group": _call("logs", "delete_log_group", "logGroupName"),
    "budget": _budget,
    "topic": _call("sns", "delete_topic", "TopicArn", lambda thing: thing.id),
    "flow log": _call("ec2", "delete_flow_logs", "FlowLogIds", _listed),
    "VPC endpoint": _vpc_endpoint,
    "security group": _security_group,
    "subnet": _call("ec2", "delete_subnet", "SubnetId"),
    "route table": _route_table,
    "VPC": _call("ec2", "delete_vpc", "VpcId"),
    "role": _role,
    "model package group": _group,
    "repository": _call("ecr", "delete_repository", "repositoryName", force=True),
    "bucket": _bucket,
    "KMS key": _key,
}


def _all(client: Any, operation: str, key: str, **arguments: Any) -> Iterator[Any]:
    for page in client.get_paginator(operation).paginate(**arguments):
        yield from page.get(key, [])


def _wait(condition: Callable[[], bool], thing: Thing) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{thing.kind} {thing.name} did not become stable within {_WAIT_SECONDS // 60} minutes")
        time.sleep(_POLL_SECONDS)
