"""Removals of resources outside of a VPC; all but keys have a name that is the stack's alone."""

from typing import Any

from llmops_kit.clouds.aws.errors import find, refused
from llmops_kit.infra.targets.aws.leftovers.leftover import Leftover, Removal, wait_gone


def _key(left: Leftover) -> list[str]:
    """Schedules the deletion of keys with the same description and no alias, which each key gets after its creation.

    No two keys that a stack declares have the same description.
    """
    kms = left.session("kms")
    aliased = {
        alias.get("TargetKeyId") for page in kms.get_paginator("list_aliases").paginate() for alias in page["Aliases"]
    }
    keys = [key["KeyId"] for page in kms.get_paginator("list_keys").paginate() for key in page["Keys"]]
    gone = [key for key in keys if key not in aliased and _is_left_key(left, kms, key)]
    for key in gone:
        kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=int(left.inputs.get("deletionWindowInDays") or 30))
    return [f"key {key}" for key in gone]


def _is_left_key(left: Leftover, kms: Any, key: str) -> bool:
    if refused(kms.describe_key)(KeyId=key):  # somebody else's
        return False
    found = kms.describe_key(KeyId=key)["KeyMetadata"]
    same = found["KeyState"] == "Enabled" and found["Description"] == left.inputs["description"]
    return same and left.is_ours(kms.list_resource_tags(KeyId=key)["Tags"], "TagKey", "TagValue")


def _alias(left: Leftover) -> list[str]:
    kms, name = left.session("kms"), left.inputs["name"]
    pages = kms.get_paginator("list_aliases").paginate(KeyId=left.inputs["targetKeyId"])
    if name not in {alias["AliasName"] for page in pages for alias in page["Aliases"]}:
        return []
    kms.delete_alias(AliasName=name)
    return [name]


def _bucket(left: Leftover) -> list[str]:
    s3, owner = left.session("s3"), left.session.caller.account
    named = {"Bucket": left.inputs["bucket"], "ExpectedBucketOwner": owner}
    if not find(s3.head_bucket, **named) or find(s3.get_bucket_policy, **named):
        return []
    return [] if refused(s3.delete_bucket, "BucketNotEmpty")(**named) else [f"bucket {named['Bucket']}"]


def _repository(left: Leftover) -> list[str]:
    ecr, name = left.session("ecr"), left.inputs["name"]
    if not find(ecr.describe_repositories, repositoryNames=[name]):
        return []
    if find(ecr.get_lifecycle_policy, repositoryName=name):
        return []
    kept = refused(ecr.delete_repository, "RepositoryNotEmptyException")(repositoryName=name)
    return [] if kept else [f"repository {name}"]


def _role(left: Leftover) -> list[str]:
    iam, name = left.session("iam"), left.inputs["name"]
    if refused(iam.get_role, "NoSuchEntity")(RoleName=name):
        return []
    if not left.is_ours(iam.get_role(RoleName=name)["Role"].get("Tags", [])):
        return []
    if iam.list_role_policies(RoleName=name)["PolicyNames"]:
        return []
    return [] if refused(iam.delete_role, "DeleteConflict")(RoleName=name) else [f"role {name}"]


def _group(left: Leftover) -> list[str]:
    sagemaker, name = left.session("sagemaker"), left.inputs["modelPackageGroupName"]

    def look() -> Any:
        return find(sagemaker.describe_model_package_group, ModelPackageGroupName=name)

    remove = refused(sagemaker.delete_model_package_group, "ConflictException", "ValidationException")
    if not look() or remove(ModelPackageGroupName=name):  # it has versions
        return []
    wait_gone(f"model package group {name}", look)
    return [f"model package group {name}"]


def _model(left: Leftover) -> list[str]:
    """Removes a model of this name. Names are made of the content, so what is created next equals it."""
    sagemaker, name = left.session("sagemaker"), left.inputs["name"]
    if not find(sagemaker.describe_model, ModelName=name):
        return []
    sagemaker.delete_model(ModelName=name)
    return [f"model {name}"]


def _configuration(left: Leftover) -> list[str]:
    """Removes a configuration of this name, as `_model` does."""
    sagemaker, name = left.session("sagemaker"), left.inputs["name"]
    if not find(sagemaker.describe_endpoint_config, EndpointConfigName=name):
        return []
    sagemaker.delete_endpoint_config(EndpointConfigName=name)
    return [f"endpoint configuration {name}"]


def _log_group(left: Leftover) -> list[str]:
    logs, name = left.session("logs"), left.inputs["name"]
    found = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    if name not in {group["logGroupName"] for group in found}:
        return []
    if logs.describe_metric_filters(logGroupName=name)["metricFilters"]:
        return []
    if logs.describe_log_streams(logGroupName=name, limit=1)["logStreams"]:
        return []
    logs.delete_log_group(logGroupName=name)
    return [f"log group {name}"]


def _budget(left: Leftover) -> list[str]:
    budgets = left.session("budgets")
    named = {"AccountId": left.session.caller.account, "BudgetName": left.inputs["name"]}
    if not find(budgets.describe_budget, **named):
        return []
    budgets.delete_budget(**named)
    return [f"budget {named['BudgetName']}"]


def _schedule_group(left: Leftover) -> list[str]:
    scheduler, name = left.session("scheduler"), left.inputs["name"]

    def look() -> Any:
        return find(scheduler.get_schedule_group, Name=name)

    if not look() or scheduler.list_schedules(GroupName=name)["Schedules"]:
        return []
    scheduler.delete_schedule_group(Name=name)
    wait_gone(f"schedule group {name}", look)
    return [f"schedule group {name}"]


def _schedule_of_group(left: Leftover) -> list[str]:
    scheduler = left.session("scheduler")
    named = {"GroupName": left.inputs["groupName"], "Name": left.inputs["name"]}
    if not find(scheduler.get_schedule, **named):
        return []
    scheduler.delete_schedule(**named)
    return [f"schedule {named['Name']}"]


NAMED: dict[str, Removal] = {
    "aws:kms/key:Key": _key,
    "aws:kms/alias:Alias": _alias,
    "aws:s3/bucket:Bucket": _bucket,
    "aws:ecr/repository:Repository": _repository,
    "aws:iam/role:Role": _role,
    "aws:sagemaker/modelPackageGroup:ModelPackageGroup": _group,
    "aws:sagemaker/model:Model": _model,
    "aws:sagemaker/endpointConfiguration:EndpointConfiguration": _configuration,
    "aws:cloudwatch/logGroup:LogGroup": _log_group,
    "aws:budgets/budget:Budget": _budget,
    "aws:scheduler/scheduleGroup:ScheduleGroup": _schedule_group,
    "aws:scheduler/schedule:Schedule": _schedule_of_group,
}
"""Type -> its removal. What other types create is put, or created anew without harm (SNS's topics)."""
