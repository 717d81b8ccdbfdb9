"""What tells: log groups, the quality metric, the alarms that roll an update back, the dashboard, and the budget."""

import json
from typing import Any

import pulumi
from pulumi_aws import budgets, cloudwatch, sns

from infra.names import CloudNames
from infra.settings import Endpoint
from infra.targets.aws.resources import policies
from infra.targets.aws.resources.stack import Here, cost_tag

VARIANT = "main"
"""Of every endpoint: alarms, autoscaling and metrics name it."""
ALARMS = ("5xx", "latency", "quality")


def provide_topic(here: Here, key: pulumi.Input[str]) -> sns.Topic:
    """Declare where alarms and the budget tell of themselves."""
    name = here.names.of("alarms")
    topic = sns.Topic("alarms", name=name, kms_master_key_id=key, opts=here.options())
    publishers = {"Service": ["budgets.amazonaws.com", "cloudwatch.amazonaws.com"]}
    arn = here.arn("sns", name)
    sns.TopicPolicy(
        "alarms-policy",
        arn=topic.arn,
        policy=policies.document(
            [
                policies.grant(publishers, ["sns:Publish"], arn, StringEquals={"aws:SourceAccount": here.account}),
                policies.tls_only("sns:Publish", arn),
            ]
        ),
        opts=here.options(),
    )
    for number, email in enumerate(here.settings.aws.budget.emails):
        sns.TopicSubscription(
            f"alarms-email-{number}", topic=topic.arn, protocol="email", endpoint=email, opts=here.options()
        )
    return topic


def provide_budget(here: Here, topic: sns.Topic) -> None:
    """Declare the monthly budget: told at 80 % spent, and when the forecast passes all of it.

    Counts what carries the stack's cost tag, once that is a cost allocation tag of the account: `llmops bootstrap aws`.
    """
    wanted = here.settings.aws.budget
    if not wanted.monthly_usd:
        return

    def told(kind: str, percent: float) -> budgets.BudgetNotificationArgs:
        return budgets.BudgetNotificationArgs(
            comparison_operator="GREATER_THAN",
            notification_type=kind,
            threshold=percent,
            threshold_type="PERCENTAGE",
            subscriber_email_addresses=wanted.emails or None,
            subscriber_sns_topic_arns=[topic.arn],
        )

    [(tag, value)] = cost_tag(here.project, here.stack).items()
    budgets.Budget(
        "budget",
        name=here.names.of("budget"),
        budget_type="COST",
        limit_amount=f"{wanted.monthly_usd}.0",
        limit_unit="USD",
        time_unit="MONTHLY",
        cost_filters=[budgets.BudgetCostFilterArgs(name="TagKeyValue", values=[f"user:{tag}${value}"])],
        notifications=[told("ACTUAL", 80), told("FORECASTED", 100)],
        opts=here.options(),
    )


def endpoint_group(here: Here, endpoint: str) -> str:
    """The log group that SageMaker writes an endpoint's lines to."""
    return f"/aws/sagemaker/Endpoints/{here.names.of(endpoint)}"


def alarm_names(names: CloudNames, endpoint: str) -> list[str]:
    """Names of an endpoint's alarms; they never change: SageMaker replaces an endpoint whose list does."""
    return [names.of(f"{endpoint}-{kind}") for kind in ALARMS]


def quality_metric(here: Here, endpoint: str) -> tuple[str, str]:
    """Namespace and name of an endpoint's quality metric."""
    return f"LLMOps/{here.stack}", f"{here.names.of(endpoint)}-quality"


def provide_log(here: Here, name: str, key: pulumi.Input[str]) -> list[pulumi.Resource]:
    """Declare an endpoint's log group, and the metric filter that reads its quality there.

    Args:
        here: the stack's place.
        name: the endpoint in the settings.
        key: encrypts the logs.
    """
    group = cloudwatch.LogGroup(
        f"logs-{name}",
        name=endpoint_group(here, name),
        retention_in_days=here.settings.aws.log_retention_days,
        kms_key_id=key,
        opts=here.options(),
    )
    namespace, metric = quality_metric(here, name)
    quality = cloudwatch.LogMetricFilter(
        f"quality-{name}",
        name=here.names.of(f"{name}-quality"),
        log_group_name=group.name,
        pattern='{ $.event = "quality" }',
        metric_transformation=cloudwatch.LogMetricFilterMetricTransformationArgs(
            name=metric,
            namespace=namespace,
            value="$.score",
            dimensions={"Sha256": "$.sha256"},
        ),
        opts=here.options(),
    )
    return [group, quality]


