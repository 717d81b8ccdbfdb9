"""Records the permissions that a deployer needs on Azure (llmops_kit.cli.deploying.policy), as a custom role."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from llmops_kit.cli.platforms.azure import given
from llmops_kit.cli.platforms.azure.bootstrap.bootstrap import bootstrap
from llmops_kit.cli.platforms.azure.preflight import clients_of, settings_of
from llmops_kit.cli.platforms.twin_command import TwinCommand
from llmops_kit.cli.stacks.stack import PulumiStack
from llmops_kit.clouds.azure.names import unique_in_tenant
from llmops_kit.clouds.azure.session import AzureSession
from llmops_kit.core.documents.outputs import StackOutputs
from llmops_kit.core.errors import KitError, require_packages

_EVERYTHING = ("Owner", "Storage Blob Data Owner", "Key Vault Administrator")
_BLOBS = "microsoft.storage/storageaccounts/blobservices/containers/blobs/"
_OF_VAULTS = ("microsoft.keyvault/vaults/keys/", "microsoft.keyvault/vaults/secrets/")


class AzureRecording:
    """See llmops_kit.cli.interfaces.recording.Recording."""

    some_types = ("Standard_DS3_v2", "Standard_DS4_v2")
    bake_seconds = 1  # long enough to read metrics

    def __init__(self, stack: PulumiStack) -> None:
        self._project, self._stack = stack.project.name, stack.name.rpartition("/")[2]
        self._location = settings_of(stack).location or "westeurope"
        try:
            self._subscription = clients_of(stack).subscription
        except KitError:
            self._subscription = "*"

    def require(self) -> None:
        """See Recording."""
        require_packages("azure-twin", "twins", "werkzeug", "trustme", "jwt", "azure.identity", "pulumi_azure_native")

    def up(self, home: Path) -> Mapping[str, str | None]:
        """See Recording."""
        twin = TwinCommand("azure", home)
        twin.up(pace=0.0, location=self._location, containers="none")
        return twin.environment

    def down(self, home: Path) -> None:
        """See Recording."""
        TwinCommand("azure", home).down()

    def deployer(self) -> tuple[dict[str, str], str]:
        """Creates an application; returns its environment and its object id."""
        environ, principal = given.application("deployer")
        for role in _EVERYTHING:
            given.assign(AzureSession(), principal, role)
        return dict(os.environ) | environ, principal

    def given(self, settings: dict[str, Any]) -> dict[str, Any]:
        """See Recording."""
        return given.make_given(AzureSession(), settings, self._location)

    def backend(self, project: str, backend: str) -> dict[str, str | None]:
        """Creates a container of blobs; returns its environment. (A passphrase protects secrets: the engine can't find
        a twin's vault.)
        """
        made = bootstrap(AzureSession(), project, lambda _: None, location=self._location)
        return {"PULUMI_BACKEND_URL": made.backend}

    def fill(self, outputs: StackOutputs) -> None:
        """See Recording."""
        given.fill(AzureSession(), outputs)

    def start_job(self, outputs: StackOutputs) -> None:
        """See Recording."""
        given.start_job(AzureSession(), outputs)

    def recorded(self) -> list[dict[str, Any]]:
        """See Recording."""
        return given.admin("GET", "recorded")["recorded"]

    def document(self, records: list[dict[str, Any]]) -> dict[str, Any]:
        """Returns a role definition of the recorded calls, in the format of `az role definition create`."""
        # The engine also uses a key in the state's vault, which it can't reach on a twin.
        actions = {r["action"] for r in records if r["allowed"]} | {"Microsoft.KeyVault/vaults/read"}
        data = {f"Microsoft.KeyVault/vaults/keys/{verb}/action" for verb in ("encrypt", "decrypt")}
        return role_definition(
            f"{self._project} deploy of {self._stack}",
            "Permissions of up, updates, down and down --data, recorded by llmops plan --policy",
            actions | data,
            f"/subscriptions/{self._subscription}",
        )


def role_definition(name: str, description: str, actions: Iterable[str], scope: str) -> dict[str, Any]:
    """Returns a custom role that allows these actions, each in the list of its kind, or in both.

    https://learn.microsoft.com/azure/role-based-access-control/role-definitions#role-definition
    """
    actions = sorted(set(actions), key=str.lower)
    return {
        "Name": unique_in_tenant(name, scope),
        "IsCustom": True,
        "Description": description,
        "Actions": [action for action in actions if _is_of_manager(action)],
        "NotActions": [],
        "DataActions": [action for action in actions if _is_data(action)],
        "NotDataActions": [],
        "AssignableScopes": [scope],
    }


def _is_data(action: str) -> bool:
    """Returns whether an action is on data: on blobs, or on a vault's content, whose keys ARM reads too."""
    low = action.lower()
    return low.startswith(_BLOBS) or (low.startswith(_OF_VAULTS) and not low.endswith(("/write", "/delete")))


def _is_of_manager(action: str) -> bool:
    low = action.lower()
    return not _is_data(action) or (low.startswith(_OF_VAULTS) and low.endswith("/read"))
