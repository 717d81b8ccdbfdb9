"""The whole program for Azure: outputs, names, URNs, and what a company has already."""

import json
from pathlib import Path
from typing import Any

import pulumi
import pytest

from llmops_kit.cli.platforms.azure.bootstrap.roles import GRANTED
from llmops_kit.clouds.azure.roles import BUILT_IN
from llmops_kit.clouds.azure.session import open_session
from llmops_kit.core.documents.outputs import StackOutputs
from llmops_kit.core.documents.run import SPEC_VARIABLE
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.layout import run_spec_key, schedule_key
from llmops_kit.infra.targets.azure import resolve
from llmops_kit.infra.testing import resource_type
from tests.support.checkout import CHECKOUT
from tests.unit.infra.azure.conftest import (
    LOCATION,
    PROVIDERS,
    SERVING,
    SUBSCRIPTION,
    TENANT,
    THEIRS,
    TRAINING,
    Subscription,
    everything,
    on_azure,
)
from tests.unit.infra.program import Declared, targets_of_one_entry

URNS = Path(__file__).with_name("urns-azure.txt")
IDENTITY = f"{PROVIDERS}/Microsoft.ManagedIdentity/userAssignedIdentities"
KEY = f"https://theirs.vault.azure.net/keys/signing/{'0' * 32}"
HAD: dict[str, Any] = {
    "resource_group": THEIRS,
    "storage_account": f"{PROVIDERS}/Microsoft.Storage/storageAccounts/theirs",
    "store_container": "our-store",
    "work_container": "our-work",
    "vault": f"{PROVIDERS}/Microsoft.KeyVault/vaults/theirs",
    "signing_key": KEY,
    "registry": f"{PROVIDERS}/Microsoft.ContainerRegistry/registries/theirs",
    "metrics": f"{PROVIDERS}/Microsoft.Insights/components/theirs",
    "workspace": f"{PROVIDERS}/Microsoft.MachineLearningServices/workspaces/theirs",
    "identities": {name: f"{IDENTITY}/{name}" for name in ("training", "endpoint")},
}
LIMITS = {
    "azure-native:resources:ResourceGroup": ("resourceGroupName", 90),
    "azure-native:managedidentity:UserAssignedIdentity": ("resourceName", 128),
    "azure-native:storage:StorageAccount": ("accountName", 24),
    "azure-native:keyvault:Vault": ("vaultName", 24),
    "azure-native:containerregistry:Registry": ("registryName", 50),
    "azure-native:operationalinsights:Workspace": ("workspaceName", 63),
    "azure-native:applicationinsights:Component": ("resourceName", 260),
    "azure-native:machinelearningservices:Workspace": ("workspaceName", 33),
    "azure-native:machinelearningservices:OnlineEndpoint": ("endpointName", 32),
    "azure-native:monitor:ActionGroup": ("actionGroupName", 260),
    "azure-native:authorization:RoleAssignment": ("roleAssignmentName", 36),
}
SHARED_BY_ALL = ("azure-native:storage:StorageAccount", "azure-native:containerregistry:Registry")


def give(subscription: Subscription) -> None:
    """Make what a company has."""
    at = subscription.documents
    at[THEIRS] = {"location": LOCATION, "tags": {"owner": "us"}}
    at[HAD["storage_account"]] = {"properties": {"primaryEndpoints": {"blob": "https://theirs.blob/"}}}
    at[HAD["vault"]] = {"properties": {"vaultUri": "https://theirs.vault.azure.net/"}}
    at[HAD["registry"]] = {"properties": {"loginServer": "theirs.azurecr.io"}}
    at[HAD["metrics"]] = {"properties": {"WorkspaceResourceId": f"{PROVIDERS}/logs"}}
    at[HAD["workspace"]] = {"properties": {"managedNetwork": {"isolationMode": "AllowInternetOutbound"}}}
    for name, id_ in HAD["identities"].items():
        at[id_] = {"properties": {"clientId": f"client-{name}", "principalId": f"principal-{name}"}}


