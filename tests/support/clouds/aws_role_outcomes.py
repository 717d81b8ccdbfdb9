"""What an endpoint, a job or a schedule comes to under a stack's roles, which a test may change."""

import json
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.request import urlopen

from tests.support.clouds.aws import Account, AwsStack
from tests.support.clouds.twin_keys import asked


@dataclass
class Deployed:
    """A stack in a network that exists, with an endpoint whose updates are rolled back by alarms."""

    account: Account
    stack: AwsStack
    outputs: dict[str, Any]
    whole: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """The statements of each role, as deployed."""

    def ask(self, method: str, route: str) -> Any:
        with urlopen(asked(self.account.home, self.account.environ["AWS_ENDPOINT_URL"], route, method)) as answer:
            return json.loads(answer.read())

    def client(self, service: str) -> Any:
        return self.account.client(service)

    def role(self, name: str) -> str:
        return self.outputs["aws"]["roles"][name]

    def statements(self, name: str) -> list[dict[str, Any]]:
        role = self.role(name).rpartition("/")[2]
        iam = self.client("iam")
        [inline] = iam.list_role_policies(RoleName=role)["PolicyNames"]
        return iam.get_role_policy(RoleName=role, PolicyName=inline)["PolicyDocument"]["Statement"]

    def pushed(self, name: str) -> str:
        """The reference of an image in one of the stack's repositories."""
        repository = self.outputs["aws"]["repositories"][name]
        client = self.client("ecr")
        kind = "application/vnd.docker.distribution.manifest.v2+json"
        manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, "config": {}, "layers": []})
        path = repository.partition("/")[2]
        known = client.describe_images(repositoryName=path)["imageDetails"]
        if not known:
            client.put_image(repositoryName=path, imageManifest=manifest, imageManifestMediaType=kind, imageTag="one")
            known = client.describe_images(repositoryName=path)["imageDetails"]
        return f"{repository}@{known[0]['imageDigest']}"

    def put(self, name: str, statements: list[dict[str, Any]]) -> None:
        role = self.role(name).rpartition("/")[2]
        iam = self.client("iam")
        [inline] = iam.list_role_policies(RoleName=role)["PolicyNames"]
        document = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_role_policy(RoleName=role, PolicyName=inline, PolicyDocument=document)


def a_network(account: Account) -> dict[str, Any]:
    """A VPC as a company has it, for the setting `network`."""
    ec2 = account.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnets = [ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.9.{i}.0/24")["Subnet"]["SubnetId"] for i in range(2)]
    group = ec2.create_security_group(GroupName="work", Description="work", VpcId=vpc)["GroupId"]
    return {"mode": "existing", "subnet_ids": subnets, "security_group_ids": [group]}


def without(statements: list[dict[str, Any]], action: str) -> list[dict[str, Any]]:
    left = []
    for statement in statements:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        if kept := [each for each in actions if each != action]:
            left.append({**statement, "Action": kept})
    return left


def actions_of(statements: list[dict[str, Any]]) -> list[str]:
    found = []
    for statement in statements:
        found += statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
    return sorted(set(found))


def outcome_of_endpoint(deployed: Deployed, name: str) -> str:
    """Serve the live model from an image of the registry, then update it under its guardrails: why that fails."""
    sagemaker = deployed.client("sagemaker")
    live = sagemaker.describe_endpoint(EndpointName=deployed.outputs["aws"]["endpoints"]["chat"])
    configuration = sagemaker.describe_endpoint_config(EndpointConfigName=live["EndpointConfigName"])
    [variant] = configuration["ProductionVariants"]
    model = sagemaker.describe_model(ModelName=variant["ModelName"])
    container = model["PrimaryContainer"] | {"Image": deployed.pushed("serving")}
    copied = {key: model[key] for key in ("ExecutionRoleArn", "VpcConfig", "EnableNetworkIsolation")}
    try:
        sagemaker.create_model(ModelName=name, PrimaryContainer=container, **copied)
    except sagemaker.exceptions.ClientError as e:
        return str(e)
    encrypted = {"KmsKeyId": configuration["KmsKeyId"]} if "KmsKeyId" in configuration else {}
    variants = [variant | {"ModelName": name}]
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants, **encrypted)
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    found = settled(sagemaker, name)
    if found["EndpointStatus"] == "InService":
        guarded = {
            "BlueGreenUpdatePolicy": {
                "TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}
            },
            "AutoRollbackConfiguration": live["LastDeploymentConfig"]["AutoRollbackConfiguration"],
        }
        sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=name, DeploymentConfig=guarded)
        found = settled(sagemaker, name)
    sagemaker.delete_endpoint(EndpointName=name)
    return found.get("FailureReason", "")


