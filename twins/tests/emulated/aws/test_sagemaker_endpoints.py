"""An endpoint's life: created, scaled, updated step by step, rolled back, deleted, and what each status refuses."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, WaiterError

from twins.tests.support.aws import RunningTwin, await_status, made_config, made_model

ARN = "arn:aws:sagemaker:us-east-1:000000000000"
MANIFEST = '{"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json", "layers": []}'
QUICK = {"Delay": 0.05, "MaxAttempts": 4000}


@pytest.fixture(autouse=True)
def no_endpoints(twin: RunningTwin) -> Iterator[None]:
    """Deletes what a test left behind: endpoints count towards the account's quotas."""
    yield
    sagemaker = twin.client("sagemaker")
    for endpoint in sagemaker.get_paginator("list_endpoints").paginate().build_full_result()["Endpoints"]:
        if endpoint["EndpointStatus"] in ("InService", "Failed"):
            sagemaker.delete_endpoint(EndpointName=endpoint["EndpointName"])
        waiter = sagemaker.get_waiter("endpoint_deleted")
        waiter.wait(EndpointName=endpoint["EndpointName"], WaiterConfig=QUICK)


def refusal(call: Any, **parameters: Any) -> ClientError:
    with pytest.raises(ClientError) as refused:
        call(**parameters)
    return refused.value


def created(twin: RunningTwin, name: str, config: str, **more: Any) -> dict[str, Any]:
    twin.client("sagemaker").create_endpoint(EndpointName=name, EndpointConfigName=config, **more)
    return await_status(twin, name, "InService")


def blue_green(kind: str, wait: int = 300, **more: Any) -> dict[str, Any]:
    policy = {"TrafficRoutingConfiguration": {"Type": kind, "WaitIntervalInSeconds": wait, **more}}
    return {"BlueGreenUpdatePolicy": policy}


def test_creation_takes_time_and_can_be_waited_for(twin: RunningTwin, model: str) -> None:
    sagemaker = twin.client("sagemaker")
    made_config(twin, "created-1", model, count=2)
    twin.ask("PUT", "settings", {"pace": 3})  # so long that a busy machine asks meanwhile
    answer = sagemaker.create_endpoint(EndpointName="created", EndpointConfigName="created-1")
    assert answer["EndpointArn"] == f"{ARN}:endpoint/created"
    assert sagemaker.describe_endpoint(EndpointName="created")["EndpointStatus"] == "Creating"
    for call, more in (
        (sagemaker.update_endpoint, {"EndpointConfigName": "created-1"}),
        (sagemaker.delete_endpoint, {}),
    ):
        error = refusal(call, EndpointName="created", **more)
        assert error.response["Error"]["Code"] == "ValidationException"
        assert error.response["Error"]["Message"] == f'Cannot update in-progress endpoint "{ARN}:endpoint/created".'
    twin.ask("PUT", "settings", {"pace": 0.2})
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="created", WaiterConfig=QUICK)
    variant = sagemaker.describe_endpoint(EndpointName="created")["ProductionVariants"][0]
    assert (variant["CurrentInstanceCount"], variant["DesiredWeight"]) == (2, 1.0)
    assert variant["DeployedImages"][0]["SpecifiedImage"].startswith("process:serving@sha256:")
    error = refusal(sagemaker.create_endpoint, EndpointName="Created", EndpointConfigName="created-1")
    assert f'Cannot create already existing endpoint "{ARN}:endpoint/created".' in str(error)
    sagemaker.delete_endpoint(EndpointName="created")
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName="created", WaiterConfig=QUICK)
    error = refusal(sagemaker.describe_endpoint, EndpointName="created")
    assert error.response["Error"]["Message"] == f'Could not find endpoint "{ARN}:endpoint/created".'


def test_a_configuration_that_is_not_there(twin: RunningTwin) -> None:
    error = refusal(twin.client("sagemaker").create_endpoint, EndpointName="e", EndpointConfigName="no-such")
    assert f'Could not find endpoint configuration "{ARN}:endpoint-config/no-such".' in str(error)


