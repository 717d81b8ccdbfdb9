"""Accesses of SageMaker under an execution role: those of an endpoint and of a training job.

The lists follow AWS's documents, not the roles of a stack: "How to use SageMaker execution roles" (CreateModel and
CreateTrainingJob), "Deployment guardrails" (auto-rollback reads the alarms), "Protect data at rest" and "Using
server-side encryption with AWS KMS keys" (S3 uses the key to read and write objects).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jmespath

from llmops_twins.aws.judges.access import JudgedAction
from llmops_twins.aws.judges.account import JudgedAccount
from llmops_twins.aws.judges.context import Context
from llmops_twins.aws.twin import AccountTwin

_NETWORK_READS = (
    "ec2:DescribeDhcpOptions",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
)


@dataclass(frozen=True)
class _Workload:
    """A SageMaker resource on whose behalf the platform accesses others: its account, region and path to S3."""

    account: JudgedAccount
    region: str
    source: str
    path_to_s3: Context

    @classmethod
    def of(cls, twin: AccountTwin, arn: str, resource: str, network: Mapping[str, Any] | None = None) -> "_Workload":
        """Returns the workload of a resource; its region is that of a related ARN, where there is one."""
        region = arn.split(":")[3] if arn else twin.region
        account = JudgedAccount(twin)
        source = f"arn:{account.partition}:sagemaker:{region}:{account.id}:{resource}"
        return cls(account, region, source, _path_to_s3(account, region, network))

    def key(self, key: str) -> str:
        """Returns the ARN of a KMS key."""
        return self.account.key_arn(key, self.region)

    def arn(self, service: str, rest: str) -> str:
        """Returns an ARN of this account and region."""
        return f"arn:{self.account.partition}:{service}:{self.region}:{self.account.id}:{rest}"

    def context(self, **keys: Any) -> Context:
        """Returns the condition keys of an access: aws:SourceArn, which the role's trust policy may check, and those
        given.
        """
        return {"aws:SourceArn": self.source, **keys}

    def via(self, service: str, **keys: Any) -> Context:
        """Returns the keys of an access to a KMS key through a service."""
        return self.context(**{"kms:ViaService": f"{service}.{self.region}.amazonaws.com"}, **keys)


def accesses_of_endpoint(
    twin: AccountTwin,
    endpoint: str,
    configuration: Mapping[str, Any],
    model: Mapping[str, Any],
    deployment: Mapping[str, Any] | None = None,
) -> list[JudgedAction]:
    """Returns the accesses under a model's role that must succeed before its endpoint is InService.

    Args:
        twin: the account.
        endpoint: its name.
        configuration: DescribeEndpointConfig's answer.
        model: DescribeModel's answer for a model of its variants.
        deployment: the DeploymentConfig of CreateEndpoint or UpdateEndpoint.
    """
    workload = _Workload.of(twin, model.get("ModelArn", ""), f"endpoint/{endpoint}", model.get("VpcConfig"))
    accesses: list[JudgedAction] = []
    for container in [model.get("PrimaryContainer"), *(model.get("Containers") or [])]:
        if container:
            accesses += _pull(workload, container.get("Image", ""))
            accesses += _model_data(workload, container)
    accesses += _network(workload, model.get("VpcConfig"))
    accesses += _volume(workload, configuration.get("KmsKeyId"))
    accesses += _logs(workload, f"/aws/sagemaker/Endpoints/{endpoint}", "main/i-0")
    accesses += _metrics(workload, "/aws/sagemaker/Endpoints")
    accesses += _capture(workload, configuration)
    accesses += _alarms(workload, deployment)
    return _unique(accesses)


def accesses_of_training_job(twin: AccountTwin, job: Mapping[str, Any]) -> list[JudgedAction]:
    """Returns the accesses of a training job under its role, from its start to the upload of its outputs.

    Args:
        twin: the account.
        job: CreateTrainingJob's parameters, or DescribeTrainingJob's answer.
    """
    name = job["TrainingJobName"]
    workload = _Workload.of(twin, job.get("TrainingJobArn", ""), f"training-job/{name}", job.get("VpcConfig"))
    accesses = list(_pull(workload, (job.get("AlgorithmSpecification") or {}).get("TrainingImage", "")))
    for uri in jmespath.search("InputDataConfig[].DataSource.S3DataSource.S3Uri", dict(job)) or []:
        accesses += _read(workload, uri)
    accesses += _network(workload, job.get("VpcConfig"))
    accesses += _volume(workload, (job.get("ResourceConfig") or {}).get("VolumeKmsKeyId"))
    accesses += _logs(workload, "/aws/sagemaker/TrainingJobs", f"{name}/algo-1-0")
    accesses += _metrics(workload, "/aws/sagemaker/TrainingJobs")
    if checkpoints := (job.get("CheckpointConfig") or {}).get("S3Uri"):
        accesses += _read(workload, checkpoints)
        accesses += _write(workload, f"{checkpoints.rstrip('/')}/checkpoint", "")
    output = job.get("OutputDataConfig") or {}
    if output.get("S3OutputPath"):
        target = f"{output['S3OutputPath'].rstrip('/')}/{name}/output/model.tar.gz"
        accesses += _write(workload, target, output.get("KmsKeyId", ""))
    return _unique(accesses)


def accesses_of_upload(twin: AccountTwin, job: Mapping[str, Any], uri: str, key: str) -> list[JudgedAction]:
    """Returns the accesses of a training job under its role when it puts one object.

    Args:
        twin: the account.
        job: DescribeTrainingJob's answer.
        uri: the object's URI.
        key: the KMS key that encrypts it; empty: the bucket's default.
    """
    name = job["TrainingJobName"]
    workload = _Workload.of(twin, job.get("TrainingJobArn", ""), f"training-job/{name}", job.get("VpcConfig"))
    return list(_write(workload, uri, key))


def _volume(workload: _Workload, key: str | None) -> Iterator[JudgedAction]:
    """Yields the grant that SageMaker creates under the role to encrypt instances' disks."""
    if key:
        context = workload.via("sagemaker", **{"kms:GrantIsForAWSResource": "true"})
        yield JudgedAction("kms:CreateGrant", workload.key(key), context)


