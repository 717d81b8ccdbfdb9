"""An Azure subscription in this process: what the program looks up and reads; Pulumi's mocks stand for the rest."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.clouds.azure.arm import ResourceManager
from llmops_kit.clouds.azure.job_requests import job_name
from llmops_kit.clouds.azure.location import AzureCaller
from llmops_kit.clouds.azure.names import resource_id
from llmops_kit.clouds.azure.objects import AzureContainer
from llmops_kit.clouds.azure.session import AzureSession, open_session
from llmops_kit.core.documents.run import SPEC_VARIABLE
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.layout import run_spec_key
from llmops_kit.infra.resource_names import CloudNames
from llmops_kit.infra.targets.azure import online
from llmops_kit.infra.targets.azure.providers import scheduled_spec, traffic
from tests.support.checkout import CHECKOUT
from tests.unit.infra.azure.arm import Container, InProcessArm, patch_session
from tests.unit.infra.program import RUN, Declared, add_version, run_program, run_spec

SUBSCRIPTION, TENANT = "11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-000000000000"
LOCATION = "westeurope"
THEIRS = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/theirs"
PROVIDERS = f"{THEIRS}/providers"
SERVING = f"registry.azurecr.io/serving@sha256:{'5' * 64}"
TRAINING = f"registry.azurecr.io/training@sha256:{'7' * 64}"
COMPUTED = {
    "primaryEndpoints": {"blob": "https://data.blob.core.windows.net/"},
    "loginServer": "registry.azurecr.io",
    "clientId": "a-client",
    "principalId": "a-principal",
    "reference": "azurekeyvault://vault.vault.azure.net/keys/signing/1",
    "operator": {"object_id": "somebody", "kind": "User"},
    "properties": {"vaultUri": "https://vault.vault.azure.net/", "scoringUri": "https://chat.inference.ml.azure.com/"},
    "traffic": {},
    "mirror": {},
    "capacity": 1,
    "repairs": {"endpoint": 0, "deployment": 0},
}


class Subscription:
    """A stack's place: documents by resource id, blobs by container and key. Nothing that is declared gets here."""

    def __init__(self, folder: Path, stack: str = "demo") -> None:
        self.folder = folder
        self.stack = stack
        self.names = CloudNames("llmops", stack)
        self.group = self.names.of("group", 90)
        self.documents: dict[str, dict[str, Any]] = {}
        self.blobs: dict[tuple[str, str], bytes] = {}
        self.account = self.id("Microsoft.Storage/storageAccounts", self.names.compact("data", 24, SUBSCRIPTION))
        self.calls: list[tuple[str, str]] = []
        self.promoted: dict[int, str] = {}

    def id(self, kind: str, *parts: str) -> str:
        """Resource id in the stack's group."""
        return resource_id(SUBSCRIPTION, self.group, kind, *parts)

    def call(self, method: str, id_: str, _api_version: str, **others: Any) -> dict[str, Any] | None:
        """In place of ResourceManager's."""
        assert (method, others) == ("GET", {}), "a program declares; it changes nothing itself"
        self.calls.append((method, id_))
        return self.documents.get(id_)

    def put(self, container: str, key: str, content: bytes) -> None:
        """A blob, in an account that is there."""
        endpoints = {"blob": "https://data.blob.core.windows.net/"}
        self.documents[self.account] = {"properties": {"primaryEndpoints": endpoints}}
        self.blobs[container, key] = content

    def add_version(self, alias: str, **given: Any) -> str:
        """Put a version into the store; what a promotion writes."""
        folder = self.folder / "store"
        reference = add_version(folder, alias, **given)
        for path in (p for p in folder.rglob("*") if p.is_file()):
            self.put("store", path.relative_to(folder).as_posix(), path.read_bytes())
        return reference

    def add_run(self, run: str = RUN, workspace: str = "") -> None:
        """Put a run's spec where `llmops train` does, and its job, which names the spec."""
        content = json.dumps(run_spec(TRAINING) | {"id": run}).encode()
        self.put("work", run_spec_key(run), content)
        job = {"environmentVariables": {SPEC_VARIABLE: sha256_bytes(content)}}
        self.documents[f"{workspace or self.workspace}/jobs/{job_name(self.names.of('run', 26), run)}"] = {
            "properties": job
        }

    @property
    def workspace(self) -> str:
        """Resource id of the stack's own."""
        return self.id("Microsoft.MachineLearningServices/workspaces", self.names.of("workspace", 33))

    def provision(self, config: dict[str, Any], **options: Any) -> Declared:
        """Run the program for target azure."""
        given = {"target": "azure", "images": {"serving": SERVING, "training": TRAINING}} | config
        given["azure"] = {"location": LOCATION} | given.get("azure", {})
        options["computed"] = COMPUTED | options.get("computed", {})
        return run_program(given, stack_name=self.stack, **options)


def everything(subscription: Subscription) -> dict[str, Any]:
    """Returns a configuration with each kind of resource."""
    subscription.add_run()
    return {
        "endpoints": {"chat": {"model": subscription.add_version("chatbot@1"), "size": {"max_instances": 3}}},
        "azure": {
            "operators": [{"object_id": "aaaaaaaa-0000-0000-0000-000000000000", "kind": "Group"}],
            "network": {"mode": "existing", "subnet": f"{PROVIDERS}/Microsoft.Network/virtualNetworks/v/subnets/s"},
            "budget": {"emails": ["you@example.com"]},
            "schedules": {"weekly": {"run": RUN, "cron": "0 3 * * 0"}},
        },
    }


@contextmanager
def on_azure(patch: pytest.MonkeyPatch, found: Subscription) -> Iterator[None]:
    """No way to Azure but to this subscription, in this process."""

    def read(container: AzureContainer, key: str, most: int | None = None) -> bytes | None:
        return found.blobs.get((container.url.rpartition("/")[2], key))

    for name in ("ARM_CLOUD_METADATA_URL", "AZURE_AUTHORITY_HOST", "ARM_SUBSCRIPTION_ID"):
        patch.delenv(name, raising=False)
    patch.setenv("AZURE_SUBSCRIPTION_ID", SUBSCRIPTION)
    patch.setattr(ResourceManager, "_call", found.call)
    patch.setattr(AzureSession, "caller", AzureCaller(TENANT, "somebody", "User"))
    patch.setattr(AzureContainer, "read", read)
    open_session.cache_clear()
    yield
    open_session.cache_clear()


@pytest.fixture(scope="module")
def subscription(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subscription]:
    """The place of stack demo, with the project's folder as the current one. Programs under mocks change nothing."""
    folder = tmp_path_factory.mktemp("project").resolve()
    shutil.copy(CHECKOUT / "Pulumi.yaml", folder)
    found = Subscription(folder)
    with pytest.MonkeyPatch.context() as patch, on_azure(patch, found):
        patch.chdir(folder)
        yield found


@pytest.fixture
def arm(monkeypatch: pytest.MonkeyPatch) -> InProcessArm:
    """An empty subscription; providers poll it without waiting."""
    found = InProcessArm()
    patch_session(monkeypatch, found)
    monkeypatch.setattr(online, "_POLL_SECONDS", (0.01, 0.01))
    return found


@pytest.fixture
def store(arm: InProcessArm, monkeypatch: pytest.MonkeyPatch) -> Container:
    """The container of rejections and specs."""
    container = Container()
    for module in (traffic, scheduled_spec):
        monkeypatch.setattr(module, "AzureContainer", lambda _session, _url: container)
    return container