@pytest.fixture(scope="module")
def full(subscription: Subscription) -> Declared:
    return subscription.provision(everything(subscription))


def test_outputs_say_what_everything_is_called(full: Declared, subscription: Subscription) -> None:
    outputs = StackOutputs.parse(json.dumps(full.outputs), where="outputs")
    azure = outputs.azure
    assert azure
    assert (azure.subscription, azure.tenant, azure.location, azure.twin) == (SUBSCRIPTION, TENANT, LOCATION, False)
    assert outputs.store.url == "https://data.blob.core.windows.net/store"
    assert outputs.training.runs == "https://data.blob.core.windows.net/work/runs"
    assert outputs.signing.private_key.startswith("azurekeyvault://")
    assert azure.datastores == {"store": "store", "work": "work", "checkpoints": "checkpoints"}
    assert azure.vault_url == "https://vault.vault.azure.net"
    assert azure.repositories == {n: f"registry.azurecr.io/{n}" for n in ("training", "serving")}
    assert azure.client_ids == {"training": "a-client", "endpoint": "a-client"}
    assert azure.serving_image == SERVING
    assert outputs.training.image == TRAINING
    assert azure.endpoints["chat"] == full.of("endpoint-chat")["endpointName"]
    assert outputs.endpoints["chat"].url == "https://chat.inference.ml.azure.com/"
    assert next(iter(azure.computes.values())).vm_size == "Standard_DS3_v2"
    assert azure.tags == {"llmops:project": "llmops", "llmops:stack": "demo"}


def test_a_preview_needs_nothing_that_is_made(subscription: Subscription) -> None:
    declared = subscription.provision(everything(subscription), preview=True)
    assert declared.has("endpoint-chat")


def test_a_resource_has_no_alias_in_each_version_of_azures_api(full: Declared) -> None:
    assert full.aliases == 0


def test_logical_names_never_change(full: Declared) -> None:
    """A changed name is a replaced resource: the file changes only with a new resource, or a content in a name."""
    found = sorted(urn for urn in full.resources if "::model-chatbot" not in urn)
    known = URNS.read_text().splitlines()
    assert found == known


def roles_of(declared: Declared, name: str) -> set[tuple[str, str]]:
    """What an identity is given: (name of the role, last part of the scope)."""
    words = {id_: role for role, id_ in BUILT_IN.items()}
    return {
        (words[inputs["roleDefinitionId"].rpartition("/")[2]], inputs["scope"].rpartition("/")[2])
        for urn, inputs in declared.resources.items()
        if f"RoleAssignment::role-{name}-" in urn
    }


def test_jobs_and_azure_ml_write_to_no_account_that_holds_versions(full: Declared) -> None:
    """What a job logs goes to the workspace's default account: that has checkpoints, and nothing that is signed."""
    data, scratch = (full.of(f"{word} (llmops down keeps it)")["accountName"] for word in ("storage", "scratch"))
    workspace = full.of("workspace (llmops down keeps it)")
    assert workspace["storageAccount"] == "scratch (llmops down keeps it)", "its id"
    of_jobs, contributor = roles_of(full, "training"), "Storage Blob Data Contributor"
    assert {scope for role, scope in of_jobs if role == contributor} == {"work", scratch}
    assert ("Storage Blob Data Reader", "store") in of_jobs
    of_workspace = roles_of(full, "workspace")
    assert {scope for role, scope in of_workspace if role == contributor} == {scratch}
    assert data not in {scope for role, scope in of_workspace if role == "Contributor"}
    of_endpoint = roles_of(full, "endpoint")
    assert not [role for role, _ in of_endpoint if "Contributor" in role]
    assert ("AzureML Metrics Writer (preview)", workspace["workspaceName"]) in of_endpoint
    assert ("Contributor", workspace["workspaceName"]) in of_workspace