def _metrics(workload: _Workload, namespace: str) -> Iterator[JudgedAction]:
    yield JudgedAction("cloudwatch:PutMetricData", "*", workload.context(**{"cloudwatch:namespace": namespace}))


def accesses_of_async_invocation(twin: AccountTwin, endpoint_arn: str, input_uri: str) -> list[JudgedAction]:
    """Returns the reads of an asynchronous invocation under the model's role."""
    return _unique(list(_read(_Workload.of(twin, endpoint_arn, endpoint_arn.split(":", 5)[5]), input_uri)))


def accesses_of_async_result(
    twin: AccountTwin, endpoint_arn: str, asynchronous: Mapping[str, Any]
) -> list[JudgedAction]:
    """Returns the writes and notifications of its result, by the endpoint's AsyncInferenceConfig."""
    workload = _Workload.of(twin, endpoint_arn, endpoint_arn.split(":", 5)[5])
    return _unique(list(_capture(workload, {"AsyncInferenceConfig": asynchronous})))


def _unique(accesses: list[JudgedAction]) -> list[JudgedAction]:
    seen: dict[str, JudgedAction] = {}
    for access in accesses:
        seen.setdefault(f"{access.action} {access.resource} {sorted(access.context.items(), key=str)}", access)
    return list(seen.values())


def _pull(workload: _Workload, image: str) -> Iterator[JudgedAction]:
    """Yields the accesses to pull an image from ECR; none for an image that runs as a process."""
    registry, _, rest = image.partition("/")
    if ".dkr.ecr." not in registry:
        return
    account, region = registry.split(".")[0], registry.split(".")[3]
    repository = rest.partition("@")[0].partition(":")[0]
    arn = f"arn:{workload.account.partition}:ecr:{region}:{account}:repository/{repository}"
    yield JudgedAction("ecr:GetAuthorizationToken", "*", workload.context())
    for action in ("ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage"):
        yield JudgedAction(action, arn, workload.context())


def _model_data(workload: _Workload, container: Mapping[str, Any]) -> Iterator[JudgedAction]:
    source = (container.get("ModelDataSource") or {}).get("S3DataSource") or {}
    uri = source.get("S3Uri") or container.get("ModelDataUrl")
    if uri:
        yield from _read(workload, uri)


def _path_to_s3(account: JudgedAccount, region: str, network: Mapping[str, Any] | None) -> Context:
    """Returns the condition keys for S3 traffic from a VPC: the VPC, and its endpoint for S3 if it has one; empty
    without a VPC.
    """
    vpcs = account.vpcs_of((network or {}).get("Subnets") or [], region)
    if not vpcs:
        return {}
    endpoint = account.vpc_endpoint(vpcs[0], f"com.amazonaws.{region}.s3", region)
    return {"aws:SourceVpc": vpcs[0], **({"aws:SourceVpce": endpoint} if endpoint else {})}


def _read(workload: _Workload, uri: str) -> Iterator[JudgedAction]:
    """Yields the accesses to list a prefix and read its objects (or one that would be there), and to decrypt them."""
    bucket, prefix = _split(uri)
    arn = f"arn:{workload.account.partition}:s3:::{bucket}"
    yield JudgedAction("s3:ListBucket", arn, workload.context(**workload.path_to_s3, **{"s3:prefix": prefix}))
    stored = workload.account.bucket(bucket)
    keys = [key for key in (stored.keys if stored else []) if key.startswith(prefix)]
    for key in keys or [f"{prefix.rstrip('/')}/object" if prefix else "object"]:
        yield JudgedAction("s3:GetObject", f"{arn}/{key}", workload.context(**workload.path_to_s3))
    encrypting = {workload.account.object_key(bucket, key, None) for key in keys} - {""}
    default, bucket_key = workload.account.bucket_key(bucket)
    for key in sorted(encrypting or ({default} - {""})):
        named = arn if bucket_key else f"{arn}/{keys[0] if keys else prefix}"
        yield JudgedAction("kms:Decrypt", key, workload.via("s3", **{"kms:EncryptionContext:aws:s3:arn": named}))


