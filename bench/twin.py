"""Overhead of the AWS twin: `python -m bench.twin [--rounds 5] [--rehearsal]`.

Tokens per second and the time to the first token through InvokeEndpointWithResponseStream, against direct requests to
the endpoint's container, in turns. A training job on the twin, from CreateTrainingJob to Completed, against the bare
program in its own folders. With --rehearsal: `llmops rehearse aws`, step by step.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bench.serving import Client, Wave, prompts_for
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.local_runtime import process_images
from llmops_twins.aws import control
from tests.support.clouds.aws import REGION, Account, running_account
from tests.support.clouds.twin_keys import signed
from tests.support.runs.training import make_container
from tests.support.servers.serving import sign_version, until
from tests.support.tiny_models.models import base_model, copy_model

_STREAMS = (1, 4, 8)
_BUCKET = "bench-of-the-twin"
_CHANNELS = ("spec", "dataset", "base_model")
_KIT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Prints the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rehearsal", action="store_true", help="rehearse as well: some minutes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-twin-") as name:
        folder = Path(name).resolve()
        with running_account(folder, containers="run", judge="off", pace=0.1) as account:
            account.client("s3").create_bucket(Bucket=_BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
            _invocations(account, folder, options.rounds)
            _jobs(account, folder, options.rounds)
        if options.rehearsal:
            rehearse(folder, "aws")


# -- invocations


def _invocations(account: Account, folder: Path, rounds: int) -> None:
    with _endpoint(account, folder) as (twin, container):
        compare_streams(twin, container, rounds)


def compare_streams(twin: Client, container: Client, rounds: int) -> None:
    """Prints tokens per second and time to the first token through a twin and from the container alone, in turns."""
    print(f"{'':28} {'container':>9} {'twin':>9} {'ratio':>7}")
    firsts = []
    for streams in _STREAMS:
        direct, through = waves(container, twin, prompts_for(streams), rounds)
        alone, twins = (statistics.median(wave.speed for wave in side) for side in (direct, through))
        print(f"{f'tokens/s, {streams} streams':28} {alone:9.1f} {twins:9.1f} {twins / alone:7.3f}")
    for _ in range(rounds):
        firsts += zip(*waves(container, twin, prompts_for(1), 3, tokens=4), strict=True)
    alone, twins = (statistics.median(wave.first * 1000 for wave in side) for side in zip(*firsts, strict=True))
    print(f"{'':28} {'container':>9} {'twin':>9} {'added':>7}")
    print(f"{'first token ms, idle':28} {alone:9.1f} {twins:9.1f} {twins - alone:7.1f}")


def waves(
    direct: Client, through: Client, texts: list[str], rounds: int, tokens: int = 256
) -> tuple[list[Wave], list[Wave]]:
    """Returns the waves of both sides, run in turns."""
    found: tuple[list[Wave], list[Wave]] = ([], [])
    for turn in range(rounds + 1):  # the first is for warming up
        for side in (0, 1) if turn % 2 else (1, 0):
            wave = (direct, through)[side].wave(texts, tokens)
            if turn:
                found[side].append(wave)
    return found


@contextmanager
def _endpoint(account: Account, folder: Path) -> Iterator[tuple[Client, Client]]:
    """Deploys SmolLM2 on the twin; yields a client of SageMaker's API, and one of the endpoint's container."""
    version = copy_model(base_model(), folder / "model")
    sign_version(version, folder)
    _upload(account, version, "model/")
    variables = {"LLMOPS_AUTH": "platform", "LLMOPS_PLATFORM": "sagemaker", "LLMOPS_QUALITY_SECONDS": "0"}
    variables["LLMOPS_PUBLIC_KEY"] = (folder / "signing.pub").read_text()
    source = {"S3Uri": f"s3://{_BUCKET}/model/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    container = {"Image": process_images.build("serving"), "Environment": variables}
    container["ModelDataSource"] = {"S3DataSource": source}
    sagemaker = account.client("sagemaker")
    sagemaker.create_model(ModelName="bench", ExecutionRoleArn=_role(account), PrimaryContainer=container)
    variant = {"VariantName": "main", "ModelName": "bench", "InstanceType": "ml.m5.xlarge", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(EndpointConfigName="bench", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="bench", EndpointConfigName="bench")
    until(lambda: sagemaker.describe_endpoint(EndpointName="bench")["EndpointStatus"] == "InService", 120)
    instance = _instances(account)[0]
    path = "/endpoints/bench/invocations-response-stream"
    url = account.environ["AWS_ENDPOINT_URL"]
    keys = (account.environ["AWS_ACCESS_KEY_ID"], account.environ["AWS_SECRET_ACCESS_KEY"])

    def sign(body: bytes) -> Mapping[str, str]:
        return signed("POST", url + path, "sagemaker", keys, region=REGION, body=body)

    yield (
        Client(("127.0.0.1", int(url.rpartition(":")[2])), path, sign),
        Client(("127.0.0.1", instance["port"]), "/invocations", ""),
    )
    sagemaker.delete_endpoint(EndpointName="bench")
    until(lambda: not _instances(account), 60)


# -- jobs


def _jobs(account: Account, folder: Path, rounds: int) -> None:
    """Trains the rehearsal's recipe on SmolLM2 with the image's program alone and as a job, in turns."""
    recipe = _KIT / "recipes" / "rehearsal.yaml"
    image = process_images.build("training")
    template = make_container(folder / "template", base_model(), Recipe.load(recipe), recipe.parent)
    for channel in _CHANNELS:
        _upload(account, template.channel(channel), f"{channel}/")
    bare, jobs = [], []
    for number in range(rounds):
        bare.append(_timed_program(image, template.root, folder / f"program-{number}"))
        jobs.append(_timed_job(account, image, f"bench-{number}"))
    alone, job = statistics.median(bare), statistics.median(jobs)
    print(f"{'':28} {'program':>9} {'job':>9} {'ratio':>7}")
    print(f"{'training, s':28} {alone:9.2f} {job:9.2f} {job / alone:7.3f}")


def _timed_program(image: str, template: Path, root: Path) -> float:
    shutil.copytree(template, root)
    built = process_images.find(image)
    environ = process_images.process_environ(built, root)
    started = time.perf_counter()
    subprocess.run(
        [str(built.python), *built.entrypoint[1:], "train"], cwd=root, env=environ, check=True, capture_output=True
    )
    return time.perf_counter() - started


def _timed_job(account: Account, image: str, name: str) -> float:
    sagemaker = account.client("sagemaker")
    started = time.perf_counter()
    sagemaker.create_training_job(
        TrainingJobName=name,
        RoleArn=_role(account),
        AlgorithmSpecification={"TrainingImage": image, "TrainingInputMode": "File"},
        InputDataConfig=[
            {
                "ChannelName": channel,
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{_BUCKET}/{channel}/"}},
            }
            for channel in _CHANNELS
        ],
        OutputDataConfig={"S3OutputPath": f"s3://{_BUCKET}/output", "CompressionType": "NONE"},
        CheckpointConfig={"S3Uri": f"s3://{_BUCKET}/checkpoints/{name}"},
        ResourceConfig={"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 10},
        StoppingCondition={"MaxRuntimeInSeconds": 3600},
    )
    ended = ("Completed", "Failed", "Stopped")
    job = until(
        lambda: (j := sagemaker.describe_training_job(TrainingJobName=name))["TrainingJobStatus"] in ended and j, 900
    )
    took = time.perf_counter() - started
    if job["TrainingJobStatus"] != "Completed":
        raise SystemExit(f"the job ended {job['TrainingJobStatus']}: {job.get('FailureReason')}")
    return took


# -- the rehearsal


def rehearse(folder: Path, cloud: str) -> None:
    """Runs `llmops rehearse`, and prints the seconds of each step."""
    report = folder / "report"
    command = [sys.executable, "-m", "llmops_kit.cli", "rehearse", cloud, "--report", str(report)]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=_KIT, check=False, stdin=subprocess.DEVNULL)
    took = time.perf_counter() - started
    for step in json.loads((report / "report.json").read_text())["steps"]:
        print(f"{step['id']:28} {step['seconds']:9.1f} s  {step['state']}")
    print(f"{'rehearsal':28} {took:9.1f} s  {'passed' if not done.returncode else 'FAILED'}")


# -- what both need


def _role(account: Account) -> str:
    """Returns the ARN of the role `bench`, without policies: permissions are not checked here."""
    iam = account.client("iam")
    trust = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    with suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_role(
            RoleName="bench", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        )
    return iam.get_role(RoleName="bench")["Role"]["Arn"]


def _instances(account: Account) -> list[dict[str, Any]]:
    found = control.status(account.home)
    assert found
    return found["instances"]


def _upload(account: Account, folder: Path, prefix: str) -> None:
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        account.client("s3").upload_file(str(path), _BUCKET, prefix + path.relative_to(folder).as_posix())


if __name__ == "__main__":
    main()
