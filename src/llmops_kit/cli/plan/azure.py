"""The Azure part of a plan: how endpoints are rolled out, how many machines that takes, and the costs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llmops_kit.cli.interfaces.changes import ResourceChange, known, of_type
from llmops_kit.cli.interfaces.costs import CostLine, hourly_line, monthly_line
from llmops_kit.cli.interfaces.endpoint_plans import UNKNOWN_TYPE, EndpointPlan, short
from llmops_kit.cli.interfaces.quotas import Machines, Use
from llmops_kit.cli.machines.prices import Prices
from llmops_kit.core.rollout import steps
from llmops_kit.policies.model import Resource
from llmops_kit.settings.resolved import ResolvedEndpoint, ResolvedStack

CLUSTER = "azure-native:machinelearningservices:Compute"
DEPLOYMENT = "azure-native:machinelearningservices:OnlineDeployment"
SCALING = "azure-native:monitor:AutoscaleSetting"
TRAFFIC = "llmops:Traffic"
QUERY_ALERT = "azure-native:monitor:ScheduledQueryRule"
_TRAFFIC, _DEPLOYMENT, _SCALING = "traffic-", "deployment-", "scaling-"
_MONTHLY = {
    QUERY_ALERT: ("query alerts", "query_alert_month"),
    "azure-native:monitor:MetricAlert": ("metric alerts", "metric_alert_month"),
}
REGISTRY = "azure-native:containerregistry:Registry"
_HOURLY = {"azure-native:network:PrivateEndpoint": ("private endpoints", "private_endpoint_hour")}
_DIAGNOSTICS = "azure-native:monitor:DiagnosticSetting"
_UNPRICED = {
    "azure-native:storage:StorageAccount": "what the storage accounts hold, and requests",
    "azure-native:keyvault:Vault": "operations on keys",
    "azure-native:operationalinsights:Workspace": "log lines",
}


def plan_endpoints(
    resources: Sequence[Resource],
    changes: Sequence[ResourceChange],
    endpoints: Mapping[str, ResolvedEndpoint],
    deployed: Mapping[str, str],
) -> list[EndpointPlan]:
    """See llmops_kit.cli.interfaces.plan_rules.PlanRules."""
    changed = {c.name: c.action for c in changes}
    found = []
    for traffic in of_type(resources, TRAFFIC):
        name = traffic.name.removeprefix(_TRAFFIC)
        logical = f"{_DEPLOYMENT}{name}-{traffic.properties.get('deployment', '')}"
        deployment = next((r for r in of_type(resources, DEPLOYMENT) if r.name == logical), None)
        scaling = next((r for r in of_type(resources, SCALING) if r.name == f"{_SCALING}{name}"), None)
        comes = changed.get(logical) in ("create", "replace")
        change = "create" if name not in deployed else "update" if comes or changed.get(traffic.name) else "none"
        inputs = deployment.properties if deployment else {}
        found.append(_plan(name, change, endpoints.get(name), deployed.get(name, ""), inputs, scaling, traffic))
    return found


def _plan(
    name: str,
    change: str,
    declared: ResolvedEndpoint | None,
    before: str,
    deployment: Mapping[str, Any],
    scaling: Resource | None,
    traffic: Resource,
) -> EndpointPlan:
    asked = declared.entry.size.instances if declared else 1
    instances = int(known(known(deployment.get("sku"), {}).get("capacity"), asked))
    capacity = ((scaling.properties.get("profiles") or [{}])[0].get("capacity") or {}) if scaling else {}
    strategy, seconds, during = _rollout(traffic.properties.get("rollout") or {}, instances)
    if change == "create":
        strategy, seconds, during = "first deployment", 0, instances
    if change == "none":
        strategy, seconds, during = "stays", 0, instances
    return EndpointPlan(
        name=name,
        change=change,
        before=short(before),
        after=short(declared.entry.model if declared else ""),
        instance_type=str(known(known(deployment.get("properties"), {}).get("instanceType"), UNKNOWN_TYPE)),
        instances=instances,
        most_instances=max(int(known(capacity.get("maximum"), instances)), instances),
        least_instances=int(known(capacity.get("minimum"), instances)),
        strategy=strategy,
        at_least_seconds=seconds,
        during_update=during,
        notes=["one instance: a fault of its host is an outage until Azure ML replaces it"] if instances == 1 else [],
    )


def _rollout(rollout: Mapping[str, Any], instances: int) -> tuple[str, int, int]:
    """Returns the rollout in words, its minimum duration in seconds, and the instances that run at once: a new
    deployment beside the old one.
    """
    plan = steps(
        str(rollout.get("strategy", "all_at_once")),
        canary_percent=int(known(rollout.get("canary_percent"), 0)),
        step_percent=int(known(rollout.get("step_percent"), 100)),
        mirror_percent=int(known(rollout.get("mirror_percent"), 0)),
        bake_seconds=float(known(rollout.get("bake_seconds"), 0)),
    )
    shares = ", ".join(f"copies of {step.mirror} %" if step.mirror else f"{step.share} %" for step in plan)
    words = "all at once, beside the old ones" if len(plan) == 1 else f"{rollout['strategy']}: {shares}"
    longer = int(known(rollout.get("extra_bakes"), 0)) * int(known(rollout.get("bake_seconds"), 0))
    if len(plan) > 1 and longer:
        words += f"; up to {longer} s more without enough evidence, then {rollout.get('on_inconclusive', 'promote')}"
    return words, int(sum(step.seconds for step in plan)), 2 * instances


def run_machines(resources: Sequence[Resource], stack: ResolvedStack) -> dict[Machines, int]:
    """See llmops_kit.cli.interfaces.plan_rules.PlanRules. Counts clusters with all of their nodes."""
    del stack  # runs use the machines of clusters
    found: dict[Machines, int] = {}
    for cluster in of_type(resources, CLUSTER):
        given = known(known(cluster.properties.get("properties"), {}).get("properties"), {})
        use: Use = "spot training job" if given.get("vmPriority") == "LowPriority" else "training job"
        machines = Machines(use, str(known(given.get("vmSize"), UNKNOWN_TYPE)))
        nodes = int(known(known(given.get("scaleSettings"), {}).get("maxNodeCount"), 0))
        found[machines] = found.get(machines, 0) + nodes
    return {machines: n for machines, n in found.items() if machines.instance_type != UNKNOWN_TYPE and n}


def resource_costs(resources: Sequence[Resource], prices: Prices) -> Iterator[CostLine]:
    """See llmops_kit.cli.interfaces.plan_rules.PlanRules. Clusters only cost while runs execute."""
    for type_, (words, name) in _MONTHLY.items():
        if count := len(of_type(resources, type_)):
            yield monthly_line(f"{count} {words}", count, prices.other(name))
    for registry in of_type(resources, REGISTRY):
        tier = str(known(known(registry.properties.get("sku"), {}).get("name"), "Basic"))
        price = prices.other(f"registry_{tier.lower()}_day")
        yield hourly_line(f"container registry ({tier})", 1 / 24, price)
    for type_, (words, name) in _HOURLY.items():
        if count := len(of_type(resources, type_)):
            yield hourly_line(f"{count} {words}", count, prices.other(name))
    for type_, words in _UNPRICED.items():
        if of_type(resources, type_):
            yield CostLine(words, None, None, "by use")
    if any(each.properties.get("storageAccountId") for each in of_type(resources, _DIAGNOSTICS)):
        yield CostLine("copies of audit logs", None, None, "by use")


def warnings(resources: Sequence[Resource], stack: ResolvedStack) -> list[str]:
    """See llmops_kit.cli.interfaces.plan_rules.PlanRules."""
    found = []
    if of_type(resources, QUERY_ALERT) and not stack.told:
        found.append("nobody is notified of alerts and costs: set `llmops:azure: {budget: {emails: […]}}`")
    for name, cluster in stack.settings.azure.computes.items():
        if cluster.min_nodes:
            found.append(f"cluster {name} keeps {cluster.min_nodes} machines that are paid for without a run")
    return found