def _write(workload: _Workload, uri: str, key: str) -> Iterator[JudgedAction]:
    """Yields the accesses to put an object, large ones in parts, with the given KMS key or the bucket's default."""
    bucket, prefix = _split(uri)
    arn = f"arn:{workload.account.partition}:s3:::{bucket}"
    object_arn = f"{arn}/{prefix if prefix and not prefix.endswith('/') else prefix + 'object'}"
    encryption: Context = {"s3:x-amz-server-side-encryption": "aws:kms"} if key else {}
    if key:
        encryption["s3:x-amz-server-side-encryption-aws-kms-key-id"] = workload.key(key)
    yield JudgedAction("s3:PutObject", object_arn, workload.context(**workload.path_to_s3, **encryption))
    default, bucket_key = workload.account.bucket_key(bucket)
    used = workload.key(key) if key else default
    if used:
        named = arn if bucket_key else object_arn
        keys = {"kms:EncryptionContext:aws:s3:arn": named}
        yield JudgedAction("kms:GenerateDataKey", used, workload.via("s3", **keys))
        yield JudgedAction("kms:Decrypt", used, workload.via("s3", **keys))  # completing an upload in parts
    if key:
        yield JudgedAction(
            "kms:Encrypt", used, workload.context()
        )  # "if you specify a KMS key in the output configuration"


def _network(workload: _Workload, network: Mapping[str, Any] | None) -> Iterator[JudgedAction]:
    """Yields the creation, use and removal of network interfaces in the caller's VPC."""
    if not network or not network.get("Subnets"):
        return
    for action in _NETWORK_READS:
        yield JudgedAction(action, "*", workload.context())
    interface = workload.arn("ec2", "network-interface/*")
    vpcs = workload.account.vpcs_of(network["Subnets"], workload.region)
    vpc = workload.arn("ec2", f"vpc/{vpcs[0]}") if vpcs else ""
    own: Context = {"ec2:Vpc": vpc} if vpc else {}
    for subnet in network["Subnets"]:
        yield JudgedAction(
            "ec2:CreateNetworkInterface", workload.arn("ec2", f"subnet/{subnet}"), workload.context(**own)
        )
    for group in network.get("SecurityGroupIds", []):
        yield JudgedAction(
            "ec2:CreateNetworkInterface", workload.arn("ec2", f"security-group/{group}"), workload.context(**own)
        )
    subnet_arn = workload.arn("ec2", f"subnet/{network['Subnets'][0]}")
    made = workload.context(**own, **{"ec2:Subnet": subnet_arn})
    yield JudgedAction("ec2:CreateNetworkInterface", interface, made)
    lent = workload.context(
        **own,
        **{
            "ec2:Subnet": subnet_arn,
            "ec2:AuthorizedService": "sagemaker.amazonaws.com",
            "ec2:Permission": "INSTANCE-ATTACH",
        },
    )
    yield JudgedAction("ec2:CreateNetworkInterfacePermission", interface, lent)
    yield JudgedAction("ec2:DeleteNetworkInterfacePermission", interface, made)
    yield JudgedAction("ec2:DeleteNetworkInterface", interface, made)


def _logs(workload: _Workload, group: str, stream: str) -> Iterator[JudgedAction]:
    streams = workload.arn("logs", f"log-group:{group}:log-stream:")
    yield JudgedAction("logs:CreateLogGroup", streams, workload.context())
    yield JudgedAction("logs:DescribeLogStreams", streams, workload.context())
    yield JudgedAction("logs:CreateLogStream", f"{streams}{stream}", workload.context())
    yield JudgedAction("logs:PutLogEvents", f"{streams}{stream}", workload.context())


def _capture(workload: _Workload, configuration: Mapping[str, Any]) -> Iterator[JudgedAction]:
    """Yields the accesses for captured requests, and for the results and notifications of an asynchronous endpoint."""
    capture = configuration.get("DataCaptureConfig") or {}
    if capture.get("EnableCapture") and capture.get("DestinationS3Uri"):
        yield from _write(workload, capture["DestinationS3Uri"].rstrip("/") + "/", capture.get("KmsKeyId", ""))
    asynchronous = configuration.get("AsyncInferenceConfig") or {}
    output = asynchronous.get("OutputConfig") or {}
    for path in (output.get("S3OutputPath"), output.get("S3FailurePath")):
        if path:
            yield from _write(workload, path.rstrip("/") + "/", output.get("KmsKeyId", ""))
    notified = output.get("NotificationConfig") or {}
    for topic in {notified.get("SuccessTopic"), notified.get("ErrorTopic")} - {None}:
        yield JudgedAction("sns:Publish", str(topic), workload.context())


def _alarms(workload: _Workload, deployment: Mapping[str, Any] | None) -> Iterator[JudgedAction]:
    for alarm in jmespath.search("AutoRollbackConfiguration.Alarms[].AlarmName", dict(deployment or {})) or []:
        yield JudgedAction(
            "cloudwatch:DescribeAlarms", workload.arn("cloudwatch", f"alarm:{alarm}"), workload.context()
        )


def _split(uri: str) -> tuple[str, str]:
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    return bucket, prefix
