"""A twin's process: started once, found again, stopped, killed, emptied; its whole state outlives it."""

import os
import signal
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from llmops_kit.core.errors import KitError
from llmops_twins.aws import control
from llmops_twins.core.state_log import STATE_FILE
from tests.support.servers.serving import until
from twins.tests.support.aws import RunningTwin


def fill(twin: RunningTwin) -> dict[str, Any]:
    """Something in every kind of backend, as read back from the twin."""
    s3, kms, logs = twin.client("s3"), twin.client("kms"), twin.client("logs")
    s3.create_bucket(Bucket="kept")
    s3.put_bucket_versioning(Bucket="kept", VersioningConfiguration={"Status": "Enabled"})
    for body in (b"first", b"second", os.urandom(3_000_000)):
        s3.put_object(Bucket="kept", Key="folder/a b+c", Body=body, Metadata={"who": "me"})
    kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    kms.create_key()
    logs.create_log_group(logGroupName="/kept")
    twin.client("ssm").put_parameter(Name="kept", Value="v", Type="String")
    twin.client("iam").create_user(UserName="kept")
    twin.client("sagemaker").create_model_package_group(ModelPackageGroupName="kept")
    return read(twin)


def read(twin: RunningTwin) -> dict[str, Any]:
    s3, kms = twin.client("s3"), twin.client("kms")
    versions = s3.list_object_versions(Bucket="kept")["Versions"]
    keys = [key["KeyId"] for key in kms.list_keys()["Keys"]]
    signing = [key for key in keys if kms.describe_key(KeyId=key)["KeyMetadata"]["KeyUsage"] == "SIGN_VERIFY"]
    return {
        "versions": [(v["VersionId"], v["ETag"], v["LastModified"]) for v in versions],
        "bodies": [
            s3.get_object(Bucket="kept", Key=v["Key"], VersionId=v["VersionId"])["Body"].read() for v in versions
        ],
        "keys": sorted(keys),
        "public": kms.get_public_key(KeyId=signing[0])["PublicKey"],
        "parameter": twin.client("ssm").get_parameter(Name="kept")["Parameter"],
        "user": twin.client("iam").get_user(UserName="kept")["User"],
        "vpc": twin.client("ec2").describe_vpcs()["Vpcs"],
        "group": twin.client("sagemaker").describe_model_package_group(ModelPackageGroupName="kept")["CreationTime"],
        "logs": twin.client("logs").describe_log_groups()["logGroups"],
    }


def test_the_whole_state_outlives_a_killed_process(start: Callable, tmp_path: Path) -> None:
    first = start(tmp_path / "home")
    before = fill(first)
    await_written(first)
    os.kill(first.info.pids["twin"], signal.SIGKILL)
    second = start(first.home)
    assert second.info.url == first.info.url
    assert second.info.pids["twin"] != first.info.pids["twin"]
    assert read(second) == before
    second.client("s3").delete_bucket_policy(Bucket="kept")
    assert read(second) == before


def await_written(twin: RunningTwin) -> None:
    """Wait until every change that was answered so far is in the twin's folder."""
    until(lambda: twin.ask("GET", "status")["written"])