def test_an_update_shows_what_is_on_its_way_and_keeps_what_it_was_told(twin: RunningTwin, model: str) -> None:
    sagemaker = twin.client("sagemaker")
    for name in ("shown-1", "shown-2"):
        made_config(twin, name, model, count=2)
    created(twin, "shown", "shown-1")
    deployment = blue_green("CANARY", CanarySize={"Type": "INSTANCE_COUNT", "Value": 1})
    sagemaker.update_endpoint(EndpointName="shown", EndpointConfigName="shown-2", DeploymentConfig=deployment)
    during = sagemaker.describe_endpoint(EndpointName="shown")
    assert (during["EndpointStatus"], during["EndpointConfigName"]) == ("Updating", "shown-1")
    assert during["PendingDeploymentSummary"]["EndpointConfigName"] == "shown-2"
    assert during["PendingDeploymentSummary"]["ProductionVariants"][0]["InstanceType"] == "ml.g5.xlarge"
    listed = sagemaker.list_endpoints(StatusEquals="Updating", NameContains="shown")["Endpoints"]
    assert [each["EndpointName"] for each in listed] == ["shown"]
    after = await_status(twin, "shown", "InService")
    assert (after["EndpointConfigName"], after["LastDeploymentConfig"]) == ("shown-2", deployment)
    assert "PendingDeploymentSummary" not in after


def test_the_configuration_in_use_can_be_deleted_and_the_next_update_misses_it(twin: RunningTwin, model: str) -> None:
    sagemaker = twin.client("sagemaker")
    for name in ("missed-1", "missed-2"):
        made_config(twin, name, model)
    created(twin, "missed", "missed-1")
    sagemaker.delete_endpoint_config(EndpointConfigName="missed-1")
    assert sagemaker.describe_endpoint(EndpointName="missed")["EndpointStatus"] == "InService"
    error = refusal(sagemaker.update_endpoint, EndpointName="missed", EndpointConfigName="missed-2")
    assert error.response["Error"]["Message"] == (
        f'Could not find endpoint configuration "{ARN}:endpoint-config/missed-1".'
    )


def test_scaling_is_kept_apart_from_the_configuration(twin: RunningTwin, model: str) -> None:
    sagemaker = twin.client("sagemaker")
    for name in ("scaled-1", "scaled-2", "scaled-3"):
        made_config(twin, name, model)
    created(twin, "scaled", "scaled-1")
    sagemaker.update_endpoint_weights_and_capacities(
        EndpointName="scaled",
        DesiredWeightsAndCapacities=[{"VariantName": "main", "DesiredInstanceCount": 3, "DesiredWeight": 0.5}],
    )
    during = sagemaker.describe_endpoint(EndpointName="scaled")
    variant = during["ProductionVariants"][0]
    assert (during["EndpointStatus"], variant["CurrentInstanceCount"], variant["DesiredInstanceCount"]) == (
        "Updating",
        1,
        3,
    )
    after = await_status(twin, "scaled", "InService")
    assert after["ProductionVariants"][0]["CurrentInstanceCount"] == 3
    config = sagemaker.describe_endpoint_config(EndpointConfigName="scaled-1")
    assert config["ProductionVariants"][0]["InitialInstanceCount"] == 1
    sagemaker.update_endpoint(EndpointName="scaled", EndpointConfigName="scaled-2", RetainAllVariantProperties=True)
    variant = await_status(twin, "scaled", "InService")["ProductionVariants"][0]
    assert (variant["CurrentInstanceCount"], variant["CurrentWeight"]) == (3, 0.5)
    sagemaker.update_endpoint(
        EndpointName="scaled",
        EndpointConfigName="scaled-3",
        RetainAllVariantProperties=True,
        ExcludeRetainedVariantProperties=[{"VariantPropertyType": "DesiredInstanceCount"}],
    )
    variant = await_status(twin, "scaled", "InService")["ProductionVariants"][0]
    assert (variant["CurrentInstanceCount"], variant["CurrentWeight"]) == (1, 0.5)
    wrong = [{"VariantName": "main", "DesiredInstanceCount": 0}]
    error = refusal(
        sagemaker.update_endpoint_weights_and_capacities, EndpointName="scaled", DesiredWeightsAndCapacities=wrong
    )
    assert "must be at least 1" in str(error)


