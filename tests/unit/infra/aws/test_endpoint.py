"""Endpoints: what is declared for each setting, and what SageMaker can't do is refused with the reason."""

import json
from typing import Any

import pulumi
import pytest

from llmops_kit.infra.targets.aws.limits import has_local_disks
from llmops_kit.infra.testing import PUBLIC_KEY
from tests.unit.infra.aws.conftest import ACCOUNT, REGION, SERVING, Account
from tests.unit.infra.program import Declared

VLLM = SERVING.replace("5" * 64, "7" * 64)

KEY = "arn:of:data-key (llmops down keeps it)"


def declare(account: Account, model: str, **entry: Any) -> Declared:
    return account.provision({"endpoints": {"chat": {"model": model, **entry}}})


def refusal(account: Account, model: str, **entry: Any) -> str:
    with pytest.raises(pulumi.RunError) as refused:
        declare(account, model, **entry)
    return str(refused.value)


def variant(declared: Declared) -> dict[str, Any]:
    (found,) = declared.of("configuration-chat")["productionVariants"]
    return found


def test_a_model_loads_one_version_without_network(plain: Declared, account: Account, model: str) -> None:
    declared, sha256 = plain.of("model-chat"), model.partition("sha256:")[2]
    assert declared["enableNetworkIsolation"] is True
    assert declared["executionRoleArn"] == "arn:of:role-endpoint"
    container = declared["primaryContainer"]
    assert container["image"] == SERVING
    assert container["modelDataSource"]["s3DataSources"] == [
        {
            "s3Uri": f"s3://{account.bucket('store')}/models/{sha256}/",
            "s3DataType": "S3Prefix",
            "compressionType": "None",
        }
    ]
    assert container["environment"] == {
        "LLMOPS_AUTH": "platform",
        "LLMOPS_PLATFORM": "sagemaker",
        "LLMOPS_MODEL_NAME": "chatbot@1",
        "LLMOPS_MODEL_SHA256": sha256,
        "LLMOPS_PRECISION": "auto",
        "LLMOPS_PUBLIC_KEY": PUBLIC_KEY,
    }


def test_a_version_that_was_forced_starts_and_is_the_quality_alarms_matter(account: Account, model: str) -> None:
    container = declare(account, model, gate="waived").of("model-chat")["primaryContainer"]
    assert container["environment"]["LLMOPS_GOLDEN"] == "reported"


def test_a_configuration_is_encrypted_and_has_one_variant(plain: Declared) -> None:
    assert plain.of("configuration-chat")["kmsKeyArn"] == KEY
    assert variant(plain) == {
        "variantName": "main",
        "modelName": plain.of("model-chat")["name"],
        "instanceType": "ml.m5.xlarge",
        "initialInstanceCount": 1,
        "initialVariantWeight": 1,
        "containerStartupHealthCheckTimeoutInSeconds": 600,
        "modelDataDownloadTimeoutInSeconds": 600,
        "routingConfigs": [{"routingStrategy": "LEAST_OUTSTANDING_REQUESTS"}],
    }


def test_the_live_count_and_the_numbers_come_from_the_preparation(account: Account, model: str) -> None:
    computed = {"initial_instances": 3, "model_number": 4, "number": 7}
    declared = account.provision({"endpoints": {"chat": {"model": model}}}, computed=computed)
    assert variant(declared)["initialInstanceCount"] == 3
    assert declared.of("model-chat")["name"].endswith("-4")
    assert declared.of("configuration-chat")["name"].endswith("-7")
    assert declared.of("live-chat")["instances"] == 3


def test_names_follow_content_and_the_endpoints_stays(account: Account, model: str, plain: Declared) -> None:
    other = declare(account, account.add_version("chatbot@2"))
    slower = declare(account, model, start_seconds=700)
    names = [{n: d.of(n)["name"] for n in ("model-chat", "configuration-chat")} for d in (plain, other, slower)]
    assert names[0]["model-chat"] != names[1]["model-chat"]
    assert names[0]["model-chat"] == names[2]["model-chat"]
    assert len({n["configuration-chat"] for n in names}) == 3
    assert {d.of("endpoint-chat")["name"] for d in (plain, other, slower)} == {account.names.of("chat")}
    again = declare(account, model, size={"instances": 1, "max_instances": 4})
    assert again.of("configuration-chat")["name"] == names[0]["configuration-chat"], "scaling is not its content"


