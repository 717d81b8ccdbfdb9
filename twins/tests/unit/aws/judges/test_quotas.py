"""Quotas of instances, and what AWS looks up when it is called."""

import json
import re
import sys
from typing import Any

import botocore.session
import pytest

from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.judges import quotas
from llmops_twins.aws.judges.quotas import QuotaJudge
from twins.tests.unit.aws.judges.bench import ACCOUNT, REGION, ROOT, Bench, allow, policy

REGISTRY = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
TRUST = policy(allow("sts:AssumeRole", None, Principal={"Service": "sagemaker.amazonaws.com"}))


class Endpoints:
    """Endpoints as the twin's own handlers describe them."""

    def __init__(self, bench: Bench) -> None:
        self.configurations: dict[str, list[dict[str, Any]]] = {}
        self.endpoints: dict[str, dict[str, Any]] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        twin = bench.twin
        twin.implement("sagemaker", "ListEndpoints", lambda call: {"Endpoints": list(self.endpoints.values())})
        twin.implement("sagemaker", "DescribeEndpoint", lambda call: self.endpoints[call.parameters["EndpointName"]])
        twin.implement("sagemaker", "DescribeEndpointConfig", self._configuration)
        twin.implement("sagemaker", "ListTrainingJobs", lambda call: {"TrainingJobSummaries": list(self.jobs.values())})
        twin.implement("sagemaker", "DescribeTrainingJob", lambda call: self.jobs[call.parameters["TrainingJobName"]])

    def _configuration(self, call: ApiCall) -> dict[str, Any]:
        name = call.parameters["EndpointConfigName"]
        if name not in self.configurations:
            raise AwsApiError("ValidationException", f'Could not find endpoint configuration "{name}".')
        return {"ProductionVariants": self.configurations[name]}

    def configure(self, name: str, instance_type: str, count: int) -> None:
        variant = {"VariantName": "main", "InstanceType": instance_type, "InitialInstanceCount": count}
        self.configurations[name] = [variant]

    def run(self, name: str, configuration: str, count: int, status: str = "InService") -> None:
        variant = {"VariantName": "main", "CurrentInstanceCount": count, "DesiredInstanceCount": count}
        self.endpoints[name] = {
            "EndpointName": name,
            "EndpointStatus": status,
            "EndpointConfigName": configuration,
            "ProductionVariants": [variant],
        }


@pytest.fixture
def judge(bench: Bench) -> QuotaJudge:
    return QuotaJudge(bench.twin, bench.judge)


@pytest.fixture
def endpoints(bench: Bench) -> Endpoints:
    return Endpoints(bench)


def refusal(judge: QuotaJudge, operation: str, service: str = "sagemaker", **parameters: Any) -> AwsApiError | None:
    try:
        judge(ApiCall(service, operation, parameters, "", REGION, ROOT))
    except AwsApiError as e:
        return e
    return None


def message(error: AwsApiError | None) -> str:
    assert error is not None
    return error.message


def test_codes_are_aws_own_or_unknown() -> None:
    codes = quotas._codes()
    assert all(re.fullmatch(r"L-[0-9A-F]{8}", code) for code in codes.values())
    assert len(set(codes.values())) == len(codes)
    known = types_of("ProductionVariantInstanceType") | types_of("TrainingInstanceType")
    named = {name.split(" for ")[0] for name in codes if " for " in name}
    assert named <= known
    assert codes["ml.g5.xlarge for endpoint usage"] == "L-1928E07B"


def test_each_use_of_each_type_is_listed_once_and_codes_that_are_not_aws_own_say_so() -> None:
    listed = quotas.listed_codes()
    assert listed.items() >= quotas._codes().items()
    assert listed["ml.m5.xlarge for spot training job usage"].startswith("TWIN-")
    for name in ("ml.m5.xlarge for training job usage", "ml.m5.12xlarge for endpoint usage"):
        assert name in listed
    assert len(set(listed.values())) == len(listed)
    pattern = botocore.session.get_session().get_service_model("service-quotas").shape_for("QuotaCode").metadata
    assert all(re.fullmatch(pattern["pattern"], code) for code in listed.values())


def types_of(shape: str) -> set[str]:
    return set(botocore.session.get_session().get_service_model("sagemaker").shape_for(shape).enum)


def test_an_endpoint_needs_quota_in_aws_words(bench: Bench, judge: QuotaJudge, endpoints: Endpoints) -> None:
    endpoints.configure("c", "ml.g5.xlarge", 2)
    assert refusal(judge, "CreateEndpoint", EndpointName="e", EndpointConfigName="c") is None
    bench.twin.set_settings(quotas={"ml.g5.xlarge for endpoint usage": 3})
    endpoints.run("other", "c", 2)
    refused = refusal(judge, "CreateEndpoint", EndpointName="e", EndpointConfigName="c")
    assert refused
    assert refused.code == "ResourceLimitExceeded"
    assert refused.message.startswith(
        "The account-level service limit 'ml.g5.xlarge for endpoint usage' is 3 Instances, with current utilization of "
        "2 Instances and a request delta of 2 Instances."
    )
    endpoints.run("other", "c", 2, status="Failed")
    assert refusal(judge, "CreateEndpoint", EndpointName="e", EndpointConfigName="c") is None


