"""The AWS part of a plan: how endpoints are rolled out, how many instances that takes, and the costs."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llmops_kit.cli.interfaces.changes import ResourceChange, known, of_type
from llmops_kit.cli.interfaces.costs import CostLine, hourly_line, monthly_line
from llmops_kit.cli.interfaces.endpoint_plans import UNKNOWN_TYPE, EndpointPlan, short
from llmops_kit.cli.interfaces.quotas import Machines, machines_of
from llmops_kit.cli.machines.prices import Prices
from llmops_kit.policies.model import Resource
from llmops_kit.settings.resolved import ResolvedEndpoint, ResolvedStack

ENDPOINT = "aws:sagemaker/endpoint:Endpoint"
CONFIGURATION = "aws:sagemaker/endpointConfiguration:EndpointConfiguration"
SCALING = "aws:appautoscaling/target:Target"
ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm"
_PREFIX = "endpoint-"
KEY = "aws:kms/key:Key"
_UNPRICED = {
    "aws:s3/bucket:Bucket": "what the buckets hold, and requests",
    "aws:ecr/repository:Repository": "what the registry holds",
    "aws:cloudwatch/logGroup:LogGroup": "log lines",
    "aws:cloudtrail/trail:Trail": "events of the trail",
}


def plan_endpoints(
    resources: Sequence[Resource],
    changes: Sequence[ResourceChange],
    endpoints: Mapping[str, ResolvedEndpoint],
    deployed: Mapping[str, str],
) -> list[EndpointPlan]:
    """See llmops_kit.cli.interfaces.plan_rules.PlanRules."""
    changed = {c.name: c.action for c in changes}
    by_name = {known(r.properties.get("name"), r.name): r for r in of_type(resources, CONFIGURATION)}
    found = []
    for resource in of_type(resources, ENDPOINT):
        name = resource.name.removeprefix(_PREFIX)
        configuration = by_name.get(resource.properties.get("endpointConfigName", ""))
        if configuration is None:
            configuration = _named(resources, CONFIGURATION, f"configuration-{name}")
        change = changed.get(resource.name, "none")
        scaling = _named(resources, SCALING, f"scaling-{name}")
        found.append(_plan(name, change, endpoints.get(name), deployed.get(name, ""), resource, configuration, scaling))
    return found


def run_machines(resources: Sequence[Resource], stack: ResolvedStack) -> dict[Machines, int]:
    """See llmops_kit.cli.interfaces.plan_rules.PlanRules. Covers `jobs` and schedules, which may have another instance
    type.
    """
    del resources  # SageMaker starts machines for each job
    computes = (stack.jobs, *(schedule.compute for schedule in stack.schedules.values()))
    return {machines_of(compute): compute.instances for compute in computes}


def resource_costs(resources: Sequence[Resource], prices: Prices) -> Iterator[CostLine]:
    """See llmops_kit.cli.interfaces.plan_rules.PlanRules."""
    zones = [
        len(known(r.properties.get("subnetIds"), []) or [])
        for r in of_type(resources, "aws:ec2/vpcEndpoint:VpcEndpoint")
        if r.properties.get("vpcEndpointType") == "Interface"
    ]
    if zones:
        what = f"{len(zones)} interface VPC endpoints x {max(zones)} zones"
        yield hourly_line(what, sum(zones), prices.other("vpc_endpoint_zone_hour"))
    if keys := len(of_type(resources, KEY)):
        yield monthly_line(f"{keys} KMS keys", keys, prices.other("kms_key_month"))
    if alarms := of_type(resources, ALARM):
        metrics = sum(_metrics_of(alarm) for alarm in alarms)
        yield monthly_line(f"{len(alarms)} alarms on {metrics} metrics", metrics, prices.other("alarm_month"))
    for type_, words in _UNPRICED.items():
        if of_type(resources, type_):
            yield CostLine(words, None, None, "by use")


def _metrics_of(alarm: Resource) -> int:
    """Returns the number of metrics of an alarm, each of which is billed: https://aws.amazon.com/cloudwatch/pricing/"""
    queries = known(alarm.properties.get("metricQueries"), []) or []
    return sum("metric" in query for query in queries) or 1


