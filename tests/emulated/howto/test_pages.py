"""The commands of the how-to pages, one page after the other, as a reader types them."""

import json
import re
from importlib import import_module
from typing import Any

import pytest

from tests.emulated.howto.conftest import PAGES, REGION, Site, find_page
from tests.support.checkout import IMPORT_PATH

ALLOW_ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
BY_SDK = f"""\
import boto3, sys
from sagemaker.core.helper.session_helper import Session
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import OutputDataConfig
from llmops_kit.cli.platforms.aws.base_images import base_image

image = base_image("djl-lmi", "{REGION}", instance_type="ml.g5.xlarge")
print(image)
for role in sys.argv[1:]:
    session = Session(boto3.Session(region_name="{REGION}"), default_bucket="not-made")
    output = OutputDataConfig(s3_output_path="s3://not-made/out")
    try:
        trainer = ModelTrainer(
            sagemaker_session=session, role=role, training_image=image, base_job_name="own", output_data_config=output
        )
        trainer.train(dry_run=True)
        print("accepted")
    except Exception as e:
        print(type(e).__name__)
"""


ON_EITHER = pytest.mark.parametrize("site", ["aws", pytest.param("azure", marks=pytest.mark.long)], indirect=True)
"""On AWS in `make test`; on Azure by `make nightly`, since both rehearsals run the same verbs."""


@pytest.mark.parametrize("page", sorted({page for pages in PAGES.values() for page in pages} - {"twin"}))
def test_each_page_says_what_the_twin_can_not_show(page: str) -> None:
    assert "## What only a real cloud can show" in find_page(page).read_text()


@pytest.mark.long(
    "tests/emulated/readme/test_readme.py::test_the_same_program_deploys_to_the_twin_of_each_cloud",
    "tests/emulated/cli/rehearsal/test_rehearsal_azure.py::test_what_azure_does_itself_was_seen",  # with images
    "twins/tests/emulated/azure/test_identity.py::test_the_default_credential_is_the_owner",
)
def test_a_stack_on_azure_is_made(azure_site: Site) -> None:
    made, listed = azure_site.page("azure")
    assert re.search(r"\+ \d{2} created", made)
    assert "(azure, westeurope): nothing to change" in made
    assert re.fullmatch(r"\S*azure-dev\S* westeurope\n", listed)


@ON_EITHER
def test_a_base_model_comes_in(site: Site) -> None:
    (imported,) = site.page("own-base-model")
    assert imported.count("small-base@1\n") >= 2
    assert "licence  Apache-2.0" in imported


@ON_EITHER
def test_own_data_are_trained(site: Site) -> None:
    *_, trained, refused = site.page("own-data")
    assert "gate     passed" in trained
    assert "model    prices@1" in trained
    assert "where: recipes/prices.jsonl:97: messages" in refused


@pytest.mark.parametrize(
    ("site", "told", "machines"),
    [
        ("aws", "spot capacity was interrupted", "2 x ml.m5.xlarge, spot"),
        # Azure tells nobody; the trainer does, where it had begun.
        pytest.param("azure", "", "2 x Standard_DS3_v2, spot", marks=pytest.mark.long),
    ],
    indirect=["site"],
)
def test_two_spot_instances_are_taken_back_once(site: Site, told: str, machines: str) -> None:
    *_, trained = site.page("spot-and-multi-node")
    assert not import_module(f"llmops_twins.{site.cloud}.control").faults(site.twin.home).get("spot_reclaim")
    assert told in trained
    assert "rank=1 of=2" in trained
    assert "model    prices@2" in trained
    assert f"machines     {machines}" in trained


@ON_EITHER
def test_versions_come_and_go(site: Site) -> None:
    first, second, turned, back = site.page("rollouts")
    assert re.search(r"^(two|six)", first.splitlines()[-1]), "the model answers what it was taught"
    assert "prices@2 is live at" in second
    assert re.search(r"prices +prices@2 +prices@2 +ready", second)
    assert re.search(r"prices +prices@1 +prices@2 ", turned)
    assert "+      model: prices@2@sha256:" in back


