"""Clients of Azure whose models define the request bodies of each resource type.

Each is the release whose models have the API version that azure-native uses for the resource, or the nearest one.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Source:
    """Models of one API version in one package.

    Args:
        package: with its version, as a requirement of pip.
        module: contains the models.
        api: the models' API version.
        types: resource type -> model of the PUT's body, and of the response if it is another one.
        wanted: the API version that azure-native uses, if it differs from the models'.
    """

    package: str
    module: str
    api: str
    types: dict[str, tuple[str, ...]]
    wanted: str = ""

    def described(self) -> dict[str, Any]:
        """Returns the source's entry in the compiled file."""
        return {"package": self.package, "module": self.module, "api": self.api}


_MONITOR = "azure-mgmt-monitor==6.0.2"
_NETWORK = "Microsoft.Network"
_STORAGE = "Microsoft.Storage/storageAccounts"
_VAULTS = "Microsoft.KeyVault/vaults"
_AUTHORIZATION = "azure-mgmt-authorization==4.0.0"
_INSIGHTS = "azure-mgmt-applicationinsights==4.1.0"
_IDENTITIES = "Microsoft.ManagedIdentity/userAssignedIdentities"
SOURCES = {
    "storage": Source(
        "azure-mgmt-storage==22.2.0",
        "azure.mgmt.storage.v2024_01_01.models",
        "2024-01-01",
        {
            _STORAGE: ("StorageAccountCreateParameters", "StorageAccount"),
            f"{_STORAGE}/blobServices": ("BlobServiceProperties",),
            f"{_STORAGE}/blobServices/containers": ("BlobContainer",),
            f"{_STORAGE}/managementPolicies": ("ManagementPolicy",),
        },
    ),
    "keyvault": Source(
        "azure-mgmt-keyvault==12.0.0",
        "azure.mgmt.keyvault.models",
        "2024-11-01",
        {
            _VAULTS: ("VaultCreateOrUpdateParameters", "Vault"),
            f"{_VAULTS}/keys": ("KeyCreateParameters", "Key"),
            f"{_VAULTS}/secrets": ("SecretCreateOrUpdateParameters", "Secret"),
        },
    ),
    "containerregistry": Source(
        "azure-mgmt-containerregistry==14.0.0",
        "azure.mgmt.containerregistry.v2023_01_01_preview.models",
        "2023-01-01-preview",
        {"Microsoft.ContainerRegistry/registries": ("Registry",)},
    ),
    "network": Source(
        "azure-mgmt-network==28.1.0",
        "azure.mgmt.network.models",
        "2024-05-01",
        {
            f"{_NETWORK}/virtualNetworks": ("VirtualNetwork",),
            f"{_NETWORK}/virtualNetworks/subnets": ("Subnet",),
            f"{_NETWORK}/virtualNetworks/virtualNetworkPeerings": ("VirtualNetworkPeering",),
            f"{_NETWORK}/networkSecurityGroups": ("NetworkSecurityGroup",),
            f"{_NETWORK}/networkSecurityGroups/securityRules": ("SecurityRule",),
            f"{_NETWORK}/natGateways": ("NatGateway",),
            f"{_NETWORK}/publicIPAddresses": ("PublicIPAddress",),
            f"{_NETWORK}/privateEndpoints": ("PrivateEndpoint",),
            f"{_NETWORK}/privateEndpoints/privateDnsZoneGroups": ("PrivateDnsZoneGroup",),
        },
    ),
    "privatedns": Source(
        "azure-mgmt-privatedns==1.2.0",
        "azure.mgmt.privatedns.models",
        "2024-06-01",
        {
            f"{_NETWORK}/privateDnsZones": ("PrivateZone",),
            f"{_NETWORK}/privateDnsZones/virtualNetworkLinks": ("VirtualNetworkLink",),
        },
    ),
    "roleassignments": Source(
        _AUTHORIZATION,
        "azure.mgmt.authorization.v2022_04_01.models",
        "2022-04-01",
        {"Microsoft.Authorization/roleAssignments": ("RoleAssignmentCreateParameters", "RoleAssignment")},
    ),
    "roledefinitions": Source(
        _AUTHORIZATION,
        "azure.mgmt.authorization.v2022_05_01_preview.models",
        "2022-05-01-preview",
        {"Microsoft.Authorization/roleDefinitions": ("RoleDefinition",)},
    ),
    "locks": Source(
        "azure-mgmt-resource-locks==1.0.0",
        "azure.mgmt.resource.locks.models",
        "2020-05-01",
        {"Microsoft.Authorization/locks": ("ManagementLockObject",)},
    ),
    "consumption": Source(
        "azure-mgmt-consumption==11.0.0",
        "azure.mgmt.consumption.models",
        "2024-08-01",
        {"Microsoft.Consumption/budgets": ("Budget",)},
    ),
    "costmanagement": Source(
        "azure-mgmt-costmanagement==5.0.0",
        "azure.mgmt.costmanagement.models",
        "2025-03-01",
        {"Microsoft.CostManagement/budgets": ("Budget",)},
        "2024-08-01",
    ),
    "msi": Source(
        "azure-mgmt-msi==7.0.0",
        "azure.mgmt.msi.v2023_01_31.models",
        "2023-01-31",
        {_IDENTITIES: ("Identity",), f"{_IDENTITIES}/federatedIdentityCredentials": ("FederatedIdentityCredential",)},
    ),
    "resources": Source(
        "azure-mgmt-resource==24.0.0",
        "azure.mgmt.resource.resources.v2024_07_01.models",
        "2024-07-01",
        {"Microsoft.Resources/resourceGroups": ("ResourceGroup",)},
        "2024-03-01",
    ),
    "loganalytics": Source(
        "azure-mgmt-loganalytics==13.1.0",
        "azure.mgmt.loganalytics.models",
        "2025-07-01",
        {"Microsoft.OperationalInsights/workspaces": ("Workspace",)},
        "2023-09-01",
    ),
    "components": Source(
        _INSIGHTS,
        "azure.mgmt.applicationinsights.v2020_02_02.models",
        "2020-02-02",
        {"Microsoft.Insights/components": ("ApplicationInsightsComponent",)},
    ),
    "workbooks": Source(
        _INSIGHTS,
        "azure.mgmt.applicationinsights.v2023_06_01.models",
        "2023-06-01",
        {"Microsoft.Insights/workbooks": ("Workbook",)},
    ),
    "actiongroups": Source(
        _MONITOR,
        "azure.mgmt.monitor.v2023_01_01.models",
        "2023-01-01",
        {"Microsoft.Insights/actionGroups": ("ActionGroupResource",)},
        "2024-10-01-preview",
    ),
    "activitylogalerts": Source(
        _MONITOR,
        "azure.mgmt.monitor.v2020_10_01.models",
        "2020-10-01",
        {"Microsoft.Insights/activityLogAlerts": ("ActivityLogAlertResource",)},
    ),
    "autoscale": Source(
        _MONITOR,
        "azure.mgmt.monitor.v2021_05_01_preview.models",
        "2021-05-01-preview",
        {
            "Microsoft.Insights/autoscaleSettings": ("AutoscaleSettingResource",),
            "Microsoft.Insights/diagnosticSettings": ("DiagnosticSettingsResource",),
        },
    ),
    "metricalerts": Source(
        _MONITOR,
        "azure.mgmt.monitor.v2018_03_01.models",
        "2018-03-01",
        {"Microsoft.Insights/metricAlerts": ("MetricAlertResource",)},
    ),
    "queryrules": Source(
        "azure-mgmt-monitor==7.0.0",
        "azure.mgmt.monitor.models",
        "2023-12-01",
        {"Microsoft.Insights/scheduledQueryRules": ("ScheduledQueryRuleResource",)},
        "2025-01-01-preview",
    ),
}
NEEDED = ("azure-mgmt-core==1.6.0", "azure-core==1.41.0", "isodate==0.7.2", "typing-extensions==4.16.0")
"""Packages that the clients import, at versions that all of them work with."""
