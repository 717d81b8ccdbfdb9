"""A twin in this process, without a server: moto's backends, the judge, and calls as the server makes them."""

import json
from typing import Any

from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.judges.permissions import AwsPermissionJudge
from llmops_twins.aws.twin import AccountTwin

ACCOUNT = "000000000000"
REGION = "eu-central-1"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"


class Bench:
    """A twin and its judge of permissions."""

    def __init__(self, twin: AccountTwin, judge: AwsPermissionJudge) -> None:
        self.twin = twin
        self.judge = judge

    def call(self, service: str, operation: str, parameters: dict[str, Any], principal: str = ROOT) -> ApiCall:
        return ApiCall(service, operation, parameters, "", REGION, principal)

    def refusal(self, service: str, operation: str, parameters: dict[str, Any], principal: str) -> AwsApiError | None:
        """What the judge answers a call with; None: nothing."""
        try:
            self.judge(self.call(service, operation, parameters, principal))
        except AwsApiError as e:
            return e
        return None

    def user(self, name: str, *statements: dict[str, Any]) -> str:
        """Make a user with one inline policy."""
        user = self.iam.create_user("us-east-1", name)
        user.policies["given"] = policy(*statements)
        return user.arn

    def role(self, name: str, *statements: dict[str, Any], trust: str = "", boundary: str | None = None) -> str:
        """Make a role with one inline policy; SageMaker may assume it, unless another trust policy is given."""
        trusted = trust or policy(allow("sts:AssumeRole", None, Principal={"Service": "sagemaker.amazonaws.com"}))
        role = self.iam.create_role(name, trusted, "/", boundary, "", [], 3600)
        role.policies["given"] = policy(*statements)
        return role.arn

    @property
    def iam(self) -> Any:
        from moto.iam.models import iam_backends

        return iam_backends[ACCOUNT]["aws"]

    @property
    def s3(self) -> Any:
        from moto.s3.models import s3_backends

        return s3_backends[ACCOUNT]["aws"]

    @property
    def kms(self) -> Any:
        from moto.kms.models import kms_backends

        return kms_backends[ACCOUNT][REGION]

    def key(self, *statements: dict[str, Any]) -> str:
        """Make a KMS key with a key policy."""
        return self.kms.create_key(policy(*statements), "ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT", "", [], False).arn

    def bucket(self, name: str, *statements: dict[str, Any], key: str = "") -> None:
        """Make a bucket, with a policy and a key that encrypts it where they are given."""
        self.s3.create_bucket(name, REGION)
        if statements:
            self.s3.put_bucket_policy(name, policy(*statements).encode())
        if key:
            default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
            rule = {"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": "true"}
            self.s3.put_bucket_encryption(name, {"Rule": rule})


def allow(action: str | list[str], resource: str | list[str] | None = "*", **more: Any) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Action": action, **more}
    return statement | ({} if resource is None else {"Resource": resource})


def deny(action: str | list[str], resource: str | list[str] = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Deny", "Action": action, "Resource": resource, **more}


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
