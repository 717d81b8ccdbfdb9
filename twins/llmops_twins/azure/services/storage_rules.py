"""Azure's rules for values of a storage account, and its messages for invalid ones.

Allowed values, in any case: azure-rest-api-specs, Microsoft.Storage 2024-01-01 (storage.json).
InvalidValuesForRequestParameters: https://github.com/hashicorp/terraform-provider-azurerm/issues/8089 and 4842 (kind
and sku), Azure/azure-powershell's tests of storage accounts (network rules); for other members: 70 % sure.
InvalidRequestPropertyValue: https://github.com/Azure/ResourceModules/issues/535 (accessTier).
"""

import ipaddress
from collections.abc import Iterable
from typing import Any

from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import Document

INVALID = "InvalidValuesForRequestParameters"
_STANDARD = ("Standard_LRS", "Standard_GRS", "Standard_RAGRS")
_ZONES = ("Standard_ZRS", "Standard_GZRS", "Standard_RAGZRS")
_PREMIUM = ("Premium_LRS", "Premium_ZRS")
_V2 = ("StandardV2_LRS", "StandardV2_GRS", "StandardV2_ZRS", "StandardV2_GZRS", "PremiumV2_LRS", "PremiumV2_ZRS")
SKUS = {
    "StorageV2": (*_STANDARD, *_ZONES, *_PREMIUM),
    "Storage": (*_STANDARD, "Standard_ZRS", "Premium_LRS"),
    "BlobStorage": _STANDARD,
    "BlockBlobStorage": _PREMIUM,
    "FileStorage": (*_PREMIUM, *_V2),
}
"""Allowed SKUs by kind of account: https://aka.ms/storageaccounttypes"""
TIERS = {
    "StorageV2": ("Hot", "Cool", "Cold"),
    "Storage": (),
    "BlobStorage": ("Hot", "Cool", "Cold"),
    "BlockBlobStorage": ("Premium",),
    "FileStorage": ("Hot", "Cool", "Cold", "Premium"),
}
"""Access tiers by kind of account, the default first: the specification's description of accessTier. That Premium is
refused for other kinds, and other tiers for premium block blobs: 75 % sure.
"""
_VALUES: dict[str, tuple[str, ...]] = {
    "minimumTlsVersion": ("TLS1_0", "TLS1_1", "TLS1_2", "TLS1_3"),
    "publicNetworkAccess": ("Enabled", "Disabled", "SecuredByPerimeter"),
    "allowedCopyScope": ("PrivateLink", "AAD"),
    "dnsEndpointType": ("Standard", "AzureDnsZone"),
    "largeFileSharesState": ("Disabled", "Enabled"),
    "networkAcls.defaultAction": ("Allow", "Deny"),
    "networkAcls.bypass": ("None", "Logging", "Metrics", "AzureServices"),
    "encryption.keySource": ("Microsoft.Storage", "Microsoft.Keyvault"),
}


def check(body: Document, *, new: bool) -> None:
    """Refuses values that no account, or none of its kind, can have; other checks refuse wrong types.

    Raises:
        ArmError: 400.
    """
    kind, sku = _canonical(_at(body, "kind"), SKUS), _at(body, "sku.name")
    if kind is None and _at(body, "kind") is not None:
        raise _invalid("kind")
    if sku is not None and _canonical(sku, {each for skus in SKUS.values() for each in skus}) is None:
        raise _invalid("sku")
    if kind and sku is not None and _canonical(sku, SKUS[kind]) is None:
        raise _invalid("kind, sku", "https://aka.ms/storageaccounttypes")
    properties = _at(body, "properties") or {}
    if kind:
        _check_tier(kind, properties, new=new)
    for path, allowed in _VALUES.items():
        value = _at(properties, path)
        parts = value.split(",") if isinstance(value, str) and path.endswith("bypass") else [value]
        if isinstance(value, str) and not all(_canonical(part.strip(), allowed) for part in parts):
            raise _invalid(path)
    _check_network(_at(properties, "networkAcls") or {})


def _check_tier(kind: str, properties: Document, *, new: bool) -> None:
    tier = properties.get("accessTier")
    if isinstance(tier, str) and _canonical(tier, TIERS[kind]) is None:
        message = f"The value '{tier}' is not allowed for property accessTier. For more information, see - https://aka.ms/storageaccountaccesstier"  # fmt: skip # noqa: E501
        raise ArmError(400, "InvalidRequestPropertyValue", message, "accessTier")
    if new and kind == "BlobStorage" and tier is None:  # "Required for storage accounts where kind = BlobStorage"
        raise _invalid("accessTier")


def _check_network(rules: Document) -> None:
    """Refuses duplicate network rules, and private addresses or ranges as small as /31:
    https://learn.microsoft.com/azure/storage/common/storage-network-security-limitations

    Raises:
        ArmError: 400.
    """
    for name, member in (("ipRules", "value"), ("virtualNetworkRules", "id")):
        given = [str(each.get(member)).lower() for each in rules.get(name) or () if isinstance(each, dict)]
        if len(set(given)) != len(given):
            raise _invalid(f"networkAcls.{name}[*].{member}(unique)")
        if name == "ipRules" and not all(_is_public(each) for each in given):
            raise _invalid("networkAcls.ipRule[*].value", "https://aka.ms/storagenetworkruleset")


def _is_public(text: str) -> bool:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return not network.is_private and not ("/" in text and network.num_addresses < 4)


def _invalid(names: str, more: str = "") -> ArmError:
    link = f" For more information, see - {more}" if more else ""
    return ArmError(400, INVALID, f"Values for request parameters are invalid: {names}.{link}", names)


def _at(document: Any, path: str) -> Any:
    for name in path.split("."):
        document = document.get(name) if isinstance(document, dict) else None
    return document


def _canonical(value: Any, words: Iterable[str]) -> str | None:
    found = [word for word in words if isinstance(value, str) and word.lower() == value.lower()]
    return found[0] if found else None
