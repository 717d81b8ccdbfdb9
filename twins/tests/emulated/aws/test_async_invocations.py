"""Asynchronous invocations: results and failures in S3, notices, a queue with limits that outlives the twin."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.s3.models import s3_backends

from llmops_kit.core.twins import TWIN_ACCOUNT
from llmops_kit.local_runtime.process_images import build
from llmops_twins.aws import control, s3_objects
from tests.support.servers.echo import echo_source
from tests.support.servers.serving import until
from twins.tests.emulated.aws.containers import Container, ServedTwin, served
from twins.tests.emulated.aws.test_process import await_written
from twins.tests.support.aws import TRUST, RunningTwin, await_status

ARN = "arn:aws:sagemaker:us-east-1:000000000000"
WORK = "work-of-tests"


# -- the queue, with a container that does as it is told


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServedTwin, Container]]:
    with served(tmp_path_factory.mktemp("twin")) as found:
        s3_backends[TWIN_ACCOUNT]["aws"].create_bucket(WORK, "us-east-1")
        found[0].twin.start()
        yield found


@pytest.fixture
def container(both: tuple[ServedTwin, Container]) -> Iterator[Container]:
    both[1].requests.clear()
    both[1].left.clear()
    both[1].go_on.clear()
    yield both[1]
    both[1].go_on.set()


@pytest.fixture
def twin(both: tuple[ServedTwin, Container]) -> Iterator[ServedTwin]:
    twin = both[0]
    twin.config["AsyncInferenceConfig"] = {
        "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 1},
        "OutputConfig": {"S3OutputPath": f"s3://{WORK}/out/", "S3FailurePath": f"s3://{WORK}/failed"},
    }
    twin.endpoint["variants"] = {"main": {"CurrentInstanceCount": 2}}
    yield twin
    until(lambda: not twin.twin.state["sagemaker"]["us-east-1"].get("async-invocation") and not twin.fleet.held)


def invoke(twin: ServedTwin, told: dict[str, Any], **more: Any) -> dict[str, Any]:
    return twin.client().invoke_endpoint_async(EndpointName="chat", Body=json.dumps(told).encode(), **more)


def content(twin: ServedTwin, folder: Path, uri: str) -> str:
    """An object's content, once it is there."""
    place = s3_objects.S3Location.of(uri)
    until(lambda: uri in [f"s3://{WORK}/{key}" for key, _ in s3_objects.found_below(twin.twin, place)])
    s3_objects.download(twin.twin, place.bucket, place.key, folder / "content")
    return (folder / "content").read_text()


def test_a_result_is_written_where_the_answer_said(twin: ServedTwin, container: Container, tmp_path: Path) -> None:
    given = {"say": "done", "headers": {"Content-Type": "text/x-result"}}
    answer = invoke(twin, given, ContentType="text/x-question", CustomAttributes="there=1", InferenceId="mine")
    assert (answer["ResponseMetadata"]["HTTPStatusCode"], answer["InferenceId"]) == (202, "mine")
    assert answer["OutputLocation"].startswith(f"s3://{WORK}/out/")
    assert answer["OutputLocation"].endswith(".out")
    assert answer["FailureLocation"].startswith(f"s3://{WORK}/failed/")
    assert content(twin, tmp_path, answer["OutputLocation"]) == "done"
    got = container.requests[0]
    assert (got["path"], got["content-type"]) == ("/invocations", "text/x-question")
    assert (got["x-amzn-sagemaker-custom-attributes"], json.loads(got["body"])) == ("there=1", given)
    named = invoke(twin, {"say": "named"}, S3OutputPathExtension="a/b", Filename="c.txt")
    assert named["OutputLocation"] == f"s3://{WORK}/out/a/b/c.txt"
    assert content(twin, tmp_path, named["OutputLocation"]) == "named"


@pytest.mark.parametrize(
    ("told", "more", "failure"),
    [
        ({"status": 500, "say": '{"error": "no"}'}, {}, '{"error": "no"}'),
        ({"do": "die"}, {}, "The connection to container primary was lost before its response was whole."),
        ({"do": "short"}, {}, "The connection to container primary was lost before its response was whole."),
        ({"do": "wait"}, {"InvocationTimeoutSeconds": 1}, "Your invocation timed out while waiting for a response"),
    ],
)
def test_a_failure_is_written_where_the_answer_said(
    twin: ServedTwin, container: Container, tmp_path: Path, told: dict[str, Any], more: dict[str, Any], failure: str
) -> None:
    answer = invoke(twin, told, **more)
    assert content(twin, tmp_path, answer["FailureLocation"]).startswith(failure)
    assert not s3_objects.found_below(twin.twin, s3_objects.S3Location.of(answer["OutputLocation"]))
    if told.get("do") == "wait":
        assert container.left.wait(60)


