"""The store in a bucket, with everything that the store in a folder promises."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig

from llmops_kit.cli.deploying.promotion import promote
from llmops_kit.cli.platforms.aws import objects_s3
from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.cli.platforms.aws.objects_s3 import S3Objects
from llmops_kit.cli.platforms.aws.platform import AwsPlatform
from llmops_kit.cli.stacks.stack_file import StackFile
from llmops_kit.cli.store.versions import RemoteVersion
from llmops_kit.clouds.aws.errors import USE_AWS
from llmops_kit.core.documents import dataset
from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.errors import IntegrityError, KitError
from llmops_kit.core.integrity import digest
from llmops_kit.core.integrity.digest import file_entries
from llmops_kit.core.layout import model_key
from tests.emulated.cli.aws.conftest import MakePlatform
from tests.support.clouds.aws import Account
from tests.support.clouds.store_contract import MakeVersion, StoreContract
from tests.support.counting import received
from tests.support.tiny_models.versions import write_version

_PART, _OVERHEAD = 5 << 20, 200_000


class TestStore(StoreContract):
    target = "aws"
    keeps_sums = True

    def work(self, platform: AwsPlatform) -> S3Objects:
        return S3Objects(platform.aws.work_bucket, platform.clients, platform.aws.account)

    def write(self, platform: AwsPlatform, key: str, data: bytes) -> None:
        bucket = platform.outputs.store.url.removeprefix("s3://")
        platform.clients("s3").put_object(Bucket=bucket, Key=key, Body=data)

    def test_data_is_removed_to_the_last_version_and_only_the_kits_own_where_the_bucket_was_given(
        self, make_platform: MakePlatform, make_version: MakeVersion
    ) -> None:
        for tagged in (True, False):
            platform = make_platform(tagged=tagged)
            s3, bucket = platform.clients("s3"), platform.outputs.store.url.removeprefix("s3://")
            platform.store().put_model(make_version(), platform.sign)
            for body in (b"1", b"2"):
                s3.put_object(Bucket=bucket, Key="models/x", Body=body)
            s3.delete_object(Bucket=bucket, Key="models/x")
            s3.put_object(Bucket=bucket, Key="theirs/data", Body=b"1")
            s3.create_multipart_upload(Bucket=bucket, Key="models/cut-off")
            group = platform.aws.model_package_group
            _register(platform.clients("sagemaker"), group)
            platform.remove_data()
            platform.remove_data()
            left = s3.list_object_versions(Bucket=bucket)
            keys = {v["Key"] for v in [*left.get("Versions", []), *left.get("DeleteMarkers", [])]}
            assert keys == (set() if tagged else {"theirs/data"})
            assert not s3.list_multipart_uploads(Bucket=bucket).get("Uploads")
            found = platform.clients("sagemaker").list_model_packages(ModelPackageGroupName=group)
            assert found["ModelPackageSummaryList"] == []


def test_what_has_more_than_5_gb_is_copied_and_known_by_the_sums_of_its_parts(
    make_platform: MakePlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By parts of 5 MiB here, S3's smallest. A manifest of an older kit lists none: then the copy is read."""
    monkeypatch.setattr(dataset, "PART_BYTES", _PART)
    monkeypatch.setattr(digest, "PART_BYTES", _PART)
    monkeypatch.setattr(objects_s3, "PART_BYTES", _PART)
    monkeypatch.setattr(objects_s3, "LARGEST_COPY", _PART)
    config = TransferConfig(multipart_threshold=_PART + 1, multipart_chunksize=_PART)
    monkeypatch.setattr(objects_s3, "_IN_PARTS", config)
    platform, other = make_platform(), make_platform("prod")
    write_version(tmp_path / "new", "chatbot", "w" * (2 * _PART + 1), passed=True, run="")
    write_version(tmp_path / "old", "chatbot", "o" * (2 * _PART + 1), passed=True, run="")
    forget_parts(tmp_path / "old")
    for name, once in (("new", 0), ("old", 2 * _PART)):
        ref = platform.store().put_model(tmp_path / name, platform.sign)
        with received() as counter:
            platform.store().verify_model(ref, platform.outputs.signing.public_key, print)
            assert once <= counter.taken() < once + _OVERHEAD, "as it was uploaded"
            found = other.store().put_model(platform.store().version(ref), other.sign)
            assert once <= counter.taken() < once + _OVERHEAD, "as it was copied"
        assert found.sha256 == ref.sha256
        s3, bucket = other.clients("s3"), other.outputs.store.url.removeprefix("s3://")
        key = f"{model_key(ref.sha256)}/model.safetensors"
        head = s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
        assert (head["ChecksumType"], head["ChecksumSHA256"][-2:]) == ("COMPOSITE", "-3")
        target: Any = other.store().objects
        entry = platform.store().manifest(ref).files["model.safetensors"]
        with pytest.raises(IntegrityError, match="was changed while it was copied"):
            target._copy(key, platform.store().objects, key, '"stale"', entry)
        assert not s3.list_multipart_uploads(Bucket=bucket).get("Uploads")
        (tmp_path / "other").write_bytes(b"x" * (2 * _PART + 1))
        target._upload(key, tmp_path / "other")
        with pytest.raises(IntegrityError, match="was changed: "):
            other.store().verify_model(found, other.outputs.signing.public_key, print)


