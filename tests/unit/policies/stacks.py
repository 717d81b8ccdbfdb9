"""Small stacks that keep every rule, to be made worse: what `pulumi preview` says of the kit's own, cut down."""

import json
from typing import Any

from llmops_kit.policies import aws_rules as aws
from llmops_kit.policies import azure_rules as azure
from llmops_kit.policies.model import Resource

KEY = "arn:aws:kms:eu-central-1:123456789012:key/1"
TOPIC = "arn:aws:sns:eu-central-1:123456789012:alarms"
BOUNDARY = "arn:aws:iam::123456789012:policy/boundary"
INSECURE = {"Bool": {"aws:SecureTransport": "false"}}
TLS = {"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*", "Condition": INSECURE}
SUBSCRIPTION = "subscriptions/00000000-0000-0000-0000-000000000000"
GROUP = f"{SUBSCRIPTION}/resourceGroups/group"
DEFINITIONS = f"/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions"
RULE = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
EXPIRY = {"baseBlob": {"delete": {"daysAfterModificationGreaterThan": 90}}}
REPLACED = {"version": {"delete": {"daysAfterCreationGreaterThan": 30}}}


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def trust(**condition: Any) -> str:
    statement = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    return document(statement | ({"Condition": condition} if condition else {}))


def _bucket(name: str, protect: bool) -> list[Resource]:
    """A bucket with its parts; one that is not protected is emptied with its stack."""
    default = {"applyServerSideEncryptionByDefault": {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": KEY}}
    rules: list[dict[str, Any]] = [{"status": "Enabled", "noncurrentVersionExpiration": {"noncurrentDays": 30}}]
    if not protect:
        rules.append({"status": "Enabled", "expiration": {"days": 90}})
    blocks = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
    parts = {
        aws.ACCESS_BLOCK: dict.fromkeys(blocks, True),
        aws.BUCKET_POLICY: {"policy": document(TLS)},
        aws.ENCRYPTION: {"rules": [default]},
        aws.VERSIONING: {"versioningConfiguration": {"status": "Enabled"}},
        aws.LIFECYCLE: {"rules": rules},
    }
    bucket = Resource(aws.BUCKET, name, {"bucket": name, "forceDestroy": not protect}, protect)
    made = [Resource(type_, f"{name}-{type_}", {"bucket": name, **inputs}) for type_, inputs in parts.items()]
    return [bucket, *made]


def aws_stack() -> list[Resource]:
    own = {"StringEquals": {"aws:ResourceAccount": "123456789012"}}
    allow = {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": "*", "Condition": own}
    role = {"assumeRolePolicy": trust(StringEquals={"aws:SourceAccount": "1"}), "permissionsBoundary": BOUNDARY}
    account = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::1:root"}, "Action": "kms:*", "Resource": "*"}
    job = json.dumps({"EnableNetworkIsolation": True, "EnableInterContainerTrafficEncryption": True})
    target = {"arn": "arn:aws:scheduler:::aws-sdk:sagemaker:createTrainingJob", "input": job}
    return [
        *_bucket("store", True),
        *_bucket("work", False),
        Resource(aws.KEY, "key", {"enableKeyRotation": True, "policy": document(account)}, True),
        Resource(aws.KEY, "signing", {"customerMasterKeySpec": "ECC_NIST_P256", "deletionWindowInDays": 30}, True),
        Resource(aws.ROLE, "role", role),
        Resource(aws.ROLE, "other-role", role),
        Resource(aws.ROLE_POLICY, "role-policy", {"policy": document(allow)}),
        Resource(aws.TOPIC, "topic", {"name": "alarms", "kmsMasterKeyId": KEY}),
        Resource(aws.TOPIC_POLICY, "topic-policy", {"arn": TOPIC, "policy": document(TLS)}),
        Resource(
            aws.REPOSITORY, "images", {"encryptionConfigurations": [{"encryptionType": "KMS", "kmsKey": KEY}]}, True
        ),
        Resource(aws.LOG_GROUP, "logs", {"kmsKeyId": KEY, "retentionInDays": 365}),
        Resource(aws.MODEL, "model", {"enableNetworkIsolation": True}),
        Resource(
            aws.CONFIGURATION, "config", {"kmsKeyArn": KEY, "productionVariants": [{"instanceType": "ml.m5.large"}]}
        ),
        Resource(aws.CONFIGURATION, "gpu", {"productionVariants": [{"instanceType": "ml.g5.xlarge"}]}),
        Resource(aws.SCHEDULE, "weekly", {"kmsKeyArn": KEY, "target": target}),
        Resource(aws.SUBNET, "subnet", {"mapPublicIpOnLaunch": False}),
        Resource(RULE, "port", {"referencedSecurityGroupId": "sg-1", "ipProtocol": "tcp"}),
    ]


def azure_stack() -> list[Resource]:
    storage = {
        "accountName": "data",
        "allowBlobPublicAccess": False,
        "allowSharedKeyAccess": False,
        "isLocalUserEnabled": False,
        "enableHttpsTrafficOnly": True,
        "minimumTlsVersion": "TLS1_2",
        "encryption": {"requireInfrastructureEncryption": True},
        "publicNetworkAccess": "Disabled",
    }
    vault = {
        "enableRbacAuthorization": True,
        "enablePurgeProtection": True,
        "enableSoftDelete": True,
        "publicNetworkAccess": "Disabled",
    }
    machines = {"enableNodePublicIp": False, "remoteLoginPortPublicAccess": "Disabled"}
    workspace = {"managedNetwork": {"isolationMode": "AllowOnlyApprovedOutbound"}, "publicNetworkAccess": "Disabled"}
    endpoint = {"authMode": "AADToken", "publicNetworkAccess": "Disabled"}
    rules = [{"definition": {"actions": actions}} for actions in (EXPIRY, REPLACED)]
    role = {
        "roleDefinitionId": f"{DEFINITIONS}/7f951dda-4ed3-4680-a7ca-43fe172d538d",
        "scope": f"{GROUP}/providers/Microsoft.ContainerRegistry/registries/images",
        "principalType": "ServicePrincipal",
    }
    kept = {"isVersioningEnabled": True, "deleteRetentionPolicy": {"enabled": True, "days": 30}}
    return [
        Resource(azure.GROUP, "group", {}, True),
        Resource(azure.STORAGE, "storage", storage, True),
        Resource(azure.BLOBS, "blobs", {"accountName": "data", **kept}, True),
        Resource(azure.LIFECYCLE, "lifecycle", {"accountName": "data", "policy": {"rules": rules}}, True),
        Resource(azure.CONTAINER, "store", {"accountName": "data", "publicAccess": "None"}, True),
        Resource(azure.CONTAINER, "work", {"accountName": "data", "publicAccess": "None"}),
        Resource(azure.STORAGE, "scratch", storage | {"accountName": "scratch"}, True),
        Resource(azure.CONTAINER, "checkpoints", {"accountName": "scratch", "publicAccess": "None"}),
        Resource(azure.LIFECYCLE, "scratch-expiry", {"accountName": "scratch", "policy": {"rules": rules[:1]}}, True),
        Resource(azure.VAULT, "vault", {"properties": vault}, True),
        Resource(azure.SIGNING_KEY, "signing", {"name": "signing"}, True),
        Resource(azure.REGISTRY, "registry", {"adminUserEnabled": False, "publicNetworkAccess": "Disabled"}, True),
        Resource(azure.WORKSPACE, "workspace", workspace, True),
        Resource(azure.DATASTORE, "datastore", {"properties": {"credentials": {"credentialsType": "None"}}}),
        Resource(azure.COMPUTE, "cpu", {"properties": {"disableLocalAuth": True, "properties": machines}}),
        Resource(azure.ENDPOINT, "endpoint", {"properties": endpoint}),
        Resource(azure.ASSIGNMENT, "assignment", role),
        Resource(azure.LOGS, "logs", {"retentionInDays": 365, "features": {"disableLocalAuth": True}}),
    ]
