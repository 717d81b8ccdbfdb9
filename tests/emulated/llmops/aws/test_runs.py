"""Runs on AWS where things go wrong: nothing is trained here, as the twin runs no containers."""

import json
import os
import uuid
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from llmops_kit.cli.commands.train import _start
from llmops_kit.cli.machines.prices import load_prices
from llmops_kit.cli.plan.run_cost import look_ahead, require_quotas
from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.cli.platforms.aws.jobs import AwsRuns
from llmops_kit.cli.platforms.aws.platform import AwsPlatform
from llmops_kit.cli.runs.runs import find_run
from llmops_kit.clouds.aws.job_requests import training_job
from llmops_kit.core.documents.run import Compute, RunSpec, StoredSpec
from llmops_kit.core.errors import KitError, NotFoundError, RunError
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.layout import dataset_key, model_key, run_spec_key, schedule_key
from tests.emulated.llmops.aws.conftest import MakePlatform
from tests.emulated.llmops.conftest import RECIPE
from tests.support.checkout import EXAMPLES
from tests.support.clouds.aws import Account

EXAMPLE = EXAMPLES / "run-2.json"
NO_CONTAINERS = "runs no containers"


def make_role(clients: AwsClients) -> str:
    """A role of a training job that may do everything."""
    name = f"training-{uuid.uuid4().hex[:8]}"
    trust = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    arn = clients("iam").create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    clients("iam").put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=json.dumps(everything))
    return arn


@pytest.fixture
def platform(make_platform: MakePlatform, clients: AwsClients) -> AwsPlatform:
    key = clients("kms").create_key()["KeyMetadata"]["Arn"]
    prefix = f"llmops-dev-run-{uuid.uuid4().hex[:8]}"
    made = make_platform(
        job_prefix=prefix,
        roles={"training": make_role(clients)},
        kms_key=key,
        jobs=Compute(instance_type="ml.m5.xlarge"),
    )
    inputs = RunSpec.load(EXAMPLE)
    for folder in (dataset_key(inputs.dataset.sha256), model_key(inputs.base_model.sha256)):
        clients("s3").put_object(Bucket=made._bucket, Key=f"{folder}/manifest.json", Body=b"{}")
    return made


def spec(platform: AwsPlatform, name: str = "chatbot", **compute: Any) -> RunSpec:
    """A run that no trainer could do."""
    changes = {
        "id": f"{name}-20261125-210648-{uuid.uuid4().hex[:4]}",
        "image": platform.outputs.training.image,
        "compute": Compute.model_validate({"instance_type": "ml.m5.xlarge"} | compute),
    }
    return RunSpec.load(EXAMPLE).model_copy(update=changes)


def jobs(platform: AwsPlatform) -> list[str]:
    found = platform.clients("sagemaker").list_training_jobs(NameContains=platform.aws.job_prefix, MaxResults=100)
    return [job["TrainingJobName"] for job in found["TrainingJobSummaries"]]


def small(platform: AwsPlatform, recipe: Path, machines: dict[str, Any]) -> KitError:
    with pytest.raises(KitError) as caught:
        _start(platform, recipe, machines, again=False, collected=None)
    return caught.value


