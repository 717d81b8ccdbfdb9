"""Every role assignment of a stack is needed: without it the step that needs it fails, and says what is missing.

One stack on a twin that runs no containers: permissions are judged before anything would run. The steps are `llmops`'
own where a person does them, and Resource Manager's where the platform does.
"""

import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from unittest import mock

import pytest

from llmops_kit.cli import __version__
from llmops_kit.cli.data.build import build_dataset
from llmops_kit.cli.platforms.azure.platform import AzurePlatform
from llmops_kit.cli.runs.runs import find_run
from llmops_kit.cli.store.store import now
from llmops_kit.clouds.azure.names import endpoint_id, workspace_id
from llmops_kit.core.documents.outputs import StackOutputs
from llmops_kit.core.documents.run import Compute, Pinned, RunSpec
from llmops_kit.core.errors import KitError
from llmops_kit.core.names import parse_promoted
from tests.support.clouds.azure_twin import AzureStack, Subscription, make_stack, role_assignment, running_twin
from tests.support.runs.training import tiny_recipe, write_rows
from tests.support.servers.serving import until

_VERSION = "2022-04-01"
_DEPLOYER = {
    "Contributor": "b24988ac-6180-42a0-ab88-20f7382dd24c",
    "Role Based Access Control Administrator": "f58310d9-a9f6-439a-9e8d-f62e7b41a168",
}
_WORKSPACE = ("storageAccount", "keyVault", "containerRegistry", "applicationInsights", "primaryUserAssignedIdentity")


@dataclass
class World:
    """A stack of somebody who has no roles on data but those that the stack gave."""

    stack: AzureStack
    owner: Subscription
    dataset: str
    model: str

    @cached_property
    def platform(self) -> AzurePlatform:
        return AzurePlatform(StackOutputs.parse(json.dumps(self.stack.outputs()), where="outputs"))

    @cached_property
    def assignments(self) -> dict[str, dict[str, Any]]:
        """Those of the stack, by logical name."""
        resources = json.loads(self.stack.state())["deployment"]["resources"]
        found = [r for r in resources if r["type"].endswith(":RoleAssignment")]
        return {r["urn"].rpartition("::")[2].partition(" ")[0]: r for r in found}

    @contextmanager
    def without(self, name: str) -> Iterator[None]:
        """The owner takes an assignment away meanwhile."""
        id_, inputs = self.assignments[name]["id"], self.assignments[name]["inputs"]
        properties = {k: inputs[k] for k in ("principalId", "roleDefinitionId", "principalType")}
        self.change("DELETE", id_)
        try:
            yield
        finally:
            self.change("PUT", id_, {"properties": properties})

    def change(self, method: str, id_: str, body: Any = None) -> None:
        """As the owner."""
        with self.owner.entered():
            arm = self.owner.arm()
            arm.change(method, id_, _VERSION, body)
            arm.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("roles").resolve()
    with running_twin(folder, pace=0.05) as owner:
        deployer = owner.application("deployer")
        secret = {"CLIENT_ID": deployer.client_id, "CLIENT_SECRET": deployer.client_secret}
        mine = {f"{cloud}_{name}": value for cloud in ("AZURE", "ARM") for name, value in secret.items()}
        environ = {**owner.environ, **mine, "LLMOPS_CACHE": str(folder / "cache")}
        made = make_stack(replace(owner, environ=environ), folder / "stack", "roles", deploy=False)
        world = World(made, owner, "", "")
        root = f"/subscriptions/{owner.info.subscription}/providers/Microsoft.Authorization"
        for role in _DEPLOYER.values():
            body = role_assignment(deployer.object_id, f"{root}/roleDefinitions/{role}")
            world.change("PUT", f"{root}/roleAssignments/{uuid.uuid4()}", body)
        made.up()
        write_rows(folder / "rows")
        build_dataset(tiny_recipe(), folder / "rows", folder / "dataset")
        world.model = made.add_version("chatbot@1")
        made.serve("chat", world.model)
        made.up()
        with mock.patch.dict(os.environ, environ, clear=True):
            world.dataset = world.platform.store().put_dataset(folder / "dataset")
            yield world


def train(world: World) -> str:
    """A job, under the identity of jobs; why it failed."""
    spec, platform = _spec(world), world.platform
    platform.submit(spec, lambda _: None)
    until(lambda: find_run(platform, spec.id).state.status in ("completed", "failed"))
    return find_run(platform, spec.id).state.failure


def deploy(world: World) -> None:
    """Another deployment beside the one that serves, as in a rollout, under the identity of endpoints."""
    arm, root = world.platform.session.arm, f"{endpoint_id(world.platform.azure, 'chat')}/deployments"
    there = next(arm.list(root))
    properties = {k: v for k, v in there["properties"].items() if k not in ("provisioningState", "endpointComputeType")}
    body = {
        "location": there["location"],
        "sku": there["sku"],
        "properties": {**properties, "endpointComputeType": "Managed"},
    }
    name = f"{root}/probe-{uuid.uuid4().hex[:8]}"
    try:
        arm.put(name, body)
    finally:
        arm.delete(name)


