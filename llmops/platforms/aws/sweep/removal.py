"""Remove what a sweep found, in an order that works: what uses something goes before it."""

import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from llmops.platforms.aws import removal
from llmops.platforms.aws.clients import Clients, error_code
from llmops.platforms.platform import Say
from llmops.platforms.sweep import RUN, Thing

_WAIT_SECONDS = 15 * 60
_POLL_SECONDS = 2.0
_KEY_DAYS = 30
_GONE = ("NotFound", "NoSuch", "ResourceNotFound", "ObjectNotFound", "InvalidVpcEndpoint", "404")


def remove(clients: Clients, things: Collection[Thing], say: Say) -> list[str]:
    """Remove things; `say` is told each. What could not be removed, a line each with AWS's reason."""
    problems = []
    for kind, removed in _REMOVALS.items():
        for thing in (t for t in things if t.kind == kind):
            say(f"removing {thing.kind} {thing.name}")
            try:
                removed(clients, thing)
            except (ClientError, BotoCoreError, TimeoutError) as e:
                if not (isinstance(e, ClientError) and _is_gone(e)):
                    problems.append(f"{thing.kind} {thing.name}: {e}")
    unknown = [t for t in things if t.kind not in _REMOVALS]
    return problems + [f"{t.kind} {t.name}: remove it by hand" for t in unknown]


def _is_gone(error: ClientError) -> bool:
    code, text = error_code(error), error.response.get("Error", {}).get("Message", "")
    missing = "ould not find" in text or "not found" in text or "does not exist" in text
    return any(word in code for word in _GONE) or (code == "ValidationException" and missing)


def _call(service: str, operation: str, argument: str) -> Callable[[Clients, Thing], None]:
    """A removal that is one call with the thing's name."""

    def removed(clients: Clients, thing: Thing) -> None:
        getattr(clients(service), operation)(**{argument: thing.name})

    return removed


def _stop_job(clients: Clients, thing: Thing) -> None:
    """Its record stays: AWS's history of an account."""
    clients("sagemaker").stop_training_job(TrainingJobName=thing.name)


def _scaling(clients: Clients, thing: Thing) -> None:
    *_, endpoint, _, variant = thing.name.split("/")
    clients("application-autoscaling").deregister_scalable_target(
        ServiceNamespace="sagemaker",
        ResourceId=f"endpoint/{endpoint}/variant/{variant}",
        ScalableDimension="sagemaker:variant:DesiredInstanceCount",
    )


def _endpoint(clients: Clients, thing: Thing) -> None:
    """One that is being made or updated can't be deleted before; what it uses can go when it is gone."""
    client = clients("sagemaker")

    def status() -> str:
        try:
            return client.describe_endpoint(EndpointName=thing.name)["EndpointStatus"]
        except ClientError as e:
            if _is_gone(e):
                return ""
            raise

    _wait(lambda: status() not in ("Creating", "Updating", "SystemUpdating", "RollingBack"), thing)
    if status() != "Deleting":
        client.delete_endpoint(EndpointName=thing.name)
    _wait(lambda: status() == "", thing)


def _schedules(clients: Clients, thing: Thing) -> None:
    """With the schedules in it."""
    clients("scheduler").delete_schedule_group(Name=thing.name)


def _budget(clients: Clients, thing: Thing) -> None:
    clients("budgets").delete_budget(AccountId=clients.caller.account, BudgetName=thing.name)


def _topic(clients: Clients, thing: Thing) -> None:
    clients("sns").delete_topic(TopicArn=thing.id)


def _role(clients: Clients, thing: Thing) -> None:
    iam, role = clients("iam"), {"RoleName": thing.name}
    for name in _all(iam, "list_role_policies", "PolicyNames", **role):
        iam.delete_role_policy(**role, PolicyName=name)
    for policy in _all(iam, "list_attached_role_policies", "AttachedPolicies", **role):
        iam.detach_role_policy(**role, PolicyArn=policy["PolicyArn"])
    iam.delete_role(**role)