def test_nothing_is_kept_of_a_checkpoint_that_was_replaced(full: Declared) -> None:
    """Versioning and soft delete bill each of them for weeks."""
    blobs = [each for urn, each in full.resources.items() if "BlobServiceProperties" in urn]
    assert [each["accountName"] for each in blobs] == [full.of("storage-blobs (llmops down keeps it)")["accountName"]]
    assert full.of("datastore-checkpoints")["properties"]["containerName"] == "checkpoints"
    (rule,) = full.of("scratch-lifecycle (llmops down keeps it)")["policy"]["rules"]
    assert rule["definition"]["filters"]["prefixMatch"] == ["checkpoints/"]


def test_in_an_account_that_is_given_jobs_reach_the_container_of_logs_alone(subscription: Subscription) -> None:
    give(subscription)
    theirs = {key: HAD[key] for key in ("storage_account", "store_container", "work_container", "workspace")}
    where = {"storageAccount": HAD["storage_account"]}
    subscription.documents[HAD["workspace"]]["properties"] |= where
    declared = subscription.provision({"azure": theirs})
    assert "azure-native:storage:StorageAccount" not in declared.types()
    found = {scope for role, scope in roles_of(declared, "training") if role == "Storage Blob Data Contributor"}
    assert found == {"our-work", "azureml"}
    own = subscription.provision({"azure": {"workspace": HAD["workspace"]}})
    scratch = own.of("scratch (llmops down keeps it)")["accountName"]
    found = {scope for role, scope in roles_of(own, "training") if role == "Storage Blob Data Contributor"}
    assert found == {"work", scratch, "azureml"}
    del subscription.documents[HAD["workspace"]]["properties"]["storageAccount"]


def _physical(declared: Declared) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for urn, inputs in declared.resources.items():
        if limit := LIMITS.get(kind := resource_type(urn)):
            found.setdefault(kind, set()).add(inputs[limit[0]])
    return found