def test_an_update_can_retain_the_data_capture(twin: RunningTwin, model: str) -> None:
    sagemaker = twin.client("sagemaker")
    capture = {
        "EnableCapture": True,
        "InitialSamplingPercentage": 50,
        "DestinationS3Uri": "s3://models-of-tests/captures",
        "CaptureOptions": [{"CaptureMode": "Input"}],
    }
    variant = {"VariantName": "main", "ModelName": model, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(
        EndpointConfigName="captured-1", ProductionVariants=[variant], DataCaptureConfig=capture
    )
    made_config(twin, "captured-2", model)
    assert created(twin, "captured", "captured-1")["DataCaptureConfig"]["CurrentSamplingPercentage"] == 50
    for excluded, expected in (([], True), (["DataCaptureConfig"], False)):
        sagemaker.update_endpoint(
            EndpointName="captured",
            EndpointConfigName="captured-2",
            RetainAllVariantProperties=True,
            ExcludeRetainedVariantProperties=[{"VariantPropertyType": name} for name in excluded],
        )
        assert ("DataCaptureConfig" in await_status(twin, "captured", "InService")) == expected


def put_alarm(twin: RunningTwin, name: str) -> None:
    twin.client("cloudwatch").put_metric_alarm(
        AlarmName=name,
        MetricName="Invocation5XXErrors",
        Namespace="AWS/SageMaker",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="ignore",
    )


@pytest.mark.parametrize("kind", ["ALL_AT_ONCE", "CANARY", "LINEAR", "ROLLING"])
def test_an_alarm_during_the_bake_rolls_back(twin: RunningTwin, model: str, kind: str) -> None:
    sagemaker, cloudwatch = twin.client("sagemaker"), twin.client("cloudwatch")
    endpoint, alarm = f"alarmed-{kind.lower()}".replace("_", "-"), f"errors-{kind}"
    for number in (1, 2):
        made_config(twin, f"{endpoint}-{number}", model, count=2)
    created(twin, endpoint, f"{endpoint}-1")
    put_alarm(twin, alarm)
    half = {"Type": "CAPACITY_PERCENT", "Value": 50}
    deployment = {
        "ALL_AT_ONCE": blue_green("ALL_AT_ONCE", 3600),
        "CANARY": blue_green("CANARY", 3600, CanarySize=half),
        "LINEAR": blue_green("LINEAR", 3600, LinearStepSize=half),
        "ROLLING": {"RollingUpdatePolicy": {"MaximumBatchSize": half, "WaitIntervalInSeconds": 3600}},
    }[kind] | {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": alarm}]}}
    sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=f"{endpoint}-2", DeploymentConfig=deployment)
    await_variant(twin, endpoint, "Baking")
    cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="a test")
    after = await_status(twin, endpoint, "InService")
    assert after["EndpointConfigName"] == f"{endpoint}-1"
    assert "went into ALARM state" in after["FailureReason"]
    cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="OK", StateReason="a test")
    sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=f"{endpoint}-2")
    after = await_status(twin, endpoint, "InService")
    assert after["EndpointConfigName"] == f"{endpoint}-2"
    assert "FailureReason" not in after


def await_variant(twin: RunningTwin, endpoint: str, status: str) -> None:
    deadline = time.monotonic() + 120
    while True:
        found = twin.client("sagemaker").describe_endpoint(EndpointName=endpoint)
        summary = found.get("PendingDeploymentSummary", {"ProductionVariants": [{"VariantStatus": []}]})
        if [each["Status"] for each in summary["ProductionVariants"][0]["VariantStatus"]] == [status]:
            return
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def test_a_deployment_that_takes_too_long_is_rolled_back(twin: RunningTwin, model: str) -> None:
    for number in (1, 2):
        made_config(twin, f"late-{number}", model)
    created(twin, "late", "late-1")
    deployment = blue_green("ALL_AT_ONCE", 3600)
    deployment["BlueGreenUpdatePolicy"]["MaximumExecutionTimeoutInSeconds"] = 600
    twin.client("sagemaker").update_endpoint(
        EndpointName="late", EndpointConfigName="late-2", DeploymentConfig=deployment
    )
    await_status(twin, "late", "RollingBack")
    after = await_status(twin, "late", "InService")
    assert (after["EndpointConfigName"], "MaximumExecutionTimeoutInSeconds" in after["FailureReason"]) == (
        "late-1",
        True,
    )


