"""Operates a stack on AWS: the store in S3, the signing key in KMS, jobs and endpoints on SageMaker."""

import hashlib
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NoReturn

from llmops_kit.cli.interfaces.platform import Access, Live, Say, endpoint_of
from llmops_kit.cli.interfaces.quotas import Hire, machines_of
from llmops_kit.cli.machines.prices import load_prices
from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.cli.platforms.aws.invocations import ask, ask_by_objects, bearer_token, openai_url
from llmops_kit.cli.platforms.aws.jobs import AwsRuns
from llmops_kit.cli.platforms.aws.live import look
from llmops_kit.cli.platforms.aws.logs import read_logs
from llmops_kit.cli.platforms.aws.objects_s3 import S3Objects, bucket_cache
from llmops_kit.cli.platforms.aws.packages import packages_of, write_package
from llmops_kit.cli.platforms.aws.quotas import quotas_for
from llmops_kit.cli.platforms.aws.removal import audit_log, remove_data
from llmops_kit.cli.platforms.cloud_platform import CloudPlatform, require_place
from llmops_kit.cli.store.store import Store
from llmops_kit.clouds.aws.errors import explained
from llmops_kit.clouds.aws.job_requests import INSTANCE_TYPE
from llmops_kit.clouds.aws.rollbacks import version_fault
from llmops_kit.core.documents.outputs import AwsOutput
from llmops_kit.core.documents.run import Compute
from llmops_kit.core.errors import KitError, UnsupportedError
from llmops_kit.core.integrity.envelopes import SigningKey
from llmops_kit.core.names import ModelRef

_ONE_VARIANT = "an endpoint on AWS has one variant, which takes all traffic"
_SIGNER = (
    "use the promoter's role, which `llmops bootstrap aws --github` creates (docs/how-to/ci.md), or get the policy that"
    " `llmops plan --policy --use` prints; the deploy role never signs"
)
SIGNING_SCHEME = "awskms:///"