def provide_alarms(
    here: Here, name: str, entry: Endpoint, configuration: pulumi.Input[str], topic: pulumi.Input[str]
) -> list[cloudwatch.MetricAlarm]:
    """Declare an endpoint's alarms; what they watch is never of the configuration that served before.

    Args:
        here: the stack's place.
        name: the endpoint in the settings.
        entry: its settings.
        configuration: the name of the one that is to serve.
        topic: ARN of who is told.
    """
    return [_alarm(here, name, kind, _measure(here, name, kind, entry, configuration), topic) for kind in ALARMS]


def _alarm(
    here: Here, name: str, kind: str, measure: dict[str, Any], topic: pulumi.Input[str]
) -> cloudwatch.MetricAlarm:
    return cloudwatch.MetricAlarm(
        f"alarm-{name}-{kind}",
        name=here.names.of(f"{name}-{kind}"),
        alarm_description=f"{kind} of endpoint {name}: an update is rolled back",
        treat_missing_data="notBreaching",
        alarm_actions=[topic],
        ok_actions=[topic],
        period=60,
        **measure,
        opts=here.options(),
    )


def _measure(here: Here, name: str, kind: str, entry: Endpoint, configuration: pulumi.Input[str]) -> dict[str, Any]:
    """What an alarm looks at: the new fleet alone. With the old one's errors in it, an update away from a version that
    fails would be undone.

    https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-configuration.html
    """
    limits = here.settings.aws.alarms
    dimensions = {
        "EndpointName": here.names.of(name),
        "VariantName": VARIANT,
        "EndpointConfigName": configuration,
    }
    of_endpoint = {"namespace": "AWS/SageMaker", "dimensions": dimensions}
    above = {"comparison_operator": "GreaterThanThreshold", "evaluation_periods": 2, "datapoints_to_alarm": 2}
    if kind == "5xx":  # 1 for a request that failed, 0 for others: the average is a rate
        found = {"metric_name": "Invocation5XXErrors", "statistic": "Average", "threshold": limits.error_rate}
        return found | of_endpoint | above
    if kind == "latency":  # microseconds
        found = {"metric_name": "ModelLatency", "extended_statistic": "p90", "threshold": limits.latency_seconds * 1e6}
        return found | of_endpoint | above
    namespace, metric = quality_metric(here, name)
    return {
        "namespace": namespace,
        "metric_name": metric,
        # Of the version that comes: the one that goes may answer at the same time.
        "dimensions": {"Sha256": entry.version.sha256},
        "statistic": "Minimum",
        "comparison_operator": "LessThanThreshold",
        "threshold": limits.quality,
        "evaluation_periods": 1,
        "datapoints_to_alarm": 1,
    }


def provide_dashboard(here: Here) -> None:
    """Declare a dashboard with a row for each endpoint."""
    if not here.settings.endpoints:
        return
    widgets = [
        _widget(here, title, metrics, x=8 * column, y=6 * row, stat=stat)
        for row, name in enumerate(sorted(here.settings.endpoints))
        for column, (title, stat, metrics) in enumerate(_panels(here, name, here.names.of(name)))
    ]
    cloudwatch.Dashboard(
        "dashboard",
        dashboard_name=here.names.of("endpoints"),
        dashboard_body=json.dumps({"widgets": widgets}),
        opts=here.options(),
    )


def _panels(here: Here, name: str, physical: str) -> list[tuple[str, str, list[list[Any]]]]:
    """(title, statistic, metrics) of each widget."""
    of = ["EndpointName", physical, "VariantName", VARIANT]
    namespace, metric = quality_metric(here, name)
    search = f"SEARCH('{{\"{namespace}\",Sha256}} MetricName=\"{metric}\"', 'Minimum', 300)"
    return [
        (
            f"{name}: requests and errors",
            "Sum",
            [["AWS/SageMaker", m, *of] for m in ("Invocations", "Invocation4XXErrors", "Invocation5XXErrors")],
        ),
        (f"{name}: latency (us)", "p90", [["AWS/SageMaker", m, *of] for m in ("ModelLatency", "OverheadLatency")]),
        (f"{name}: quality", "Minimum", [[{"expression": search, "label": ""}]]),
    ]


def _widget(here: Here, title: str, metrics: list[list[Any]], *, x: int, y: int, stat: str) -> dict[str, Any]:
    properties = {"title": title, "region": here.region, "metrics": metrics, "stat": stat, "period": 60}
    return {
        "type": "metric",
        "x": x,
        "y": y,
        "width": 8,
        "height": 6,
        "properties": properties | {"view": "timeSeries"},
    }
