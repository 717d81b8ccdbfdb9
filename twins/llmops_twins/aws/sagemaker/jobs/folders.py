"""The folders of a training job's containers, as SageMaker prepares them.

https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmops_kit.core import object_keys
from llmops_twins.aws import s3_objects
from llmops_twins.aws.calls import AwsApiError
from llmops_twins.aws.s3_objects import S3Location
from llmops_twins.aws.service_documents import Document
from llmops_twins.aws.twin import AccountTwin
from llmops_twins.core.jobs.job_run import loopback_addresses

CHECKPOINTS = "/opt/ml/checkpoints"
MODEL, DATA, FAILURE = "opt/ml/model", "opt/ml/output/data", "opt/ml/output/failure"
_CONFIG, _INPUT = "opt/ml/input/config", "opt/ml/input/data"
_ONE_GROUP = "homogeneousCluster"
_LONGEST_PATH = 4096
_SHARDED = "ShardedByS3Key"
_NOBODY = "192.0.2.1"
"""An unassigned address (RFC 5737)."""


@dataclass(frozen=True)
class JobInstance:
    """One instance of a job: its host name, its address, and the folder that stands for its `/`."""

    host: str
    group: str
    instance_type: str
    address: str
    root: Path


def nodes_of(job: Document, home: Path) -> list[JobInstance]:
    """Returns the instances of a job, each with its own loopback address: all can listen on the same port."""
    resources = job["ResourceConfig"]
    groups = resources.get("InstanceGroups") or [{**resources, "InstanceGroupName": _ONE_GROUP}]
    kinds = [group for group in groups for _ in range(group.get("InstanceCount", 1))]
    addresses = loopback_addresses(len(kinds))
    return [
        JobInstance(
            f"algo-{number}", group["InstanceGroupName"], group["InstanceType"], address, home / f"algo-{number}"
        )
        for number, (group, address) in enumerate(zip(kinds, addresses, strict=True), start=1)
    ]


def checkpoints_path(job: Document) -> str:
    """Returns the container's checkpoint folder, without a trailing slash; empty if the job keeps none."""
    kept = job.get("CheckpointConfig") or {}
    return kept.get("LocalPath", CHECKPOINTS).rstrip("/") if kept.get("S3Uri") else ""


def refuse_outside(job: Mapping[str, Any]) -> None:
    """Refuses folders of a job outside of its container. The API's own patterns allow them, but here a folder of this
    machine stands for the container.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CheckpointConfig.html
    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_Channel.html

    Raises:
        AwsApiError: ValidationException.
    """
    for channel in job.get("InputDataConfig", []):
        if channel["ChannelName"] in (".", ".."):
            text = f"Invalid ChannelName {channel['ChannelName']!r}: it is the name of a folder."
            raise AwsApiError("ValidationException", text)
    path = (job.get("CheckpointConfig") or {}).get("LocalPath", CHECKPOINTS)
    parts = path.removesuffix("/").split("/")[1:]
    inside = path.startswith("/") and parts and all(part not in ("", ".", "..") for part in parts)
    if not inside or not path.isprintable() or len(path) > _LONGEST_PATH:
        text = (
            f"Invalid LocalPath {path[:100]!r} in CheckpointConfig: it must be the absolute path of a folder in the "
            f"container, without '.' and '..', of at most {_LONGEST_PATH} characters."
        )
        raise AwsApiError("ValidationException", text)


def read_only(job: Document) -> list[str]:
    """Returns the read-only channels of a container."""
    return [
        f"/{_INPUT}/{channel['ChannelName']}"
        for channel in job.get("InputDataConfig", [])
        if _mode(job, channel) == "FastFile"
    ]


def apart(nodes: list[JobInstance], node: JobInstance) -> list[JobInstance]:
    """Returns the instances as seen by `node` when its network blocks all traffic: the others have an unreachable
    address.
    """
    return [each if each is node else replace(each, address=_NOBODY) for each in nodes]


