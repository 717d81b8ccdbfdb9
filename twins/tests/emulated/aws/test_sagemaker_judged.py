"""What SageMaker does under a role, and for its caller, is judged; an endpoint goes on after a restart."""

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from twins.tests.emulated.aws.test_process import await_written
from twins.tests.emulated.aws.test_sagemaker_training import ended, job
from twins.tests.support.aws import RunningTwin, await_status, made_config, made_model, made_role


@pytest.fixture(scope="module")
def twin(borrow: Callable[..., RunningTwin]) -> RunningTwin:
    strict = borrow(judge="strict")
    strict.client("s3").create_bucket(Bucket="models-of-tests")
    for key in ("models/1/manifest.json", "runs/1/input/data.jsonl"):
        strict.client("s3").put_object(Bucket="models-of-tests", Key=key, Body=b"{}")
    return strict


def allow(twin: RunningTwin, role: str, *actions: str) -> None:
    """Let a role do these alone."""
    allowed = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": list(actions), "Resource": "*"}]}
    name = role.rpartition("/")[2]
    twin.client("iam").put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=json.dumps(allowed))


def test_an_endpoint_whose_role_lost_a_right_fails(twin: RunningTwin) -> None:
    role = made_role(twin, "lost-right")
    made_config(twin, "lost-right", made_model(twin, "lost-right", role))
    allow(twin, role, "s3:GetObject", "s3:ListBucket")  # and no logs
    twin.client("sagemaker").create_endpoint(EndpointName="lost-right", EndpointConfigName="lost-right")
    assert "logs:" in await_status(twin, "lost-right", "Failed")["FailureReason"]
    allow(twin, role, "*")
    twin.client("sagemaker").create_endpoint(EndpointName="has-right", EndpointConfigName="lost-right")
    await_status(twin, "has-right", "InService")


def test_a_job_whose_role_may_not_write_fails_with_the_reason(twin: RunningTwin) -> None:
    role = made_role(twin, "no-writer")
    allow(twin, role, "s3:GetObject", "s3:ListBucket", "logs:*", "cloudwatch:*", "ecr:*")
    twin.client("sagemaker").create_training_job(**job("no-writer", role, "models-of-tests"))
    reason = ended(twin, "no-writer")["FailureReason"]
    assert "is not authorized to perform: s3:PutObject" in reason


def test_a_deletion_needs_the_right_to_deregister_the_scalable_target(twin: RunningTwin) -> None:
    iam = twin.client("iam")
    iam.create_user(UserName="deleter")
    key = iam.create_access_key(UserName="deleter")["AccessKey"]
    deleter = twin.client("sagemaker", key["AccessKeyId"], key["SecretAccessKey"])
    made_config(twin, "judged", made_model(twin, "judged", made_role(twin, "judged")))
    twin.client("sagemaker").create_endpoint(EndpointName="judged", EndpointConfigName="judged")
    await_status(twin, "judged", "InService")

    def allowed(*actions: str) -> None:
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
        iam.put_user_policy(UserName="deleter", PolicyName="p", PolicyDocument=json.dumps(policy))

    twin.client("application-autoscaling").register_scalable_target(
        ServiceNamespace="sagemaker",
        ResourceId="endpoint/judged/variant/main",
        ScalableDimension="sagemaker:variant:DesiredInstanceCount",
        MinCapacity=1,
        MaxCapacity=2,
    )
    allowed("sagemaker:DeleteEndpoint")
    with pytest.raises(ClientError, match="application-autoscaling:DeregisterScalableTarget"):
        deleter.delete_endpoint(EndpointName="judged")
    allowed("sagemaker:DeleteEndpoint", "application-autoscaling:DeregisterScalableTarget")
    deleter.delete_endpoint(EndpointName="judged")


def test_what_a_call_needed_is_recorded(twin: RunningTwin) -> None:
    twin.ask("DELETE", "recorded")
    twin.client("sagemaker").list_models()
    assert twin.ask("GET", "recorded")["recorded"] == [
        {
            "principal": "arn:aws:iam::000000000000:root",
            "action": "sagemaker:ListModels",
            "resource": "*",
            "allowed": True,
        }
    ]


@pytest.mark.parametrize("status", ["Creating", "Updating"])
def test_a_rollout_goes_on_after_the_twin_was_killed(start: Callable[..., RunningTwin], status: str) -> None:
    twin = start(pace=600 if status == "Creating" else 0.1)
    twin.client("s3").create_bucket(Bucket="models-of-tests")
    twin.client("s3").put_object(Bucket="models-of-tests", Key="models/1/manifest.json", Body=b"{}")
    sagemaker: Any = twin.client("sagemaker")
    made_model(twin, "m", made_role(twin, "r"))
    for name in ("c1", "c2"):
        made_config(twin, name, "m")
    sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c1")
    if status == "Updating":
        await_status(twin, "e", "InService")
        twin.ask("PUT", "settings", {"pace": 600})
        sagemaker.update_endpoint(EndpointName="e", EndpointConfigName="c2")
    await_status(twin, "e", status)
    await_written(twin)
    os.kill(twin.info.pids["twin"], signal.SIGKILL)
    again = start(twin.home, pace=1)
    after = await_status(again, "e", "InService")
    assert after["EndpointConfigName"] == ("c1" if status == "Creating" else "c2")