def test_no_more_at_once_than_the_instances_take(twin: ServedTwin, container: Container, tmp_path: Path) -> None:
    answers = [invoke(twin, {"do": "wait", "number": number}) for number in range(5)]
    until(lambda: len(container.requests) == 2)
    until(lambda: twin.fleet.held == 2)
    twin.twin.changed()
    values = metrics(twin)
    until(lambda: metrics(twin).get("ApproximateBacklogSizePerInstance", [0])[-1] == 2.5, 10)
    assert len(container.requests) == 2
    container.go_on.set()
    for number, answer in enumerate(answers):
        assert json.loads(content(twin, tmp_path, answer["OutputLocation"]))["number"] == number
    until(lambda: metrics(twin)["ApproximateBacklogSize"][-1] == 0, 10)
    assert values.keys() <= metrics(twin).keys()


def metrics(twin: ServedTwin) -> dict[str, list[float]]:
    """The endpoint's data points, in order, by the metric's name."""
    with twin.twin.lock:
        found = twin.twin.state.get("cloudwatch", {}).get("us-east-1", {}).get("metrics", {}).values()
        named = [{"Name": "EndpointName", "Value": "chat"}]
        return {m["MetricName"]: [p[2] for p in m["points"]] for m in found if m["Dimensions"] == named}


def test_a_queue_waits_for_the_first_instance(twin: ServedTwin, container: Container, tmp_path: Path) -> None:
    twin.endpoint["variants"]["main"]["CurrentInstanceCount"] = 0
    answer = invoke(twin, {"say": "late"})
    until(lambda: metrics(twin).get("HasBacklogWithoutCapacity", [0])[-1] == 1, 10)
    assert not container.requests
    twin.fleet.refusals = 2  # the instance is wanted, and starts
    twin.endpoint["variants"]["main"]["CurrentInstanceCount"] = 1
    assert content(twin, tmp_path, answer["OutputLocation"]) == "late"


def test_what_waits_too_long_has_failed(twin: ServedTwin, tmp_path: Path) -> None:
    twin.endpoint["variants"]["main"]["CurrentInstanceCount"] = 0
    answer = invoke(twin, {"say": "never"}, RequestTTLSeconds=60)
    with twin.twin.lock:
        for item in twin.twin.state["sagemaker"]["us-east-1"]["async-invocation"].values():
            item["expires"] -= 60
    assert "waited longer than its RequestTTLSeconds" in content(twin, tmp_path, answer["FailureLocation"])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "Either InputLocation or Body must be given"),
        ({"Body": b"x", "InputLocation": "s3://b/k"}, "Either InputLocation or Body must be given"),
        ({"InputLocation": "https://b.s3.amazonaws.com/k"}, "InputLocation must be an s3:// URI"),
        ({"Body": b"x" * 128_001}, "length less than or equal to 128000"),
        ({"Body": b"x", "InvocationTimeoutSeconds": 3601}, "less than or equal to 3600"),
        ({"Body": b"x", "EndpointName": "other"}, "Endpoint other of account 000000000000 not found."),
    ],
)
def test_what_is_no_invocation_is_refused(twin: ServedTwin, given: dict[str, Any], told: str) -> None:
    with pytest.raises(ClientError, match="ValidationError") as refused:
        twin.client().invoke_endpoint_async(**({"EndpointName": "chat"} | given))
    assert told in str(refused.value)


def test_each_kind_of_endpoint_has_its_own_way_to_be_invoked(twin: ServedTwin) -> None:
    with pytest.raises(ClientError, match="is invoked by InvokeEndpointAsync"):
        twin.client().invoke_endpoint(EndpointName="chat", Body=b"x")
    del twin.config["AsyncInferenceConfig"]
    with pytest.raises(ClientError, match="Endpoint chat is not asynchronous"):
        invoke(twin, {})


# -- the whole of it, on a twin that judges


