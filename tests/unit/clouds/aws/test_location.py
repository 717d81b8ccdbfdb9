"""Addresses of a region's services, in each partition."""

import pytest

from llmops_kit.clouds.aws.location import AwsCaller


@pytest.mark.parametrize(
    ("partition", "region", "host"),
    [
        ("aws", "eu-central-1", "runtime.sagemaker.eu-central-1.amazonaws.com"),
        ("aws-us-gov", "us-gov-west-1", "runtime.sagemaker.us-gov-west-1.amazonaws.com"),
        ("aws-cn", "cn-north-1", "runtime.sagemaker.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_inference_is_at_the_partitions_domain(partition: str, region: str, host: str) -> None:
    caller = AwsCaller("123456789012", f"arn:{partition}:iam::123456789012:user/ada", region, "")
    assert caller.runtime_url == f"https://{host}"