@pytest.mark.parametrize(
    ("deployment", "told"),
    [
        (
            {"RollingUpdatePolicy": {"MaximumBatchSize": {"Type": "INSTANCE_COUNT", "Value": 1}}},
            "MaximumBatchSize must be",
        ),
        (blue_green("CANARY", CanarySize={"Type": "INSTANCE_COUNT", "Value": 1}), "CanarySize must be at most 50%"),
        (
            {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "no-such-alarm"}]}},
            "Could not find CloudWatch alarm no-such-alarm",
        ),
    ],
)
def test_one_instance_can_neither_roll_nor_canary(
    twin: RunningTwin, model: str, deployment: dict[str, Any], told: str
) -> None:
    sagemaker = twin.client("sagemaker")
    if "RollingUpdatePolicy" in deployment:
        deployment["RollingUpdatePolicy"]["WaitIntervalInSeconds"] = 60
    if not sagemaker.list_endpoint_configs(NameContains="single")["EndpointConfigs"]:
        made_config(twin, "single-1", model)
    created(twin, "single", "single-1")
    error = refusal(
        sagemaker.update_endpoint, EndpointName="single", EndpointConfigName="single-1", DeploymentConfig=deployment
    )
    assert told in str(error)


@pytest.mark.usefixtures("no_faults")
def test_a_container_that_never_answers_keeps_it_creating_until_its_time_out(
    twin: RunningTwin, role: str, model: str
) -> None:
    sagemaker = twin.client("sagemaker")
    image = "process:mute@sha256:" + "b" * 64
    twin.fault("silent", image="process:mute*")
    made_model(twin, "mute-model", role, image=image)
    made_config(twin, "mute-1", "mute-model", ContainerStartupHealthCheckTimeoutInSeconds=600)
    sagemaker.create_endpoint(EndpointName="mute", EndpointConfigName="mute-1")
    with pytest.raises(WaiterError):
        sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="mute", WaiterConfig=QUICK)
    found = sagemaker.describe_endpoint(EndpointName="mute")
    assert found["EndpointStatus"] == "Failed"
    assert found["FailureReason"].startswith(
        "The primary container for production variant main did not pass the ping health check."
    )
    assert found["LastModifiedTime"] > found["CreationTime"]
    error = refusal(sagemaker.update_endpoint, EndpointName="mute", EndpointConfigName="mute-1")
    assert "in status Failed" in str(error)
    sagemaker.delete_endpoint(EndpointName="mute")


@pytest.mark.usefixtures("no_faults")
def test_an_update_whose_container_never_answers_is_rolled_back(twin: RunningTwin, role: str, model: str) -> None:
    image = "process:quiet@sha256:" + "c" * 64
    twin.fault("silent", image="process:quiet*")
    made_model(twin, "quiet-model", role, image=image)
    made_config(twin, "quiet-1", model)
    made_config(twin, "quiet-2", "quiet-model", ContainerStartupHealthCheckTimeoutInSeconds=60)
    created(twin, "quiet", "quiet-1")
    twin.client("sagemaker").update_endpoint(EndpointName="quiet", EndpointConfigName="quiet-2")
    await_status(twin, "quiet", "RollingBack")
    after = await_status(twin, "quiet", "InService")
    assert after["EndpointConfigName"] == "quiet-1"
    assert "did not pass the ping health check" in after["FailureReason"]


@pytest.mark.usefixtures("no_faults")
def test_no_capacity_fails_a_creation(twin: RunningTwin, model: str) -> None:
    twin.fault("capacity", instance_type="ml.g5.2*")
    made_config(twin, "full-1", model, InstanceType="ml.g5.2xlarge")
    twin.client("sagemaker").create_endpoint(EndpointName="full", EndpointConfigName="full-1")
    assert "InsufficientInstanceCapacity" in await_status(twin, "full", "Failed")["FailureReason"]


@pytest.mark.usefixtures("no_faults")
def test_an_endpoint_of_pools_falls_back_to_the_next_type(twin: RunningTwin, model: str) -> None:
    pools = [{"InstanceType": "ml.g5.2xlarge", "Priority": 1}, {"InstanceType": "ml.g6.xlarge", "Priority": 2}]
    variant = {"VariantName": "main", "ModelName": model, "InitialInstanceCount": 1, "InstancePools": pools}
    sagemaker = twin.client("sagemaker")
    sagemaker.create_endpoint_config(EndpointConfigName="pools-1", ProductionVariants=[variant])
    twin.fault("capacity", instance_type="ml.g5.2*")
    sagemaker.create_endpoint(EndpointName="pools", EndpointConfigName="pools-1")
    [live] = await_status(twin, "pools", "InService")["ProductionVariants"]
    counts = {pool["InstanceType"]: pool["CurrentInstanceCount"] for pool in live["InstancePools"]}
    assert counts == {"ml.g5.2xlarge": 0, "ml.g6.xlarge": 1}
    twin.fault("capacity", instance_type="ml.g*")
    sagemaker.create_endpoint(EndpointName="no-pool", EndpointConfigName="pools-1")
    assert "InsufficientInstanceCapacity" in await_status(twin, "no-pool", "Failed")["FailureReason"]


