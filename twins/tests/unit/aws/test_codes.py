"""Codes of AWS's twin are those that AWS's models declare, or that a reference lists."""

import functools
from typing import Any

import botocore.session
import pytest

from tools.twin_sources import Refusal, read

COMMON = "https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html"
SIGNATURES = "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html"
VALIDATION = "https://github.com/aws-samples/sagemaker-ml-workflow-with-apache-airflow/issues/3"
S3 = "https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html"
EC2 = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html"
JSON = "https://github.com/smithy-lang/smithy/tree/main/smithy-aws-protocol-tests"
REGISTRY = "https://docs.aws.amazon.com/AmazonECR/latest/userguide/common-errors-docker.html"
# Models list no errors that all operations have, nor those of EC2, and few of S3.
LISTED = {
    **dict.fromkeys(
        ("ExpiredToken", "IncompleteSignature", "InvalidClientTokenId", "SignatureDoesNotMatch"), SIGNATURES
    ),
    **dict.fromkeys(("MissingAuthenticationToken", "UnrecognizedClientException"), SIGNATURES),
    **dict.fromkeys(("MalformedQueryString", "ThrottlingException"), COMMON),
    **dict.fromkeys(("AccessDenied", "AccessDeniedException", "InternalFailure", "ValidationError"), COMMON),
    "ValidationException": VALIDATION,
    **dict.fromkeys(("AccessControlListNotSupported", "AuthorizationHeaderMalformed", "InvalidArgument"), S3),
    **dict.fromkeys(("AuthorizationQueryParametersError", "InvalidAccessKeyId", "InvalidBucketName"), S3),
    **dict.fromkeys(("InvalidRequest", "KMS.DisabledException", "KMS.KMSInvalidStateException"), S3),
    **dict.fromkeys(("KMS.NotFoundException", "MalformedPolicy", "RequestTimeTooSkewed", "InternalError"), S3),
    **dict.fromkeys(("BadDigest", "EntityTooSmall", "InvalidPart", "InvalidPartOrder", "MalformedXML"), S3),
    "PreconditionFailed": S3,
    "MethodNotAllowed": S3,
    **dict.fromkeys(("DependencyViolation", "InvalidSecurityGroupRuleId.NotFound", "RouteAlreadyExists"), EC2),
    **dict.fromkeys(("InvalidPolicyDocument", "InvalidServiceName", "InvalidVpcEndpointId.NotFound"), EC2),
    **dict.fromkeys(("InvalidVpcId.NotFound", "UnauthorizedOperation", "DryRunOperation"), EC2),
    **dict.fromkeys(("SerializationException", "UnknownOperationException"), JSON),
    **dict.fromkeys(("DENIED", "UNAUTHORIZED", "UNSUPPORTED"), REGISTRY),
}
# Statuses and reasons, which are no codes.
WORDS = {"Failed", "Stopped", "MaxWaitTimeExceeded"}


@functools.cache
def declared() -> frozenset[str]:
    """Every code that a model of a service of the twin declares."""
    session = botocore.session.Session()
    services = {"sagemaker-runtime", "application-autoscaling", "service-quotas", "resourcegroupstaggingapi"}
    services |= {"sagemaker", "budgets", "cloudwatch", "ec2", "ecr", "iam", "kms", "logs", "s3", "scheduler"}
    services |= {"cloudtrail", "secretsmanager", "sns", "sqs", "sts", "pricing"}
    found = set()
    for service in services:
        shapes: Any = session.get_service_model(service).error_shapes
        for shape in shapes:
            found |= {shape.name, shape.metadata.get("error", {}).get("code", shape.name)}
    return frozenset(found)


@pytest.mark.parametrize(
    "refusal", [each for each in read("aws").refusals if each.code], ids=lambda r: f"{r.code}-{r.line}"
)
def test_every_code_is_declared_or_listed(refusal: Refusal) -> None:
    assert refusal.mark or refusal.code in declared() | LISTED.keys() | WORDS, f"{refusal.path}:{refusal.line}"


def test_nothing_is_listed_that_no_refusal_has() -> None:
    used = {each.code for each in read("aws").refusals}
    assert LISTED.keys() - used - declared() <= {
        *("IncompleteSignature", "SignatureDoesNotMatch", "ThrottlingException", "InvalidRequest"),  # in tables
        *("MissingAuthenticationToken", "UnauthorizedOperation", "UNSUPPORTED", "InternalError", "InternalFailure"),
        *("UnrecognizedClientException", "ExpiredToken", "InvalidClientTokenId"),
    }