class AwsPlatform(CloudPlatform):
    """A stack of target aws, or of its twin."""

    @cached_property
    def aws(self) -> AwsOutput:
        """The AWS part of the stack's outputs."""
        return require_place(self.outputs.aws, "AWS", self.outputs)

    @property
    def place(self) -> AwsOutput:
        """The same as `aws`."""
        return self.aws

    @cached_property
    def clients(self) -> AwsClients:
        """Clients of the stack's account and region, and of no other."""
        clients = AwsClients(self.aws.region, self.aws.profile)
        clients.require(self.aws.account, self.outputs.stack)
        return clients

    def _make_runs(self) -> AwsRuns:
        return AwsRuns(self.outputs, self.clients)

    def store(self) -> Store:
        """Returns the store in the stack's bucket."""
        return Store(S3Objects(self._bucket, self.clients, self.aws.account))

    @property
    def signing_key(self) -> SigningKey:
        """The stack's KMS key, which never leaves KMS.

        https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html
        """
        key = self.outputs.signing.private_key.removeprefix(SIGNING_SCHEME)

        def sign(message: bytes) -> bytes:
            digest = hashlib.sha256(message).digest()
            with explained(key, _SIGNER):
                answer = self.clients("kms").sign(
                    KeyId=key, Message=digest, MessageType="DIGEST", SigningAlgorithm="ECDSA_SHA_256"
                )
            return answer["Signature"]

        return SigningKey(self.outputs.signing.signs, self.clients.caller.arn, sign)

    def require_machines(self, machines: Compute) -> None:
        """Raises KitError unless they are of an instance type of SageMaker."""
        if not INSTANCE_TYPE.match(machines.instance_type):
            raise KitError(
                f"{machines.instance_type} is not an instance type of SageMaker's",
                where="instance_type",
                fix="write one such as ml.g5.xlarge; docs/reference.md lists the fields of `llmops:aws.jobs`",
            )

    def hire(self, machines: Compute) -> Hire:
        """Returns quotas from Service Quotas and the price from the price table. Spot jobs have the same price, and are
        billed for fewer seconds.

        https://docs.aws.amazon.com/sagemaker/latest/dg/model-managed-spot-training.html
        """
        quotas = quotas_for(self.clients, {machines_of(machines): machines.instances})
        price = load_prices(self.aws.region).instance("training", machines.instance_type)
        return Hire(self.aws.region, quotas, price, machines.warm_pool_minutes)

    def register(self, ref: ModelRef, say: Say) -> None:
        """Registers a version in the stack's model package group, if the stack signed it."""
        manifest = self.store().signed_manifest(ref, self.outputs.signing.public_key)
        write_package(self.clients, self.outputs, ref, manifest, say)

    def unregistered(self) -> list[ModelRef]:
        """Returns the versions of runs that the model package group lacks; [] if no package can be written."""
        if not self.aws.serving_image:
            return []
        there, store = packages_of(self.clients, self.aws.model_package_group), self.store()
        refs = [ModelRef(alias.name, alias.number, alias.sha256) for alias in store.versions()]
        return [ref for ref in refs if str(ref) not in there and store.manifest(ref).lineage.run]

    def secret(self, name: str) -> str:
        """Returns a secret from Secrets Manager, in which its name begins with the project's.

        https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html
        """
        secret = f"{self.outputs.project}/{name}"
        with explained(f"secret {secret}", f"`aws secretsmanager create-secret --name {secret} --secret-string …`"):
            return self.clients("secretsmanager").get_secret_value(SecretId=secret)["SecretString"].strip()

    def invoke(self, endpoint: str, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Calls InvokeEndpoint, streaming if the request asks for it; an asynchronous endpoint gets and returns
        objects.
        """
        output, name = self.serving(endpoint), self._physical(endpoint)
        if output.mode == "async":
            bucket = S3Objects(self.aws.work_bucket, self.clients, self.aws.account)
            return ask_by_objects(self.clients, bucket, endpoint, name, request)
        return ask(self.clients, endpoint, name, request)

    def access(self, endpoint: str, hours: float) -> Access:
        """Returns SageMaker's OpenAI route, and a token that this process signs."""
        output, name = self.serving(endpoint), self._physical(endpoint)
        if output.mode == "async":
            raise KitError(
                f"endpoint {endpoint} takes requests as objects, which OpenAI clients don't support",
                where="mode: async",
                fix=f"send requests with `llmops invoke {endpoint} …`",
            )
        token = bearer_token(self.clients, hours)
        return Access(openai_url(self.clients, name), token, output.model.partition("@sha256")[0])

    def issued_keys(self, endpoint: str) -> NoReturn:
        """Raises UnsupportedError: SageMaker authenticates callers."""
        endpoint_of(self.outputs, endpoint)
        raise UnsupportedError(
            f"SageMaker authenticates the callers of endpoint {endpoint} by IAM; there are no API keys to issue",
            where=f"stack {self.outputs.stack}",
            fix=f"allow their role sagemaker:InvokeEndpoint on endpoint/{self._physical(endpoint)}, and "
            "sagemaker:CallWithBearerToken for OpenAI clients; detach the policy to revoke it",
        )

    def live(self, endpoint: str) -> Live:
        """Returns the endpoint's state, from its configuration and its models on SageMaker."""
        output = endpoint_of(self.outputs, endpoint)
        return look(self.clients, self._physical(endpoint), output.image)

    def version_fault(self, endpoint: str, since: float) -> str:
        """Returns a version's fault, from the endpoint's failure reason and the history of its rollout's alarms."""
        name = self._physical(endpoint)
        with explained(f"endpoint {name}"):
            live = self.clients("sagemaker").describe_endpoint(EndpointName=name)
            return version_fault(live, self.clients("cloudwatch"), datetime.fromtimestamp(since, UTC))

    def set_traffic(self, endpoint: str, shares: dict[str, float]) -> None:
        """Raises KitError: an endpoint has one variant."""
        raise KitError(
            _ONE_VARIANT,
            where=f"endpoint {endpoint}",
            fix="`llmops promote NAME@N && llmops up` moves it to another version, by the endpoint's `rollout`",
        )

    def logs(self, endpoint: str, follow: bool) -> Iterator[str]:
        """Yields lines of the endpoint's log group in CloudWatch."""
        endpoint_of(self.outputs, endpoint)
        return read_logs(self.clients, self._physical(endpoint), follow)

    def audit_log(self) -> str:
        """Returns the bucket of the trail's files, if it holds any."""
        return audit_log(self.clients("s3"), self.aws.audit_bucket) if self.aws.audit_bucket else ""

    def remove_data(self) -> None:
        """Removes every job, object version, image and model package; keeps the buckets and registries."""
        if self.aws.job_prefix:
            self.runs.remove()
        remove_data(self.clients, self.outputs)
        shutil.rmtree(bucket_cache(self._bucket), ignore_errors=True)

    @property
    def _bucket(self) -> str:
        return self.outputs.store.url.removeprefix("s3://").partition("/")[0]

    def _physical(self, endpoint: str) -> str:
        return self.aws.endpoints[endpoint]
