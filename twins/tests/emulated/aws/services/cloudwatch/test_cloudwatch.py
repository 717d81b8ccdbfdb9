"""Metrics, alarms that evaluate, composite alarms, what they do, dashboards."""

import json
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from twins.tests.emulated.aws.services.waiting import eventually
from twins.tests.support.aws import RunningTwin

ALARM = {
    "Namespace": "Test",
    "MetricName": "Errors",
    "Statistic": "Sum",
    "Period": 60,
    "EvaluationPeriods": 1,
    "Threshold": 1.0,
    "ComparisonOperator": "GreaterThanOrEqualToThreshold",
}


@pytest.fixture
def cloudwatch(twin: RunningTwin) -> Any:
    """A client."""
    return twin.client("cloudwatch")


def test_alarm_keeps_its_fields_and_tags(cloudwatch: Any) -> None:
    given = {
        **ALARM,
        "AlarmName": "kept",
        "AlarmDescription": "d",
        "DatapointsToAlarm": 1,
        "TreatMissingData": "breaching",
        "ActionsEnabled": False,
        "Dimensions": [{"Name": "a", "Value": "b"}],
        "Unit": "Count",
    }
    cloudwatch.put_metric_alarm(**given, Tags=[{"Key": "a", "Value": "b"}])
    [shown] = cloudwatch.describe_alarms(AlarmNames=["kept"])["MetricAlarms"]
    assert given.items() <= shown.items()
    tags = cloudwatch.list_tags_for_resource(ResourceARN=shown["AlarmArn"])["Tags"]
    assert tags == [{"Key": "a", "Value": "b"}]


@pytest.mark.parametrize(
    ("missing", "state"), [("notBreaching", "OK"), ("breaching", "ALARM"), ("missing", "INSUFFICIENT_DATA")]
)
def test_alarm_without_data_treats_them_as_it_says(cloudwatch: Any, missing: str, state: str) -> None:
    name = f"silent-{missing}"
    cloudwatch.put_metric_alarm(**{**ALARM, "MetricName": "Never"}, AlarmName=name, TreatMissingData=missing)
    eventually(lambda: _state(cloudwatch, name) == state)


def test_alarm_rings_publishes_and_recovers(twin: RunningTwin, cloudwatch: Any) -> None:
    queue_url, topic = _mailbox(twin, "alarms")
    arguments = {
        "AlarmName": "rings",
        "TreatMissingData": "notBreaching",
        "AlarmActions": [topic],
        "OKActions": [topic],
    }
    cloudwatch.put_metric_alarm(**ALARM, **arguments)
    eventually(lambda: _state(cloudwatch, "rings") == "OK")
    cloudwatch.put_metric_data(Namespace="Test", MetricData=[{"MetricName": "Errors", "Value": 3}])
    messages = []

    def heard() -> bool:
        for each in twin.client("sqs").receive_message(QueueUrl=queue_url).get("Messages", []):
            messages.append(json.loads(json.loads(each["Body"])["Message"]))
            twin.client("sqs").delete_message(QueueUrl=queue_url, ReceiptHandle=each["ReceiptHandle"])
        states = [message["NewStateValue"] for message in messages if message["AlarmName"] == "rings"]
        return states[-2:] == ["ALARM", "OK"]

    eventually(heard)
    reasons = [message["NewStateReason"] for message in messages if message["NewStateValue"] == "ALARM"]
    assert reasons == ["Threshold Crossed: 1 datapoint [3.0] was greater than or equal to the threshold (1.0)."]
    history = cloudwatch.describe_alarm_history(AlarmName="rings", HistoryItemType="Action")["AlarmHistoryItems"]
    assert history[0]["HistorySummary"] == f"Successfully executed action {topic}"


def test_topic_whose_key_shuts_cloudwatch_out_hears_nothing(twin: RunningTwin, cloudwatch: Any) -> None:
    sns = twin.client("sns")
    topic = sns.create_topic(Name="shut", Attributes={"KmsMasterKeyId": "alias/aws/sns"})["TopicArn"]
    arguments = {"MetricName": "Never", "TreatMissingData": "breaching", "AlarmActions": [topic]}
    cloudwatch.put_metric_alarm(**{**ALARM, **arguments}, AlarmName="unheard")

    def failed() -> bool:
        items = cloudwatch.describe_alarm_history(AlarmName="unheard", HistoryItemType="Action")["AlarmHistoryItems"]
        return any("Failed to execute action" in item["HistorySummary"] for item in items)

    eventually(failed)


def test_data_of_a_metric_are_told_by_period(cloudwatch: Any) -> None:
    data = [{"MetricName": "All", "Values": [1.0, 2.0], "Counts": [4.0, 3.0]}]
    cloudwatch.put_metric_data(Namespace="M", MetricData=data)
    stat = {"Metric": {"Namespace": "M", "MetricName": "All"}, "Period": 3600, "Stat": "Sum"}
    end = time.time() + 60
    [result] = cloudwatch.get_metric_data(
        MetricDataQueries=[{"Id": "all", "MetricStat": stat}], StartTime=end - 3600, EndTime=end
    )["MetricDataResults"]
    assert (result["Label"], sum(result["Values"])) == ("All", 10.0)


