"""What the real engine and the stand-in for azure-native do together, against the twin of Azure."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import Program
from tools.sdk_shapes import azure_native as sdk_shapes

MakeProgram = Callable[..., Program]
GROUP_VERSION, IDENTITY_VERSION = "2024-03-01", "2023-01-31"
BLOB_READER = "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"

STORE = """
config = azure.authorization.get_client_config()
group = azure.resources.ResourceGroup("group", location="westeurope", tags={{"team": {team!r}}})
account = azure.storage.StorageAccount(
    "store",
    resource_group_name=group.name,
    kind=azure.storage.Kind.STORAGE_V2,
    sku=azure.storage.SkuArgs(name=azure.storage.SkuName.STANDARD_LRS),
    allow_shared_key_access=False,
    minimum_tls_version=azure.storage.MinimumTlsVersion.TLS1_2,
    network_rule_set=azure.storage.NetworkRuleSetArgs(
        default_action=azure.storage.DefaultAction.ALLOW,
        ip_rules=[azure.storage.IPRuleArgs(i_p_address_or_range={address!r})],
    ),
)
container = azure.storage.BlobContainer(
    "models", resource_group_name=group.name, account_name=account.name, container_name={container!r}
)
identity = azure.managedidentity.UserAssignedIdentity("training", resource_group_name=group.name)
role = azure.authorization.RoleAssignment(
    "reads",
    scope=container.id,
    principal_id=identity.principal_id,
    principal_type="ServicePrincipal",
    role_definition_id=f"/subscriptions/{{config.subscription_id}}/providers/Microsoft.Authorization/roleDefinitions/{role}",
)
pulumi.export("group", group.name)
pulumi.export("identity", identity.id)
pulumi.export("owner", config.object_id)
"""


def store(team: str = "models", address: str = "1.2.3.4", container: str = "models") -> str:
    return STORE.format(team=team, address=address, container=container, role=BLOB_READER)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:pulumi_azure_native")  # of its own modules
def test_the_installed_sdk_has_these_shapes() -> None:
    written = (sdk_shapes.FOLDER / "shapes.json").read_text()
    shapes = sdk_shapes.all_shapes()
    assert sdk_shapes.text(shapes) == written
    types = json.loads((sdk_shapes.FOLDER / "types.json").read_text())
    assert {t: sides["version"] for t, sides in shapes["types"].items()} == {
        t: told["api_version"] for t, told in types.items() if not t.startswith("_")
    }


def test_the_life_of_a_small_program(make_program: MakeProgram, azure: Any) -> None:
    program = make_program(store())
    steps = {step["urn"].rpartition("::")[2]: step for step in program.steps()}
    assert {s["op"] for s in steps.values()} == {"create"}
    assert "principalId" not in steps["reads"]["newState"]["inputs"] or not program.resources()
    program.up()
    made = program.resources()
    assert set(made) == {"group", "store", "models", "training", "reads"}
    assert made["store"]["inputs"]["location"] == "westeurope"
    assert made["store"]["outputs"]["networkRuleSet"]["ipRules"][0]["iPAddressOrRange"] == "1.2.3.4"
    assert made["models"]["id"].endswith("/blobServices/default/containers/models")
    assert made["reads"]["inputs"]["__createBeforeDelete"] is True
    assert program.exported()["owner"]
    assert program.changes() == {}

    assert program.changes(store(team="platform", address="1.2.3.5")) == {"group": "update", "store": "update"}
    program.up()
    assert program.changes() == {}
    updated = program.resources()
    assert updated["store"]["outputs"]["networkRuleSet"]["ipRules"][0]["iPAddressOrRange"] == "1.2.3.5"

    replaced = program.changes(store("platform", "1.2.3.5", "versions"))
    assert set(replaced) == {"models", "reads"}
    assert all("replace" in op or "delete" in op for op in replaced.values())
    program.up()
    assert program.resources()["models"]["id"].endswith("/containers/versions")
    assert program.changes() == {}

    program.pulumi("refresh", "--yes", "--skip-preview")
    assert program.changes() == {}
    group = f"/subscriptions/{azure.environ['ARM_SUBSCRIPTION_ID']}/resourceGroups/{program.exported()['group']}"
    azure.arm("PUT", group, GROUP_VERSION, {"location": "westeurope", "tags": {"team": "somebody"}})
    azure.arm("DELETE", program.exported()["identity"], IDENTITY_VERSION)
    program.pulumi("refresh", "--yes", "--skip-preview")
    assert "training" not in program.resources()
    assert program.changes()["group"] == "update"
    assert program.changes()["training"] == "create"
    program.up()
    assert program.resources()["group"]["outputs"]["tags"] == {"team": "platform"}
    program.pulumi("destroy", "--yes", "--skip-preview")
    assert program.resources() == {}


def test_what_exists_is_refused_and_imported(make_program: MakeProgram) -> None:
    text = 'azure.resources.ResourceGroup("group", resource_group_name="there", location="westeurope"{})'
    first = make_program(text.format(""))
    first.up()
    identity = first.resources()["group"]["id"]
    second = make_program(text.format(""), "second", stack="two")
    assert f"cannot create already existing resource '{identity}'" in second.up(refused=True)
    second.up(text.format(f", opts=pulumi.ResourceOptions(import_={identity!r})"))
    assert second.resources()["group"]["id"] == identity
    assert second.changes() == {}
    second.pulumi("destroy", "--yes", "--skip-preview")
    first.pulumi("refresh", "--yes", "--skip-preview")
    assert first.resources() == {}


def test_what_was_half_made_is_kept_and_mended(make_program: MakeProgram, fault: Callable[..., None]) -> None:
    program = make_program(
        """
        group = azure.resources.ResourceGroup("group", location="westeurope")
        azure.storage.StorageAccount(
            "store",
            resource_group_name=group.name,
            account_name="halfmade",
            kind="StorageV2",
            sku=azure.storage.SkuArgs(name="Standard_LRS"),
        )
        """
    )
    fault(kind="failure", name="halfmade", times=1)
    output = program.up(refused=True)
    assert "Message=" in output
    half = program.resources()["store"]
    assert half["initErrors"]
    assert half["outputs"]["provisioningState"] == "Failed"
    program.up()
    assert "initErrors" not in program.resources()["store"]


def test_an_interrupted_update_goes_on(make_program: MakeProgram, azure: Any) -> None:
    program = make_program(
        """
        group = azure.resources.ResourceGroup("group", resource_group_name="interrupted", location="westeurope")
        azure.operationalinsights.Workspace("logs", resource_group_name=group.name, workspace_name="interrupted")
        """
    )
    group = f"/subscriptions/{program.environ['ARM_SUBSCRIPTION_ID']}/resourceGroups/interrupted"
    logs = f"{group}/providers/Microsoft.OperationalInsights/workspaces/interrupted"
    pace = azure.admin("GET", "settings")["pace"]
    azure.admin("PUT", "settings", {"pace": 60})
    try:
        process = program.start("up", "--yes", "--skip-preview")
        wait_until(lambda: azure.exists(logs, "2023-09-01"))
        os.kill(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        azure.admin("PUT", "settings", {"pace": pace})
    assert process.returncode != 0
    assert "context canceled" in output
    assert program.resources()["logs"]["id"] == logs
    program.pulumi("refresh", "--yes", "--skip-preview")
    program.up()
    assert program.changes() == {}


def test_as_an_executable_plugin(make_program: MakeProgram, tmp_path: Path) -> None:
    program = make_program('azure.resources.ResourceGroup("group", location="westeurope")')
    program.start_plugin_itself(tmp_path / "bin")
    program.up()


def test_throttled_calls_are_made_again(make_program: MakeProgram, fault: Callable[..., None]) -> None:
    program = make_program('azure.resources.ResourceGroup("group", location="westeurope")')
    fault(kind="throttle", service="Microsoft.Resources", operation="*", times=2)
    program.up()


def test_the_programs_own_provider_is_used(make_program: MakeProgram) -> None:
    text = """
    own = azure.Provider("own", client_secret={secret!r}, location="northeurope", use_msi=False)
    azure.resources.ResourceGroup("group", opts=pulumi.ResourceOptions(provider=own))
    """
    program = make_program(text.format(secret="wrong"))
    assert "authentication failed" in program.up(refused=True)
    program.up(text.format(secret=program.environ["ARM_CLIENT_SECRET"]))
    assert program.resources()["group"]["outputs"]["location"] == "northeurope"


def test_subscriptions_of_others_are_not_touched(make_program: MakeProgram) -> None:
    text = """
    own = azure.Provider("own", subscription_id="11111111-1111-1111-1111-111111111111")
    azure.resources.ResourceGroup("group", location="westeurope", opts=pulumi.ResourceOptions(provider=own))
    """
    assert "is not a twin's" in make_program().up(text, refused=True)


def test_changes_below_a_property_are_ignored_alone(make_program: MakeProgram) -> None:
    text = """
    group = azure.resources.ResourceGroup("group", location="westeurope")
    azure.keyvault.Vault(
        "vault",
        resource_group_name=group.name,
        properties=azure.keyvault.VaultPropertiesArgs(
            tenant_id={tenant!r},
            sku=azure.keyvault.SkuArgs(family="A", name="standard"),
            enable_rbac_authorization=True,
            soft_delete_retention_in_days={days},
            public_network_access={access!r},
        ),
        opts=pulumi.ResourceOptions(ignore_changes=["properties.softDeleteRetentionInDays"]),
    )
    """
    program = make_program()
    tenant = program.environ["ARM_TENANT_ID"]
    program.up(text.format(tenant=tenant, days=7, access="enabled"))
    assert program.changes(text.format(tenant=tenant, days=9, access="enabled")) == {}
    assert program.changes(text.format(tenant=tenant, days=9, access="disabled")) == {"vault": "update"}
    program.up()
    properties = program.resources()["vault"]["outputs"]["properties"]
    assert (properties["softDeleteRetentionInDays"], properties["publicNetworkAccess"]) == (7, "disabled")


def wait_until(told: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait for something to be so."""
    end = time.monotonic() + seconds
    while not told():
        assert time.monotonic() < end
        time.sleep(0.1)
