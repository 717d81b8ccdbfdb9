"""The request for a training job: what SageMaker's own model of the call takes, and what a run's machines change."""

import json
import re
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator
from pydantic import ValidationError

from llmops_kit.clouds.aws.job_requests import (
    METRICS,
    JobPlace,
    has_gpus,
    is_accelerated,
    job_ending,
    job_name,
    training_job,
)
from llmops_kit.core.documents.run import RUN_VARIABLE, SPEC_VARIABLE, Compute, RunSpec, StoredSpec, TrainerJob
from tests.support.checkout import EXAMPLES

EXAMPLE = EXAMPLES / "run-2.json"
PLACE = JobPlace("arn:aws:iam::123456789012:role/training", "arn:key", "store", "work", tags={"llmops:stack": "dev"})
PREFIX = "llmops-dev-run-3f9a0c1e"
RUN = "chatbot-20261125-210648-50bd"
STORED = StoredSpec(f"runs/{RUN}/input/spec", "d" * 64)
TRAINER = TrainerJob(image=f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/own@sha256:{'a' * 64}", command=["own", "x"])


def request(
    place: JobPlace = PLACE,
    run: str = RUN,
    trainer: TrainerJob | None = None,
    stored: StoredSpec = STORED,
    **compute: Any,
) -> dict[str, Any]:
    machines = Compute.model_validate({"instance_type": "ml.m5.xlarge"} | compute)
    spec = RunSpec.load(EXAMPLE).model_copy(update={"id": RUN, "compute": machines, "trainer": trainer})
    return training_job(job_name(PREFIX, run), run, spec, stored, place)


@pytest.mark.parametrize(
    "job",
    [
        request(),
        request(spot=True, max_wait_hours=30, instances=2),
        request(warm_pool_minutes=360, instance_type="ml.g5.xlarge"),
        request(JobPlace(**{**PLACE.__dict__, "subnets": ["subnet-1"], "security_groups": ["sg-1"]})),
        request(run=f"{PREFIX}-0d3b2a52-4b2a-4f0e-9d57-4a2f8f6d1c11"),
        request(trainer=TRAINER),
    ],
    ids=["plain", "spot", "warm", "network", "scheduled", "trainer"],
)
def test_sagemaker_takes_it(job: dict[str, Any]) -> None:
    shape = botocore.session.get_session().get_service_model("sagemaker").operation_model("CreateTrainingJob")
    assert ParamValidator().validate(job, shape.input_shape).generate_report() == ""


def test_a_run_is_closed_and_everything_of_it_is_in_its_folder() -> None:
    job = request()
    assert (job["EnableNetworkIsolation"], job["EnableInterContainerTrafficEncryption"]) == (True, True)
    folder = f"s3://work/runs/{RUN}"
    assert job["OutputDataConfig"] == {
        "S3OutputPath": f"{folder}/output",
        "KmsKeyId": "arn:key",
        "CompressionType": "NONE",
    }
    assert job["CheckpointConfig"] == {"S3Uri": f"{folder}/checkpoints"}
    assert [c["ChannelName"] for c in job["InputDataConfig"]] == ["spec", "dataset", "base_model"]
    assert job["Environment"] == {SPEC_VARIABLE: STORED.sha256}
    assert "VpcConfig" not in job


def test_a_schedule_tells_its_jobs_whose_output_they_make() -> None:
    run = f"{PREFIX}-0d3b2a52-4b2a-4f0e-9d57-4a2f8f6d1c11"
    job = request(run=run)
    assert job["TrainingJobName"] == run
    assert job["Environment"] == {SPEC_VARIABLE: STORED.sha256, RUN_VARIABLE: run}
    assert job["CheckpointConfig"]["S3Uri"] == f"s3://work/runs/{run}/checkpoints"


def test_machines_are_what_the_run_asks_for() -> None:
    job = request(instance_type="ml.m5.2xlarge", instances=3, volume_gb=80, max_hours=2)
    assert job["ResourceConfig"] == {
        "InstanceType": "ml.m5.2xlarge",
        "InstanceCount": 3,
        "VolumeSizeInGB": 80,
        "VolumeKmsKeyId": "arn:key",
    }
    assert job["StoppingCondition"] == {"MaxRuntimeInSeconds": 7200}
    assert job["EnableManagedSpotTraining"] is False
    disks = request(instance_type="ml.g5.xlarge", warm_pool_minutes=10)["ResourceConfig"]
    assert "VolumeKmsKeyId" not in disks
    assert disks["KeepAlivePeriodInSeconds"] == 600
    assert request(spot=True, max_hours=2)["StoppingCondition"]["MaxWaitTimeInSeconds"] == 4 * 3600
    assert request(spot=True, max_hours=2, max_wait_hours=3)["StoppingCondition"]["MaxWaitTimeInSeconds"] == 3 * 3600


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"max_wait_hours": 30}, "without `spot: on`"),
        ({"spot": True, "max_wait_hours": 2}, "at least max_hours"),
        ({"spot": True, "warm_pool_minutes": 5}, "are not kept"),
        ({"instance_type": "5m.xlarge"}, "pattern"),
    ],
)
def test_machines_that_sagemaker_has_not_are_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Compute.model_validate({"instance_type": "ml.m5.xlarge"} | given)