def forget_parts(folder: Path) -> None:
    """As an older kit's manifest was."""
    document = json.loads((folder / "manifest.json").read_text())
    del document["files"]["model.safetensors"]["parts"]
    (folder / "manifest.json").write_text(json.dumps(document))


@pytest.mark.long
def test_7b_versions_are_collected_promoted_and_copied_without_being_read(
    make_platform: MakePlatform, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """15 GB of weights, of zeros: a sparse file here and on the twin, which gets them as SageMaker writes: in parts."""
    platform, other = make_platform(), make_platform("prod")
    folder, size = tmp_path / "version", 15 << 30
    write_version(folder, "chatbot", "", passed=True, run="")
    os.truncate(folder / "model.safetensors", size)
    manifest = ModelManifest.load(folder / "manifest.json")
    manifest.model_copy(update={"files": file_entries(folder)}).write(folder / "manifest.json")
    work, key = S3Objects(platform.aws.work_bucket, platform.clients, platform.aws.account), "runs/r/output/j/model"
    write_zeros(work, f"{key}/model.safetensors", size)
    for name in ("manifest.json", "openvino/openvino_model.xml"):
        work.put(f"{key}/{name}", (folder / name).read_bytes())
    (tmp_path / "Pulumi.dev.yaml").write_text("config:\n  llmops:target: aws\n")
    figures, said = dict[str, int](), list[str]()
    with received() as counter:
        ref = platform.store().put_model(RemoteVersion(work, key), platform.sign, say=said.append)
        figures["collect"] = counter.taken()
        promote(platform, StackFile(tmp_path / "Pulumi.dev.yaml"), "chatbot@1", say=said.append)
        figures["promote"] = counter.taken()
        other.store().put_model(platform.store().version(ref), other.sign, ref.sha256, said.append)
        figures["copy"] = counter.taken()
    assert "copying 16.1 GB" in said[0]
    assert max(figures.values()) < _OVERHEAD, figures
    with capsys.disabled():
        print(f"\nbytes that this machine received, of 15 GiB: {figures}")


def write_zeros(objects: S3Objects, key: str, size: int) -> None:
    """Write an object of zeros of which 64 MiB are sent."""
    s3, part = objects.bucket.s3, 64 << 20
    s3.put_object(Bucket=objects.bucket.name, Key="zeros", Body=bytes(part))
    place = {"Bucket": objects.bucket.name, "Key": key}
    place["UploadId"] = s3.create_multipart_upload(**place)["UploadId"]
    source, parts = {"Bucket": objects.bucket.name, "Key": "zeros"}, []
    for number in range(1, size // part + 1):
        made = s3.upload_part_copy(**place, PartNumber=number, CopySource=source)["CopyPartResult"]
        parts.append({"PartNumber": number, "ETag": made["ETag"]})
    s3.complete_multipart_upload(**place, MultipartUpload={"Parts": parts})


def test_a_bucket_of_another_account_is_refused(make_platform: MakePlatform) -> None:
    platform = make_platform(account="111111111111")
    with pytest.raises(KitError) as refused:
        platform.store()
    assert refused.value.fix == USE_AWS


def _register(sagemaker: Any, group: str) -> None:
    container = {"Image": "000000000000.dkr.ecr.us-east-1.amazonaws.com/x:1"}
    specification = {
        "Containers": [container],
        "SupportedContentTypes": ["application/json"],
        "SupportedResponseMIMETypes": ["application/json"],
    }
    sagemaker.create_model_package(
        ModelPackageGroupName=group, ModelApprovalStatus="Approved", InferenceSpecification=specification
    )


def test_a_bucket_of_another_account_is_no_store(account: Account, clients: AwsClients) -> None:
    """Even if it lets everybody in, and the caller may do everything."""
    name = account.strangers_bucket("llmops-evil-store")
    clients("s3").put_object(Bucket=name, Key="models/planted", Body=b"1")
    objects = S3Objects(name, clients, clients.caller.account)
    for refused in (
        lambda: objects.find("models/planted"),
        lambda: objects.put("models/ours", b"1"),
        lambda: objects.create("models/ours", b"1"),
        lambda: list(objects.folders("models/")),
    ):
        with pytest.raises(KitError, match="AccessDenied"):
            refused()
