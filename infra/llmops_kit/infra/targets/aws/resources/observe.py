"""Monitoring: log groups, the quality metrics, the alarms' topic, the dashboard, and the budget."""

import json
from typing import Any

import pulumi
from pulumi_aws import budgets, cloudwatch, sns

from llmops_kit.clouds.aws import policies
from llmops_kit.clouds.aws.names import COST_TAG, SERVING, VARIANT, endpoint_logs
from llmops_kit.clouds.aws.settings import AwsBudgetSettings
from llmops_kit.infra.targets.aws.resources.context import AwsContext


def declare_topic(stack: AwsContext, emails: list[str], key: pulumi.Input[str]) -> sns.Topic:
    """Declare the SNS topic that alarms and the budget notify."""
    name = stack.names.of("alarms")
    topic = sns.Topic(stack.names.logical("alarms"), name=name, kms_master_key_id=key, opts=stack.options())
    publishers = {"Service": ["budgets.amazonaws.com", "cloudwatch.amazonaws.com"]}
    arn = stack.arn("sns", name)
    sns.TopicPolicy(
        stack.names.logical("alarms-policy"),
        arn=topic.arn,
        policy=pulumi.Output.json_dumps(
            policies.document(
                [
                    policies.grant(publishers, ["sns:Publish"], arn, StringEquals={"aws:SourceAccount": stack.account}),
                    policies.tls_only("sns:Publish", arn),
                ]
            )
        ),
        opts=stack.options(),
    )
    for number, email in enumerate(emails):
        sns.TopicSubscription(
            stack.names.logical(f"alarms-email-{number}"),
            topic=topic.arn,
            protocol="email",
            endpoint=email,
            opts=stack.options(),
        )
    return topic


def declare_budget(stack: AwsContext, wanted: AwsBudgetSettings, topic: sns.Topic) -> None:
    """Declare the monthly budget: notifies at 80 % spent, and if the forecast exceeds it.

    It counts resources with the stack's cost tag, once `llmops bootstrap aws` has made that a cost allocation tag of
    the account.
    """
    emails: Any = {"subscriber_email_addresses": wanted.emails} if wanted.emails else {}

    def notification(kind: str, percent: float) -> Any:
        return {
            "comparison_operator": "GREATER_THAN",
            "notification_type": kind,
            "threshold": percent,
            "threshold_type": "PERCENTAGE",
            "subscriber_sns_topic_arns": [topic.arn],
            **emails,
        }

    budgets.Budget(
        stack.names.logical("budget"),
        name=stack.names.of("budget"),
        budget_type="COST",
        limit_amount=f"{wanted.monthly_usd}.0",
        limit_unit="USD",
        time_unit="MONTHLY",
        cost_filters=[{"name": "TagKeyValue", "values": [f"user:{COST_TAG}${stack.project}/{stack.name}"]}],
        notifications=[notification("ACTUAL", 80), notification("FORECASTED", 100)],
        opts=stack.options(),
    )


def quality_metric(stack: AwsContext, endpoint: str) -> tuple[str, str]:
    """Returns namespace and name of an endpoint's quality metric."""
    return f"LLMOps/{stack.name}", f"{stack.names.of(endpoint)}-quality"


def declare_log(stack: AwsContext, name: str, days: int, key: pulumi.Input[str]) -> list[pulumi.Resource]:
    """Declare an endpoint's log group, kept for `days`, and the metric filters that read its quality there.

    The metric exists twice: for each version, and for whichever version reports.
    """
    group = cloudwatch.LogGroup(
        f"logs-{name}",
        name=endpoint_logs(stack.names.of(name)),
        retention_in_days=days,
        kms_key_id=key,
        opts=stack.options(),
    )
    namespace, metric = quality_metric(stack, name)

    def quality(logical: str, physical: str, dimensions: dict[str, str]) -> cloudwatch.LogMetricFilter:
        transformation: Any = {"name": metric, "namespace": namespace, "value": "$.score"}
        if dimensions:
            transformation["dimensions"] = dimensions
        return cloudwatch.LogMetricFilter(
            logical,
            name=stack.names.of(physical),
            log_group_name=group.name,
            pattern='{ $.event = "quality" }',
            metric_transformation=transformation,
            opts=stack.options(),
        )

    of_version = quality(f"quality-{name}", f"{name}-quality", {"Sha256": "$.sha256"})
    return [group, of_version, quality(f"serving-quality-{name}", f"{name}-quality{SERVING}", {})]


def declare_dashboard(stack: AwsContext, endpoints: list[str]) -> None:
    """Declare a dashboard with a row for each endpoint."""
    if not endpoints:
        return
    widgets = [
        _widget(stack, title, metrics, x=8 * column, y=6 * row, stat=stat)
        for row, name in enumerate(sorted(endpoints))
        for column, (title, stat, metrics) in enumerate(_panels(stack, name, stack.names.of(name)))
    ]
    cloudwatch.Dashboard(
        stack.names.logical("dashboard"),
        dashboard_name=stack.names.of("endpoints"),
        dashboard_body=json.dumps({"widgets": widgets}),
        opts=stack.options(),
    )


def _panels(stack: AwsContext, name: str, physical: str) -> list[tuple[str, str, list[list[Any]]]]:
    """Returns (title, statistic, metrics) of each widget."""
    of = ["EndpointName", physical, "VariantName", VARIANT]
    namespace, metric = quality_metric(stack, name)
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


def _widget(stack: AwsContext, title: str, metrics: list[list[Any]], *, x: int, y: int, stat: str) -> dict[str, Any]:
    properties = {"title": title, "region": stack.region, "metrics": metrics, "stat": stat, "period": 60}
    return {
        "type": "metric",
        "x": x,
        "y": y,
        "width": 8,
        "height": 6,
        "properties": properties | {"view": "timeSeries"},
    }