def test_down_leaves_the_whole_state_to_its_owner_alone_and_no_process(start: Callable, tmp_path: Path) -> None:
    twin = start(tmp_path / "home")
    s3 = twin.client("s3")
    s3.create_bucket(Bucket="emptied")
    s3.put_object(Bucket="emptied", Key="a", Body=b"a" * 100)
    s3.put_object(Bucket="emptied", Key="b", Body=b"b" * 100)
    s3.delete_object(Bucket="emptied", Key="a")
    before = fill(twin)
    control.environment(twin.home)
    twin_process = psutil.Process(twin.info.pids["twin"])
    processes = [twin_process, *twin_process.children(recursive=True)]
    assert control.down(twin.home)
    assert not [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert control.status(twin.home) is None
    assert not control.down(twin.home)
    assert stat.S_IMODE(twin.home.stat().st_mode) == 0o700
    open_to_others = [p for p in twin.home.rglob("*") if p.is_file() and stat.S_IMODE(p.stat().st_mode) & 0o077]
    assert [p.name for p in open_to_others if p.parent != twin.home / "state"] == []
    bodies = [body.read_bytes() for body in (twin.home / "objects").iterdir()]
    assert sorted(bodies) == sorted([b"b" * 100, *before["bodies"]])  # none of the deleted object
    (twin.home / f".{STATE_FILE}.1.tmp").write_bytes(b"half")
    (twin.home / "objects" / ".half.tmp").write_bytes(b"half")
    assert read(start(twin.home)) == before


def test_reset_empties_a_twin_that_runs_and_a_state_of_another_version(start: Callable) -> None:
    twin = start()
    fill(twin)
    control.reset(twin.home)
    assert twin.client("s3").list_buckets()["Buckets"] == []
    assert twin.client("sagemaker").list_model_package_groups()["ModelPackageGroupSummaryList"] == []
    twin.client("s3").create_bucket(Bucket="old")
    control.down(twin.home)
    file = twin.home / STATE_FILE
    file.write_bytes(file.read_bytes().replace(b'"moto": "', b'"moto": "1.', 1))
    with pytest.raises(KitError) as refusal:
        control.up(twin.home)
    assert "was written with" in str(refusal.value)
    assert f"twins aws reset --home {twin.home}" in str(refusal.value)
    control.reset(twin.home)
    assert start(twin.home).client("s3").list_buckets()["Buckets"] == []


def test_two_twins_share_nothing(start: Callable, twin: RunningTwin) -> None:
    one, two = start(), twin
    assert one.info.port != two.info.port
    one.client("s3").create_bucket(Bucket="only-here")
    assert two.client("s3").list_buckets()["Buckets"] == []
    control.down(one.home)
    assert two.client("s3").list_buckets()["Buckets"] == []


def test_a_second_up_finds_the_first_and_changes_its_settings(twin: RunningTwin) -> None:
    second = control.up(twin.home, judge="off", pace=0.7)
    assert second.pids == twin.info.pids
    assert twin.ask("GET", "status")["pace"] == 0.7


def test_two_at_once_make_one(tmp_path: Path, start: Callable) -> None:
    found: list[control.AwsTwinInfo] = []
    threads = [threading.Thread(target=lambda: found.append(start(tmp_path / "home").info)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert len({info.pids["twin"] for info in found}) == 1


def test_it_listens_on_loopback_only(twin: RunningTwin) -> None:
    process = psutil.Process(twin.info.pids["twin"])
    listening = [c for p in (process, *process.children(recursive=True)) for c in p.net_connections("inet")]
    addresses = {c.laddr[0] for c in listening if c.status == psutil.CONN_LISTEN}
    assert "127.0.0.1" in addresses
    assert addresses <= {"127.0.0.1", "::ffff:127.0.0.1"}


def test_a_restore_brings_the_snapshot_back(start: Callable) -> None:
    twin = start()
    with pytest.raises(KitError, match="no snapshot"):
        control.restore(twin.home)
    before = fill(twin)
    control.snapshot(twin.home)
    s3 = twin.client("s3")
    for version in s3.list_object_versions(Bucket="kept")["Versions"]:
        s3.delete_object(Bucket="kept", Key=version["Key"], VersionId=version["VersionId"])
    s3.delete_bucket(Bucket="kept")
    s3.create_bucket(Bucket="new")
    twin.client("iam").delete_user(UserName="kept")
    twin.client("sagemaker").create_model_package_group(ModelPackageGroupName="new")
    await_written(twin)  # the bodies of the deleted objects are gone from the state's folder
    control.restore(twin.home)
    assert read(twin) == before
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["kept"]
    groups = twin.client("sagemaker").list_model_package_groups()["ModelPackageGroupSummaryList"]
    assert [group["ModelPackageGroupName"] for group in groups] == ["kept"]
    await_written(twin)
    os.kill(twin.info.pids["twin"], signal.SIGKILL)
    assert read(start(twin.home)) == before


def test_a_taken_port_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(KitError) as refusal:
        control.up(tmp_path / "home", port=taken.getsockname()[1])
    assert f"port {taken_port(refusal.value)} on 127.0.0.1 is taken" in str(refusal.value)


def taken_port(error: KitError) -> str:
    return error.what.split()[1]


def test_the_environment_leads_to_the_twin_alone(twin: RunningTwin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://elsewhere.example")
    environment = control.environment(twin.home)
    assert environment["AWS_ENDPOINT_URL"] == twin.info.url
    assert environment["AWS_PROFILE"] is None
    assert environment["AWS_ENDPOINT_URL_S3"] is None
    assert environment["PULUMI_BACKEND_URL"] == f"file://{twin.home}/state?metadata=skip"
    assert Path(environment["AWS_SHARED_CREDENTIALS_FILE"] or "").read_text() == ""
