"""The sagemaker SDK against the twin, unmodified: what the page on it does, looked at more closely."""

import json
from typing import Any

from tests.emulated.howto.conftest import REGION, Site

ALLOW_ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
TRAINER = """\
import boto3, sys
from sagemaker.core.helper.session_helper import Session
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import OutputDataConfig

session = Session(boto3.Session(region_name="eu-central-1"), default_bucket=sys.argv[2])
ModelTrainer(
    sagemaker_session=session,
    role=sys.argv[1],
    training_image=sys.argv[3],
    base_job_name="own",
    output_data_config=OutputDataConfig(s3_output_path=f"s3://{sys.argv[2]}/out"),
).train(dry_run=True)
"""


def jobs(site: Site) -> list[dict[str, Any]]:
    """All training jobs, newest first."""
    sagemaker = site.account.client("sagemaker")
    names = [job["TrainingJobName"] for job in sagemaker.list_training_jobs(MaxResults=100)["TrainingJobSummaries"]]
    return [sagemaker.describe_training_job(TrainingJobName=name) for name in names]


def test_an_exported_run_asks_for_the_same_job(site: Site) -> None:
    site.page("sagemaker-sdk")
    by_sdk, by_kit = jobs(site)[:2]
    assert "-sdk-" in by_sdk["TrainingJobName"]
    for member in (
        *("RoleArn", "StoppingCondition", "EnableNetworkIsolation", "EnableInterContainerTrafficEncryption"),
        "EnableManagedSpotTraining",
    ):
        assert by_sdk[member] == by_kit[member], member
    for member in ("TrainingImage", "TrainingInputMode", "MetricDefinitions"):
        assert by_sdk["AlgorithmSpecification"][member] == by_kit["AlgorithmSpecification"][member], member
    assert channels(by_sdk) == channels(by_kit)
    for member in ("InstanceType", "InstanceCount", "VolumeSizeInGB", "VolumeKmsKeyId"):
        assert by_sdk["ResourceConfig"][member] == by_kit["ResourceConfig"][member], member
    assert by_sdk["OutputDataConfig"]["KmsKeyId"] == by_kit["OutputDataConfig"]["KmsKeyId"]
    tags = [tags_of(site, job) for job in (by_sdk, by_kit)]
    assert tags[0] == tags[1] != {}


def test_an_exported_run_makes_the_same_model(site: Site) -> None:
    """To the last bit, though the kit's run was interrupted once."""
    site.page("sagemaker-sdk")
    by_sdk, by_kit = (manifest(site, job) for job in jobs(site)[:2])
    assert by_sdk["lineage"]["run"] == f"{by_kit['lineage']['run']}-sdk"
    assert by_sdk["files"]["model.safetensors"] == by_kit["files"]["model.safetensors"]


def test_the_sdk_judges_roles_by_what_the_twin_simulates(site: Site) -> None:
    iam = site.account.client("iam")
    role = iam.create_role(RoleName="generous", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
    bucket, image = json.loads(site.run("pulumi stack output --json aws"))["work_bucket"], f"{'0' * 12}.dkr.ecr/x"
    (site.folder / "own.py").write_text(TRAINER)
    command = f"$SDK_PYTHON own.py {role} {bucket} {image} 2>&1"
    assert "cannot be used for 'training' workloads" in site.run(f"{command} | grep -v Traceback || true")
    iam.put_role_policy(RoleName="generous", PolicyName="all", PolicyDocument=json.dumps(ALLOW_ALL))
    site.run(command)


def test_the_sdk_knows_where_aws_keeps_its_images(site: Site) -> None:
    code = "from llmops.platforms.aws.base_images import base_image\n"
    code += f"print(base_image('djl-lmi', '{REGION}', instance_type='ml.g5.xlarge'))"
    printed = site.run(f'PYTHONPATH=. $SDK_PYTHON -c "{code}"')
    assert printed.startswith(f"763104351884.dkr.ecr.{REGION}.amazonaws.com/djl-inference:")


def channels(job: dict[str, Any]) -> dict[str, str]:
    return {c["ChannelName"]: c["DataSource"]["S3DataSource"]["S3Uri"] for c in job["InputDataConfig"]}


def tags_of(site: Site, job: dict[str, Any]) -> dict[str, str]:
    answer = site.account.client("sagemaker").list_tags(ResourceArn=job["TrainingJobArn"])
    return {tag["Key"]: tag["Value"] for tag in answer["Tags"]}


def manifest(site: Site, job: dict[str, Any]) -> dict[str, Any]:
    bucket, _, prefix = job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://").partition("/")
    s3 = site.account.client("s3")
    return json.load(s3.get_object(Bucket=bucket, Key=f"{prefix.rstrip('/')}/manifest.json")["Body"])