def test_a_quota_that_is_too_small_is_told_before_anything_is_made(
    platform: AwsPlatform, account: Account, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    before = platform.clients("s3").list_objects_v2(Bucket=platform._bucket, Prefix="datasets/")["KeyCount"]
    told = small(platform, recipe, {"instance_type": "ml.p4d.24xlarge"})
    assert "ml.p4d.24xlarge for training job usage allows 0, the run needs 1" in told.what
    assert "aws service-quotas request-service-quota-increase --service-code sagemaker --quota-code L-" in told.fix
    with account.quotas({"ml.m5.xlarge for spot training job usage": 1}):
        told = small(platform, recipe, {"instances": 2, "spot": True})
    assert "ml.m5.xlarge for spot training job usage allows 1, the run needs 2" in told.what
    assert jobs(platform) == []
    assert platform.clients("s3").list_objects_v2(Bucket=platform._bucket, Prefix="datasets/")["KeyCount"] == before


def test_a_runs_cost_is_told_before_it_starts(platform: AwsPlatform) -> None:
    said: list[str] = []
    compute = Compute(instance_type="ml.g5.xlarge", instances=2, max_hours=2)
    cost = look_ahead(platform, compute, "chatbot", said.append)
    price = load_prices(platform.aws.region).instance("training", "ml.g5.xlarge")
    assert cost
    assert cost.largest_usd == (pytest.approx(4 * price.amount) if price else None)
    assert said == [cost.words]
    unknown = look_ahead(platform, Compute(instance_type="ml.m4.16xlarge"), "chatbot", said.append)
    assert unknown
    assert unknown.largest_usd is None


def test_who_may_not_read_quotas_is_told_so_and_goes_on(platform: AwsPlatform, clients: AwsClients) -> None:
    clients("iam").create_user(UserName="trainer")
    key = clients("iam").create_access_key(UserName="trainer")["AccessKey"]
    keys = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    said: list[str] = []
    with mock.patch.dict(os.environ, keys):
        require_quotas(platform.aws.jobs, AwsPlatform(platform.outputs).hire(platform.aws.jobs), said.append)
    assert said[-1].startswith("notice: quota not known: ml.m5.xlarge for training job usage, Number of instances")
    assert said[-1].endswith("Service Quotas can't be read: AccessDeniedException")


@pytest.mark.parametrize("execution", ["d32c5kddcf5bb8c3", "0f2c1a52-8f0e-4c5f-9c1e-5d2f5a0b7c11"])
def test_a_schedules_job_is_a_run_whatever_the_scheduler_calls_its_execution(
    platform: AwsPlatform, execution: str
) -> None:
    repeated, name = spec(platform), f"{platform.aws.job_prefix}-{execution}"
    content, folder = repeated.to_json().encode(), schedule_key("weekly", repeated.id)
    runs = platform.runs
    assert isinstance(runs, AwsRuns)
    other = f"elsewhere/{repeated.id}"
    for each in (folder, other):
        runs._objects.put(f"{each}/run.json", content)
    for job, stored in (
        (name, StoredSpec(folder, sha256_bytes(content))),
        (f"{name}xyz", StoredSpec(other, sha256_bytes(content))),  # somebody else's, and of no schedule
    ):
        request = training_job(job, job, repeated, stored, runs._place)
        platform.clients("sagemaker").create_training_job(**request)
    assert [run.spec.id for run in platform.find()] == [name]
    assert [run.spec.id for run in platform.find(name)] == [name]


def test_a_failed_run_says_why_and_each_start_is_another_job(platform: AwsPlatform) -> None:
    run = spec(platform)
    said: list[str] = []
    platform.submit(run, said.append)
    *_, last = platform.follow(run.id)
    assert NO_CONTAINERS in last
    state = find_run(platform, run.id[:12]).state
    assert (state.status, state.usd) == ("failed", 0)
    assert NO_CONTAINERS in state.failure
    platform.resume(run.id, said.append, Compute(instance_type="ml.m5.2xlarge", instances=2))
    lines = [line for line in platform.follow(run.id) if "starting its instances" in line]
    assert len(lines) == 2
    assert sorted(jobs(platform)) == [f"{platform.aws.job_prefix}-{run.id}", f"{platform.aws.job_prefix}-{run.id}-2"]
    again = find_run(platform, run.id).spec.compute
    assert again
    assert (again.instance_type, again.instances) == ("ml.m5.2xlarge", 2)
    with pytest.raises(RunError, match="is not running"):
        platform.stop(run.id)
    assert said == []


def test_a_run_is_of_its_stack_alone_and_expires_with_its_files(platform: AwsPlatform) -> None:
    first, second = spec(platform), spec(platform, "other")
    for run in (first, second):
        platform.submit(run, lambda _: None)
    assert {r.spec.id for r in platform.find()} == {first.id, second.id}
    assert [r.spec.id for r in platform.find("other-")] == [second.id]
    assert find_run(platform, "latest").spec.id in (first.id, second.id)
    platform.clients("s3").delete_object(Bucket=platform.aws.work_bucket, Key=run_spec_key(first.id))
    assert [r.spec.id for r in platform.find()] == [second.id]
    with pytest.raises(NotFoundError):
        platform.resume("chatbot-nope", lambda _: None)


def test_a_role_that_takes_its_time_is_waited_for(platform: AwsPlatform, account: Account, clients: AwsClients) -> None:
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        account.clear_faults()  # from now on it works

    account.fault("role_propagation", seconds=3600)
    try:
        platform.aws.roles["training"] = make_role(clients)
        platform.submit(spec(platform), say)
    finally:
        account.clear_faults()
    assert said == ["the role of the stack's jobs does not work yet: trying again"]
    assert len(jobs(platform)) == 1


def test_a_job_that_is_not_shown_yet_is_neither_lost_nor_started_twice(platform: AwsPlatform, account: Account) -> None:
    run = spec(platform)
    account.fault("eventual", service="sagemaker", operation="CreateTrainingJob", seconds=2)
    account.fault("throttle", service="sagemaker", operation="CreateTrainingJob")
    try:
        platform.submit(run, lambda _: None)
        platform.resume(run.id, lambda _: None, asked=run)
        *_, last = platform.follow(run.id)
    finally:
        account.clear_faults()
    assert NO_CONTAINERS in last
    assert len(jobs(platform)) == 1


def test_more_than_the_account_may_have_is_refused_with_the_way_out(platform: AwsPlatform) -> None:
    with pytest.raises(KitError, match="ResourceLimitExceeded") as caught:
        platform.submit(spec(platform, instance_type="ml.p5.48xlarge", instances=64), lambda _: None)
    assert "another instance type" in caught.value.fix


def test_no_capacity_is_the_runs_failure(platform: AwsPlatform, account: Account) -> None:
    account.fault("capacity", instance_type="ml.m5.xlarge", times=1)
    run = spec(platform)
    try:
        platform.submit(run, lambda _: None)
        list(platform.follow(run.id))
    finally:
        account.clear_faults()
    assert find_run(platform, run.id).state.status == "failed"


def test_nothing_of_the_runs_is_left_of_a_stack_that_is_removed_with_its_data(platform: AwsPlatform) -> None:
    for _ in range(2):
        platform.submit(spec(platform), lambda _: None)
    platform.remove_data()
    assert jobs(platform) == []
    assert platform.find() == []


def test_a_secret_is_read_where_it_is_kept_and_missed_by_name(make_platform: MakePlatform) -> None:
    platform = make_platform()
    project = platform.outputs.project
    platform.clients("secretsmanager").create_secret(Name=f"{project}/hub-token", SecretString="hf_123\n")
    assert platform.secret("hub-token") == "hf_123"
    with pytest.raises(KitError, match="ResourceNotFoundException") as caught:
        platform.secret("other")
    assert f"create-secret --name {project}/other" in caught.value.fix
