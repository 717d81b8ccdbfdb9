"""Azure in a rehearsal: machines of Azure Machine Learning, role assignments, alerts of Azure Monitor."""

import json
import os
import re
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmops_kit.cli.rehearsal.cloud import THEIRS, ByHand, Cloud, CloudCaller, QualityLog, Standing
from llmops_kit.cli.rehearsal.clouds.azure_inventory import BOOTSTRAPPED, TYPES, deleted, deleted_vaults, inventory
from llmops_kit.cli.rehearsal.clouds.azure_twin import LOCATION, AzureTwin
from llmops_kit.cli.rehearsal.fault_case import cases_of
from llmops_kit.cli.rehearsal.leaks import Accepted
from llmops_kit.core.documents.outputs import AzureOutput, StackOutputs
from llmops_kit.core.errors import KitError
from llmops_kit.core.twins import METADATA_VARIABLE, azure_twin_address, is_loopback

if TYPE_CHECKING:
    from llmops_kit.cli.rehearsal.questions import Question
    from llmops_kit.clouds.azure.session import AzureSession

_ADDRESSES = (METADATA_VARIABLE, "AZURE_AUTHORITY_HOST")
_ML = "Microsoft.MachineLearningServices/workspaces"
_VAULT = "Microsoft.KeyVault/vaults"
_RULES = ("Microsoft.Insights/scheduledQueryRules", "2023-12-01")
_GROUP_API = "2024-03-01"
_GROUP = re.compile(r"/resourcegroups/([^/]+)")
_WAIT_SECONDS = 120
_WATCHED_SECONDS = 2
_BEGINS = "stage=check_inputs"
_UNKNOWN = "machines whose size Azure does not name"


