"""Creates stand-ins on a twin for resources given to a stack: keys, buckets, roles, network, registry, boundary."""

import json
import os
import urllib.request
from typing import Any

from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.cli.platforms.aws.removal import STORE_KEYS, WORK_KEYS, repository_name
from llmops_kit.clouds.aws.names import SAGEMAKER, SCHEDULER
from llmops_kit.core.documents.outputs import StackOutputs
from llmops_kit.core.twins import TWIN_ACCOUNT, owner_headers

ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
_TRUST = {
    "training": SAGEMAKER,
    "endpoint": SAGEMAKER,
    "scheduler": SCHEDULER,
}


def make_given(aws: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Creates the resources that `llmops:aws` names on the twin that this process uses.

    Returns:
        The settings for the twin; and name on the twin -> name in the account, where they differ.
    """
    clients, moved = AwsClients(), {}
    aws = {k: v for k, v in aws.items() if k not in ("profile", "region")}
    for key, usage in (
        ("kms_key_arn", {}),
        ("signing_key_arn", {"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}),
    ):
        if aws.get(key):
            policy = json.dumps(_key_policy(clients.caller.region))
            made = clients("kms").create_key(Policy=policy, **usage)["KeyMetadata"]["Arn"]
            moved[made] = aws[key]
            aws[key] = made
    for key in ("store_bucket", "work_bucket"):
        if aws.get(key):
            _bucket(clients, aws[key])
    if boundary := aws.get("permissions_boundary_arn"):
        made = clients("iam").create_policy(PolicyName=_name(boundary), PolicyDocument=json.dumps(ALL))["Policy"]
        moved[made["Arn"]] = boundary
        aws["permissions_boundary_arn"] = made["Arn"]
    aws["roles"] = {k: _role(clients, k, arn, moved) for k, arn in (aws.get("roles") or {}).items() if arn}
    if registry := aws.get("registry"):
        aws["registry"] = _registry(clients, registry, moved)
    if (aws.get("network") or {}).get("mode") == "existing":
        aws["network"] = _network(clients, aws["network"], moved)
    return {k: v for k, v in aws.items() if v != {}}, moved


def fill(outputs: StackOutputs) -> None:
    """Writes data of each kind into a stack's resources on the twin, so that their removal uses all permissions."""
    assert outputs.aws
    clients, s3 = AwsClients(), AwsClients()("s3")
    store = outputs.store.url.removeprefix("s3://")
    for bucket, keys in ((store, STORE_KEYS), (outputs.aws.work_bucket, WORK_KEYS)):
        for key in keys:
            s3.put_object(Bucket=bucket, Key=f"{key}recorded" if key.endswith("/") else key, Body=b"recorded")
            s3.create_multipart_upload(Bucket=bucket, Key=f"{key}cut-off" if key.endswith("/") else key)
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, "config": {}, "layers": []})
    for repository in outputs.aws.repositories.values():
        name = repository_name(repository)
        if not clients("ecr").list_images(repositoryName=name)["imageIds"]:
            clients("ecr").put_image(repositoryName=name, imageManifest=manifest, imageTag="recorded")
    container = {"Image": f"{outputs.aws.account}.dkr.ecr.{outputs.aws.region}.amazonaws.com/recorded:1"}
    types = {"SupportedContentTypes": ["application/json"], "SupportedResponseMIMETypes": ["application/json"]}
    clients("sagemaker").create_model_package(
        ModelPackageGroupName=outputs.aws.model_package_group,
        InferenceSpecification={"Containers": [container], **types},
    )