@pytest.fixture(scope="module")
def judging(borrow: Callable[..., RunningTwin], tmp_path_factory: pytest.TempPathFactory) -> RunningTwin:
    """A twin with an asynchronous endpoint without instances, whose role may just what it needs."""
    twin = borrow(judge="strict", containers="run")
    twin.client("s3").create_bucket(Bucket=WORK)
    for topic in ("good", "bad"):
        arn = twin.client("sns").create_topic(Name=topic)["TopicArn"]
        queue = twin.client("sqs").create_queue(QueueName=topic)["QueueUrl"]
        read = twin.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]
        twin.client("sns").subscribe(TopicArn=arn, Protocol="sqs", Endpoint=read["QueueArn"])
    role = twin.client("iam").create_role(RoleName="serving", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]
    allow(twin, "s3:PutObject", "s3:GetObject", "sns:Publish")
    image = build(echo_source(tmp_path_factory.mktemp("echo")))
    sagemaker = twin.client("sagemaker")
    sagemaker.create_model(ModelName="m", ExecutionRoleArn=role["Arn"], PrimaryContainer={"Image": image})
    topics = {f"{kind}Topic": f"arn:aws:sns:us-east-1:000000000000:{name}" for kind, name in NOTICES.items()}
    output = {
        "S3OutputPath": f"s3://{WORK}/out",
        "S3FailurePath": f"s3://{WORK}/failed",
        "NotificationConfig": {**topics, "IncludeInferenceResponseIn": ["SUCCESS_NOTIFICATION_TOPIC"]},
    }
    variant = {"VariantName": "main", "ModelName": "m", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(
        EndpointConfigName="c", ProductionVariants=[variant], AsyncInferenceConfig={"OutputConfig": output}
    )
    sagemaker.create_endpoint(EndpointName="later", EndpointConfigName="c")
    await_status(twin, "later", "InService")
    return twin


NOTICES = {"Success": "good", "Error": "bad"}


def allow(twin: RunningTwin, *actions: str) -> None:
    """Let the role of the endpoint do this, and what it can't be without."""
    always = ["logs:*", "cloudwatch:PutMetricData", "ecr:*", "s3:ListBucket"]
    statement = {"Effect": "Allow", "Action": [*actions, *always], "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    twin.client("iam").put_role_policy(RoleName="serving", PolicyName="p", PolicyDocument=document)


def instances(twin: RunningTwin, count: int) -> None:
    wanted = [{"VariantName": "main", "DesiredInstanceCount": count}]
    twin.client("sagemaker").update_endpoint_weights_and_capacities(
        EndpointName="later", DesiredWeightsAndCapacities=wanted
    )
    await_status(twin, "later", "InService")


def asked(twin: RunningTwin, text: bytes) -> dict[str, Any]:
    twin.client("s3").put_object(Bucket=WORK, Key="in/question", Body=text)
    return twin.client("sagemaker-runtime").invoke_endpoint_async(
        EndpointName="later", InputLocation=f"s3://{WORK}/in/question", ContentType="text/plain"
    )


def read(twin: RunningTwin, uri: str) -> str:
    """An object, once it is there."""
    place = s3_objects.S3Location.of(uri)
    twin.client("s3").get_waiter("object_exists").wait(
        Bucket=place.bucket, Key=place.key, WaiterConfig={"Delay": 0.1, "MaxAttempts": 3000}
    )
    return twin.client("s3").get_object(Bucket=place.bucket, Key=place.key)["Body"].read().decode()


def notice(twin: RunningTwin, kind: str) -> dict[str, Any]:
    url = twin.client("sqs").get_queue_url(QueueName=NOTICES[kind])["QueueUrl"]
    found = until(lambda: twin.client("sqs").receive_message(QueueUrl=url).get("Messages"))
    return json.loads(json.loads(found[0]["Body"])["Message"])


def told(twin: RunningTwin) -> str:
    """What the log of the endpoint's data says."""
    found = twin.client("logs").filter_log_events(logGroupName="/aws/sagemaker/Endpoints/later")["events"]
    return "\n".join(event["message"] for event in found if event["logStreamName"].endswith("/data-log"))


def test_results_failures_and_notices(judging: RunningTwin) -> None:
    answer = asked(judging, b"what is the question")
    assert read(judging, answer["OutputLocation"]) == "what is the question"
    good = notice(judging, "Success")
    assert good["invocationStatus"] == "Completed"
    assert good["responseParameters"]["outputLocation"] == answer["OutputLocation"]
    assert good["requestParameters"] == {
        "contentType": "text/plain",
        "endpointName": "later",
        "inputLocation": f"s3://{WORK}/in/question",
    }
    assert (good["inferenceId"], good["eventName"]) == (answer["InferenceId"], "InferenceResult")
    assert good["responseBody"] == {"content": "d2hhdCBpcyB0aGUgcXVlc3Rpb24=", "encoding": "BASE64"}
    answer = asked(judging, b"please fail")
    assert read(judging, answer["FailureLocation"]) == "as asked"
    bad = notice(judging, "Error")
    assert bad["invocationStatus"] == "Failed"
    assert 'Received server error (500) from primary with message "as asked"' in bad["failureReason"]
    assert "Inference request succeeded. ModelLatency: " in told(judging)


@pytest.mark.parametrize(
    ("kept", "denied"),
    [
        (("s3:PutObject", "sns:Publish"), "s3:GetObject"),
        (("s3:GetObject", "sns:Publish"), "s3:PutObject"),
        (("s3:GetObject", "s3:PutObject"), "sns:Publish"),
    ],
)
def test_what_the_endpoints_role_may_not_is_told_in_its_log(
    judging: RunningTwin, kept: tuple[str, ...], denied: str
) -> None:
    allow(judging, *kept)
    answer = asked(judging, b"again")
    line = f"not authorized to perform: {denied}"
    until(lambda: [each for each in told(judging).split("\n") if answer["InferenceId"] in each and line in each])
    allow(judging, "s3:GetObject", "s3:PutObject", "sns:Publish")


def test_a_queue_outlives_the_twin(judging: RunningTwin) -> None:
    instances(judging, 0)
    answer = asked(judging, b"still here")
    await_written(judging)
    os.kill(judging.info.pids["twin"], signal.SIGKILL)
    judging.info = control.up(judging.home, judge="strict", pace=0.2)
    judging.close()
    judging.clients.clear()
    instances(judging, 1)
    assert read(judging, answer["OutputLocation"]) == "still here"