def prepare(
    twin: AccountTwin,
    job: Document,
    node: JobInstance,
    nodes: list[JobInstance],
    interface: str,
    going: Callable[[], None],
) -> None:
    """Writes the folders of one container.

    Args:
        twin: the account.
        job: its document.
        node: the container's instance.
        nodes: all instances of the job.
        interface: the network interface by which the containers reach each other.
        going: called between files; an exception from it ends the work.

    Raises:
        AwsApiError: the input does not exist, or can't be read.
    """
    for folder in (MODEL, DATA, _CONFIG, _INPUT, "tmp", "etc"):
        (node.root / folder).mkdir(parents=True, exist_ok=True)
    names = "".join(f"{each.address} {each.host}\n" for each in nodes)
    (node.root / "etc/hosts").write_text(f"127.0.0.1 localhost\n{names}")
    documents = {
        "hyperparameters": job.get("HyperParameters", {}),
        "resourceconfig": _resources(node, nodes, interface),
        "inputdataconfig": {each["ChannelName"]: _channel(job, each) for each in job.get("InputDataConfig", [])},
    }
    for name, document in documents.items():
        (node.root / _CONFIG / f"{name}.json").write_text(json.dumps(document))
    for channel in job.get("InputDataConfig", []):
        _fill(twin, channel, node, nodes, going)
    if path := checkpoints_path(job):
        _restore(twin, S3Location.of(job["CheckpointConfig"]["S3Uri"]), node.root / path.lstrip("/"), going)


def _fill(
    twin: AccountTwin, channel: Document, node: JobInstance, nodes: list[JobInstance], going: Callable[[], None]
) -> None:
    source = channel["DataSource"]["S3DataSource"]
    place = S3Location.of(source["S3Uri"])
    found = s3_objects.found_below(twin, place)
    if not found:
        text = f"Data download failed: No S3 objects found under S3 URL {source['S3Uri']!r}."
        raise AwsApiError("ValidationException", text)
    if source.get("S3DataDistributionType") == _SHARDED:
        found = found[nodes.index(node) :: len(nodes)]
    if why := object_keys.fault(channel["ChannelName"]):  # SageMaker's own pattern allows "." and ".."
        raise AwsApiError("ValidationException", f"The channel {object_keys.shown(channel['ChannelName'])} {why}.")
    folder = node.root / _INPUT / channel["ChannelName"]
    folder.mkdir(exist_ok=True)
    _download(twin, place.bucket, found, folder, going)


def _restore(twin: AccountTwin, place: S3Location, folder: Path, going: Callable[[], None]) -> None:
    """Downloads the checkpoints that an earlier attempt, or another job, left at a location."""
    folder.mkdir(parents=True, exist_ok=True)
    beginning = S3Location(place.bucket, place.key.rstrip("/") + "/")
    _download(twin, place.bucket, s3_objects.found_below(twin, beginning), folder, going)


def _download(
    twin: AccountTwin, bucket: str, found: list[tuple[str, str]], folder: Path, going: Callable[[], None]
) -> None:
    for key, path in found:
        going()
        try:
            s3_objects.download(twin, bucket, key, folder / path)
        except OSError as e:  # the key is a folder of another key, or too long for a file name
            text = f"Data download failed: s3://{bucket}/{key} can't be a file: {e.strerror}."
            raise AwsApiError("ValidationException", text) from e


def _resources(node: JobInstance, nodes: list[JobInstance], interface: str) -> dict[str, Any]:
    groups: dict[str, dict[str, Any]] = {}
    for each in nodes:
        named = {"instance_group_name": each.group, "instance_type": each.instance_type, "hosts": []}
        groups.setdefault(each.group, named)["hosts"].append(each.host)
    return {
        "current_host": node.host,
        "current_instance_type": node.instance_type,
        "current_group_name": node.group,
        "hosts": [each.host for each in nodes],
        "instance_groups": list(groups.values()),
        "network_interface_name": interface,
    }


def _channel(job: Document, channel: Document) -> dict[str, str]:
    source = channel["DataSource"]["S3DataSource"]
    found = {
        "TrainingInputMode": _mode(job, channel),
        "S3DistributionType": source.get("S3DataDistributionType", "FullyReplicated"),
        "RecordWrapperType": channel.get("RecordWrapperType", "None"),
    }
    return found | ({"ContentType": channel["ContentType"]} if "ContentType" in channel else {})


def _mode(job: Document, channel: Document) -> str:
    return channel.get("InputMode") or job["AlgorithmSpecification"].get("TrainingInputMode", "File")
