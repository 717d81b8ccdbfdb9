"""Operates a stack on Azure: the store in blobs, the signing key in Key Vault, jobs and endpoints on Azure ML."""

import hashlib
import re
import shutil
from collections.abc import Iterator
from functools import cached_property
from typing import Any, NoReturn

from llmops_kit.cli.interfaces.platform import Access, Live, Say, endpoint_of
from llmops_kit.cli.interfaces.quotas import Hire, machines_of
from llmops_kit.cli.machines.prices import load_prices
from llmops_kit.cli.platforms.azure.exchanges import recorded_session
from llmops_kit.cli.platforms.azure.invocations import ask, bearer_token
from llmops_kit.cli.platforms.azure.jobs import AzureRuns
from llmops_kit.cli.platforms.azure.live import look, set_traffic
from llmops_kit.cli.platforms.azure.logs import read_logs
from llmops_kit.cli.platforms.azure.objects_blob import BlobObjects, container_cache
from llmops_kit.cli.platforms.azure.quotas import quotas_for
from llmops_kit.cli.platforms.azure.removal import remove_data
from llmops_kit.cli.platforms.cloud_platform import CloudPlatform, require_place
from llmops_kit.cli.store.store import Store
from llmops_kit.clouds.azure.errors import explained
from llmops_kit.clouds.azure.job_requests import choose_cluster
from llmops_kit.clouds.azure.names import endpoint_id
from llmops_kit.clouds.azure.session import AzureSession
from llmops_kit.core.documents.outputs import AzureOutput
from llmops_kit.core.documents.run import Compute
from llmops_kit.core.errors import KitError, UnsupportedError
from llmops_kit.core.integrity.envelopes import SigningKey
from llmops_kit.core.names import ModelRef

SIGNING_SCHEME = "azurekeyvault://"


