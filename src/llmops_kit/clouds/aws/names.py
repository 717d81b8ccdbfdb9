"""Names and ARNs on AWS that both the program and the command line compute."""

import re
from typing import Any

COST_TAG = "llmops:cost"
"""Tag with `<project>/<stack>`, by which stacks' budgets count; bootstrap activates it as a cost allocation tag."""
PROJECT_TAG, STACK_TAG = "llmops:project", "llmops:stack"
SAGEMAKER, SCHEDULER = "sagemaker.amazonaws.com", "scheduler.amazonaws.com"
CLOUDTRAIL = "cloudtrail.amazonaws.com"
ENDPOINT_LOGS = "/aws/sagemaker/Endpoints"
JOB_LOGS = "/aws/sagemaker/TrainingJobs"
AUDIT_LOGS = "/aws/cloudtrail"
VARIANT = "main"
"""Name of every endpoint's variant, which alarms, autoscaling and metrics contain."""
SERVING = "-serving"
"""Suffix of the alarms that watch an endpoint with any version; alarms of a rollout lack it."""
SCALING_DIMENSION = "sagemaker:variant:DesiredInstanceCount"
IMAGES = ("training", "serving")
MODEL_NAME, MODEL_SHA256 = "LLMOPS_MODEL_NAME", "LLMOPS_MODEL_SHA256"
"""Variables of a serving container: the version that it serves."""
_REGISTRY = re.compile(
    r"^(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com[^/]*(?:/(?P<path>.+))?$"
)


def dns_suffix(partition: str) -> str:
    """Returns the domain of a partition's services.

    https://docs.aws.amazon.com/sdkref/latest/guide/feature-endpoint.html
    """
    return "amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com"


def role_path(project: str) -> str:
    """Returns the IAM path of every role that a project's stacks create.

    Policies allow changes only to roles below it, so only stacks' roles belong there.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
    """
    return f"/llmops-kit/{project}/"


def ci_path(project: str) -> str:
    """Returns the IAM path of the roles for CI workflows; bootstrap's policies allow no change below it."""
    return f"/llmops-ci/{project}/"


def audit_path(project: str) -> str:
    """Returns the IAM path of the roles that write audit logs; bootstrap's policies allow no change below it."""
    return f"/llmops-audit/{project}/"


def stack_tags(project: str, stack: str) -> dict[str, str]:
    """Returns the tags by which a stack's resources are found."""
    return {PROJECT_TAG: project, STACK_TAG: stack}


def endpoint_logs(endpoint: str) -> str:
    """Returns the log group to which SageMaker writes an endpoint's logs."""
    return f"{ENDPOINT_LOGS}/{endpoint}"


def scalable_target(endpoint: str, variant: str = VARIANT) -> dict[str, str]:
    """Returns the parameters by which Application Auto Scaling identifies an endpoint's instance count."""
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{endpoint}/variant/{variant}",
        "ScalableDimension": SCALING_DIMENSION,
    }


def repository_arns(registry: str, partition: str) -> dict[str, str]:
    """Returns image -> ARN of its repository in `<account>.dkr.ecr.<region>.amazonaws.com[/path]`; {} for other
    registries.
    """
    if not (match := _REGISTRY.match(registry)):
        return {}
    path = f"{match['path']}/" if match["path"] else ""
    base = f"arn:{partition}:ecr:{match['region']}:{match['account']}:repository/{path}"
    return {name: f"{base}{name}" for name in IMAGES}


def image_repository_arn(image: str, partition: str) -> str:
    """Returns the ARN of the ECR repository of an image such as
    `<account>.dkr.ecr.<region>.amazonaws.com/team/serving@sha256:…`; empty for images elsewhere.
    """
    registry, _, path = image.partition("@")[0].partition("/")
    match = _REGISTRY.match(registry)
    if not match or not path:
        return ""
    return f"arn:{partition}:ecr:{match['region']}:{match['account']}:repository/{path.partition(':')[0]}"


def serving_environment(alias: str, sha256: str, public_key: Any) -> dict[str, Any]:
    """Returns the environment of a container that serves a model version on SageMaker, which authenticates callers."""
    return {
        "LLMOPS_AUTH": "platform",
        "LLMOPS_PLATFORM": "sagemaker",
        MODEL_NAME: alias,
        MODEL_SHA256: sha256,
        "LLMOPS_PUBLIC_KEY": public_key,
    }
