"""The instances of a job, and the folders that it may only read."""

from pathlib import Path

import pytest

from llmops_twins.aws.calls import AwsApiError
from llmops_twins.aws.sagemaker.jobs import folders

GROUPS = [
    {"InstanceGroupName": "big", "InstanceType": "ml.p4d.24xlarge", "InstanceCount": 1},
    {"InstanceGroupName": "small", "InstanceType": "ml.c5.xlarge", "InstanceCount": 2},
]


def test_groups_of_instances_are_numbered_through() -> None:
    nodes = folders.nodes_of({"ResourceConfig": {"InstanceGroups": GROUPS}}, Path("/home"))
    assert [(node.host, node.group, node.instance_type, node.root) for node in nodes] == [
        ("algo-1", "big", "ml.p4d.24xlarge", Path("/home/algo-1")),
        ("algo-2", "small", "ml.c5.xlarge", Path("/home/algo-2")),
        ("algo-3", "small", "ml.c5.xlarge", Path("/home/algo-3")),
    ]
    assert len({node.address for node in nodes}) == 3
    assert all(node.address.startswith("127.") and node.address != "127.0.0.1" for node in nodes)


def test_a_channel_is_read_only_by_its_own_mode_or_the_jobs() -> None:
    channels = [
        {"ChannelName": "a"},
        {"ChannelName": "b", "InputMode": "File"},
        {"ChannelName": "c", "InputMode": "FastFile"},
    ]
    job = {"AlgorithmSpecification": {"TrainingInputMode": "FastFile"}, "InputDataConfig": channels}
    assert folders.read_only(job) == ["/opt/ml/input/data/a", "/opt/ml/input/data/c"]


def test_where_checkpoints_are() -> None:
    assert folders.checkpoints_path({}) == ""
    assert folders.checkpoints_path({"CheckpointConfig": {"S3Uri": "s3://b/c"}}) == "/opt/ml/checkpoints"
    kept = {"S3Uri": "s3://b/c", "LocalPath": "/mnt/c"}
    assert folders.checkpoints_path({"CheckpointConfig": kept}) == "/mnt/c"


@pytest.mark.vulnerability(14)
@pytest.mark.parametrize(
    "path",
    [
        *("/opt/ml/../../../../../root", "/../root", "/..", "..", "../x", "opt/ml/checkpoints", "", "/", "//", "/./x"),
        *("/opt/ml//checkpoints", "/opt/ml/checkpoints/.", "/opt/ml/check\0points", "/opt/\nml", "/" + "x" * 4096),
    ],
)
def test_vulnerability_14_checkpoints_stay_in_the_container(path: str) -> None:
    """A folder of the twin's owner was filled from a bucket, and another's content carried into it."""
    with pytest.raises(AwsApiError, match="Invalid LocalPath"):
        folders.refuse_outside({"CheckpointConfig": {"S3Uri": "s3://b/c", "LocalPath": path}})


@pytest.mark.vulnerability(14)
@pytest.mark.parametrize("name", [".", ".."])
def test_vulnerability_14_a_channel_is_a_folder_of_its_own(name: str) -> None:
    with pytest.raises(AwsApiError, match="Invalid ChannelName"):
        folders.refuse_outside({"InputDataConfig": [{"ChannelName": name}]})


def test_paths_that_lie_in_the_container() -> None:
    for path in ("/opt/ml/checkpoints", "/opt/ml/checkpoints/", "/mnt/..data/a b", "/x" * 2048):
        folders.refuse_outside({"CheckpointConfig": {"S3Uri": "s3://b/c", "LocalPath": path}})
    folders.refuse_outside({"InputDataConfig": [{"ChannelName": "..."}]})


def test_who_may_not_talk_finds_the_others_where_nobody_is() -> None:
    first, *others = folders.nodes_of({"ResourceConfig": {"InstanceGroups": GROUPS}}, Path("/home"))
    found = folders.apart([first, *others], first)
    assert [node.host for node in found] == ["algo-1", "algo-2", "algo-3"]
    assert [node.address for node in found] == [first.address, "192.0.2.1", "192.0.2.1"]
