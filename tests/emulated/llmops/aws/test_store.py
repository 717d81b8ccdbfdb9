"""The store in a bucket, with everything that the store in a folder promises."""

from typing import Any

import pytest

from contract.errors import KitError
from llmops.platforms.aws.platform import AwsPlatform
from tests.emulated.llmops.aws.conftest import MakePlatform
from tests.support.store_contract import MakeVersion, StoreContract


class TestStore(StoreContract):
    target = "aws"

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


def test_a_bucket_of_another_account_is_refused(make_platform: MakePlatform) -> None:
    platform = make_platform(account="111111111111")
    with pytest.raises(KitError, match="but AWS clients of this shell talk to a twin"):
        platform.store()


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
