"""Twins of AWS that run in processes of their own, spoken to by boto3."""

import functools
import http.client
import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import boto3
from botocore.config import Config

from llmops_twins.aws import control
from llmops_twins.aws.wire.principals import ROOT_ACCESS_KEY
from tests.support.clouds.twin_keys import asked, root_secret, signed

REGION = "us-east-1"
IMAGE = "process:serving@sha256:" + "a" * 64
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ],
}


@dataclass
class RunningTwin:
    """A twin that runs."""

    home: Path
    info: control.AwsTwinInfo
    clients: dict[tuple[str | None, ...], Any] = field(default_factory=dict)

    def client(self, service: str, key: str = ROOT_ACCESS_KEY, secret: str = "", token: str | None = None) -> Any:
        """A boto3 client of the twin, as the account's root unless another key is given."""
        secret = secret or root_secret(self.home)
        names = (service, key, secret, token)
        if names not in self.clients:
            config = Config(retries={"total_max_attempts": 3, "mode": "standard"})
            self.clients[names] = session().client(
                service,
                endpoint_url=self.info.url,
                config=config,
                aws_access_key_id=key,
                aws_secret_access_key=secret,
                aws_session_token=token,
            )
        return self.clients[names]

    def raw(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        """Status and body of a request that no SDK makes; signed as root for a service where `signed` names one."""
        if service := headers.pop("signed", ""):
            keys = (ROOT_ACCESS_KEY, root_secret(self.home))
            headers = signed(method, f"{self.info.url}{path}", service, keys, body=body, headers=headers)
        with closing(http.client.HTTPConnection("127.0.0.1", self.info.port)) as connection:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def close(self) -> None:
        """Close the clients' connections."""
        for client in self.clients.values():
            client.close()

    def ask(self, method: str, route: str, document: Any = None) -> Any:
        """One of the twin's own routes."""
        data = None if document is None else json.dumps(document).encode()
        with urlopen(asked(self.home, self.info.url, route, method, data)) as answer:
            return json.loads(answer.read())

    def fault(self, kind: str, **members: Any) -> None:
        """Let something go wrong."""
        self.ask("PUT", "faults", {"kind": kind, **members})


@functools.cache
def session(region: str = REGION) -> boto3.Session:
    """Returns the one session of a region; its clients take keys of their own.

    Each session parses botocore's models anew, which takes longer than most tests.
    """
    return boto3.Session(region_name=region)


@contextmanager
def running_twin(
    home: Path, *, judge: str = "off", pace: float = 0.2, containers: str = "none"
) -> Iterator[RunningTwin]:
    """A twin with its state in a folder; ended afterwards."""
    twin = RunningTwin(home, control.up(home, judge=judge, pace=pace, containers=containers))
    try:
        yield twin
    finally:
        twin.close()
        control.down(home)


def made_role(twin: RunningTwin, name: str) -> str:
    """The ARN of a new role that may do everything."""
    iam = twin.client("iam")
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=json.dumps(everything))
    return arn


def made_model(twin: RunningTwin, name: str, role: str, image: str = IMAGE, prefix: str = "models/1/") -> str:
    """The name of a new model."""
    source = {"S3Uri": f"s3://models-of-tests/{prefix}", "S3DataType": "S3Prefix", "CompressionType": "None"}
    container = {"Image": image, "ModelDataSource": {"S3DataSource": source}}
    twin.client("sagemaker").create_model(ModelName=name, ExecutionRoleArn=role, PrimaryContainer=container)
    return name


def made_config(twin: RunningTwin, name: str, model: str, count: int = 1, **more: Any) -> str:
    """The name of a new configuration with one variant."""
    variant = {
        "VariantName": "main",
        "ModelName": model,
        "InstanceType": "ml.g5.xlarge",
        "InitialInstanceCount": count,
        **more,
    }
    twin.client("sagemaker").create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    return name


def await_status(twin: RunningTwin, endpoint: str, *wanted: str, seconds: float = 120) -> dict[str, Any]:
    """The endpoint once it has one of these statuses.

    Raises:
        AssertionError: it hasn't in time.
    """
    sagemaker = twin.client("sagemaker")
    deadline = time.monotonic() + seconds
    while True:
        found = sagemaker.describe_endpoint(EndpointName=endpoint)
        if found["EndpointStatus"] in wanted:
            return found
        assert time.monotonic() < deadline, f"{endpoint} is {found['EndpointStatus']}: {found.get('FailureReason')}"
        time.sleep(0.02)
