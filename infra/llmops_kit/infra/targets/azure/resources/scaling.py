"""Autoscaling of endpoints. (A managed endpoint can't scale to zero: limits.py rejects that.)

https://learn.microsoft.com/azure/machine-learning/how-to-autoscale-endpoints
"""

from collections.abc import Sequence
from functools import partial

import pulumi
from pulumi_azure_native import monitor

from llmops_kit.infra.targets.azure.deployment_metrics import REQUESTS
from llmops_kit.infra.targets.azure.resources.context import AzureStack
from llmops_kit.settings.stack_settings import Endpoint as Entry

_SCALE_IN_SHARE = 0.5
"""Share of the scale-out threshold below which is scaled in, so that one instance less does not scale out again."""


def declare_scaling(
    stack: AzureStack,
    name: str,
    entry: Entry,
    endpoint: pulumi.Input[str],
    deployment: pulumi.Input[str],
    tags: pulumi.Output[dict[str, str]],
    after: Sequence[pulumi.Resource],
) -> Sequence[pulumi.Resource]:
    """Declare the scaling between two instance counts; none if the settings name one count.

    Args:
        stack: that is declared.
        name: the endpoint in the settings.
        entry: its settings.
        endpoint: resource id; its metric is used.
        deployment: resource id of the deployment to scale.
        tags: in addition to the stack's.
        after: the traffic: until it has moved, the old deployment is scaled.
    """
    size = entry.size
    if not size.max_instances:
        return []
    capacity = monitor.ScaleCapacityArgs(
        minimum=str(size.instances), maximum=str(size.max_instances), default=str(size.instances)
    )
    rules = _rules(stack, entry, endpoint, stack.inventory.deployment(name).name)
    own = stack.inventory.scaling(name)
    setting = monitor.AutoscaleSetting(
        own.logical,
        autoscale_setting_name=own.name,
        name=own.name,
        enabled=True,
        target_resource_uri=deployment,
        profiles=[monitor.AutoscaleProfileArgs(name="load", capacity=capacity, rules=rules)],
        resource_group_name=stack.group,
        location=stack.location.location,
        tags=tags.apply(lambda repairs: {**stack.inventory.all_tags, **repairs}),
        opts=stack.options(own, depends_on=list(after)),
    )
    return [setting]


def _rules(
    stack: AzureStack, entry: Entry, endpoint: pulumi.Input[str], deployment_name: str
) -> list[monitor.ScaleRuleArgs]:
    """Returns rules on the deployment's requests per minute and instance, computed from the wanted concurrent requests.

    Azure ML has no metric of concurrent requests. ConnectionsActive counts connections of the whole endpoint: a pool of
    idle connections would keep instances up, and a gateway with a single one would hide its load. A processor is as
    busy with one request as with eight, so its load does not help either.
    """
    wanted = entry.size.concurrent_requests * 60 / stack.azure.answer_seconds
    rule = partial(_rule, stack.location.location, endpoint, deployment_name)
    return [
        rule(monitor.ComparisonOperationType.GREATER_THAN, wanted, monitor.ScaleDirection.INCREASE),
        rule(monitor.ComparisonOperationType.LESS_THAN, wanted * _SCALE_IN_SHARE, monitor.ScaleDirection.DECREASE),
    ]


def _rule(
    location: str,
    endpoint: pulumi.Input[str],
    deployment_name: str,
    operator: monitor.ComparisonOperationType,
    threshold: float,
    direction: monitor.ScaleDirection,
) -> monitor.ScaleRuleArgs:
    return monitor.ScaleRuleArgs(
        metric_trigger=monitor.MetricTriggerArgs(
            metric_name=REQUESTS,
            metric_namespace="Microsoft.MachineLearningServices/workspaces/onlineEndpoints",
            metric_resource_uri=endpoint,
            metric_resource_location=location,
            dimensions=[
                monitor.ScaleRuleMetricDimensionArgs(
                    dimension_name="deployment",
                    operator=monitor.ScaleRuleMetricDimensionOperationType.EQUALS,
                    values=[deployment_name],
                )
            ],
            operator=operator,
            statistic=monitor.MetricStatisticType.AVERAGE,
            threshold=threshold,
            time_aggregation=monitor.TimeAggregationType.AVERAGE,
            time_grain="PT1M",
            time_window="PT5M",
            divide_per_instance=True,
        ),
        scale_action=monitor.ScaleActionArgs(
            cooldown="PT5M", direction=direction, type=monitor.ScaleType.CHANGE_COUNT, value="1"
        ),
    )
