"""A scanned stack made worse, and one that has what its accepted findings ask for: is the scanner awake for each?"""

import copy
import json
from collections.abc import Mapping
from typing import Any

Document = dict[str, Any]

ANYBODY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "*", "Resource": "*"}],
    }
)
PUBLIC: Document = dict.fromkeys(
    ("block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets"), False
)
ANYWHERE = {"cidr_ipv4": "0.0.0.0/0", "from_port": 0, "to_port": 65535, "ip_protocol": "-1", "description": ""}
WORSE_ON_AWS: Mapping[str, Document] = {
    "aws_s3_bucket_public_access_block": PUBLIC,
    "aws_s3_bucket_versioning": {"versioning_configuration": [{"status": "Suspended"}]},
    "aws_s3_bucket_server_side_encryption_configuration": {"rule": []},
    "aws_s3_bucket_policy": {"policy": ANYBODY},
    "aws_s3_bucket_lifecycle_configuration": {"rule": [{"id": "all", "status": "Enabled"}]},
    "aws_kms_key": {"enable_key_rotation": False, "policy": ANYBODY},
    "aws_ecr_repository": {
        "image_tag_mutability": "MUTABLE",
        "image_scanning_configuration": [{"scan_on_push": False}],
        "encryption_configuration": [{"encryption_type": "AES256"}],
    },
    "aws_iam_role": {"assume_role_policy": ANYBODY},
    "aws_iam_role_policy": {"policy": ANYBODY.replace('"Principal": {"AWS": "*"}, ', "")},
    "aws_sns_topic": {"kms_master_key_id": None},
    "aws_sns_topic_policy": {"policy": ANYBODY},
    "aws_cloudwatch_log_group": {"retention_in_days": None, "kms_key_id": None},
    "aws_sagemaker_endpoint_configuration": {"kms_key_arn": None},
    "aws_sagemaker_model": {"enable_network_isolation": False},
    "aws_subnet": {"map_public_ip_on_launch": True},
    "aws_vpc_security_group_ingress_rule": ANYWHERE,
    "aws_vpc_security_group_egress_rule": ANYWHERE,
}
"""Type in Terraform's words -> values that a scanner must find."""


def worse_plan(plan: Document, changes: Mapping[str, Document]) -> Document:
    """A copy of a Terraform plan with other values in the resources of some types."""
    worse = copy.deepcopy(plan)
    for each in worse["planned_values"]["root_module"]["resources"]:
        each["values"] |= changes.get(each["type"], {})
    for each in worse["resource_changes"]:
        each["change"]["after"] |= changes.get(each["type"], {})
    return worse


def cured_plan(plan: Document) -> Document:
    """A copy of a Terraform plan of the kit's stack with what its accepted findings lack."""
    cured = copy.deepcopy(plan)
    rule = {"id": "all", "status": "Enabled", "destination": [{"bucket": "arn:aws:s3:::copies"}]}
    for name in ("store", "work", "audit"):
        bucket = next(
            each["address"]
            for each in cured["configuration"]["root_module"]["resources"]
            if each["type"] == "aws_s3_bucket" and each["name"].startswith(name)
        )
        add = {"bucket": bucket}
        _add(cured, "aws_s3_bucket_logging", name, {"target_bucket": "logs", "target_prefix": name}, add)
        _add(cured, "aws_s3_bucket_notification", name, {"eventbridge": True}, add)
        _add(cured, "aws_s3_bucket_replication_configuration", name, {"role": "r", "rule": [rule]}, add)
    for place in (cured["planned_values"]["root_module"]["resources"], cured["resource_changes"]):
        for each in (found for found in place if found["type"] == "aws_cloudtrail"):
            (each.get("values") or each["change"]["after"])["sns_topic_name"] = "told"
    _add(cured, "aws_default_security_group", "vpc", {}, {"vpc_id": "aws_vpc.vpc"})
    groups = {"security_groups": "aws_security_group.workloads"}
    _add(cured, "aws_network_interface", "some", {"subnet_id": "subnet-1"}, groups)
    return cured


def _add(plan: Document, kind: str, name: str, values: Document, refers: Mapping[str, str]) -> None:
    """Add a resource that refers to others by their addresses."""
    head = {"address": f"{kind}.{name}", "mode": "managed", "type": kind, "name": name}
    expressions = {key: {"references": [f"{to}.id", to]} for key, to in refers.items()}
    change = {"actions": ["create"], "before": None, "after": values, "after_unknown": dict.fromkeys(refers, True)}
    provider = {"provider_name": "hashicorp/aws"}
    plan["planned_values"]["root_module"]["resources"].append(head | provider | {"schema_version": 0, "values": values})
    plan["resource_changes"].append(head | provider | {"change": change})
    plan["configuration"]["root_module"]["resources"].append(head | {"expressions": expressions})


WORSE_ON_AZURE: Mapping[str, Document] = {
    "Microsoft.ContainerRegistry/registries": {"adminUserEnabled": True, "anonymousPullEnabled": True},
    "Microsoft.Storage/storageAccounts": {
        "minimumTlsVersion": "TLS1_0",
        "supportsHttpsTrafficOnly": False,
        "allowBlobPublicAccess": True,
        "allowSharedKeyAccess": True,
        "networkAcls": {"defaultAction": "Deny", "bypass": "None"},
    },
    "Microsoft.Storage/storageAccounts/blobServices/containers": {"publicAccess": "Blob"},
    "Microsoft.KeyVault/vaults": {"enablePurgeProtection": False, "enableSoftDelete": False},
}
WORSE_TIERS = {"Microsoft.ContainerRegistry/registries": "Standard"}  # which lets anybody pull where that is on
"""Type of ARM -> properties, and tiers, that a scanner must find."""
CURED_ON_AZURE: Mapping[str, Document] = {
    "Microsoft.Storage/storageAccounts": {
        "publicNetworkAccess": "Disabled",
        "networkAcls": {"defaultAction": "Deny", "bypass": "AzureServices"},
    },
    "Microsoft.KeyVault/vaults": {
        "publicNetworkAccess": "Disabled",
        "networkAcls": {"defaultAction": "Deny", "bypass": "AzureServices"},
    },
    "Microsoft.ContainerRegistry/registries": {
        "publicNetworkAccess": "Disabled",
        "zoneRedundancy": "Enabled",
        "policies": {"quarantinePolicy": {"status": "enabled"}},
    },
    "Microsoft.MachineLearningServices/workspaces": {
        "publicNetworkAccess": "Disabled",
        "managedNetwork": {
            "isolationMode": "AllowOnlyApprovedOutbound",
            "outboundRules": {"one": {"type": "PrivateEndpoint", "category": "UserDefined"}},
        },
    },
}
CURED_TIERS = {
    "Microsoft.Storage/storageAccounts": "Standard_GZRS",
    "Microsoft.ContainerRegistry/registries": "Premium",
}
"""Properties and tiers that the accepted findings lack."""


def changed_template(template: Document, changes: Mapping[str, Document], tiers: Mapping[str, str]) -> Document:
    """A copy of an ARM template with other properties, and other tiers, in the resources of some types."""
    changed = copy.deepcopy(template)
    for each in changed["resources"]:
        if each["type"] in changes:
            each["properties"] |= changes[each["type"]]
        if each["type"] in tiers:
            each["sku"] = {**each.get("sku", {}), "name": tiers[each["type"]]}
    return changed
