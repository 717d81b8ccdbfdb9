"""An AWS account in this process: the program reads its store by boto3, and Pulumi's mocks stand for the rest."""

import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pulumi_aws
import pytest
from moto import mock_aws
from moto.sagemaker.models import sagemaker_backends

from llmops_kit.clouds.aws.job_requests import JobPlace, job_name, training_job
from llmops_kit.core.documents.run import RunSpec, StoredSpec
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.layout import SPEC, run_spec_key
from llmops_kit.infra.resource_names import CloudNames
from llmops_kit.infra.targets.aws.providers import preparation, quiet_alarms
from tests.support.checkout import CHECKOUT
from tests.unit.infra.program import RUN, Declared, add_version, run_program, run_spec

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # pulumi-aws warns of its own old names
    _ = pulumi_aws.s3.Bucket, pulumi_aws.ec2.Vpc  # its modules are loaded when they are first used

ACCOUNT, REGION = "123456789012", "eu-central-1"
SERVING = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/serving@sha256:{'5' * 64}"
TRAINING = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/training@sha256:{'7' * 64}"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/training"


class Account:
    """A stack's buckets in the account."""

    def __init__(self, folder: Path, stack: str = "demo") -> None:
        self.folder = folder
        self.stack = stack
        self.names = CloudNames("llmops", stack)
        self.s3 = boto3.client("s3", region_name=REGION)
        for thing in ("store", "work"):
            self.s3.create_bucket(Bucket=self.bucket(thing), CreateBucketConfiguration={"LocationConstraint": REGION})

    def bucket(self, thing: str) -> str:
        """Name of store or work."""
        return self.names.bucket(thing, ACCOUNT, REGION)

    def add_version(self, alias: str, **given: Any) -> str:
        """Put a version into the store; what a promotion writes."""
        folder = self.folder / "store"
        reference = add_version(folder, alias, **given)
        for path in (p for p in folder.rglob("*") if p.is_file()):
            self.s3.put_object(
                Bucket=self.bucket("store"), Key=path.relative_to(folder).as_posix(), Body=path.read_bytes()
            )
        return reference

    def add_run(self, run: str = RUN) -> None:
        """Put a run's spec where `llmops train` does, and start its job, which names the spec."""
        spec = RunSpec.model_validate(run_spec(TRAINING) | {"id": run, "compute": {"instance_type": "ml.m5.xlarge"}})
        content = spec.to_json().encode()
        self.s3.put_object(Bucket=self.bucket("work"), Key=run_spec_key(run), Body=content)
        stored = StoredSpec(run_spec_key(run).removesuffix(f"/{SPEC}"), sha256_bytes(content))
        place = JobPlace(ROLE, "key", self.bucket("store"), self.bucket("work"))
        job = training_job(job_name(self.names.of("run", 26), run), run, spec, stored, place)
        boto3.client("sagemaker", region_name=REGION).create_training_job(**job)
        kept = sagemaker_backends[ACCOUNT][REGION].training_jobs[job["TrainingJobName"]]
        setattr(kept, "environment", job["Environment"])  # noqa: B010 (moto's class doesn't declare what it drops)

    def provision(self, config: dict[str, Any], **options: Any) -> Declared:
        """Run the program for target aws."""
        given = {"target": "aws", "images": {"serving": SERVING, "training": TRAINING}}
        return run_program(given | config, stack_name=self.stack, **options)


@contextmanager
def on_moto(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """No way to AWS but to moto, in this process."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION"):
        patch.delenv(name, raising=False)
    patch.setenv("AWS_ACCESS_KEY_ID", "stand-in")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "stand-in")
    patch.setenv("AWS_REGION", REGION)
    patch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with mock_aws():
        yield


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """The account of stack demo, with the project's folder as the current one. Programs under mocks change nothing."""
    folder = tmp_path_factory.mktemp("project").resolve()
    shutil.copy(CHECKOUT / "Pulumi.yaml", folder)
    with pytest.MonkeyPatch.context() as patch, on_moto(patch):
        patch.chdir(folder)
        yield Account(folder)


@pytest.fixture(scope="module")
def model(account: Account) -> str:
    """A version in the store, as a promotion writes it."""
    return account.add_version("chatbot@1")


@pytest.fixture(scope="module")
def plain(account: Account, model: str) -> Declared:
    """An endpoint with default settings."""
    return account.provision({"endpoints": {"chat": {"model": model}}})


@pytest.fixture
def moto_account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty account; providers poll it without waiting."""
    monkeypatch.setattr(preparation, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(quiet_alarms, "_POLL_SECONDS", 0.01)
    with on_moto(monkeypatch):
        yield


@pytest.fixture
def store(moto_account: None) -> None:
    """A bucket for rejections and specs."""
    del moto_account  # only opened
    place = {"LocationConstraint": REGION}
    boto3.client("s3", region_name=REGION).create_bucket(Bucket="the-store", CreateBucketConfiguration=place)
