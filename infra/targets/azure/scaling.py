"""Scaling of endpoints by their load. (A managed endpoint never scales to zero: limits.py refuses that.)

https://learn.microsoft.com/azure/machine-learning/how-to-autoscale-endpoints
"""

from collections.abc import Sequence

import pulumi
from pulumi_azure_native import monitor

from infra.settings import Endpoint as Entry
from infra.targets.azure.here import Ground, Here

_API = "2021-05-01-preview"
_SCALE_IN_SHARE = 0.5
"""Scaled in below this share of what is scaled out at: one instance less must not bring the next one at once."""


def provide_scaling(
    here: Here,
    name: str,
    entry: Entry,
    ground: Ground,
    endpoint: pulumi.Input[str],
    deployment: pulumi.Input[str],
    after: Sequence[pulumi.Resource],
) -> Sequence[pulumi.Resource]:
    """Declare the scaling between two counts of instances; none where the settings name one.

    Args:
        here: the stack's place.
        name: the endpoint in the settings.
        entry: its settings.
        ground: what it stands on.
        endpoint: resource id; its metric is looked at.
        deployment: resource id of what is scaled.
        after: the traffic: until it has moved, the old deployment is scaled.
    """
    size = entry.size
    if not size.max_instances:
        return []
    capacity = monitor.ScaleCapacityArgs(
        minimum=str(size.instances), maximum=str(size.max_instances), default=str(size.instances)
    )
    profile = monitor.AutoscaleProfileArgs(name="load", capacity=capacity, rules=_rules(entry, ground, endpoint))
    logical, physical = f"scaling-{name}", here.names.of(f"{name}-load")
    setting = monitor.AutoscaleSetting(
        logical,
        autoscale_setting_name=physical,
        name=physical,
        resource_group_name=here.group,
        location=ground.location,
        enabled=True,
        target_resource_uri=deployment,
        profiles=[profile],
        tags=here.all_tags,
        opts=here.adopted(
            "azure-native:monitor:AutoscaleSetting",
            logical,
            here.id("Microsoft.Insights/autoscaleSettings", physical),
            _API,
            depends_on=list(after),
        ),
    )
    return [setting]


def _rules(entry: Entry, ground: Ground, endpoint: pulumi.Input[str]) -> list[monitor.ScaleRuleArgs]:
    """By connections at once for each instance: of Azure ML's metrics the one that is nearest to requests at once.

    (A processor that answers one request is as busy as one that answers eight, so its load tells nothing.)
    """
    wanted = float(entry.size.concurrent_requests)
    return [
        _rule(ground, endpoint, monitor.ComparisonOperationType.GREATER_THAN, wanted, monitor.ScaleDirection.INCREASE),
        _rule(
            ground,
            endpoint,
            monitor.ComparisonOperationType.LESS_THAN,
            wanted * _SCALE_IN_SHARE,
            monitor.ScaleDirection.DECREASE,
        ),
    ]


def _rule(
    ground: Ground,
    endpoint: pulumi.Input[str],
    operator: monitor.ComparisonOperationType,
    threshold: float,
    direction: monitor.ScaleDirection,
) -> monitor.ScaleRuleArgs:
    return monitor.ScaleRuleArgs(
        metric_trigger=monitor.MetricTriggerArgs(
            metric_name="ConnectionsActive",
            metric_namespace="Microsoft.MachineLearningServices/workspaces/onlineEndpoints",
            metric_resource_uri=endpoint,
            metric_resource_location=ground.location,
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