def settled(sagemaker: Any, name: str) -> dict[str, Any]:
    deadline = time.monotonic() + 300
    while (found := sagemaker.describe_endpoint(EndpointName=name))["EndpointStatus"] not in ("InService", "Failed"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def outcome_of_job(deployed: Deployed, name: str) -> str:
    """Run a job as the kit does: why the role could not do it."""
    sagemaker = deployed.client("sagemaker")
    aws = deployed.outputs["aws"]
    bucket, key = aws["work_bucket"], aws["kms_key"]
    deployed.client("s3").put_object(Bucket=bucket, Key=f"runs/{name}/input/run.json", Body=b"{}")
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/runs/{name}/input/"}
    network = aws["network"]
    try:
        sagemaker.create_training_job(
            TrainingJobName=name,
            RoleArn=deployed.role("training"),
            AlgorithmSpecification={"TrainingImage": deployed.pushed("training"), "TrainingInputMode": "File"},
            InputDataConfig=[{"ChannelName": "spec", "DataSource": {"S3DataSource": source}}],
            OutputDataConfig={"S3OutputPath": f"s3://{bucket}/runs", "KmsKeyId": key},
            CheckpointConfig={"S3Uri": f"s3://{bucket}/runs/{name}/checkpoints"},
            ResourceConfig={
                "InstanceType": "ml.m5.large",
                "InstanceCount": 1,
                "VolumeSizeInGB": 30,
                "VolumeKmsKeyId": key,
            },
            StoppingCondition={"MaxRuntimeInSeconds": 60},
            VpcConfig={"Subnets": network["subnets"], "SecurityGroupIds": network["security_groups"]},
        )
    except sagemaker.exceptions.ClientError as e:
        return str(e)
    deadline = time.monotonic() + 300
    while (found := sagemaker.describe_training_job(TrainingJobName=name))["TrainingJobStatus"] == "InProgress":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found["FailureReason"]


def outcome_of_schedule(deployed: Deployed, name: str) -> str:
    """Let a schedule that the stack's key encrypts start a job: the action that its role is denied; or nothing."""
    scheduler, aws = deployed.client("scheduler"), deployed.outputs["aws"]
    group = trusted_group(deployed)
    if not [
        each for each in scheduler.list_schedule_groups(NamePrefix=group)["ScheduleGroups"] if each["Name"] == group
    ]:
        scheduler.create_schedule_group(Name=group)
    [jobs] = [
        each["Resource"] for each in deployed.whole["scheduler"] if "sagemaker:CreateTrainingJob" in each["Action"]
    ]
    prefix = (jobs if isinstance(jobs, str) else jobs[0]).rpartition("/")[2].removesuffix("-*")
    job = {
        "TrainingJobName": f"{prefix}-<aws.scheduler.execution-id>",
        "RoleArn": deployed.role("training"),
        "AlgorithmSpecification": {"TrainingImage": deployed.pushed("training"), "TrainingInputMode": "File"},
        "OutputDataConfig": {"S3OutputPath": f"s3://{aws['work_bucket']}/runs", "KmsKeyId": aws["kms_key"]},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        "Tags": [{"Key": "schedule", "Value": name}],
    }
    soon = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 1))
    deployed.ask("DELETE", "recorded")
    target = {
        "Arn": "arn:aws:scheduler:::aws-sdk:sagemaker:createTrainingJob",
        "RoleArn": deployed.role("scheduler"),
        "Input": json.dumps(job),
    }
    scheduler.create_schedule(
        Name=name,
        GroupName=group,
        ScheduleExpression=f"at({soon})",
        FlexibleTimeWindow={"Mode": "OFF"},
        KmsKeyArn=aws["kms_key"],
        Target=target,
    )
    deadline = time.monotonic() + 300
    while True:
        own = [each for each in deployed.ask("GET", "recorded")["recorded"] if each["principal"] == target["RoleArn"]]
        if denied := [each["action"] for each in own if not each["allowed"]]:
            return f"not authorized: {denied[0]}"
        if "iam:PassRole" in [each["action"] for each in own]:  # the last of what a job's start takes
            return ""
        assert time.monotonic() < deadline
        time.sleep(0.1)


def trusted_group(deployed: Deployed) -> str:
    """The schedule group that the scheduler's role is for."""
    role = deployed.client("iam").get_role(RoleName=deployed.role("scheduler").rpartition("/")[2])["Role"]
    [statement] = role["AssumeRolePolicyDocument"]["Statement"]
    return statement["Condition"]["ArnLike"]["aws:SourceArn"].rpartition("/")[2]
