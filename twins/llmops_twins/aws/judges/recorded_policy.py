"""Derives the IAM policy that allows exactly the recorded calls of a principal.

Names that change between runs or accounts are written with a `*`:

- names given by AWS: KMS keys, EC2's ids, scalable targets, the end of a secret's name, log streams, hosted zones;
- names with a hash of content or account: a last part `-<8 hex digits>-<number>` or `-<12 or more hex digits>`;
- S3 objects: all below the same first folder; training jobs and model packages: all with the same first part of the
  name.

Account and region are replaced by the given ones.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llmops_kit.core.twins import TWIN_ACCOUNT

_GENERAL = [
    (re.compile(r"^(arn:[\w-]+:kms:[^:]*:\d*:key/).+$"), r"\1*"),
    (re.compile(r"^(arn:[\w-]+:ec2:[^:]*:\d*:[\w-]+/).+$"), r"\1*"),
    (re.compile(r"^(arn:[\w-]+:application-autoscaling:[^:]*:\d*:scalable-target/).+$"), r"\1*"),
    (re.compile(r"^(arn:[\w-]+:secretsmanager:[^:]*:\d*:secret:.+)-[\w*]+$"), r"\1-*"),
    (re.compile(r"^(arn:[\w-]+:logs:[^:]*:\d*:log-group:[^:]*):log-stream:.*$"), r"\1:*"),
    (re.compile(r"^(arn:[\w-]+:s3:::[^/]+/)([^/]+/).+$"), r"\1\2*"),
    (re.compile(r"^(arn:[\w-]+:sagemaker:[^:]*:\d*:training-job/).+$"), r"\1*"),
    (re.compile(r"^(arn:[\w-]+:sagemaker:[^:]*:\d*:model-package/[^/]+/).+$"), r"\1*"),
]
_HASHED = re.compile(r"-(?:[0-9a-f]{8}-\d+|[0-9a-f]{12,})(?=$|/)")


def policy_document(
    records: Iterable[Mapping[str, Any]], *, account: str, region: str, partition: str = "aws"
) -> dict[str, Any]:
    """Returns one policy of all actions that were recorded as allowed.

    Args:
        records: `{"principal": …, "action": …, "resource": …, "allowed": …}` as returned by `GET /_twin/recorded`, of
            one principal.
        account: the account in the policy's ARNs.
        region: the region in ARNs that have one.
        partition: aws, aws-cn, aws-us-gov.
    """
    return _document(_statements(records, account, region, partition))


def _statements(
    records: Iterable[Mapping[str, Any]], account: str, region: str, partition: str
) -> list[dict[str, Any]]:
    """Returns statements that each cover one set of resources and all actions on it."""
    resources: dict[str, set[str]] = {}
    for record in records:
        if record["allowed"]:
            arn = _moved(record["resource"], account, region, partition)
            resources.setdefault(record["action"], set()).add(arn)
    grouped: dict[tuple[str, ...], list[str]] = {}
    for action, arns in resources.items():
        grouped.setdefault(_least(arns), []).append(action)
    statements = [
        {"Effect": "Allow", "Action": sorted(actions), "Resource": list(arns) if arns != ("*",) else "*"}
        for arns, actions in grouped.items()
    ]
    return sorted(statements, key=lambda each: each["Action"])


def _moved(arn: str, account: str, region: str, partition: str) -> str:
    if arn == "*":
        return arn
    for pattern, general in _GENERAL:
        arn = pattern.sub(general, arn)
    parts = _HASHED.sub("-*", arn).split(":", 5)
    parts[1] = partition
    parts[3] = parts[3] and region
    parts[4] = account if parts[4] == TWIN_ACCOUNT else parts[4]
    return ":".join(parts).replace(TWIN_ACCOUNT, account)


def _least(arns: set[str]) -> tuple[str, ...]:
    """Returns the ARNs without those that another one with a `*` covers."""

    def covered(arn: str) -> bool:
        return any(other != arn and other.endswith("*") and arn.startswith(other[:-1]) for other in arns)

    return tuple(sorted(arn for arn in arns if not covered(arn)))


def _document(statements: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}