def test_disks_of_instances_that_bring_some_take_no_key_and_no_size(account: Account, model: str) -> None:
    declared = declare(account, model, size={"instance_type": "ml.g5.xlarge"})
    assert "kmsKeyArn" not in declared.of("configuration-chat")
    assert "volumeSizeInGb" not in variant(declared)
    assert variant(declare(account, model, volume_gb=40))["volumeSizeInGb"] == 40
    text = refusal(account, model, volume_gb=40, size={"instance_type": "ml.g5.xlarge"})
    assert "llmops:endpoints.chat.volume_gb: ml.g5.xlarge has its own disks" in text


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        *[(f"ml.{k}.xlarge", True) for k in ("g4dn", "g5", "g6", "g6e", "p4d", "p5", "trn1", "m5d", "c6gd", "m6idn")],
        *[(f"ml.{k}.xlarge", False) for k in ("m5", "c5", "c5n", "r5", "m6i", "c7i", "m7g", "inf2", "p3", "g5g-x")],
    ],
)  # fmt: skip
def test_which_instances_bring_disks(kind: str, expected: bool) -> None:
    """https://docs.aws.amazon.com/sagemaker/latest/dg/host-instance-storage.html"""
    assert has_local_disks(kind) is expected


ROLLOUTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"type": "ALL_AT_ONCE", "waitIntervalInSeconds": 300}),
    ({"bake_seconds": 600}, {"type": "ALL_AT_ONCE", "waitIntervalInSeconds": 600}),
    (
        {"strategy": "canary", "canary_percent": 20},
        {
            "type": "CANARY",
            "waitIntervalInSeconds": 300,
            "canarySize": {"type": "CAPACITY_PERCENT", "value": 20},
        },
    ),
    (
        {"strategy": "linear", "step_percent": 50, "bake_seconds": 60},
        {
            "type": "LINEAR",
            "waitIntervalInSeconds": 60,
            "linearStepSize": {"type": "CAPACITY_PERCENT", "value": 50},
        },
    ),
]


@pytest.mark.parametrize(("rollout", "routing"), ROLLOUTS)
def test_blue_green(rollout: dict[str, Any], routing: dict[str, Any], account: Account, model: str) -> None:
    deployment = declare(account, model, rollout=rollout, size={"instances": 2}).of("endpoint-chat")["deploymentConfig"]
    assert deployment["blueGreenUpdatePolicy"] == {"trafficRoutingConfiguration": routing}
    alarms = [a["alarmName"] for a in deployment["autoRollbackConfiguration"]["alarms"]]
    assert alarms == [account.names.of(f"chat-{kind}") for kind in ("5xx", "latency", "quality")]


def test_rolling(account: Account, model: str) -> None:
    rollout = {"strategy": "rolling", "step_percent": 50, "bake_seconds": 60}
    deployment = declare(account, model, rollout=rollout, size={"instances": 2}).of("endpoint-chat")["deploymentConfig"]
    assert deployment["rollingUpdatePolicy"] == {
        "maximumBatchSize": {"type": "CAPACITY_PERCENT", "value": 50},
        "waitIntervalInSeconds": 60,
    }
    assert len(deployment["autoRollbackConfiguration"]["alarms"]) == 3


