"""Instances that endpoints and training jobs use, by type, now and after a call."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from llmops_twins.aws.calls import ApiCall
from llmops_twins.aws.judges.account import JudgedAccount


@dataclass(frozen=True)
class InstanceDemand:
    """The instances of one endpoint or job: type to count."""

    name: str
    instances: dict[str, int] = field(default_factory=dict)
    spot: bool = False

    @classmethod
    def of_job(cls, job: dict[str, Any]) -> "InstanceDemand":
        """Reads the parameters of CreateTrainingJob, or the answer of DescribeTrainingJob."""
        resources = job.get("ResourceConfig") or {}
        groups = resources.get("InstanceGroups") or [resources]
        counted: dict[str, int] = {}
        for group in groups:
            if group.get("InstanceType"):
                name = group["InstanceType"]
                counted[name] = counted.get(name, 0) + int(group.get("InstanceCount", 1))
        return cls(job.get("TrainingJobName", ""), counted, bool(job.get("EnableManagedSpotTraining")))


def fleets_of(account: JudgedAccount, region: str) -> list[InstanceDemand]:
    """Returns the demand of all endpoints that are not being deleted and have not failed."""
    listed = account.describe("sagemaker", "ListEndpoints", region, MaxResults=100).get("Endpoints", [])
    return [
        _of_endpoint(account, region, each["EndpointName"])
        for each in listed
        if each.get("EndpointStatus") not in ("Deleting", "Failed")
    ]


def jobs_of(account: JudgedAccount, region: str) -> list[InstanceDemand]:
    """Returns the demand of all running training jobs."""
    listed = account.describe("sagemaker", "ListTrainingJobs", region, StatusEquals="InProgress", MaxResults=100)
    return [
        InstanceDemand.of_job(
            account.describe("sagemaker", "DescribeTrainingJob", region, TrainingJobName=each["TrainingJobName"])
        )
        for each in listed.get("TrainingJobSummaries", [])
    ]


def fleets_after(call: ApiCall, now: list[InstanceDemand], account: JudgedAccount) -> list[InstanceDemand]:
    """Returns the instances that a call asks for in addition to those in use.

    An update that is blue/green (the default) starts the whole new fleet beside the old one; a rolling one starts a
    batch; a change of capacities the difference.
    """
    name = call.parameters["EndpointName"]
    if call.operation == "UpdateEndpointWeightsAndCapacities":
        current = next((fleet for fleet in now if fleet.name == name), InstanceDemand(name))
        return [_grown(call, current, account)]
    wanted = _of_configuration(account, call.region, call.parameters["EndpointConfigName"], name)
    if call.operation == "UpdateEndpoint" and (batch := _batch(call.parameters.get("DeploymentConfig"))):
        return [InstanceDemand(name, {kind: _part(count, batch) for kind, count in wanted.instances.items()})]
    return [wanted]


def _of_endpoint(account: JudgedAccount, region: str, name: str) -> InstanceDemand:
    described = account.describe("sagemaker", "DescribeEndpoint", region, EndpointName=name)
    fleet = _of_configuration(account, region, described.get("EndpointConfigName", ""), name)
    types = dict(_variants(account, region, described.get("EndpointConfigName", "")))
    counted: dict[str, int] = {}
    for variant in described.get("ProductionVariants") or []:
        kind = types.get(variant["VariantName"], ("", 0))[0]
        count = variant.get("DesiredInstanceCount", variant.get("CurrentInstanceCount"))
        if kind and count is not None:
            counted[kind] = counted.get(kind, 0) + int(count)
    return InstanceDemand(name, counted) if counted else fleet


def _of_configuration(account: JudgedAccount, region: str, configuration: str, name: str) -> InstanceDemand:
    counted: dict[str, int] = {}
    for _, (kind, count) in _variants(account, region, configuration):
        counted[kind] = counted.get(kind, 0) + count
    return InstanceDemand(name, counted)


def _variants(account: JudgedAccount, region: str, configuration: str) -> Iterator[tuple[str, tuple[str, int]]]:
    if not configuration:
        return
    described = account.describe("sagemaker", "DescribeEndpointConfig", region, EndpointConfigName=configuration)
    for variant in [*described.get("ProductionVariants", []), *described.get("ShadowProductionVariants", [])]:
        if variant.get("InstanceType"):
            yield variant["VariantName"], (variant["InstanceType"], int(variant.get("InitialInstanceCount", 1)))


def _grown(call: ApiCall, current: InstanceDemand, account: JudgedAccount) -> InstanceDemand:
    described = account.describe("sagemaker", "DescribeEndpoint", call.region, EndpointName=current.name)
    types = dict(_variants(account, call.region, described.get("EndpointConfigName", "")))
    has = {each["VariantName"]: each.get("CurrentInstanceCount", 0) for each in described.get("ProductionVariants", [])}
    counted: dict[str, int] = {}
    for wanted in call.parameters.get("DesiredWeightsAndCapacities", []):
        kind = types.get(wanted["VariantName"], ("", 0))[0]
        if kind and "DesiredInstanceCount" in wanted:
            delta = int(wanted["DesiredInstanceCount"]) - int(has.get(wanted["VariantName"], 0))
            counted[kind] = counted.get(kind, 0) + delta
    return InstanceDemand(current.name, counted)


def _batch(deployment: dict[str, Any] | None) -> dict[str, Any] | None:
    rolling = (deployment or {}).get("RollingUpdatePolicy") or {}
    return rolling.get("MaximumBatchSize")


def _part(count: int, batch: dict[str, Any]) -> int:
    if batch.get("Type") == "INSTANCE_COUNT":
        return min(count, int(batch["Value"]))
    return ceil(count * int(batch["Value"]) / 100)