def start_job(outputs: StackOutputs) -> None:
    """Starts a job on the twin that runs until it is stopped, so that `down` uses all permissions."""
    assert outputs.aws
    clients, settings = AwsClients(), f"{AwsClients().caller.twin}/_twin/settings"
    asked = urllib.request.Request(settings, headers=owner_headers("aws", os.environ))
    with urllib.request.urlopen(asked, timeout=30) as answer:
        pace = json.load(answer)["pace"]
    _put(settings, {"pace": 3600})
    clients("sagemaker").create_training_job(
        TrainingJobName=f"{outputs.aws.job_prefix}-recorded",
        RoleArn=outputs.aws.roles["training"],
        AlgorithmSpecification={"TrainingImage": outputs.training.image, "TrainingInputMode": "File"},
        OutputDataConfig={"S3OutputPath": f"s3://{outputs.aws.work_bucket}/runs/recorded/output"},
        ResourceConfig={
            "InstanceType": outputs.aws.jobs.instance_type,
            "InstanceCount": 1,
            "VolumeSizeInGB": 10,
            "KeepAlivePeriodInSeconds": 600,
        },
        StoppingCondition={"MaxRuntimeInSeconds": 3600},
        Tags=[{"Key": key, "Value": value} for key, value in outputs.aws.tags.items()],
    )
    _put(settings, {"pace": pace})


def _put(url: str, body: dict[str, Any]) -> None:
    request = urllib.request.Request(url, json.dumps(body).encode(), owner_headers("aws", os.environ), method="PUT")
    with urllib.request.urlopen(request, timeout=30):
        pass


def _key_policy(region: str) -> dict[str, Any]:
    """Returns a policy that allows the account, and the services that docs/how-to requires of a given key."""
    services = [f"logs.{region}", "delivery.logs", "cloudwatch", "budgets"]
    principals = {"AWS": f"arn:aws:iam::{TWIN_ACCOUNT}:root", "Service": [f"{s}.amazonaws.com" for s in services]}
    statement = {"Effect": "Allow", "Principal": principals, "Action": "kms:*", "Resource": "*"}
    return {"Version": "2012-10-17", "Statement": [statement]}


def _bucket(clients: AwsClients, name: str) -> None:
    region = clients.caller.region
    place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    clients("s3").create_bucket(Bucket=name, **place)


def _role(clients: AwsClients, kind: str, arn: str, moved: dict[str, str]) -> str:
    iam, name = clients("iam"), _name(arn)
    statement = {"Effect": "Allow", "Principal": {"Service": _TRUST[kind]}, "Action": "sts:AssumeRole"}
    trust = {"Version": "2012-10-17", "Statement": [statement]}
    made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=json.dumps(ALL))
    moved[made] = arn
    return made


def _registry(clients: AwsClients, registry: str, moved: dict[str, str]) -> str:
    """Creates the repositories of `<account>.dkr.ecr.<region>.amazonaws.com/path` at the same path on the twin."""
    host, _, path = registry.partition("/")
    account = host.partition(".")[0]
    region = clients.caller.region
    for name in ("training", "serving"):
        repository = f"{path}/{name}".lstrip("/")
        clients("ecr").create_repository(repositoryName=repository)
        prefix = f"arn:aws:ecr:{region}"
        moved[f"{prefix}:{TWIN_ACCOUNT}:repository/{repository}"] = f"{prefix}:{account}:repository/{repository}"
    return "/".join(filter(None, [f"{TWIN_ACCOUNT}.dkr.ecr.{region}.amazonaws.com", path]))


def _network(clients: AwsClients, network: dict[str, Any], moved: dict[str, str]) -> dict[str, Any]:
    ec2 = clients("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.99.0.0/16")["Vpc"]["VpcId"]
    subnets, groups = network.get("subnet_ids") or [], network.get("security_group_ids") or []
    zones = [z["ZoneName"] for z in ec2.describe_availability_zones()["AvailabilityZones"]]
    made: dict[str, list[str]] = {"subnet_ids": [], "security_group_ids": []}
    for number, given in enumerate(subnets):
        zone, block = zones[number % len(zones)], f"10.99.{number}.0/24"
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock=block, AvailabilityZone=zone)["Subnet"]["SubnetId"]
        moved[subnet] = given
        made["subnet_ids"].append(subnet)
    for number, given in enumerate(groups):
        group = ec2.create_security_group(VpcId=vpc, GroupName=f"given-{number}", Description="given")["GroupId"]
        moved[group] = given
        made["security_group_ids"].append(group)
    return {**network, **made}


def _name(arn: str) -> str:
    return arn.rpartition("/")[2]
