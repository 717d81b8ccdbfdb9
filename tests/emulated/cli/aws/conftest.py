"""One twin for this folder's tests, and a deployed stack on it without an engine: buckets and keys of its own."""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.cli.platforms.aws.platform import AwsPlatform
from llmops_kit.core.documents.outputs import StackOutputs
from tests.support.clouds.aws import Account, running_account

MakePlatform = Callable[..., AwsPlatform]


@pytest.fixture(scope="session")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with running_account(tmp_path_factory.mktemp("aws"), pace=0.05, region="us-east-1") as made:
        yield made


@pytest.fixture
def clients(account: Account, tmp_path: Path) -> Iterator[AwsClients]:
    """This process is a client of the twin meanwhile."""
    with account.entered(), mock.patch.dict(os.environ, {"LLMOPS_CACHE": str(tmp_path / "cache")}):
        yield AwsClients()


@pytest.fixture
def make_platform(clients: AwsClients) -> MakePlatform:
    """Make a stack's buckets, keys, registry and group; what the program leaves of a stack without endpoints."""

    def make(stack: str = "dev", tagged: bool = True, **aws: Any) -> AwsPlatform:
        suffix = uuid.uuid4().hex[:8]
        store, work, repository, group = (f"{kind}-{stack}-{suffix}" for kind in ("store", "work", "serving", "group"))
        tags = [{"Key": "llmops:stack", "Value": stack}] if tagged else []
        s3, kms = clients("s3"), clients("kms")
        for bucket in (store, work):
            s3.create_bucket(Bucket=bucket)
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
            if tags:
                s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags})
        clients("ecr").create_repository(repositoryName=repository, tags=tags)
        clients("sagemaker").create_model_package_group(ModelPackageGroupName=group)
        key = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["Arn"]
        caller = clients.caller
        outputs = {
            "target": "aws",
            "stack": stack,
            "project": "",
            "store": {"url": f"s3://{store}"},
            "signing": {"private_key": f"awskms:///{key}", "public_key": _pem(kms, key)},
            "training": {"image": f"process:training@sha256:{'0' * 64}", "runs": f"s3://{work}/runs"},
            "aws": {
                "account": caller.account,
                "region": caller.region,
                "twin": True,
                "work_bucket": work,
                "repositories": {"serving": f"{caller.account}.dkr.ecr.{caller.region}.amazonaws.com/{repository}"},
                "model_package_group": group,
                **aws,
            },
        }
        return AwsPlatform(StackOutputs.new(**outputs))

    return make


def _pem(kms: Any, key: str) -> str:
    from cryptography.hazmat.primitives import serialization

    public = serialization.load_der_public_key(kms.get_public_key(KeyId=key)["PublicKey"])
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return public.public_bytes(encoding, form).decode()