def test_what_is_deleted_after_the_model_was_made_fails_a_creation(twin: RunningTwin, model: str, role: str) -> None:
    sagemaker, s3, ecr = twin.client("sagemaker"), twin.client("s3"), twin.client("ecr")
    s3.put_object(Bucket="models-of-tests", Key="models/gone/manifest.json", Body=b"{}")
    ecr.create_repository(repositoryName="gone")
    ecr.put_image(repositoryName="gone", imageManifest=MANIFEST, imageTag="1")
    image = "000000000000.dkr.ecr.us-east-1.amazonaws.com/gone:1"
    made_model(twin, "no-data", role, prefix="models/gone/")
    made_model(twin, "no-image", role, image=image)
    s3.delete_object(Bucket="models-of-tests", Key="models/gone/manifest.json")
    ecr.delete_repository(repositoryName="gone", force=True)
    for name, told in (
        ("no-image", f"Requested image {image} not found."),
        ("no-data", "Could not find model data at s3://models-of-tests/models/gone/."),
    ):
        made_config(twin, name, name)
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        assert await_status(twin, name, "Failed")["FailureReason"].startswith(told)


def test_a_model_that_was_deleted_keeps_it_creating_for_long(twin: RunningTwin, model: str, role: str) -> None:
    made_model(twin, "deleted", role)
    made_config(twin, "deleted-1", "deleted")
    twin.client("sagemaker").delete_model(ModelName="deleted")
    twin.client("sagemaker").create_endpoint(EndpointName="deleted", EndpointConfigName="deleted-1")
    failed = await_status(twin, "deleted", "Failed")
    assert failed["FailureReason"] == f'Could not find model "{ARN}:model/deleted".'


@pytest.mark.usefixtures("no_faults")
def test_a_silent_rollback(twin: RunningTwin, model: str) -> None:
    for number in (1, 2):
        made_config(twin, f"silent-{number}", model)
    created(twin, "silent", "silent-1")
    twin.fault("rollback", endpoint="silent")
    twin.client("sagemaker").update_endpoint(EndpointName="silent", EndpointConfigName="silent-2")
    twin.client("sagemaker").get_waiter("endpoint_in_service").wait(EndpointName="silent", WaiterConfig=QUICK)
    assert twin.client("sagemaker").describe_endpoint(EndpointName="silent")["EndpointConfigName"] == "silent-1"


def test_invocations_are_told_that_nothing_runs(twin: RunningTwin, model: str) -> None:
    runtime = twin.client("sagemaker-runtime")
    error = refusal(runtime.invoke_endpoint, EndpointName="nowhere", Body=b"{}")
    assert error.response["Error"]["Code"] == "ValidationError"
    assert "Endpoint nowhere of account 000000000000 not found." in str(error)
    made_config(twin, "told-1", model)
    created(twin, "told", "told-1")
    for call in (runtime.invoke_endpoint, runtime.invoke_endpoint_with_response_stream):
        error = refusal(call, EndpointName="told", Body=b"{}")
        assert error.response["Error"]["Code"] == "ModelError"
        assert "runs no containers" in str(error)
        assert error.response["ResponseMetadata"]["RetryAttempts"] == 0
    error = refusal(runtime.invoke_endpoint_async, EndpointName="told", InputLocation="s3://models-of-tests/x")
    assert error.response["Error"]["Code"] == "ModelError"


def test_a_deletion_takes_its_scalable_target_off(twin: RunningTwin, model: str) -> None:
    sagemaker, scaling = twin.client("sagemaker"), twin.client("application-autoscaling")
    made_config(twin, "target-1", model)
    created(twin, "target", "target-1")
    scaling.register_scalable_target(
        ServiceNamespace="sagemaker",
        ResourceId="endpoint/target/variant/main",
        ScalableDimension="sagemaker:variant:DesiredInstanceCount",
        MinCapacity=1,
        MaxCapacity=2,
    )
    assert len(scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]) == 1
    sagemaker.delete_endpoint(EndpointName="target")
    assert scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"] == []