def test_an_alarm_on_an_expression_needs_a_least_number_of_errors(cloudwatch: Any) -> None:
    def query(id_: str, stat: str) -> dict[str, Any]:
        metric = {"Namespace": "Maths", "MetricName": "Failed"}
        return {"Id": id_, "MetricStat": {"Metric": metric, "Period": 3600, "Stat": stat}, "ReturnData": False}

    result = {"Id": "result", "Expression": "IF(FILL(errors, 0) >= 5, rate, 0)"}
    metrics = [query("errors", "Sum"), query("rate", "Average"), result]
    given = {"EvaluationPeriods": 1, "Threshold": 0.05, "ComparisonOperator": "GreaterThanThreshold"}
    cloudwatch.put_metric_alarm(AlarmName="least", Metrics=metrics, TreatMissingData="notBreaching", **given)
    [shown] = cloudwatch.describe_alarms(AlarmNames=["least"])["MetricAlarms"]
    assert [each["Id"] for each in shown["Metrics"]] == ["errors", "rate", "result"]
    assert "MetricName" not in shown
    assert not cloudwatch.describe_alarms_for_metric(Namespace="Maths", MetricName="Failed")["MetricAlarms"]
    for errors, state in ((4, "OK"), (1, "ALARM")):
        cloudwatch.put_metric_data(Namespace="Maths", MetricData=[{"MetricName": "Failed", "Value": 1.0}] * errors)
        eventually(lambda state=state: _state(cloudwatch, "least") == state)


MATHS = [{"Id": "rate", "Expression": "bad / calls"}]


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("put_metric_alarm", {"AlarmName": "a", "ThresholdMetricId": "b", "EvaluationPeriods": 1}),
        ("put_composite_alarm", {"AlarmName": "a", "AlarmRule": 'ALARM("b")'}),
        ("get_metric_data", {"MetricDataQueries": MATHS, "StartTime": 0, "EndTime": 60}),
    ],
)
def test_what_the_twin_does_not_judge_is_refused_as_that(
    cloudwatch: Any, operation: str, parameters: dict[str, Any]
) -> None:
    if operation == "put_metric_alarm":
        parameters = {**parameters, "ComparisonOperator": "GreaterThanThreshold"}
    with pytest.raises(ClientError, match="This twin of AWS does not judge") as refused:
        getattr(cloudwatch, operation)(**parameters)
    assert refused.value.response["Error"]["Code"] == "NotImplemented"
    assert not cloudwatch.describe_alarms(AlarmNames=["a"], AlarmTypes=["CompositeAlarm"])["CompositeAlarms"]


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"Period": 61}, "multiple of 60"),
        ({"DatapointsToAlarm": 2}, "DatapointsToAlarm must be less than or equal to EvaluationPeriods"),
        ({"ExtendedStatistic": "p99"}, "Exactly one of Statistic and ExtendedStatistic"),
        ({"AlarmActions": ["nothing"]}, "Invalid arn syntax"),
    ],
)
def test_alarm_that_can_not_be_is_refused(cloudwatch: Any, changed: dict[str, Any], text: str) -> None:
    with pytest.raises(ClientError, match=text):
        cloudwatch.put_metric_alarm(**{**ALARM, "AlarmName": "bad", **changed})


def test_what_aws_refuses_is_refused(cloudwatch: Any) -> None:
    with pytest.raises(ClientError, match="The value AWS/ for parameter Namespace is invalid"):
        cloudwatch.put_metric_data(Namespace="AWS/SageMaker", MetricData=[{"MetricName": "a", "Value": 1}])
    with pytest.raises(ClientError, match="ResourceNotFound"):
        cloudwatch.delete_alarms(AlarmNames=["none"])


def test_dashboard_must_be_one(cloudwatch: Any) -> None:
    body = json.dumps({"widgets": [{"type": "text", "properties": {"markdown": "x"}}]})
    cloudwatch.put_dashboard(DashboardName="kit", DashboardBody=body)
    assert cloudwatch.get_dashboard(DashboardName="kit")["DashboardBody"] == body
    with pytest.raises(ClientError, match="DashboardBody must be a valid JSON"):
        cloudwatch.put_dashboard(DashboardName="kit", DashboardBody="{")
    cloudwatch.delete_dashboards(DashboardNames=["kit"])
    with pytest.raises(ClientError, match="does not exist"):
        cloudwatch.get_dashboard(DashboardName="kit")


def _state(client: Any, name: str) -> str:
    return client.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]["StateValue"]


def _mailbox(twin: RunningTwin, name: str) -> tuple[str, str]:
    """A queue that gets what a topic is told: the queue's URL and the topic's ARN."""
    sns, sqs = twin.client("sns"), twin.client("sqs")
    topic = sns.create_topic(Name=name)["TopicArn"]
    queue = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    return queue, topic
