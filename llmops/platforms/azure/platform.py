"""Operate a stack on Azure: the store in blobs, the signing key in Key Vault, jobs and endpoints on Azure ML."""

import base64
import hashlib
import re
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any

from contract.azure_job import choose_cluster
from contract.errors import KitError
from contract.layout import MANIFEST, SIGNATURE
from contract.names import ModelRef
from contract.outputs import AzureOutput, StackOutputs
from contract.run import Compute, RunSpec
from llmops.platforms.azure.clients import Clients, explained
from llmops.platforms.azure.invocations import ask
from llmops.platforms.azure.jobs import AzureRuns
from llmops.platforms.azure.live import look, set_traffic
from llmops.platforms.azure.logs import read_logs
from llmops.platforms.azure.objects_blob import BlobObjects, container_cache
from llmops.platforms.azure.places import endpoint_id
from llmops.platforms.azure.removal import remove_data
from llmops.platforms.azure.tokens import bearer_token
from llmops.platforms.base import Access, Live, Run, Say, endpoint_is_off, endpoint_of
from llmops.store import Store

SIGNING_SCHEME = "azurekeyvault://"
_NO_JOBS = "the stack's outputs say nothing of training jobs: another version of the kit deployed it"


class AzurePlatform:
    """A stack of target azure, or of its twin."""

    def __init__(self, outputs: StackOutputs) -> None:
        self.outputs = outputs

    @cached_property
    def azure(self) -> AzureOutput:
        """What the stack says of its place on Azure."""
        if self.outputs.azure is None:
            raise KitError(
                "the stack's outputs say nothing of Azure",
                where=f"stack {self.outputs.stack}",
                fix=f"`llmops up --stack {self.outputs.stack}` writes them",
            )
        return self.outputs.azure

    @cached_property
    def clients(self) -> Clients:
        """Clients of the stack's tenant, and of no other."""
        clients = Clients(self.azure.subscription)
        clients.require(self.azure.subscription, self.azure.tenant, self.outputs.stack)
        return clients

    @cached_property
    def _runs(self) -> AzureRuns:
        if not self.azure.job_prefix:
            raise KitError(
                _NO_JOBS,
                where=f"stack {self.outputs.stack}",
                fix=f"`llmops up --stack {self.outputs.stack}` writes them",
            )
        return AzureRuns(self.outputs, self.clients)

    def store(self) -> Store:
        """The container."""
        return Store(BlobObjects(self.outputs.store.url, self.clients))

    def sign(self, folder: Path) -> None:
        """With the stack's key in Key Vault, which never leaves it; the signature is as contract.signing makes it.

        Key Vault answers r and s side by side (JWA's ES256), where the kit's signatures are DER.
        https://learn.microsoft.com/rest/api/keyvault/keys/sign
        """
        from azure.keyvault.keys.crypto import SignatureAlgorithm
        from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

        key = self.outputs.signing.private_key.removeprefix(SIGNING_SCHEME)
        digest = hashlib.sha256((folder / MANIFEST).read_bytes()).digest()
        with explained(key, role="Key Vault Crypto User on the vault"):
            raw = self.clients.key(f"https://{key}").sign(SignatureAlgorithm.es256, digest).signature
        r, s = (int.from_bytes(half, "big") for half in (raw[: len(raw) // 2], raw[len(raw) // 2 :]))
        (folder / SIGNATURE).write_text(base64.b64encode(encode_dss_signature(r, s)).decode() + "\n")

    def require_runs(self) -> Compute:
        """See that there are an image and clusters; what the stack's settings say of machines."""
        image = self.outputs.training.image
        fix = "`llmops images build` (and on Azure itself `llmops images push`), then `llmops up`"
        if not image or "training" not in self.azure.environments:
            raise KitError("the stack has no training image", where="llmops:images.training", fix=fix)
        if image.startswith("process:") and not self.azure.twin:
            raise KitError(f"{image} runs on a twin alone", where="llmops:images.training", fix=fix)
        return self.azure.jobs

    def require_machines(self, machines: Compute) -> None:
        """See that a cluster of the stack has them."""
        choose_cluster(machines, self.azure.computes)

    def submit(self, spec: RunSpec, say: Say) -> None:
        """Create a command job."""
        self._runs.submit(spec, say)

    def find(self, run: str = "") -> list[Run]:
        """What Azure ML and the container of runs say."""
        return self._runs.find(run) if self.azure.job_prefix else []  # else nobody could have started one

    def follow(self, run: str) -> Iterator[str]:
        """Lines of its nodes, what Azure ML does, and what it costs."""
        return self._runs.follow(run)

    def stop(self, run: str) -> None:
        """Cancelled by Azure ML."""
        self._runs.stop(run)

    def halt(self, say: Say) -> None:
        """Jobs; their clusters give up their nodes by themselves."""
        if self.azure.job_prefix:
            self._runs.halt(say)

    def resume(self, run: str, say: Say, compute: Compute | None = None) -> None:
        """Create another job, with the checkpoints of those before."""
        self._runs.resume(run, compute, say)

    def job_request(self, run: str) -> dict[str, Any]:
        """Name and properties of a CommandJob."""
        return self._runs.request(run)

    def output(self, run: str) -> AbstractContextManager[Path]:
        """Fetched from the container of runs."""
        return self._runs.output(run)

    def register(self, ref: ModelRef, say: Say) -> None:
        """Nothing: the workspace has the promoted versions alone, and the program declares those."""

    def secret(self, name: str) -> str:
        """From the stack's Key Vault, where its name begins with the project's.

        https://learn.microsoft.com/rest/api/keyvault/secrets/get-secret
        """
        secret = re.sub(r"[^0-9A-Za-z-]", "-", f"{self.outputs.project}-{name}" if self.outputs.project else name)
        vault = self.azure.vault_url
        fix = f"`az keyvault secret set --id {vault.rstrip('/')}/secrets/{secret} --value …`"
        with explained(f"secret {secret}", fix, "Key Vault Secrets User on the vault"):
            return (self.clients.secrets(vault).get_secret(secret).value or "").strip()

    def invoke(self, endpoint: str, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """At the scoring address, as a stream where the request asks for one."""
        output = endpoint_of(self.outputs, endpoint)
        if not output.on:
            raise endpoint_is_off(self.outputs, endpoint)
        return ask(self.clients, endpoint, output.url, request)

    def access(self, endpoint: str, hours: float) -> Access:
        """The scoring address, which passes OpenAI's routes through, and a token of this process' principal."""
        output = endpoint_of(self.outputs, endpoint)
        if not output.on:
            raise endpoint_is_off(self.outputs, endpoint)
        token = bearer_token(self.clients, hours)
        return Access(f"{output.url.rstrip('/')}/v1", token, output.model.partition("@sha256")[0])

    def live(self, endpoint: str) -> Live:
        """What Azure ML says of the endpoint and its deployments."""
        output = endpoint_of(self.outputs, endpoint)
        return look(self.clients.arm, endpoint_id(self.azure, endpoint), output.image)

    def set_traffic(self, endpoint: str, shares: dict[str, float]) -> None:
        """Between its deployments, by their versions."""
        endpoint_of(self.outputs, endpoint)
        set_traffic(self.clients.arm, endpoint_id(self.azure, endpoint), shares)

    def logs(self, endpoint: str, follow: bool) -> Iterator[str]:
        """Of its deployments' servers."""
        endpoint_of(self.outputs, endpoint)
        return read_logs(self.clients.arm, endpoint_id(self.azure, endpoint), follow)

    def remove_data(self) -> None:
        """Every job, version of a blob and image; never the account, its containers and the registry."""
        if self.azure.job_prefix:
            self._runs.remove()
        remove_data(self.clients, self.outputs)
        shutil.rmtree(container_cache(self.outputs.store.url), ignore_errors=True)
