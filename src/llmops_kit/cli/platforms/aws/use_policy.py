"""Permissions of users of a deployed stack: train, collect, promote, invoke, inspect. Deploying needs others.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsagemaker.html
"""

from llmops_kit.clouds.aws.names import JOB_LOGS, SAGEMAKER, endpoint_logs
from llmops_kit.clouds.aws.policies import Policy, Statement, allow, document, owned_by
from llmops_kit.core.documents.outputs import AwsOutput, StackOutputs

STORE = ("aliases", "models", "datasets", "promotions", "rejections", "revoked")
RUNS = ("runs", "async")
INVOKE = ("InvokeEndpoint", "InvokeEndpointWithResponseStream", "InvokeEndpointAsync")


def use_policy(outputs: StackOutputs) -> Policy:
    """Returns an IAM policy for every verb of `llmops` that does not deploy, on the stack's own resources.

    It omits the state, whose bucket and key are the project's, not the stack's.
    """
    assert outputs.aws
    found = [*_data(outputs, outputs.aws), *_jobs(outputs, outputs.aws), *_endpoints(outputs.aws)]
    return document(found)


def _data(outputs: StackOutputs, aws: AwsOutput) -> list[Statement]:
    """Returns the statements for versions and runs, their keys of encryption and signature, and secrets of sources."""
    store = f"arn:{aws.partition}:s3:::{outputs.store.url.removeprefix('s3://')}"
    work = f"arn:{aws.partition}:s3:::{aws.work_bucket}"
    written = [*(f"{store}/{folder}/*" for folder in STORE), *(f"{work}/{folder}/*" for folder in RUNS)]
    own = owned_by(aws.account)
    return [
        allow(["s3:ListBucket"], [store, work], **own),
        allow(["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"], written, **own),
        allow(["s3:GetObject"], [f"{store}/store.json", f"{work}/schedules/*"], **own),
        allow(["kms:Decrypt", "kms:GenerateDataKey"], [aws.kms_key]),
        allow(["kms:Sign"], [outputs.signing.private_key.removeprefix("awskms:///")]),
        allow(["secretsmanager:GetSecretValue"], [_arn(aws, "secretsmanager", f"secret:{outputs.project}/*")]),
        allow(["sts:GetCallerIdentity"], "*"),
    ]


def _jobs(outputs: StackOutputs, aws: AwsOutput) -> list[Statement]:
    """Returns the statements for training jobs of the stack's prefix, their role, logs and model packages."""
    job = _arn(aws, "sagemaker", f"training-job/{aws.job_prefix}-*")
    group = aws.model_package_group
    quotas = [f"servicequotas:List{kind}" for kind in ("ServiceQuotas", "AWSDefaultServiceQuotas")]
    return [
        allow(quotas, "*"),
        allow([f"sagemaker:{a}" for a in ("CreateTrainingJob", "DescribeTrainingJob", "StopTrainingJob")], [job]),
        allow(["sagemaker:AddTags"], [job]),
        allow(["sagemaker:ListTrainingJobs"], "*"),
        allow(["iam:PassRole"], [aws.roles["training"]], StringEquals={"iam:PassedToService": SAGEMAKER}),
        allow(["logs:DescribeLogStreams", "logs:GetLogEvents"], [_arn(aws, "logs", f"log-group:{JOB_LOGS}:*")]),
        allow(
            ["sagemaker:CreateModelPackage", "sagemaker:ListModelPackages"],
            [_arn(aws, "sagemaker", kind) for kind in (f"model-package-group/{group}", f"model-package/{group}/*")],
        ),
    ]


def _endpoints(aws: AwsOutput) -> list[Statement]:
    """Returns the statements for the currently deployed endpoints; further ones need a new policy."""
    if not aws.endpoints:
        return []
    names = aws.endpoints.values()
    endpoints = [_arn(aws, "sagemaker", f"endpoint/{name}") for name in names]
    groups = [_arn(aws, "logs", f"log-group:{endpoint_logs(name)}:*") for name in names]
    # Configurations and models are named after their endpoint's content.
    made = [_arn(aws, "sagemaker", f"{kind}/*") for kind in ("endpoint-config", "model")]
    return [
        allow([f"sagemaker:{action}" for action in (*INVOKE, "DescribeEndpoint")], endpoints),
        allow(["sagemaker:DescribeEndpointConfig", "sagemaker:DescribeModel"], made),
        allow(["sagemaker:CallWithBearerToken"], "*"),  # with the tokens of `llmops status --env`
        allow(["logs:FilterLogEvents"], groups),
    ]


def _arn(aws: AwsOutput, service: str, resource: str) -> str:
    return f"arn:{aws.partition}:{service}:{aws.region}:{aws.account}:{resource}"
