"""SageMaker's jobs under a stack's prefix that the kit did not submit."""

from typing import Any

import pytest

from llmops_kit.cli.platforms.aws.jobs import AwsRuns
from llmops_kit.clouds.aws.job_requests import SPEC_CHANNEL

FILE_SYSTEM = {"FileSystemDataSource": {"FileSystemId": "fs-1", "FileSystemType": "EFS", "DirectoryPath": "/"}}


@pytest.mark.parametrize(
    "job",
    [
        {},
        {"InputDataConfig": []},
        {"InputDataConfig": [{"ChannelName": "train", "DataSource": FILE_SYSTEM}]},
        {"InputDataConfig": [{"ChannelName": SPEC_CHANNEL, "DataSource": FILE_SYSTEM}]},
    ],
)
def test_a_job_without_the_kits_channels_has_no_spec(job: dict[str, Any]) -> None:
    runs = object.__new__(AwsRuns)
    assert runs._spec_folder(job) == ""
    assert not runs._evaluates(job)


def test_a_jobs_spec_is_in_its_channel() -> None:
    source = {"S3DataSource": {"S3Uri": "s3://work/runs/one/input/spec/"}}
    job = {"InputDataConfig": [{"ChannelName": SPEC_CHANNEL, "DataSource": source}]}
    assert object.__new__(AwsRuns)._spec_folder(job) == "runs/one/input/spec"