class AzurePlatform(CloudPlatform):
    """A stack of target azure, or of its twin."""

    @cached_property
    def azure(self) -> AzureOutput:
        """Subscription, workspace and resource names of the stack."""
        return require_place(self.outputs.azure, "Azure", self.outputs)

    @property
    def place(self) -> AzureOutput:
        """The same as `azure`."""
        return self.azure

    @cached_property
    def session(self) -> AzureSession:
        """Session in the stack's tenant."""
        session = recorded_session(self.azure.subscription)
        session.require(self.azure.subscription, self.azure.tenant, self.outputs.stack)
        return session

    def _make_runs(self) -> AzureRuns:
        return AzureRuns(self.outputs, self.session)

    def store(self) -> Store:
        """Returns the store in the stack's container."""
        return Store(BlobObjects(self.outputs.store.url, self.session))

    @property
    def signing_key(self) -> SigningKey:
        """The stack's key in Key Vault, which never leaves it.

        Key Vault returns r and s concatenated (ES256 of JWA), while the kit's signatures are DER.
        https://learn.microsoft.com/rest/api/keyvault/keys/sign
        """
        key = self.outputs.signing.private_key.removeprefix(SIGNING_SCHEME)

        def sign(message: bytes) -> bytes:
            from azure.keyvault.keys.crypto import SignatureAlgorithm
            from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

            digest = hashlib.sha256(message).digest()
            with explained(key, role="Key Vault Crypto User on the vault"):
                raw = self.session.key(f"https://{key}").sign(SignatureAlgorithm.es256, digest).signature
            r, s = (int.from_bytes(half, "big") for half in (raw[: len(raw) // 2], raw[len(raw) // 2 :]))
            return encode_dss_signature(r, s)

        caller = self.session.caller
        return SigningKey(self.outputs.signing.signs, f"{caller.kind} {caller.object_id}", sign)

    def require_runs(self) -> Compute:
        """Requires an environment with the training image, in addition to what every platform requires."""
        if "training" not in self.azure.environments:
            fix = "`llmops up`, which declares it"
            raise KitError("the stack has no environment for training", where="llmops:images.training", fix=fix)
        return super().require_runs()

    def require_machines(self, machines: Compute) -> None:
        """Raises KitError unless a cluster of the stack has the machines."""
        choose_cluster(machines, self.azure.computes)

    def hire(self, machines: Compute) -> Hire:
        """Returns Azure ML's usages in the location and the price from the price table; low priority has its own
        prices.
        """
        choose_cluster(machines, self.azure.computes)
        needed = {machines_of(machines): machines.instances}
        quotas = quotas_for(self.session, self.azure.location, needed, self.azure)
        kind = "spot" if machines.spot else "training"
        price = load_prices(self.azure.location).instance(kind, machines.instance_type)
        return Hire(self.azure.location, quotas, price, not_counted="the cluster's `idle_minutes`")

    def register(self, ref: ModelRef, say: Say) -> None:
        """Does nothing: the workspace has only promoted versions, which the program declares."""

    def secret(self, name: str) -> str:
        """Returns a secret from the stack's Key Vault, in which its name begins with the project's.

        https://learn.microsoft.com/rest/api/keyvault/secrets/get-secret
        """
        secret = re.sub(r"[^0-9A-Za-z-]", "-", f"{self.outputs.project}-{name}" if self.outputs.project else name)
        vault = self.azure.vault_url
        fix = f"`az keyvault secret set --id {vault.rstrip('/')}/secrets/{secret} --value …`"
        with explained(f"secret {secret}", fix, "Key Vault Secrets User on the vault"):
            return (self.session.secrets(vault).get_secret(secret).value or "").strip()

    def invoke(self, endpoint: str, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Calls the scoring URL, streaming if the request asks for it."""
        output = self.serving(endpoint)
        return ask(self.session, endpoint, output.url, request)

    def access(self, endpoint: str, hours: float) -> Access:
        """Returns the scoring URL, which passes OpenAI's routes through, and a token of this process's principal."""
        output = self.serving(endpoint)
        token = bearer_token(self.session, hours)
        return Access(f"{output.url.rstrip('/')}/v1", token, output.model.partition("@sha256")[0])

    def issued_keys(self, endpoint: str) -> NoReturn:
        """Raises UnsupportedError: Azure ML authenticates callers."""
        endpoint_of(self.outputs, endpoint)
        raise UnsupportedError(
            f"Azure ML authenticates the callers of endpoint {endpoint} by Entra ID; there are no API keys to issue",
            where=f"stack {self.outputs.stack}",
            fix="assign their identity a role with Microsoft.MachineLearningServices/workspaces/onlineEndpoints/score/"
            f"action on {endpoint_id(self.azure, endpoint)}; remove the assignment to revoke it",
        )

    def live(self, endpoint: str) -> Live:
        """Returns the state of the endpoint and its deployments from Azure ML."""
        output = endpoint_of(self.outputs, endpoint)
        return look(self.session.arm, endpoint_id(self.azure, endpoint), output.image)

    def set_traffic(self, endpoint: str, shares: dict[str, float]) -> None:
        """Shares traffic between the endpoint's deployments, by their versions."""
        endpoint_of(self.outputs, endpoint)
        set_traffic(self.session.arm, endpoint_id(self.azure, endpoint), shares)

    def logs(self, endpoint: str, follow: bool) -> Iterator[str]:
        """Yields log lines of the servers of the endpoint's deployments."""
        endpoint_of(self.outputs, endpoint)
        return read_logs(self.session.arm, endpoint_id(self.azure, endpoint), follow)

    def audit_log(self) -> str:
        """Returns the id of the account of audit logs' copies, if it exists: locked copies can't be deleted."""
        account = self.azure.audit_account
        return account if account and self.session.arm.find(account) is not None else ""

    def remove_data(self) -> None:
        """Removes every job, blob version and image, and the stack's own workspace; keeps the account, its containers
        and the registry.
        """
        if self.azure.job_prefix:
            self.runs.remove()
        remove_data(self.session, self.outputs)
        shutil.rmtree(container_cache(self.outputs.store.url), ignore_errors=True)