@pytest.mark.parametrize("strategy", ["canary", "linear", "rolling"])
def test_one_instance_is_all_at_once_and_the_plan_says_so(
    strategy: str, account: Account, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", said.append)
    deployment = declare(account, model, rollout={"strategy": strategy}).of("endpoint-chat")["deploymentConfig"]
    assert deployment["blueGreenUpdatePolicy"]["trafficRoutingConfiguration"]["type"] == "ALL_AT_ONCE"
    assert len(deployment["autoRollbackConfiguration"]["alarms"]) == 3
    assert f"`strategy: {strategy}` is done all at once" in said[0]


def test_scaling_on_requests_at_once(account: Account, model: str) -> None:
    size = {"instances": 2, "max_instances": 5, "concurrent_requests": 8}
    declared = declare(account, model, size=size)
    assert declared.of("scaling-chat") == {
        "serviceNamespace": "sagemaker",
        "resourceId": f"endpoint/{account.names.of('chat')}/variant/main",
        "scalableDimension": "sagemaker:variant:DesiredInstanceCount",
        "minCapacity": 2,
        "maxCapacity": 5,
        "tags": {"llmops:instance-type": "ml.m5.xlarge"},
    }
    policy = declared.of("scaling-chat-load")
    assert policy["policyType"] == "TargetTrackingScaling"
    assert policy["targetTrackingScalingPolicyConfiguration"] == {
        "targetValue": 8,
        "scaleInCooldown": 300,
        "scaleOutCooldown": 60,
        "predefinedMetricSpecification": {
            "predefinedMetricType": "SageMakerVariantConcurrentRequestsPerModelHighResolution"
        },
    }
    assert (declared.of("live-chat")["min_instances"], declared.of("live-chat")["max_instances"]) == (2, 5)
    assert not declared.has("scaling-chat-wake")


def test_async_scales_to_zero_and_wakes(account: Account, model: str) -> None:
    declared = declare(account, model, mode="async", size={"instances": 0, "max_instances": 2})
    physical, files = account.names.of("chat"), f"s3://{account.bucket('work')}/async/chat"
    assert declared.of("model-chat")["primaryContainer"]["environment"]["LLMOPS_REQUEST_SECONDS"] == "890"
    assert declared.of("configuration-chat")["asyncInferenceConfig"] == {
        "clientConfig": {"maxConcurrentInvocationsPerInstance": 4},
        "outputConfig": {"s3OutputPath": f"{files}/output", "s3FailurePath": f"{files}/failure", "kmsKeyId": KEY},
    }
    assert declared.of("scaling-chat")["minCapacity"] == 0
    tracked = declared.of("scaling-chat-load")["targetTrackingScalingPolicyConfiguration"]
    assert tracked["customizedMetricSpecification"] == {
        "namespace": "AWS/SageMaker",
        "metricName": "ApproximateBacklogSizePerInstance",
        "statistic": "Average",
        "dimensions": [{"name": "EndpointName", "value": physical}],
    }
    wake = declared.of("scaling-chat-wake")["stepScalingPolicyConfiguration"]
    assert wake["adjustmentType"] == "ChangeInCapacity"
    assert wake["stepAdjustments"] == [{"metricIntervalLowerBound": "0", "scalingAdjustment": 1}]
    alarm = declared.of("scaling-chat-backlog")
    assert alarm["metricName"] == "HasBacklogWithoutCapacity"
    assert alarm["dimensions"] == {"EndpointName": physical}
    assert alarm["alarmActions"] == ["arn:of:scaling-chat-wake"]
    assert declared.of("preparation-chat")["instances"] == 0


def test_what_async_takes_at_once_is_the_configurations_content(account: Account, model: str) -> None:
    made = [
        declare(account, model, mode="async", size={"instances": 0, "max_instances": 2, "concurrent_requests": n})
        for n in (4, 5)
    ]
    first, second = (d.of("configuration-chat") for d in made)
    assert first["asyncInferenceConfig"] != second["asyncInferenceConfig"]
    assert first["name"] != second["name"]


def test_the_stacks_instance_type_is_judged_like_an_endpoints_own(account: Account, model: str) -> None:
    with pytest.raises(pulumi.RunError, match="has its own disks"):
        account.provision(
            {"endpoints": {"chat": {"model": model, "volume_gb": 40}}, "aws": {"instance_type": "ml.g5.xlarge"}}
        )


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"port": 80}, ["endpoints.chat.port: SageMaker chooses", "remove it"]),
        ({"size": {"instances": 0, "max_instances": 2}}, ["size.instances: a real-time", "inference components"]),
        ({"mode": "async", "size": {"instances": 0}}, ["size.max_instances: 0 instances need scaling"]),
        ({"mode": "serverless"}, ["endpoints.chat.mode: a serverless endpoint", "network isolation", "async"]),
        ({"rollout": {"strategy": "canary", "canary_percent": 60}}, ["rollout.canary_percent: ", "50 %"]),
        ({"rollout": {"bake_seconds": 4000}}, ["rollout.bake_seconds: SageMaker waits 3600 s at most"]),
        (
            {"rollout": {"strategy": "linear", "step_percent": 10, "bake_seconds": 400}},
            ["rollout.bake_seconds: an update may", "10 waits of 400 s"],
        ),
        ({"rollout": {"strategy": "linear", "step_percent": 9}}, ["rollout.step_percent: ", "10 to 50 %"]),
        ({"start_seconds": 1900}, ["start_seconds: an update may take 62 minutes", "gives up after 60"]),
        ({"download_seconds": 3600}, ["endpoints.chat.download_seconds: an update may take 90 minutes"]),
    ],
)  # fmt: skip
def test_what_sagemaker_cant_do_is_refused(
    entry: dict[str, Any], words: list[str], account: Account, model: str
) -> None:
    text = refusal(account, model, **entry)
    assert "fix: " in text
    for word in words:
        assert word in text


