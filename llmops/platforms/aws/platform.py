"""Operate a stack on AWS: the store in S3, the signing key in KMS, jobs and endpoints on SageMaker."""

import base64
import hashlib
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any

from contract.aws_job import INSTANCE_TYPE
from contract.errors import KitError
from contract.layout import MANIFEST, SIGNATURE
from contract.names import ModelRef
from contract.outputs import AwsOutput, StackOutputs
from contract.run import Compute, RunSpec
from llmops.platforms.aws.clients import Clients, explained
from llmops.platforms.aws.invocations import ask, ask_by_objects
from llmops.platforms.aws.jobs import AwsRuns
from llmops.platforms.aws.live import look
from llmops.platforms.aws.logs import read_logs
from llmops.platforms.aws.objects_s3 import S3Objects, bucket_cache
from llmops.platforms.aws.packages import write_package
from llmops.platforms.aws.removal import remove_data
from llmops.platforms.aws.tokens import bearer_token, openai_url
from llmops.platforms.base import Access, Live, Run, Say, endpoint_is_off, endpoint_of
from llmops.store import Store

_ONE_VARIANT = "an endpoint on AWS has one variant, which takes all traffic"
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

    @cached_property
    def _runs(self) -> AwsRuns:
        if not self.aws.job_prefix:
            raise KitError(
                "the stack's outputs say nothing of training jobs: another version of the kit deployed it",
                where=f"stack {self.outputs.stack}",
                fix=f"`llmops up --stack {self.outputs.stack}` writes them",
            )
        return AwsRuns(self.outputs, self.clients)

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

    def require_runs(self) -> Compute:
        """See that there is an image; what the stack's settings say of machines."""
        image = self.outputs.training.image
        fix = "`llmops images build` (and on an account `llmops images push`), then `llmops up`"
        if not image:
            raise KitError("the stack has no training image", where="llmops:images.training", fix=fix)
        if image.startswith("process:") and not self.aws.twin:
            raise KitError(f"{image} runs on a twin alone", where="llmops:images.training", fix=fix)
        return self.aws.jobs

    def require_machines(self, machines: Compute) -> None:
        """See that the instance type is one of SageMaker's."""
        if not INSTANCE_TYPE.match(machines.instance_type):
            raise KitError(
                f"{machines.instance_type} is no instance type of SageMaker's",
                where="instance_type",
                fix="write one such as ml.g5.xlarge; docs/reference.md says what `llmops:aws.jobs` takes",
            )

    def submit(self, spec: RunSpec, say: Say) -> None:
        """Create a training job."""
        self._runs.submit(spec, say)

    def find(self, run: str = "") -> list[Run]:
        """What SageMaker and the bucket of runs say."""
        return self._runs.find(run) if self.aws.job_prefix else []  # else nobody could have started one

    def follow(self, run: str) -> Iterator[str]:
        """Lines of CloudWatch Logs, what SageMaker does, and what it costs."""
        return self._runs.follow(run)

    def stop(self, run: str) -> None:
        """SIGTERM, later SIGKILL, by SageMaker."""
        self._runs.stop(run)

    def halt(self, say: Say) -> None:
        """Jobs and warm pools."""
        if self.aws.job_prefix:
            self._runs.halt(say)

    def resume(self, run: str, say: Say, compute: Compute | None = None) -> None:
        """Create another job, with the checkpoints of those before."""
        self._runs.resume(run, compute, say)

    def job_request(self, run: str) -> dict[str, Any]:
        """CreateTrainingJob's."""
        return self._runs.request(run)

    def output(self, run: str) -> AbstractContextManager[Path]:
        """Fetched from the bucket of runs."""
        return self._runs.output(run)

    def register(self, ref: ModelRef, say: Say) -> None:
        """In the stack's model package group."""
        write_package(self.clients, self.outputs, ref, self.store().manifest(ref), say)

    def secret(self, name: str) -> str:
        """From Secrets Manager, where its name begins with the project's.

        https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html
        """
        secret = f"{self.outputs.project}/{name}"
        with explained(f"secret {secret}", f"`aws secretsmanager create-secret --name {secret} --secret-string …`"):
            return self.clients("secretsmanager").get_secret_value(SecretId=secret)["SecretString"].strip()

    def invoke(self, endpoint: str, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """By InvokeEndpoint, as a stream where the request asks for one; by objects where the endpoint takes those."""
        output, name = endpoint_of(self.outputs, endpoint), self._physical(endpoint)
        if not output.on:
            raise endpoint_is_off(self.outputs, endpoint)
        if output.mode == "async":
            bucket = S3Objects(self.aws.work_bucket, self.clients, self.aws.account)
            return ask_by_objects(self.clients, bucket, endpoint, name, request)
        return ask(self.clients, endpoint, name, request)

    def access(self, endpoint: str, hours: float) -> Access:
        """SageMaker's OpenAI route, and a token that this process signs."""
        output, name = endpoint_of(self.outputs, endpoint), self._physical(endpoint)
        if not output.on:
            raise endpoint_is_off(self.outputs, endpoint)
        if output.mode == "async":
            raise KitError(
                f"endpoint {endpoint} takes objects, and no OpenAI client speaks those",
                where="mode: async",
                fix=f"`llmops invoke {endpoint} …` asks it",
            )
        token = bearer_token(self.clients, hours)
        return Access(openai_url(self.clients, name), token, output.model.partition("@sha256")[0])

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
        """Every job, version of an object, image and model package; never the buckets and registries."""
        if self.aws.job_prefix:
            self._runs.remove()
        remove_data(self.clients, self.outputs)
        shutil.rmtree(bucket_cache(self._bucket), ignore_errors=True)

    @property
    def _bucket(self) -> str:
        return self.outputs.store.url.removeprefix("s3://").partition("/")[0]

    def _physical(self, endpoint: str) -> str:
        return self.aws.endpoints[endpoint]