def test_a_version_whose_rollback_is_not_explained_is_deployed_by_the_next_update(aws_site: Site) -> None:
    turned = aws_site.page("rollouts")[2]
    assert "prices@1 is not marked rejected" in turned
    assert "prices@1 is live at" in turned


@pytest.mark.long
def test_what_failed_is_removed_by_the_next_update(azure_site: Site) -> None:
    turned = azure_site.page("rollouts")[2]
    assert "**creating failed**" in turned
    assert "50 % of the requests go to prices-1-" in turned
    assert "prices@1 is live at" in turned


def test_foreign_clients_get_the_same_answers(aws_site: Site) -> None:
    openai, sdk, trained = aws_site.page("sagemaker-sdk")
    assert re.match(r"two|six", openai)
    assert sdk == openai
    assert "Completed" in trained


# -- the sagemaker SDK, unmodified: what the page on it does, looked at more closely


def test_an_exported_run_asks_for_the_same_job(aws_site: Site) -> None:
    aws_site.page("sagemaker-sdk")
    by_sdk, by_kit = jobs(aws_site)[:2]
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
    tags = [tags_of(aws_site, job) for job in (by_sdk, by_kit)]
    assert tags[0] == tags[1] != {}


def test_an_exported_run_makes_the_same_model(aws_site: Site) -> None:
    """To the last bit, though the kit's run was interrupted once."""
    aws_site.page("sagemaker-sdk")
    by_sdk, by_kit = (manifest(aws_site, job) for job in jobs(aws_site)[:2])
    assert by_sdk["lineage"]["run"] == f"{by_kit['lineage']['run']}-sdk"
    assert by_sdk["files"]["model.safetensors"] == by_kit["files"]["model.safetensors"]


def test_the_sdk_judges_roles_and_names_images(aws_site: Site) -> None:
    """Roles by what the twin simulates; images by tables of its own, which the kit reads through it."""
    iam, roles = aws_site.twin.client("iam"), []
    for name in ("stingy", "generous"):
        made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))
        roles.append(made["Role"]["Arn"])
    iam.put_role_policy(RoleName="generous", PolicyName="all", PolicyDocument=json.dumps(ALLOW_ALL))
    (aws_site.folder / "by_sdk.py").write_text(BY_SDK)
    image, *judged = aws_site.run(
        f"PYTHONPATH={IMPORT_PATH} $SDK_PYTHON by_sdk.py {' '.join(roles)} 2>/dev/null"
    ).splitlines()
    assert image.startswith(f"763104351884.dkr.ecr.{REGION}.amazonaws.com/djl-inference:")
    assert judged == ["RoleValidationError", "accepted"]


@ON_EITHER
def test_twins_do_what_their_page_says(site: Site) -> None:
    """Last: a twin that is told to be up takes its usual pace."""
    *looked, faults = site.page("twin")
    assert all("not judged" in each for each in looked)
    assert "met" in faults
    assert "no faults" in faults


def channels(job: dict[str, Any]) -> dict[str, str]:
    return {c["ChannelName"]: c["DataSource"]["S3DataSource"]["S3Uri"] for c in job["InputDataConfig"]}


def tags_of(site: Site, job: dict[str, Any]) -> dict[str, str]:
    answer = site.twin.client("sagemaker").list_tags(ResourceArn=job["TrainingJobArn"])
    return {tag["Key"]: tag["Value"] for tag in answer["Tags"]}


def manifest(site: Site, job: dict[str, Any]) -> dict[str, Any]:
    bucket, _, prefix = job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://").partition("/")
    s3 = site.twin.client("s3")
    return json.load(s3.get_object(Bucket=bucket, Key=f"{prefix.rstrip('/')}/manifest.json")["Body"])


def jobs(site: Site) -> list[dict[str, Any]]:
    """All training jobs, newest first."""
    sagemaker = site.twin.client("sagemaker")
    names = [job["TrainingJobName"] for job in sagemaker.list_training_jobs(MaxResults=100)["TrainingJobSummaries"]]
    return [sagemaker.describe_training_job(TrainingJobName=name) for name in names]
