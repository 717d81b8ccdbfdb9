"""The store in a bucket, with everything that the store in a folder promises."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contract.errors import IntegrityError, KitError
from contract.layout import MANIFEST, model_key, rejection_log
from contract.signing import verify
from llmops.platforms.aws.objects_s3 import S3Objects
from llmops.promotion import promote
from llmops.stackfile import StackFile
from tests.emulated.llmops.aws.conftest import MakePlatform
from tests.support.versions import write_version


@pytest.fixture
def make_version(tmp_path: Path) -> Callable[..., Path]:
    def make(name: str = "chatbot", weights: str = "w") -> Path:
        folder = tmp_path / f"{name}-{weights[:16]}"
        if not folder.exists():
            write_version(folder, name, weights, passed=True, run="")
        return folder

    return make


def test_a_version_is_stored_signed_by_kms_and_verified_from_the_bucket(
    make_platform: MakePlatform, make_version: Callable[..., Path]
) -> None:
    platform = make_platform()
    ref = platform.store().put_model(make_version(), platform.sign)
    assert ref.alias == "chatbot@1"
    assert platform.store().put_model(make_version(), platform.sign) == ref
    folder = platform.store().model_folder(ref.sha256)
    assert verify(folder, platform.outputs.signing.public_key, ref.sha256).name == "chatbot"
    assert platform.store().find("chatbot@latest") == ref
    assert platform.store().put_model(make_version(weights="other"), platform.sign).alias == "chatbot@2"


def test_writers_at_the_same_time_get_different_numbers(
    make_platform: MakePlatform, make_version: Callable[..., Path]
) -> None:
    platform = make_platform()
    folders = [make_version(weights=f"w{i}") for i in range(3)]
    platform.store()
    numbers: list[int] = []

    def put(folder: Path) -> None:
        numbers.append(platform.store().put_model(folder, platform.sign).number)

    threads = [threading.Thread(target=put, args=(f,)) for f in [*folders, *folders]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == [1, 1, 2, 2, 3, 3]


def test_a_folder_is_not_there_before_its_manifest(
    make_platform: MakePlatform, make_version: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = make_platform()
    objects = platform.store().objects
    assert isinstance(objects, S3Objects)
    uploaded: list[str] = []
    upload = objects._upload

    def interrupted(key: str, path: Path) -> None:
        if uploaded:
            raise KeyboardInterrupt
        uploaded.append(key)
        upload(key, path)

    monkeypatch.setattr(objects, "_upload", interrupted)
    with pytest.raises(KeyboardInterrupt):
        objects.put_folder("models/abc", make_version(), {})
    with pytest.raises(KitError, match="is not in the store"):
        objects.get_folder("models/abc")
    monkeypatch.setattr(objects, "_upload", upload)
    assert objects.put_folder("models/abc", make_version(), {})
    assert not objects.put_folder("models/abc", make_version(), {})


@pytest.mark.parametrize(
    ("change", "words"),
    [("model.safetensors", "bytes, the manifest says"), ("extra.bin", "was added"), (MANIFEST, "manifest was changed")],
)
def test_what_was_changed_in_the_bucket_is_found_though_this_machine_has_a_copy(
    make_platform: MakePlatform, make_version: Callable[..., Path], change: str, words: str
) -> None:
    platform = make_platform()
    ref = platform.store().put_model(make_version(), platform.sign)
    first = platform.store().model_folder(ref.sha256)
    assert platform.store().model_folder(ref.sha256) == first
    bucket = platform.outputs.store.url.removeprefix("s3://")
    key = f"{model_key(ref.sha256)}/{change}"
    platform.clients("s3").put_object(Bucket=bucket, Key=key, Body=b'{"files": {}}')
    with pytest.raises(IntegrityError, match=words) as caught:
        platform.store().model_folder(ref.sha256)
    assert caught.value.where.startswith(f"s3://{bucket}/models/")


def test_a_rejected_version_is_not_promoted_before_it_is_cleared(
    make_platform: MakePlatform, make_version: Callable[..., Path], tmp_path: Path
) -> None:
    platform = make_platform()
    store = platform.store()
    ref = store.put_model(make_version(), platform.sign)
    store.append(rejection_log(ref.sha256), {"action": "rejected", "why": "5xx alarm", "when": "now"})
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text("config:\n  llmops:target: aws\n")
    assert store.rejections() == {ref.sha256: "5xx alarm"}
    with pytest.raises(KitError, match="was rejected: 5xx alarm") as caught:
        promote(platform, StackFile(path), "chatbot@1")
    assert "llmops models clear chatbot@1" in caught.value.fix
    store.clear(ref, "a full disk")
    assert store.rejections() == {}
    assert promote(platform, StackFile(path), "chatbot@1").after == ref
    assert [e["action"] for e in store.read_log(rejection_log(ref.sha256))] == ["rejected", "cleared"]


def test_a_bucket_of_another_account_is_refused(make_platform: MakePlatform) -> None:
    platform = make_platform(account="111111111111")
    with pytest.raises(KitError, match="but AWS clients of this shell talk to a twin"):
        platform.store()


def test_data_is_removed_to_the_last_version_and_only_the_kits_own_where_the_bucket_was_given(
    make_platform: MakePlatform, make_version: Callable[..., Path]
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