class Azure(Cloud):
    """See llmops_kit.cli.rehearsal.cloud.Cloud."""

    target = "azure"
    title = "Azure"
    contract = "Azure ML scoring URI"
    extra = ("azure-twin", "twins", "trustme", "werkzeug", "azure.identity", "pulumi_azure_native")
    roles = ("preview", "deploy", "promote", "training", "endpoint")
    bearers = dict.fromkeys(("runs", "models", "promote"), "promote")
    withheld = "Microsoft.ContainerRegistry/registries/write"
    region = LOCATION
    instance_type = "Standard_DS3_v2"
    files = False
    rolls_back_silently = False
    faults = cases_of("azure")
    data_kinds = frozenset({"storage account", "vault", "registry"})
    running_kinds = frozenset({"endpoint", "deployment", "cluster", "query alert", "metric alert", "action group"})
    secret_files = (*Cloud.secret_files, "twin/blobs/key")
    holds_secrets = (
        Accepted("twin/root.secret", "the twin's root secret, of mode 0600"),
        Accepted("twin/registry/secret", "the secret of the twin's registry, of mode 0600"),
        Accepted("twin/blobs/key", "the key of the twin's storage, of mode 0600"),
        Accepted(
            "process *: AZURITE_ACCOUNTS", "Azurite accepts its key only there; it is a child process of the twin"
        ),
        Accepted("twin/tls/*", "the keys of the twin's certificates"),
        Accepted("twin/tokens.pem", "the key of the tokens that the twin issues"),
        Accepted("twin/blobs/data/__azurite_db_*", "Azurite's database: the signed URLs that blobs were copied from"),
        Accepted("twin/state.log", "the twin's state: it emulates the tenant, which has its principals' secrets"),
        Accepted("twin/*.token", "the token of a GitHub workflow, which azure-native reads from a file of mode 0600"),
        Accepted(
            "process *: IDENTITY_HEADER",
            "containers on Azure get their identity this way; it is valid only for that one",
        ),
        Accepted("process *: MSI_SECRET", "the same, under its older name"),
    )
    rolled_back_by = "golden prompts"

    @cached_property
    def _session(self) -> "AzureSession":
        from llmops_kit.cli.platforms.azure.exchanges import recorded_session

        return recorded_session()

    def twin(self, home: Path) -> AzureTwin:
        """Returns the twin of ARM and of Azure Machine Learning."""
        return AzureTwin(home)

    def require_loopback(self, environ: Mapping[str, str]) -> None:
        """Raises unless the variables of Azure clients point to this machine; without them, clients use Azure."""
        for name in _ADDRESSES:
            value = environ.get(name, "")
            if not is_loopback(value):
                raise KitError(
                    f"{value or 'no address'} is not on this machine",
                    where=f"${name}",
                    fix="a rehearsal uses its own twin; `llmops smoke azure` uses your subscription",
                )

    def caller(self) -> CloudCaller:
        caller = self._session.caller
        subscription = self._session.subscription
        place = _location()
        return CloudCaller(
            caller.object_id, f"Azure subscription {subscription}", place, azure_twin_address(os.environ)
        )

    def held(self) -> dict[str, Any]:
        """See llmops_kit.cli.rehearsal.clouds.azure_inventory; adds soft-deleted resources, by name."""
        arm, subscription = self._session.arm, self._session.subscription
        gone = {f"deleted {id_}": {} for id_ in deleted(arm, subscription)}
        return inventory(arm, subscription, self.only) | gone

    def is_of(self, thing: str, stack: str) -> bool:
        """Returns whether a resource belongs to a stack, by its group's name; not deleted vaults, which only wait for
        their purge, and not bootstrap's resources, which outlive the stack.
        """
        group = _GROUP.search(thing)
        return bool(group) and f"-{stack}-" in group[1] and not thing.startswith(("deleted ", BOOTSTRAPPED))

    def is_the_clouds(self, thing: str) -> bool:
        """Returns whether it is soft-deleted: such resources stay listed until they may be purged."""
        return thing.startswith("deleted ")

    def waiting(self, stack: str) -> list[str]:
        """Returns the soft-deleted resources. (Azure has no list of deleted workspaces of Azure ML.)"""
        gone = deleted(self._session.arm, self._session.subscription)
        return [id_.rpartition("/providers/")[2] for id_ in gone if self.is_of(id_, stack)]

    def bring_back(self, stack: str) -> list[str]:
        """Recovers the stack's vault, as `az group create` and `az keyvault recover` do: it can't be purged, and its
        name stays reserved until its retention ends.

        https://learn.microsoft.com/azure/key-vault/general/key-vault-recovery
        """
        arm, api = self._session.arm, TYPES[_VAULT][1]
        found = [v["properties"] for v in deleted_vaults(arm, self._session.subscription)]
        ours = [each for each in found if self.is_of(each["vaultId"].lower(), stack)]
        for each in ours:
            group = {"location": each["location"], "tags": each.get("tags") or {}}  # by which a sweep finds it
            arm.put(each["vaultId"].partition("/providers/")[0], group, _GROUP_API)
            how = {"tenantId": self._session.caller.tenant, "sku": {"family": "A", "name": "standard"}}
            body = {"location": each["location"], "properties": {**how, "createMode": "recover"}}
            arm.put(each["vaultId"], body, api)
        return [each["vaultId"].rpartition("/")[2] for each in ours]

    def make_theirs(self) -> None:
        """Creates somebody else's resource group with an identity, a log workspace and an action group."""
        arm, root = self._session.arm, f"/subscriptions/{self._session.subscription}/resourceGroups/{THEIRS}"
        arm.put(root, {"location": LOCATION, "tags": {"team": "payroll"}}, _GROUP_API)
        for type_, body in (
            ("Microsoft.ManagedIdentity/userAssignedIdentities", {"location": LOCATION}),
            ("Microsoft.OperationalInsights/workspaces", {"location": LOCATION, "properties": {}}),
            (
                "Microsoft.Insights/actionGroups",
                {"location": "Global", "properties": {"groupShortName": "payroll", "enabled": True}},
            ),
        ):
            arm.put(f"{root}/providers/{type_}/{THEIRS}", body, TYPES[type_][1])

    def settings(self) -> dict[str, Any]:
        """Returns the location and two clusters, one of them with machines that can be taken back."""
        clusters = {"cpu": {"vm_size": self.instance_type}, "spare": {"vm_size": self.instance_type, "spot": True}}
        return {"location": _location(), "computes": clusters}

    def place_words(self) -> tuple[str, ...]:
        """Returns the option for the location, which no login has."""
        return ("--location", _location())

    def questions(self) -> "tuple[Question, ...]":
        """See llmops_kit.cli.rehearsal.clouds.questions_azure."""
        from llmops_kit.cli.rehearsal.clouds.questions_azure import QUESTIONS

        return QUESTIONS

    def remove_bootstrapped(self, project: str) -> None:
        """Removes the custom roles and the resource group of the states; its vault can be recovered for some days."""
        from llmops_kit.cli.platforms.azure.bootstrap.removal import remove

        remove(self._session, project)

    def words_for(self, *stacks: str) -> tuple[str, ...]:
        """Returns an option for each stack, which gets a resource group, identities and a signing key."""
        return tuple(word for stack in stacks for word in ("--for", stack))

    def bound(self, settings: dict[str, Any], boundary: str) -> None:
        """Changes nothing: Azure has no boundaries; a condition of the deploy role's assignment limits what it may
        assign.
        """

    def roles_of(self, outputs: StackOutputs) -> dict[str, str]:
        """Returns the resource ids of the managed identities."""
        return _azure(outputs).identities

    def interruptions(self, outputs: StackOutputs, run: str) -> int:
        """Returns how often the first node of the run's jobs restarted, counted in the run's log: Azure reports no
        interruptions.
        """
        from llmops_kit.cli.platforms.azure.platform import AzurePlatform

        platform = AzurePlatform(outputs)
        jobs = 2 if platform.find(run)[0].spec.recipe.has_two_jobs else 1
        return sum(line.startswith(_BEGINS) for line in platform.follow(run)) - jobs

    def quality(self, outputs: StackOutputs, endpoint: str) -> Iterator[QualityLog]:
        from llmops_kit.cli.platforms.azure.platform import AzurePlatform

        for line in AzurePlatform(outputs).logs(endpoint, follow=False):
            start = line.find("{")
            if '"quality"' in line and start >= 0:
                said = json.loads(line[start:])
                yield QualityLog(
                    datetime.fromisoformat(said["time"]).timestamp(), float(said["score"]), str(said["model"])
                )

    def quality_alarm(self, outputs: StackOutputs, endpoint: str) -> ByHand:
        """Returns the scheduled query rule of an endpoint's quality."""
        arm, azure = self._session.arm, _azure(outputs)
        group = f"/subscriptions/{azure.subscription}/resourceGroups/{azure.resource_group}"
        rules = arm.list(f"{group}/providers/{_RULES[0]}", _RULES[1])
        rule = next(r for r in rules if f"-{endpoint}-quality" in r["name"])

        def read() -> float:
            return arm.get(rule["id"], _RULES[1])["properties"]["criteria"]["allOf"][0]["threshold"]

        def change(value: float) -> None:
            document = arm.get(rule["id"], _RULES[1])
            document["properties"]["criteria"]["allOf"][0]["threshold"] = value
            body = {k: document[k] for k in ("location", "kind", "tags", "properties") if k in document}
            arm.put(rule["id"], body, _RULES[1])

        return ByHand(rule["name"], read(), change, read)

    def asker(self, outputs: StackOutputs, endpoint: str) -> Callable[[bytes], bytes]:
        """Returns a function that calls the scoring URL with a token for it."""
        from llmops_kit.clouds.azure.session import ML_SCOPE

        url = f"{outputs.endpoints[endpoint].url.rstrip('/')}/v1/chat/completions"
        headers = {"Authorization": f"Bearer {self._session.token(ML_SCOPE)}", "Content-Type": "application/json"}

        def ask(body: bytes) -> bytes:
            with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=_WAIT_SECONDS) as answer:
                return answer.read()

        return ask

    def change_machines(self, entry: dict[str, Any]) -> None:
        """Changes the VM size, which requires another deployment."""
        entry.setdefault("size", {})["instance_type"] = "Standard_DS4_v2"
        self.hasten(entry)

    def next_link(self) -> str:
        """Returns the link to the second page of the subscription's resources, one per page."""
        root = f"{self._session.arm.url}/subscriptions/{self._session.subscription}"
        page = self._session.arm.get_url(f"{root}/resources?api-version={_GROUP_API}&$top=1")
        return str(page.get("nextLink") or "")

    def hasten(self, entry: dict[str, Any]) -> None:
        """Shortens the rollout's bake time on a twin: `up` itself waits for it."""
        if azure_twin_address(os.environ):
            entry["rollout"] = {"bake_seconds": _WATCHED_SECONDS}

    def standing(self) -> Iterator[Standing]:
        """Yields the machines of deployments and compute clusters, idle ones too, which cause nearly all costs; skips
        others' workspaces.
        """
        arm = self._session.arm
        resources = f"/subscriptions/{self._session.subscription}/resources"
        for listed in arm.list(resources, _GROUP_API):
            if listed["type"].lower() != _ML.lower() or self.only not in listed["id"].lower():
                continue
            for endpoint in arm.list(f"{listed['id']}/onlineEndpoints"):
                for deployment in arm.list(f"{endpoint['id']}/deployments"):
                    size = str(deployment["properties"].get("instanceType") or _UNKNOWN)
                    count = int((deployment.get("sku") or {}).get("capacity") or 1)
                    yield Standing(endpoint["id"], "hosting", size, count)
            for cluster in arm.list(f"{listed['id']}/computes"):
                inner = cluster["properties"].get("properties") or {}
                managed = cluster["properties"].get("computeType") == "AmlCompute"
                # Other kinds, of which the kit makes none, don't tell how many of their machines run.
                if nodes := int(inner.get("currentNodeCount") or 0) if managed else 1:
                    yield Standing(cluster["id"], "training", str(inner.get("vmSize") or _UNKNOWN), nodes)


def _location() -> str:
    """Returns the location as Pulumi's own provider reads it."""
    return os.environ.get("ARM_LOCATION") or LOCATION


def _azure(outputs: StackOutputs) -> AzureOutput:
    assert outputs.azure
    return outputs.azure