@pytest.mark.parametrize(
    "run",
    [
        RUN,
        "a-model-with-a-very-long-name-32-20261125-210648-50bd",
        "llmops-dev-run-3f9a0c1e-0d3b2a52-4b2a-4f0e-9d57-4a2f8f6d1c11",
        "x" * 63,
    ],
)
def test_each_attempt_has_a_name_of_its_own_within_the_stacks_prefix(run: str) -> None:
    names = [job_name(PREFIX, run, attempt) for attempt in (1, 2, 99)]
    assert len(set(names)) == 3
    for name in names:
        assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", name)
        assert name.startswith(f"{PREFIX}-")
        assert job_ending(run) in name


def test_runs_of_one_second_have_different_names() -> None:
    long = "a-model-with-a-very-long-name-32-20261125-210648-"
    assert job_name(PREFIX, f"{long}50bd") != job_name(PREFIX, f"{long}50be")


def test_metrics_are_read_from_the_trainers_lines() -> None:
    line = "step=12 total=80 loss=1.2e-3 tokens_per_s=431 eta_s=63"
    assert {n: re.search(regex, line)[1] for n, regex in METRICS.items()} == {"loss": "1.2e-3", "tokens_per_s": "431"}  # type: ignore[index]
    assert not any(re.search(regex, json.dumps({"loss": 3})) for regex in METRICS.values())


GPUS = ("ml.g4dn.xlarge", "ml.g5.xlarge", "ml.g6e.xlarge", "ml.gr6.4xlarge", "ml.p5.48xlarge", "ml.p6-b200.48xlarge")


@pytest.mark.parametrize(
    ("kind", "gpus", "accelerated"),
    [
        *((kind, True, True) for kind in GPUS),
        *((kind, False, True) for kind in ("ml.inf2.xlarge", "ml.trn1n.32xlarge", "ml.dl1.24xlarge")),
        *((kind, False, False) for kind in ("ml.m5.xlarge", "ml.c7g.large", "ml.r6gd.large", "ml.t2.medium")),
    ],
)
def test_which_types_have_accelerators(kind: str, gpus: bool, accelerated: bool) -> None:
    assert (has_gpus(kind), is_accelerated(kind)) == (gpus, accelerated)


def test_a_trainer_of_the_users_trains_in_a_job_before_the_one_that_evaluates() -> None:
    first = request(trainer=TRAINER)
    algorithm = first["AlgorithmSpecification"]
    assert (algorithm["TrainingImage"], algorithm["ContainerEntrypoint"]) == (TRAINER.image, TRAINER.command)
    assert first["Environment"]["LLMOPS_FOLDER_BASE_MODEL"] == "/opt/ml/input/data/base_model"
    assert first["Environment"]["LLMOPS_FOLDER_MODEL"] == "/opt/ml/model"
    assert first["Environment"]["LLMOPS_FAILURE"] == "/opt/ml/output/failure"
    assert first["EnableNetworkIsolation"] is True
    second = request(trainer=TRAINER, stored=STORED._replace(trained=f"runs/{RUN}/output/job/output/model"))
    plain = request()
    trained = second["InputDataConfig"].pop()
    assert trained["ChannelName"] == "trained"
    assert trained["DataSource"]["S3DataSource"]["S3Uri"] == f"s3://work/runs/{RUN}/output/job/output/model/"
    # A trainer can't write there: what it planted would be taken for finished evaluations.
    assert second["CheckpointConfig"] == {"S3Uri": f"s3://work/runs/{RUN}/evaluation-checkpoints"}
    assert second | {"CheckpointConfig": plain["CheckpointConfig"]} == plain