def test_what_nobody_has_without_asking_has_no_quota(judge: QuotaJudge, endpoints: Endpoints) -> None:
    endpoints.configure("c", "ml.p5.48xlarge", 1)
    assert "is 0 Instances" in message(refusal(judge, "CreateEndpoint", EndpointName="e", EndpointConfigName="c"))


def test_all_endpoints_together_have_a_quota(bench: Bench, judge: QuotaJudge, endpoints: Endpoints) -> None:
    bench.twin.set_settings(quotas={quotas.ACROSS_ENDPOINTS: 3})
    endpoints.configure("a", "ml.g5.xlarge", 2)
    endpoints.configure("b", "ml.m5.xlarge", 2)
    endpoints.run("one", "a", 2)
    refused = refusal(judge, "CreateEndpoint", EndpointName="e", EndpointConfigName="b")
    assert quotas.ACROSS_ENDPOINTS in message(refused)


def test_an_update_needs_the_double_unless_it_rolls(bench: Bench, judge: QuotaJudge, endpoints: Endpoints) -> None:
    bench.twin.set_settings(quotas={"ml.g5.xlarge for endpoint usage": 5})
    endpoints.configure("old", "ml.g5.xlarge", 4)
    endpoints.configure("new", "ml.g5.xlarge", 4)
    endpoints.run("e", "old", 4)
    update: dict[str, Any] = {"EndpointName": "e", "EndpointConfigName": "new"}
    assert "a request delta of 4" in message(refusal(judge, "UpdateEndpoint", **update))
    for batch, fits in [
        ({"Type": "CAPACITY_PERCENT", "Value": 25}, True),
        ({"Type": "INSTANCE_COUNT", "Value": 2}, False),
    ]:
        rolling = {"RollingUpdatePolicy": {"MaximumBatchSize": batch}}
        assert (refusal(judge, "UpdateEndpoint", **update, DeploymentConfig=rolling) is None) is fits


def test_scaling_out_needs_quota_for_the_difference(bench: Bench, judge: QuotaJudge, endpoints: Endpoints) -> None:
    bench.twin.set_settings(quotas={"ml.g5.xlarge for endpoint usage": 3})
    endpoints.configure("c", "ml.g5.xlarge", 1)
    endpoints.run("e", "c", 2)
    for count, fits in [(1, True), (3, True), (4, False)]:
        wanted = [{"VariantName": "main", "DesiredInstanceCount": count}]
        refused = refusal(
            judge, "UpdateEndpointWeightsAndCapacities", EndpointName="e", DesiredWeightsAndCapacities=wanted
        )
        assert (refused is None) is fits


def job(bench: Bench, **more: Any) -> dict[str, Any]:
    role = bench.iam.roles and next(iter(bench.iam.roles.values())).arn
    resources = {"InstanceType": "ml.g5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 1}
    return {"TrainingJobName": "j", "RoleArn": role or bench.role("r", allow("*")), "ResourceConfig": resources, **more}


def test_training_has_quotas_of_its_own_and_spot_others(bench: Bench, judge: QuotaJudge, endpoints: Endpoints) -> None:
    bench.twin.set_settings(quotas={"ml.g5.xlarge for training job usage": 1})
    assert "training job usage" in message(refusal(judge, "CreateTrainingJob", **job(bench)))
    assert refusal(judge, "CreateTrainingJob", **job(bench, EnableManagedSpotTraining=True)) is None
    bench.twin.set_settings(quotas={"ml.g5.xlarge for spot training job usage": 3})
    endpoints.jobs["other"] = {**job(bench, EnableManagedSpotTraining=True), "TrainingJobName": "other"}
    assert "spot" in message(refusal(judge, "CreateTrainingJob", **job(bench, EnableManagedSpotTraining=True)))


def test_a_role_must_be_there_and_trust_sagemaker(bench: Bench, judge: QuotaJudge) -> None:
    missing = f"arn:aws:iam::{ACCOUNT}:role/none"
    for role in (missing, bench.role("x", allow("*"), trust=TRUST.replace("sagemaker", "ec2"))):
        refused = refusal(judge, "CreateModel", ModelName="m", ExecutionRoleArn=role)
        assert message(refused) == (
            f"Could not assume role {role}. Please ensure that the role exists and allows principal "
            "'sagemaker.amazonaws.com' to assume the role."
        )
    assert refusal(judge, "CreateModel", ModelName="m", ExecutionRoleArn=bench.role("r", allow("*"))) is None


def test_an_image_of_the_account_must_be_there(bench: Bench, judge: QuotaJudge) -> None:
    from moto.ecr.models import ecr_backends

    role = bench.role("r", allow("*"))

    def model(image: str) -> AwsApiError | None:
        return refusal(judge, "CreateModel", ModelName="m", ExecutionRoleArn=role, PrimaryContainer={"Image": image})

    assert message(model(f"{REGISTRY}/serving:1")) == f"Requested image {REGISTRY}/serving:1 not found."
    backend: Any = ecr_backends[ACCOUNT][REGION]
    backend.create_repository("serving", None, {}, {}, "IMMUTABLE", [])
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, "config": {}, "layers": []})
    digest = backend.put_image("serving", manifest, "1", None).image_digest
    assert model(f"{REGISTRY}/serving:1") is None
    assert model(f"{REGISTRY}/serving@{digest}") is None
    assert model(f"{REGISTRY}/serving@sha256:{'0' * 64}")
    assert model(f"{REGISTRY}/serving")
    assert model("763104351884.dkr.ecr.us-east-1.amazonaws.com/djl-inference:1") is None
    assert model("process:serving@sha256:1") is None