def change_workspace(world: World) -> None:
    """Which looks at its own resources, under its own identity."""
    arm, id_ = world.platform.session.arm, workspace_id(world.platform.azure)
    there = arm.get(id_)
    assigned = {name: {} for name in there["identity"]["userAssignedIdentities"]}
    body = {
        "location": there["location"],
        "tags": there["tags"],
        "identity": {"type": "UserAssigned", "userAssignedIdentities": assigned},
        "properties": {name: there["properties"][name] for name in _WORKSPACE},
    }
    arm.put(id_, body)


def put_version(world: World) -> None:
    world.platform.store().objects.create(f"probe/{uuid.uuid4()}", b"")


def lay_run_out(world: World) -> None:
    world.platform.submit(_spec(world), lambda _: None)


def sign(world: World) -> None:
    store = world.platform.store()
    world.platform.sign(store.model_folder(parse_promoted(world.model).sha256))


def _spec(world: World) -> RunSpec:
    base = parse_promoted(world.model)
    return RunSpec.new(
        id=f"tiny-{uuid.uuid4().hex[:8]}",
        created=now(),
        recipe=tiny_recipe(),
        dataset=Pinned(name="tiny-chat", sha256=world.dataset),
        base_model=Pinned(name=base.name, sha256=base.sha256),
        image=world.platform.outputs.training.image,
        kit_version=__version__,
        compute=Compute(instance_type="Standard_DS3_v2"),
    )


BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
PULL = "Microsoft.ContainerRegistry/registries/pull/read"
NEEDED_BY: dict[str, tuple[Callable[[World], str | None], str]] = {
    "role-training-registry-acrpull": (train, PULL),
    "role-training-store-storage-blob-data-reader": (train, f"{BLOBS}/read"),
    "role-training-work-storage-blob-data-contributor": (train, f"{BLOBS}/"),
    "role-training-scratch-storage-blob-data-contributor": (train, f"{BLOBS}/write"),
    "role-endpoint-registry-acrpull": (deploy, "does not have pull permission on the registry"),
    "role-endpoint-store-storage-blob-data-reader": (deploy, f"{BLOBS}/read"),
    "role-workspace-scratch-contributor": (change_workspace, "Microsoft.Storage/storageAccounts/write"),
    "role-workspace-scratch-storage-blob-data-contributor": (change_workspace, f"{BLOBS}/write"),
    "role-workspace-vault-contributor": (change_workspace, "Microsoft.KeyVault/vaults/write"),
    "role-workspace-vault-key-vault-secrets-officer": (change_workspace, "Microsoft.KeyVault/vaults/secrets/"),
    "role-workspace-registry-contributor": (change_workspace, "Microsoft.ContainerRegistry/registries/write"),
    "role-workspace-metrics-contributor": (change_workspace, "Microsoft.Insights/components/write"),
    "role-deployer-store-storage-blob-data-contributor": (put_version, "Storage Blob Data Contributor"),
    "role-deployer-work-storage-blob-data-contributor": (lay_run_out, "Storage Blob Data Contributor"),
    "role-deployer-vault-key-vault-crypto-user": (sign, "Key Vault Crypto User"),
}
"""Logical name of an assignment -> the step that needs it, and what that says is missing."""
ASKED_FOR = {
    "role-endpoint-scratch-storage-blob-data-reader": "how-to-troubleshoot-online-endpoints#authorization-error",
    "role-endpoint-workspace-azureml-metrics-writer": "concept-endpoints-online-auth",
    "role-workspace-workspace-contributor": "how-to-identity-based-service-authentication#workspace",
    "role-workspace-store-storage-blob-data-reader": "how-to-identity-based-service-authentication#workspace",
    "role-deployer-scratch-storage-blob-data-reader": "how-to-disable-local-auth-storage",
}
"""What Azure's documents ask for, and perhaps nothing needs: the twin does not judge it. The page that does, below
https://learn.microsoft.com/azure/machine-learning/.
"""


def test_these_are_all(world: World) -> None:
    assert set(world.assignments) == {*NEEDED_BY, *ASKED_FOR}


@pytest.mark.parametrize("name", NEEDED_BY)
def test_without_it_the_step_that_needs_it_fails_and_says_so(world: World, name: str) -> None:
    step, missing = NEEDED_BY[name]
    with world.without(name):
        until(lambda: missing in _said(step, world))
    until(lambda: not _said(step, world))


def _said(step: Callable[[World], str | None], world: World) -> str:
    try:
        return step(world) or ""
    except KitError as e:
        return str(e)
