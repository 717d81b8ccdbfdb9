"""Operate a stack on AWS: the store in S3, the signing key in KMS, endpoints on SageMaker."""

import base64
import hashlib
import shutil
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from contract.errors import KitError, RunError
from contract.layout import MANIFEST, SIGNATURE
from contract.outputs import AwsOutput, StackOutputs
from contract.run import RunSpec
from llmops.platforms.aws.clients import Clients, explained
from llmops.platforms.aws.live import look
from llmops.platforms.aws.logs import read_logs
from llmops.platforms.aws.objects_s3 import S3Objects, bucket_cache
from llmops.platforms.aws.removal import remove_data
from llmops.platforms.base import Live, Run, Say, endpoint_of
from llmops.store import Store

_ONE_VARIANT = "an endpoint on AWS has one variant, which takes all traffic"
_DATA_PLANE = "comes with the data plane (not in this version)"
SIGNING_SCHEME = "awskms:///"


class AwsPlatform:
    """A stack of target aws, or of its twin."""

    def __init__(self, outputs: StackOutputs) -> None:
        self.outputs = outputs

    @cached_property
    def aws(self) -> AwsOutput:
        """What the stack says of its place on AWS."""
        if self.outputs.aws is None:
            raise KitError(
                "the stack's outputs say nothing of AWS",
                where=f"stack {self.outputs.stack}",
                fix=f"`llmops up --stack {self.outputs.stack}` writes them",
            )
        return self.outputs.aws

    @cached_property
    def clients(self) -> Clients:
        """Clients of the stack's account and region, and of no other."""
        clients = Clients(self.aws.region, self.aws.profile)
        clients.require(self.aws.account, self.outputs.stack)
        return clients

    def store(self) -> Store:
        """The bucket."""
        return Store(S3Objects(self._bucket, self.clients, self.aws.account))

    def sign(self, folder: Path) -> None:
        """With the stack's key in KMS, which never leaves it; the signature is as contract.signing makes it.

        https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html
        """
        key = self.outputs.signing.private_key.removeprefix(SIGNING_SCHEME)
        digest = hashlib.sha256((folder / MANIFEST).read_bytes()).digest()
        with explained(key, "the signing key is in KMS: see `llmops plan --policy` for what signing takes"):
            answer = self.clients("kms").sign(
                KeyId=key, Message=digest, MessageType="DIGEST", SigningAlgorithm="ECDSA_SHA_256"
            )
        (folder / SIGNATURE).write_text(base64.b64encode(answer["Signature"]).decode() + "\n")

    def require_runs(self) -> None:
        """Refused: this version starts no jobs."""
        raise KitError(
            f"training on AWS {_DATA_PLANE}",
            where=f"stack {self.outputs.stack}",
            fix="train in a stack of target local, then `llmops models copy NAME@N --from LOCAL --to "
            f"{self.outputs.stack}`",
        )

    def submit(self, spec: RunSpec, say: Say) -> None:
        """Refused, as all that is about a run."""
        self.require_runs()

    def find(self, run: str = "") -> list[Run]:
        """None: this version starts no runs on AWS."""
        return []

    def follow(self, run: str) -> Iterator[str]:
        """Refused."""
        raise self._no_run(run)

    def stop(self, run: str) -> None:
        """Refused."""
        raise self._no_run(run)

    def resume(self, run: str, say: Say) -> None:
        """Refused."""
        raise self._no_run(run)

    def output(self, run: str) -> Path:
        """Refused."""
        raise self._no_run(run)

    def invoke(self, endpoint: str, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Refused."""
        endpoint_of(self.outputs, endpoint)
        raise KitError(
            f"asking an endpoint on AWS {_DATA_PLANE}",
            where=f"endpoint {endpoint}",
            fix=f"`aws sagemaker-runtime invoke-endpoint --endpoint-name {self._physical(endpoint)}` asks it",
        )

    def live(self, endpoint: str) -> Live:
        """What SageMaker says of the endpoint, its configuration and its models."""
        output = endpoint_of(self.outputs, endpoint)
        return look(self.clients, self._physical(endpoint), output.image)

    def set_traffic(self, endpoint: str, shares: dict[str, float]) -> None:
        """Refused: an endpoint has one variant."""
        raise KitError(
            _ONE_VARIANT,
            where=f"endpoint {endpoint}",
            fix="`llmops promote NAME@N && llmops up` moves it to another version, by the endpoint's `rollout`",
        )

    def logs(self, endpoint: str, follow: bool) -> Iterator[str]:
        """Of the endpoint's log group in CloudWatch."""
        endpoint_of(self.outputs, endpoint)
        return read_logs(self.clients, self._physical(endpoint), follow)

    def remove_data(self) -> None:
        """Every version of every object, every image, every model package; never the buckets and registries."""
        remove_data(self.clients, self.outputs)
        shutil.rmtree(bucket_cache(self._bucket), ignore_errors=True)

    @property
    def _bucket(self) -> str:
        return self.outputs.store.url.removeprefix("s3://").partition("/")[0]

    def _physical(self, endpoint: str) -> str:
        return self.aws.endpoints[endpoint]

    def _no_run(self, run: str) -> KitError:
        return RunError(f"there is no run {run}", where=f"stack {self.outputs.stack}")