def warnings(resources: Sequence[Resource], stack: ResolvedStack) -> list[str]:
    """See llmops_kit.cli.interfaces.plan_rules.PlanRules."""
    if of_type(resources, ALARM) and not stack.told:
        return ["nobody is notified of alarms and costs: set `llmops:aws: {budget: {emails: […]}}`"]
    return []


def _named(resources: Sequence[Resource], type_: str, name: str) -> Resource:
    """Returns the resource with a logical name; an empty one if there is none."""
    return next((r for r in of_type(resources, type_) if r.name == name), Resource(type_, name, {}))


def _plan(
    name: str,
    change: str,
    declared: ResolvedEndpoint | None,
    before: str,
    endpoint: Resource,
    configuration: Resource,
    scaling: Resource,
) -> EndpointPlan:
    variant = (configuration.properties.get("productionVariants") or [{}])[0]
    asked = declared.entry.size.instances if declared else 1
    instances = int(known(variant.get("initialInstanceCount"), asked))
    least = int(known(scaling.properties.get("minCapacity"), instances))
    most = int(known(scaling.properties.get("maxCapacity"), instances))
    strategy, seconds, during = _rollout(endpoint.properties.get("deploymentConfig") or {}, instances)
    notes = _notes(declared, strategy, instances)
    if change == "create":
        strategy, seconds, during = "first deployment", 0, instances
    if change == "none":
        strategy, seconds, during = "stays", 0, instances
    return EndpointPlan(
        name=name,
        change=change,
        before=short(before),
        after=short(declared.entry.model if declared else ""),
        instance_type=str(known(variant.get("instanceType"), UNKNOWN_TYPE)),
        instances=instances,
        most_instances=max(most, instances),
        least_instances=least,
        strategy=strategy,
        at_least_seconds=seconds,
        during_update=during,
        host_image=str(known(variant.get("inferenceAmiVersion"), "")),
        notes=notes,
    )


def _rollout(deployment: Mapping[str, Any], instances: int) -> tuple[str, int, int]:
    """Returns the rollout in words, its waiting time in seconds, and the instances that run at once.

    https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails.html
    """
    if rolling := deployment.get("rollingUpdatePolicy"):
        batch = _count(rolling.get("maximumBatchSize") or {}, instances)
        wait = int(known(rolling.get("waitIntervalInSeconds"), 0))
        batches = math.ceil(instances / batch)
        return f"rolling, {batch} of {instances} at a time", batches * wait, instances + batch
    blue_green = deployment.get("blueGreenUpdatePolicy") or {}
    routing = blue_green.get("trafficRoutingConfiguration") or {}
    wait = int(known(routing.get("waitIntervalInSeconds"), 0))
    after = int(known(blue_green.get("terminationWaitInSeconds"), 0))
    kind = str(routing.get("type", "ALL_AT_ONCE"))
    if kind == "CANARY":
        canary = _count(routing.get("canarySize") or {}, instances)
        return f"canary: {canary} of {instances} first", wait + after, 2 * instances
    if kind == "LINEAR":
        step = _count(routing.get("linearStepSize") or {}, instances)
        steps = math.ceil(instances / step)
        return f"linear: {step} of {instances} a step", steps * wait + after, 2 * instances
    return "all at once, beside the old ones", wait + after, 2 * instances


def _count(size: Mapping[str, Any], instances: int) -> int:
    """Returns a capacity size in instances: a number, or a share of them, at least one."""
    value = int(known(size.get("value"), 100))
    return max(1, value if size.get("type") == "INSTANCE_COUNT" else instances * value // 100)


def _notes(declared: ResolvedEndpoint | None, strategy: str, instances: int) -> list[str]:
    asked = declared.entry.rollout.strategy if declared else "all_at_once"
    notes = []
    if asked != "all_at_once" and strategy.startswith("all at once"):
        notes.append(f"{asked} is asked for, but one instance can't be shared: all at once")
    if instances == 1:
        notes.append("one instance: a fault of its host is an outage until SageMaker replaces it")
    if instances == 0:
        notes.append("no instance while idle: the first request waits until one has started")
    return notes