def test_off_keeps_what_observes_and_nothing_that_costs(account: Account) -> None:
    declared = account.provision({"endpoints": {"chat": {"model": f"gone@1@sha256:{'0' * 64}", "endpoint": "off"}}})
    assert declared.has("quality-chat")
    assert not declared.has("alarm-chat-quality"), "an alarm watches the configuration that serves"
    assert declared.has("logs-chat")
    assert not [u for u in declared.resources if u.endswith(("::endpoint-chat", "::model-chat", "::preparation-chat"))]
    assert declared.outputs["endpoints"]["chat"]["url"] == ""


def test_an_endpoint_without_an_image_or_with_a_process_is_refused(account: Account, model: str) -> None:
    for images, words in (
        ({}, "llmops:images.serving: is missing"),
        ({"serving": f"process:serving@sha256:{'1' * 64}"}, "llmops:images.serving: process:serving@sha256:1"),
    ):
        with pytest.raises(pulumi.RunError) as refused:
            account.provision({"images": images, "endpoints": {"chat": {"model": model}}})
        assert words in str(refused.value)
        assert "llmops images push" in str(refused.value)


def test_an_image_that_is_not_in_ecr_is_refused(account: Account, model: str) -> None:
    image = f"quay.io/team/server@sha256:{'1' * 64}"
    with pytest.raises(pulumi.RunError, match="is not in ECR, from which alone SageMaker pulls") as refused:
        account.provision({"images": {"serving": image}, "endpoints": {"chat": {"model": model}}})
    assert f"llmops:images.serving: {image}" in str(refused.value)
    assert "copy it into a repository of ECR" in str(refused.value)


