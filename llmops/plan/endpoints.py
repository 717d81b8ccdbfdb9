"""What becomes of each endpoint on AWS: its version, how it is rolled out, how many instances that takes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmops.plan.changes import Change, Resource, known, of_type

ENDPOINT = "aws:sagemaker/endpoint:Endpoint"
CONFIGURATION = "aws:sagemaker/endpointConfiguration:EndpointConfiguration"
SCALING = "aws:appautoscaling/target:Target"
_PREFIX = "endpoint-"


@dataclass(frozen=True)
class EndpointPlan:
    """An endpoint as it will be."""

    name: str
    change: str  # create, update, none
    before: str  # version
    after: str
    instance_type: str
    instances: int
    most_instances: int
    least_instances: int
    strategy: str
    at_least_seconds: int
    during_update: int  # instances that run at the same time at most
    notes: list[str] = field(default_factory=list)


def plan_endpoints(
    resources: Sequence[Resource],
    changes: Sequence[Change],
    entries: Mapping[str, Mapping[str, Any]],
    deployed: Mapping[str, str],
) -> list[EndpointPlan]:
    """Endpoints of the stack after `up`.

    Args:
        resources: as they will be.
        changes: of the preview.
        entries: `endpoints` of the stack file.
        deployed: endpoint -> version that was deployed last.
    """
    changed = {c.name: c.action for c in changes}
    by_name = {known(r.inputs.get("name"), r.name): r for r in of_type(resources, CONFIGURATION)}
    found = []
    for resource in of_type(resources, ENDPOINT):
        name = resource.name.removeprefix(_PREFIX)
        configuration = by_name.get(resource.inputs.get("endpointConfigName", ""))
        if configuration is None:
            configuration = _named(resources, CONFIGURATION, f"configuration-{name}")
        entry = entries.get(name, {})
        change = changed.get(resource.name, "none")
        scaling = _named(resources, SCALING, f"scaling-{name}")
        found.append(_plan(name, change, entry, deployed.get(name, ""), resource, configuration, scaling))
    return found


def _named(resources: Sequence[Resource], type_: str, name: str) -> Resource:
    """The resource of a logical name; one without properties where there is none."""
    return next((r for r in of_type(resources, type_) if r.name == name), Resource(type_, name, {}))


def _plan(
    name: str,
    change: str,
    entry: Mapping[str, Any],
    before: str,
    endpoint: Resource,
    configuration: Resource,
    scaling: Resource,
) -> EndpointPlan:
    variant = (configuration.inputs.get("productionVariants") or [{}])[0]
    size = entry.get("size") or {}
    instances = int(known(variant.get("initialInstanceCount"), size.get("instances", 1)))
    least = int(known(scaling.inputs.get("minCapacity"), instances))
    most = int(known(scaling.inputs.get("maxCapacity"), instances))
    strategy, seconds, during = _rollout(endpoint.inputs.get("deploymentConfig") or {}, instances)
    notes = _notes(entry, strategy, instances)
    if change == "create":
        strategy, seconds, during = "first deployment", 0, instances
    if change == "none":
        strategy, seconds, during = "stays", 0, instances
    return EndpointPlan(
        name=name,
        change=change,
        before=short(before),
        after=short(str(entry.get("model", ""))),
        instance_type=str(known(variant.get("instanceType"), "unknown")),
        instances=instances,
        most_instances=max(most, instances),
        least_instances=least,
        strategy=strategy,
        at_least_seconds=seconds,
        during_update=during,
        notes=notes,
    )


def _rollout(deployment: Mapping[str, Any], instances: int) -> tuple[str, int, int]:
    """What SageMaker will do: in words, the seconds that it waits, and the instances that run at once.

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
    """A capacity size in instances: a number, or a share of them, at least one."""
    value = int(known(size.get("value"), 100))
    return max(1, value if size.get("type") == "INSTANCE_COUNT" else instances * value // 100)


def _notes(entry: Mapping[str, Any], strategy: str, instances: int) -> list[str]:
    asked = str((entry.get("rollout") or {}).get("strategy", "all_at_once"))
    notes = []
    if asked != "all_at_once" and strategy.startswith("all at once"):
        notes.append(f"{asked} is asked for, but one instance can't be shared: all at once")
    if instances == 1:
        notes.append("one instance: a fault of its host is an outage until SageMaker replaces it")
    if instances == 0:
        notes.append("no instance while idle: the first request waits until one has started")
    return notes


def short(model: str) -> str:
    """`chatbot@3@sha256:…` -> `chatbot@3`."""
    return model.partition("@sha256")[0]
