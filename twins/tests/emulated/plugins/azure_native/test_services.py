"""Programs whose types have something of their own in the plugin: parts in parts, sets, unions, keys."""

from collections.abc import Callable

from tests.support.programs import Program
from tests.support.servers.serving import until
from twins.tests.emulated.plugins.azure_native.conftest import AzureTwin

MakeProgram = Callable[..., Program]
GROUP = 'group = azure.resources.ResourceGroup("group", location="westeurope")\n'
NETWORK = """
rules = azure.network.NetworkSecurityGroup(
    "rules",
    resource_group_name=group.name,
    security_rules=[azure.network.SecurityRuleArgs(
        name="https", priority={priority}, direction="Inbound", access="Allow", protocol="Tcp",
        source_address_prefix="*", source_port_range="*", destination_address_prefix="*", destination_port_range="443",
    )],
)
network = azure.network.VirtualNetwork(
    "network",
    resource_group_name=group.name,
    address_space=azure.network.AddressSpaceArgs(address_prefixes=["10.0.0.0/16"]),
    tags={{"purpose": {purpose!r}}},
)
subnet = azure.network.Subnet(
    "subnet",
    resource_group_name=group.name,
    virtual_network_name=network.name,
    address_prefix="10.0.1.0/24",
    network_security_group=azure.network.NetworkSecurityGroupArgs(id=rules.id),
)
account = azure.storage.StorageAccount(
    "store", resource_group_name=group.name, kind="StorageV2", sku=azure.storage.SkuArgs(name="Standard_LRS")
)
zone = azure.privatedns.PrivateZone(
    "zone",
    resource_group_name=group.name,
    private_zone_name="privatelink.blob.core.windows.net",
    location="global",
)
azure.privatedns.VirtualNetworkLink(
    "link",
    resource_group_name=group.name,
    private_zone_name=zone.name,
    location="global",
    registration_enabled=False,
    virtual_network=azure.privatedns.SubResourceArgs(id=network.id),
)
endpoint = azure.network.PrivateEndpoint(
    "endpoint",
    resource_group_name=group.name,
    subnet=azure.network.SubnetArgs(id=subnet.id),
    private_link_service_connections=[azure.network.PrivateLinkServiceConnectionArgs(
        name="blob", private_link_service_id=account.id, group_ids=["blob"]
    )],
)
azure.network.PrivateDnsZoneGroup(
    "names",
    resource_group_name=group.name,
    private_endpoint_name=endpoint.name,
    private_dns_zone_group_name="default",
    private_dns_zone_configs=[azure.network.PrivateDnsZoneConfigArgs(name="blob", private_dns_zone_id=zone.id)],
)
"""
WORKSPACE = """
identity = azure.managedidentity.UserAssignedIdentity("own", resource_group_name=group.name)
config = azure.authorization.get_client_config()
vault = azure.keyvault.Vault(
    "vault",
    resource_group_name=group.name,
    properties=azure.keyvault.VaultPropertiesArgs(
        tenant_id=config.tenant_id, sku=azure.keyvault.SkuArgs(family="A", name="standard"),
        enable_rbac_authorization=True,
    ),
)
logs = azure.operationalinsights.Workspace("logs", resource_group_name=group.name)
roles = [
    azure.authorization.RoleAssignment(
        name,
        scope=group.id,
        principal_id=identity.principal_id,
        principal_type="ServicePrincipal",
        role_definition_id=f"/subscriptions/{{config.subscription_id}}/providers/Microsoft.Authorization/roleDefinitions/{{role}}",
    )
    for name, role in (
        ("contributor", "b24988ac-6180-42a0-ab88-20f7382dd24c"),
        ("blobs", "ba92f5b4-2d11-453d-a403-e96b0029c9fe"),
        ("keys", "00482a5a-887f-4fb3-b363-3b7fe8e74483"),
    )
]
metrics = azure.applicationinsights.Component(
    "metrics", resource_group_name=group.name, kind="web", workspace_resource_id=logs.id, ingestion_mode="LogAnalytics"
)
workspace = azure.machinelearningservices.Workspace(
    "workspace",
    resource_group_name=group.name,
    storage_account=account.id,
    key_vault=vault.id,
    application_insights=metrics.id,
    identity=azure.machinelearningservices.ManagedServiceIdentityArgs(
        type="UserAssigned", user_assigned_identities=[identity.id]
    ),
    primary_user_assigned_identity=identity.id,
    description={purpose!r},
    opts=pulumi.ResourceOptions(depends_on=roles),
)
azure.machinelearningservices.Compute(
    "cpu",
    resource_group_name=group.name,
    workspace_name=workspace.name,
    compute_name="cpu",
    properties=azure.machinelearningservices.AmlComputeArgs(
        compute_type="AmlCompute",
        properties=azure.machinelearningservices.AmlComputePropertiesArgs(
            vm_size="Standard_DS3_v2",
            vm_priority="Dedicated",
            scale_settings=azure.machinelearningservices.ScaleSettingsArgs(
                min_node_count=0, max_node_count={nodes}, node_idle_time_before_scale_down="PT120S"
            ),
        ),
    ),
)
alerts = azure.monitor.ActionGroup(
    "alerts",
    resource_group_name=group.name,
    location="global",
    group_short_name="alerts",
    enabled=True,
    email_receivers=[azure.monitor.MicrosoftCommonEmailReceiverArgs(name="team", email_address="team@example.com")],
)
azure.monitor.DiagnosticSetting(
    "audit",
    resource_uri=vault.id,
    workspace_id=logs.id,
    logs=[azure.monitor.DiagnosticsLogSettingsArgs(category_group="audit", enabled=True)],
)
"""
TEXT = GROUP + NETWORK + WORKSPACE
FIRST = TEXT.format(priority=100, purpose="models", nodes=1)
SECOND = TEXT.format(priority=110, purpose="platform", nodes=2)


def test_the_life_of_each_type(make_program: MakeProgram, azure: AzureTwin) -> None:
    program = make_program(FIRST)
    assert set(program.changes().values()) == {"create"}
    program.up()
    assert program.changes() == {}
    program.pulumi("refresh", "--yes", "--skip-preview")
    assert program.changes() == {}
    assert program.changes(SECOND) == dict.fromkeys(("rules", "network", "workspace", "cpu"), "update")
    program.up()
    program.pulumi("refresh", "--yes", "--skip-preview")
    assert program.changes() == {}
    _remove_cluster(program, azure)
    program.pulumi("destroy", "--yes", "--skip-preview")
    assert program.resources() == {}


def _remove_cluster(program: Program, azure: AzureTwin) -> None:
    """Azure wants to know what becomes of a cluster's machines, and the plugin does not say it."""
    cluster = program.resources()["cpu"]["id"]
    assert "underlyingResourceAction is required" in program.pulumi("destroy", "--yes", "--skip-preview", refused=True)
    azure.arm("DELETE", cluster, "2025-12-01", underlyingResourceAction="Delete")
    until(lambda: not azure.exists(cluster, "2025-12-01"))