@pytest.mark.parametrize(
    ("images", "aws", "kind", "key"),
    [
        ("own", {}, "ml.g5.xlarge", "endpoints.chat.size.instance_type"),
        ("own", {"instance_type": "ml.inf2.xlarge"}, "", "aws.instance_type"),
        ("given", {"registry": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/team"}, "ml.p4d.24xlarge", "endpoints.chat"),
    ],
)
def test_the_kits_image_is_not_put_on_accelerators(
    images: str, aws: dict[str, str], kind: str, key: str, account: Account, model: str
) -> None:
    """It would serve on their processors; `pulumi preview` and `llmops plan` say so."""
    repository = "team/serving" if images == "given" else account.names.of("serving")
    image = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{repository}@sha256:{'5' * 64}"
    entry = {"model": model, "engine": "openvino", "size": {"instance_type": kind}}
    config = {"images": {"serving": image}, "endpoints": {"chat": entry}, "aws": aws}
    with pytest.raises(pulumi.RunError) as refused:
        account.provision(config)
    text = str(refused.value)
    assert f"llmops:{key}" in text
    assert f"the accelerators of {kind or aws['instance_type']} would be paid for, and idle" in text
    assert "ml.c5.2xlarge" in text
    assert "for the image serving-vllm" in text


def test_a_gpu_takes_vllms_image_by_itself(account: Account, model: str) -> None:
    images = {"serving": SERVING.replace("/serving@", f"/{account.names.of('serving')}@"), "serving_vllm": VLLM}
    sizes = {"fast": "ml.g5.xlarge", "slow": "ml.c5.2xlarge"}
    entries = {name: {"model": model, "size": {"instance_type": kind}} for name, kind in sizes.items()}
    declared = account.provision({"images": images, "endpoints": entries})
    for name, image in (("fast", VLLM), ("slow", images["serving"])):
        container = declared.of(f"model-{name}")["primaryContainer"]
        assert container["image"] == declared.of(f"live-{name}")["image"] == image
        assert container["environment"].get("LLMOPS_ENGINE") == ("vllm" if image == VLLM else None)
        assert declared.outputs["endpoints"][name]["image"] == image
        (variant,) = declared.of(f"configuration-{name}")["productionVariants"]
        host = "al2023-ami-sagemaker-inference-gpu-4-1" if image == VLLM else None
        assert variant.get("inferenceAmiVersion") == host, "CUDA 13 starts on no other host"


@pytest.mark.parametrize(
    ("entry", "key", "words"),
    [
        ({"engine": "vllm"}, "endpoints.chat.engine", "NVIDIA GPUs, and ml.m5.xlarge has none"),
        ({"engine": "transformers"}, "endpoints.chat.engine", "don't hold it"),
        ({"size": {"instance_type": "ml.g5.xlarge"}}, "images.serving_vllm", "llmops images push serving-vllm"),
    ],
)
def test_an_engine_that_can_not_be_is_refused_by_name(
    entry: dict[str, Any], key: str, words: str, account: Account, model: str
) -> None:
    image = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{account.names.of('serving')}@sha256:{'5' * 64}"
    with pytest.raises(pulumi.RunError) as refused:
        account.provision({"images": {"serving": image}, "endpoints": {"chat": {"model": model, **entry}}})
    assert f"llmops:{key}" in str(refused.value)
    assert words in str(refused.value)


def test_the_url_is_where_sagemaker_is_invoked(plain: Declared, account: Account) -> None:
    url = f"https://runtime.sagemaker.{REGION}.amazonaws.com/endpoints/{account.names.of('chat')}/invocations"
    assert plain.outputs["endpoints"]["chat"]["url"] == url


def test_every_part_of_an_endpoint_observes(plain: Declared, account: Account) -> None:
    physical = account.names.of("chat")
    group = plain.of("logs-chat")
    assert group["name"] == f"/aws/sagemaker/Endpoints/{physical}"
    assert (group["retentionInDays"], group["kmsKeyId"]) == (365, KEY)
    metric = plain.of("quality-chat")
    assert metric["logGroupName"] == group["name"]
    assert metric["pattern"] == '{ $.event = "quality" }'
    transformation = metric["metricTransformation"]
    assert transformation["value"] == "$.score"
    assert transformation["dimensions"] == {"Sha256": "$.sha256"}
    of_whatever_serves = plain.of("serving-quality-chat")
    assert of_whatever_serves["name"] != metric["name"], "they are in the same log group"
    assert of_whatever_serves["metricTransformation"] == {k: v for k, v in transformation.items() if k != "dimensions"}
    widgets = json.loads(plain.of("dashboard")["dashboardBody"])["widgets"]
    assert {w["properties"]["region"] for w in widgets} == {REGION}
    assert len(widgets) == 3


def test_a_gpu_without_a_host_image_is_warned_of(account: Account, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", said.append)
    size = {"instance_type": "ml.g5.xlarge"}
    declare(account, model, size=size)
    (line,) = said
    version = line.partition("inference_ami_version: ")[2].partition("`")[0]
    declared = declare(account, model, size=size, inference_ami_version=version)
    assert variant(declared)["inferenceAmiVersion"] == version
    assert len(said) == 1