def test_model_data_must_be_there_and_readable(bench: Bench, judge: QuotaJudge) -> None:
    able = bench.role("able", allow(["s3:GetObject", "s3:ListBucket"]))
    unable = bench.role("unable", allow("s3:GetObject"))

    def model(role: str, uri: str) -> AwsApiError | None:
        source = {"S3DataSource": {"S3Uri": uri, "S3DataType": "S3Prefix", "CompressionType": "None"}}
        container = {"ModelDataSource": source}
        return refusal(judge, "CreateModel", ModelName="m", ExecutionRoleArn=role, PrimaryContainer=container)

    assert message(model(able, "s3://store/models/a/")).startswith(
        "Could not access model data at s3://store/models/a/."
    )
    bench.bucket("store")
    assert model(able, "s3://store/models/a/")
    bench.s3.put_object("store", "models/a/config.json", b"{}")
    assert model(able, "s3://store/models/a/") is None
    assert model(unable, "s3://store/models/a/")


def test_input_must_be_there_and_readable(bench: Bench, judge: QuotaJudge) -> None:
    role = bench.role("r", allow(["s3:GetObject", "s3:ListBucket"]))
    channel = {"ChannelName": "dataset", "DataSource": {"S3DataSource": {"S3Uri": "s3://store/datasets/a/"}}}
    refused = refusal(judge, "CreateTrainingJob", **job(bench, InputDataConfig=[channel]))
    assert message(refused).startswith('No S3 objects found under S3 URL "s3://store/datasets/a/"')
    bench.bucket("store")
    bench.s3.put_object("store", "datasets/a/x", b"{}")
    assert role
    assert refusal(judge, "CreateTrainingJob", **job(bench, InputDataConfig=[channel])) is None


def test_a_network_must_be_there(bench: Bench, judge: QuotaJudge) -> None:
    from moto.ec2.models import ec2_backends

    role = bench.role("r", allow("*"))
    backend: Any = ec2_backends[ACCOUNT][REGION]
    subnet = next(name for zone in backend.subnets.values() for name in zone)
    group = next(name for each in backend.groups.values() for name in each)

    def model(subnets: list[str], groups: list[str]) -> AwsApiError | None:
        network = {"Subnets": subnets, "SecurityGroupIds": groups}
        return refusal(judge, "CreateModel", ModelName="m", ExecutionRoleArn=role, VpcConfig=network)

    assert model([subnet], [group]) is None
    assert message(model(["subnet-none"], [group])) == "The subnet ID 'subnet-none' does not exist"
    assert message(model([subnet], ["sg-none"])) == "The security group 'sg-none' does not exist"


def test_a_model_without_a_network_needs_nothing_of_ec2(
    bench: Bench, judge: QuotaJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "moto.ec2.models", None)  # importing it would fail
    assert refusal(judge, "CreateModel", ModelName="m", ExecutionRoleArn=bench.role("r")) is None


def test_iams_own_quotas(bench: Bench, judge: QuotaJudge) -> None:
    bench.role("r", allow("s3:GetObject"))
    large = policy(*[allow("s3:GetObject", f"arn:aws:s3:::{'b' * 60}/{i}") for i in range(80)])
    put = {"RoleName": "r", "PolicyName": "p", "PolicyDocument": large}
    assert (
        message(refusal(judge, "PutRolePolicy", "iam", **put))
        == "Maximum policy size of 10240 bytes exceeded for role r"
    )
    small = policy(*[allow("s3:GetObject", f"arn:aws:s3:::{'b' * 60}/{i}") for i in range(10)])
    assert refusal(judge, "PutRolePolicy", "iam", **{**put, "PolicyDocument": small}) is None
    made = {"PolicyName": "p", "PolicyDocument": large}
    assert message(refusal(judge, "CreatePolicy", "iam", **made)) == "Cannot exceed quota for PolicySize: 6144"
    for i in range(10):
        one = bench.iam.create_policy("", "/", policy(allow("s3:GetObject")), f"p{i}", [])
        bench.iam.attach_role_policy(one.arn, "r")
    again = {"RoleName": "r", "PolicyArn": f"arn:aws:iam::{ACCOUNT}:policy/p0"}
    assert refusal(judge, "AttachRolePolicy", "iam", **again) is None
    eleventh = {"RoleName": "r", "PolicyArn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}
    assert (
        message(refusal(judge, "AttachRolePolicy", "iam", **eleventh)) == "Cannot exceed quota for PoliciesPerRole: 10"
    )