def _alarm(clients: Clients, thing: Thing) -> None:
    clients("cloudwatch").delete_alarms(AlarmNames=[thing.name])


def _dashboard(clients: Clients, thing: Thing) -> None:
    clients("cloudwatch").delete_dashboards(DashboardNames=[thing.name])


# -- network ----------------------------------------------------------------------------------------------------------


def _flow_log(clients: Clients, thing: Thing) -> None:
    clients("ec2").delete_flow_logs(FlowLogIds=[thing.name])


def _vpc_endpoint(clients: Clients, thing: Thing) -> None:
    """Its interfaces hold subnets and security groups until they are gone, which takes minutes."""
    client = clients("ec2")
    client.delete_vpc_endpoints(VpcEndpointIds=[thing.name])

    def is_gone() -> bool:
        try:
            found = client.describe_vpc_endpoints(VpcEndpointIds=[thing.name])["VpcEndpoints"]
        except ClientError as e:
            if _is_gone(e):
                return True
            raise
        return all(entry.get("State", "").lower() == "deleted" for entry in found)

    _wait(is_gone, thing)


def _security_group(clients: Clients, thing: Thing) -> None:
    """Its rules first, those of other groups that name it too: groups that name each other can't go otherwise."""
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


def _route_table(clients: Clients, thing: Thing) -> None:
    client = clients("ec2")
    for table in client.describe_route_tables(RouteTableIds=[thing.name])["RouteTables"]:
        for association in table.get("Associations", []):
            client.disassociate_route_table(AssociationId=association["RouteTableAssociationId"])
    client.delete_route_table(RouteTableId=thing.name)


# -- data, when its stack was named -----------------------------------------------------------------------------------


def _bucket(clients: Clients, thing: Thing) -> None:
    removal.empty_bucket(clients("s3"), thing.name, (), thing.stack)
    clients("s3").delete_bucket(Bucket=thing.name)


def _repository(clients: Clients, thing: Thing) -> None:
    clients("ecr").delete_repository(repositoryName=thing.name, force=True)


def _group(clients: Clients, thing: Thing) -> None:
    removal.empty_group(clients("sagemaker"), thing.name)
    clients("sagemaker").delete_model_package_group(ModelPackageGroupName=thing.name)


def _key(clients: Clients, thing: Thing) -> None:
    """With its aliases. https://docs.aws.amazon.com/kms/latest/developerguide/deleting-keys.html"""
    for alias in _all(clients("kms"), "list_aliases", "Aliases", KeyId=thing.name):
        clients("kms").delete_alias(AliasName=alias["AliasName"])
    clients("kms").schedule_key_deletion(KeyId=thing.name, PendingWindowInDays=_KEY_DAYS)


_REMOVALS: dict[str, Callable[[Clients, Thing], None]] = {
    "schedules": _schedules,
    RUN: _stop_job,
    "scaling": _scaling,
    "endpoint": _endpoint,
    "endpoint configuration": _call("sagemaker", "delete_endpoint_config", "EndpointConfigName"),
    "model": _call("sagemaker", "delete_model", "ModelName"),
    "alarm": _alarm,
    "dashboard": _dashboard,
    "log group": _call("logs", "delete_log_group", "logGroupName"),
    "budget": _budget,
    "topic": _topic,
    "flow log": _flow_log,
    "VPC endpoint": _vpc_endpoint,
    "security group": _security_group,
    "subnet": _call("ec2", "delete_subnet", "SubnetId"),
    "route table": _route_table,
    "VPC": _call("ec2", "delete_vpc", "VpcId"),
    "role": _role,
    "model package group": _group,
    "repository": _repository,
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
            raise TimeoutError(f"{thing.kind} {thing.name} does not come to rest within {_WAIT_SECONDS // 60} minutes")
        time.sleep(_POLL_SECONDS)
