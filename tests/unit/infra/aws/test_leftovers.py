"""What is removed before a creation, against moto: what an interrupted update left, and nothing that is in use."""

import json
from typing import Any

import boto3
import pytest

from llmops_kit.clouds.aws.location import AwsLocation
from llmops_kit.clouds.aws.policies import allow, document
from llmops_kit.clouds.aws.settings import AwsNetworkSettings
from llmops_kit.infra.targets.aws.components import AwsSettings, ModelStore, ModelStoreArgs
from llmops_kit.infra.targets.aws.leftovers.hooks import remove_left
from llmops_kit.infra.testing import run_program
from llmops_kit.settings.signing import SigningSettings
from tests.unit.infra.aws.conftest import REGION

pytestmark = pytest.mark.usefixtures("moto_account")
OURS = {"llmops:project": "llmops", "llmops:stack": "dev"}
ALLOWED = allow(["s3:GetObject"], ["*"])
OTHERS = OURS | {"llmops:stack": "prod"}


def client(service: str) -> Any:
    return boto3.client(service, region_name=REGION)


def removed(kind: str, **inputs: Any) -> list[str]:
    location = AwsLocation(client("sts").get_caller_identity()["Account"], REGION, "")
    return remove_left(kind, inputs, location, OURS)


def make_key(tags: dict[str, str], description: str = "Data of llmops, stack dev") -> str:
    pairs = [{"TagKey": key, "TagValue": value} for key, value in tags.items()]
    return client("kms").create_key(Description=description, Tags=pairs)["KeyMetadata"]["KeyId"]


def test_a_key_without_an_alias_is_scheduled_for_deletion() -> None:
    left, used = make_key(OURS), make_key(OURS)
    make_key(OTHERS)
    make_key(OURS, "Signs model versions of llmops, stack dev")
    client("kms").create_alias(AliasName="alias/used", TargetKeyId=used)
    key = {"description": "Data of llmops, stack dev", "deletionWindowInDays": 30.0}
    assert removed("aws:kms/key:Key", **key) == [f"key {left}"]
    assert client("kms").describe_key(KeyId=left)["KeyMetadata"]["KeyState"] == "PendingDeletion"
    assert removed("aws:kms/key:Key", **key) == [], "once"


def test_no_two_of_a_programs_keys_and_vpcs_could_be_taken_for_each_other() -> None:
    def program() -> None:
        settings = AwsSettings(region=REGION, network=AwsNetworkSettings(mode="own"))
        for name in ("models", "others"):
            ModelStore(name, ModelStoreArgs(settings=settings, signing=SigningSettings(keys=2)))

    declared = run_program(program, project="office", stack="dev")
    described = [key["description"] for key in declared.all_of("aws:kms/key:Key")]
    assert len(described) == len(set(described)) == 6
    named = [vpc["tags"]["Name"] for vpc in declared.all_of("aws:ec2/vpc:Vpc")]
    assert len(named) == len(set(named)) == 2


def test_a_bucket_goes_until_it_has_its_policy() -> None:
    kind, s3 = "aws:s3/bucket:Bucket", client("s3")
    assert removed(kind, bucket="store") == []
    s3.create_bucket(Bucket="store", CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket="store", Key="models/x", Body=b"")
    assert removed(kind, bucket="store") == [], "it holds something"
    s3.delete_object(Bucket="store", Key="models/x")
    s3.put_bucket_policy(Bucket="store", Policy=json.dumps(document([])))
    assert removed(kind, bucket="store") == [], "another state has it"
    s3.delete_bucket_policy(Bucket="store")
    assert removed(kind, bucket="store") == ["bucket store"]
    assert s3.list_buckets()["Buckets"] == []


@pytest.mark.parametrize(("tags", "policies", "goes"), [(OURS, 0, True), (OURS, 1, False), (OTHERS, 0, False)])
def test_a_role_goes_until_it_has_its_policy(tags: dict[str, str], policies: int, goes: bool) -> None:
    iam, pairs = client("iam"), [{"Key": key, "Value": value} for key, value in tags.items()]
    iam.create_role(RoleName="training", AssumeRolePolicyDocument=json.dumps(document([])), Tags=pairs)
    for _ in range(policies):
        iam.put_role_policy(RoleName="training", PolicyName="training", PolicyDocument=json.dumps(document([ALLOWED])))
    assert removed("aws:iam/role:Role", name="training") == (["role training"] if goes else [])


@pytest.mark.parametrize("subnets", [0, 1])
def test_a_vpc_goes_until_it_has_subnets(subnets: int) -> None:
    ec2 = client("ec2")

    def tagged(**name: str) -> str:
        tags = [{"Key": key, "Value": value} for key, value in {**OURS, **name}.items()]
        given = [{"ResourceType": "vpc", "Tags": tags}]
        return ec2.create_vpc(CidrBlock="10.20.0.0/16", TagSpecifications=given)["Vpc"]["VpcId"]

    vpc = tagged(Name="vpc")
    tagged(Name="others-vpc")
    ec2.create_vpc(CidrBlock="10.20.0.0/16")
    for _ in range(subnets):
        ec2.create_subnet(VpcId=vpc, CidrBlock="10.20.0.0/18")
    declared = {"cidrBlock": "10.20.0.0/16", "tags": {"Name": "vpc"}}
    assert removed("aws:ec2/vpc:Vpc", **declared) == ([] if subnets else [vpc])


def test_an_alias_goes_that_names_the_same_key() -> None:
    kind, kms, key, other = "aws:kms/alias:Alias", client("kms"), make_key(OURS), make_key(OURS)
    kms.create_alias(AliasName="alias/data", TargetKeyId=key)
    assert removed(kind, name="alias/data", targetKeyId=other) == []
    assert removed(kind, name="alias/data", targetKeyId=key) == ["alias/data"]


def test_a_log_group_goes_until_it_has_a_log() -> None:
    kind, logs = "aws:cloudwatch/logGroup:LogGroup", client("logs")
    logs.create_log_group(logGroupName="/endpoints/chat")
    logs.create_log_stream(logGroupName="/endpoints/chat", logStreamName="main")
    assert removed(kind, name="/endpoints/chat") == []
    logs.delete_log_stream(logGroupName="/endpoints/chat", logStreamName="main")
    assert removed(kind, name="/endpoints/chat") == ["log group /endpoints/chat"]