def test_names_keep_their_limits_and_stacks_share_none(full: Declared, tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text((CHECKOUT / "Pulumi.yaml").read_text())
    other = Subscription(tmp_path, "d" * 36 + "-eu1")
    assert len(other.stack) == 40
    with pytest.MonkeyPatch.context() as patch, on_azure(patch, other):
        patch.chdir(tmp_path)
        first, second = _physical(full), _physical(other.provision(everything(other)))
    assert first.keys() == second.keys() == LIMITS.keys()
    for kind, names in second.items():
        assert not names & first[kind]
        assert max(map(len, names)) <= LIMITS[kind][1], kind
    for kind in SHARED_BY_ALL:
        assert all(name.isalnum() and name.islower() for name in second[kind])


def test_what_a_company_has_is_taken_and_nothing_of_it_declared(
    subscription: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(subscription)
    monkeypatch.setattr(resolve, "_keys_in_state", lambda *_: frozenset())
    for key, content in list(subscription.blobs.items()):
        subscription.blobs[f"our-{key[0].removeprefix('our-')}", key[1]] = content
    subscription.add_run(workspace=HAD["workspace"])
    declared = subscription.provision({"azure": HAD})
    kinds = {kind.split(":")[1] for kind in declared.types() if kind.startswith("azure-native:")}
    assert kinds == {"machinelearningservices", "monitor"}
    assert "azure-native:machinelearningservices:Workspace" not in declared.types()
    assert not [urn for urn in declared.resources if "RoleAssignment" in urn]
    outputs = StackOutputs.parse(json.dumps(declared.outputs), where="outputs")
    assert outputs.azure
    assert outputs.store.url == "https://theirs.blob/our-store"
    assert outputs.azure.repositories["serving"] == "theirs.azurecr.io/serving"
    assert outputs.azure.client_ids["training"] == "client-training"
    assert declared.of("signing-key (llmops down keeps it)")["given"] == KEY
    counted = [each["tags"] for each in json.loads(declared.of("budget")["content"])["filter"]["and"]]
    assert {tag["name"]: tag["values"] for tag in counted} == {"llmops:project": ["llmops"], "llmops:stack": ["demo"]}


@pytest.mark.parametrize("identity", ["training", "endpoint", "workspace"])
def test_each_identity_can_be_given_alone(identity: str, subscription: Subscription) -> None:
    id_ = f"{IDENTITY}/{identity}"
    subscription.documents[id_] = {"properties": {"clientId": "c", "principalId": "p"}}
    declared = subscription.provision({"azure": {"identities": {identity: id_}}})
    assert not declared.has(f"identity-{identity}")
    roles = [urn.rpartition("::")[2] for urn in declared.resources if "RoleAssignment" in urn]
    assert not [role for role in roles if role.startswith(f"role-{identity}-")]
    for other in {"training", "endpoint", "workspace"} - {identity}:
        assert [role for role in roles if role.startswith(f"role-{other}-")]


@pytest.mark.vulnerability(12)
def test_vulnerability_12_in_a_group_of_bootstrap_only_the_stacks_identities_get_roles(
    subscription: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `llmops bootstrap azure --for demo` made: the deploy identity may give roles to nobody else, of no other."""
    names = ("training", "endpoint", "workspace")
    monkeypatch.setitem(subscription.documents, THEIRS, {"location": LOCATION})
    monkeypatch.setattr(resolve, "_keys_in_state", lambda *_: frozenset())
    for name in names:
        properties = {"clientId": f"client-{name}", "principalId": f"made-{name}"}
        document = {"properties": properties, "tags": {"llmops:for": "llmops/demo"}}
        monkeypatch.setitem(subscription.documents, f"{IDENTITY}/{name}", document)
    ids = {name: f"{IDENTITY}/{name}" for name in names}
    place = {"resource_group": THEIRS, "signing_key": KEY, "identities": ids}
    vault = f"{PROVIDERS}/Microsoft.KeyVault/vaults/other"
    sealed = {"encryption": {"key": "https://v.vault.azure.net/keys/k/" + "0" * 32, "vault": vault}}
    declared = subscription.provision({"azure": {**place, **sealed}})
    given = [inputs for urn, inputs in declared.resources.items() if "RoleAssignment" in urn]
    assert {each["principalId"] for each in given} == {f"made-{name}" for name in names}
    assert {each["principalType"] for each in given} == {"ServicePrincipal"}
    assert {each["roleDefinitionId"].rpartition("/")[2] for each in given} <= set(GRANTED)
    assert all(f"/{each['scope'].lstrip('/')}".startswith(f"{THEIRS}/") for each in given)
    kinds = declared.types()
    assert not kinds & {"azure-native:resources:ResourceGroup", "azure-native:managedidentity:UserAssignedIdentity"}


def test_operators_are_no_matter_of_a_program_in_a_group_that_is_given(subscription: Subscription) -> None:
    person = {"object_id": "aaaaaaaa-0000-0000-0000-000000000000"}
    with pytest.raises(pulumi.RunError, match="bootstrap azure --for STACK --operator"):
        subscription.provision({"azure": {"resource_group": THEIRS, "operators": [person]}})


def test_what_is_given_must_be_there(subscription: Subscription) -> None:
    missing = f"{PROVIDERS}/Microsoft.KeyVault/vaults/nowhere"
    with pytest.raises(pulumi.RunError, match=r"llmops:azure\.vault: .*nowhere does not exist"):
        subscription.provision({"azure": {"vault": missing}})


def test_the_provider_keeps_to_the_subscription(full: Declared) -> None:
    provider = full.of("azure")
    assert (provider["subscriptionId"], provider["tenantId"]) == (SUBSCRIPTION, TENANT)
    assert provider["useDefaultAzureCredential"] in (True, "true")
    assert "metadataHost" not in provider


def test_the_provider_leaves_a_workflows_identity_to_the_environment(
    subscription: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Azure's default chain comes before OIDC in the plugin's order; and `destroy` uses what is in the state."""
    monkeypatch.setenv("ARM_USE_OIDC", "true")
    provider = subscription.provision({}).of("azure")
    assert not {"useDefaultAzureCredential", "useOidc"} & set(provider)
    monkeypatch.setenv("ARM_USE_OIDC", "false")
    assert subscription.provision({}).of("azure")["useDefaultAzureCredential"] in (True, "true")


def test_nothing_is_looked_up_where_the_stack_has_nothing_yet(subscription: Subscription) -> None:
    subscription.calls.clear()
    open_session.cache_clear()
    subscription.provision({})
    ids = [id_ for _, id_ in subscription.calls]
    assert len([id_ for id_ in ids if id_.count("/") > 4]) <= 3, "the group and the vault's name, nothing else"


def test_datastores_are_taken_as_they_are_declared(full: Declared) -> None:
    """Azure would open them with the deployer's rights on the data."""
    assert [full.of(f"datastore-{word}")["skipValidation"] for word in ("store", "work", "checkpoints")] == [True] * 3


def test_the_budget_tells_before_it_is_spent(full: Declared) -> None:
    budget = json.loads(full.of("budget")["content"])
    assert (budget["amount"], budget["timeGrain"], budget["category"]) == (100, "Monthly", "Cost")
    told = {n["thresholdType"]: n["threshold"] for n in budget["notifications"].values()}
    assert told == {"Actual": 80, "Forecasted": 100}
    for notification in budget["notifications"].values():
        assert notification["contactEmails"] == ["you@example.com"]
        assert notification["contactGroups"] == ["alerts"]


def test_an_endpoint_on_gpus_without_an_image_for_them_is_refused_before_anything_is_declared(
    subscription: Subscription,
) -> None:
    entry = {"model": subscription.add_version("chatbot@1"), "size": {"instance_type": "Standard_NC4as_T4_v3"}}
    with pytest.raises(pulumi.RunError, match=r"llmops:images\.serving_vllm: is missing(?s:.*)push serving-vllm"):
        subscription.provision({"images": {"serving": SERVING}, "endpoints": {"chat": entry}})


def test_this_machines_endpoints_are_taken_to_azure_by_changing_the_stack_alone(
    subscription: Subscription, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The comments of Pulumi.local.yaml show an endpoint: the same entry works on each target, by one program."""
    monkeypatch.chdir(tmp_path)
    assert targets_of_one_entry(subscription) == ["local", "azure"]


@pytest.mark.vulnerability(5)
def test_vulnerability_5_a_run_json_that_its_job_rewrote_is_not_repeated(subscription: Subscription) -> None:
    run = "chatbot-rewritten"
    subscription.add_run(run)
    spec = json.loads(subscription.blobs["work", run_spec_key(run)])
    spec["recipe"]["evaluation"]["gate"][0]["low"] = 0.1
    changed = json.dumps(spec).encode()
    subscription.put("work", run_spec_key(run), changed)
    config = {"azure": {"schedules": {"weekly": {"run": run, "cron": "0 3 * * 0"}}}}
    with pytest.raises(pulumi.RunError, match="is not what run chatbot-rewritten was submitted with"):
        subscription.provision(config)
    subscription.put("work", f"{schedule_key('weekly', run)}/run.json", changed)
    with pytest.raises(pulumi.RunError, match="is not what run chatbot-rewritten was submitted with"):
        subscription.provision(config)


def test_a_run_whose_files_expired_is_repeated_by_what_its_schedule_names(subscription: Subscription) -> None:
    run = "chatbot-expired"
    subscription.add_run(run)
    content = subscription.blobs.pop(("work", run_spec_key(run)))
    subscription.put("work", f"{schedule_key('weekly', run)}/run.json", content)
    job = {"environmentVariables": {SPEC_VARIABLE: sha256_bytes(content)}}
    schedule = f"{subscription.workspace}/schedules/{subscription.names.of('weekly')}"
    subscription.documents[schedule] = {"properties": {"action": {"jobDefinition": job}}}
    declared = subscription.provision({"azure": {"schedules": {"weekly": {"run": run, "cron": "0 3 * * 0"}}}})
    made = declared.of("schedule-weekly-spec")
    variables = declared.of("schedule-weekly")["properties"]["action"]["jobDefinition"]["environmentVariables"]
    assert variables == {SPEC_VARIABLE: sha256_bytes(made["content"].encode())}
