"""Each check of each rule has a bad stack that it refuses; a stack that keeps the rules passes."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from llmops_kit.policies import aws_rules, azure_rules
from llmops_kit.policies.model import UNKNOWN, Resource, Stack
from llmops_kit.policies.rules import judge
from llmops_kit.settings.rule_names import RULES
from tests.support.checkout import CHECKOUT
from tests.unit.policies.stacks import (
    DEFINITIONS,
    EXPIRY,
    GROUP,
    REPLACED,
    TLS,
    aws_stack,
    azure_stack,
    document,
    trust,
)

Change = tuple[str, str, str, Any]
ANYBODY = {"Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": "s3:GetObject", "Resource": "*"}
OWNER = f"{DEFINITIONS}/8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
NARROW = {"Bool": {"aws:SecureTransport": "false", "aws:MultiFactorAuthPresent": "false"}}
TLS_ONLY = {"Bool": {"aws:SecureTransport": "true"}}
ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
SAGEMAKER = "arn:aws:iam::aws:policy/AmazonSageMakerFullAccess"
WHOLE = {"Effect": "Allow", "Action": "*"}
PUTS = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::llmops-*"}
OPEN = {"cidrBlocks": ["0.0.0.0/0"]}
EC2 = "aws:ec2"
OUT = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"
HALF_EXPIRY = [
    {"status": "Enabled", "noncurrentVersionExpiration": {"noncurrentDays": 30}},
    {"status": "Disabled", "expiration": {"days": 90}},
]
ADD = "+"
REMOVE = "-"
UNPROTECT = "!"

# Rule, the resource that breaks it, and the change: its property and value; a type to add; or one to remove.
ON_AWS: list[Change] = [
    ("no-public-store", f"store-{aws_rules.ACCESS_BLOCK}", "blockPublicAcls", False),
    ("no-public-store", f"store-{aws_rules.ACCESS_BLOCK}", "blockPublicPolicy", None),
    ("no-public-store", f"work-{aws_rules.ACCESS_BLOCK}", "ignorePublicAcls", False),
    ("no-public-store", f"work-{aws_rules.ACCESS_BLOCK}", "restrictPublicBuckets", False),
    ("no-public-store", "store", REMOVE, f"store-{aws_rules.ACCESS_BLOCK}"),
    ("no-public-store", "acl", ADD, Resource(aws_rules.BUCKET_ACL, "acl", {"acl": "public-read"})),
    ("tls-only", f"work-{aws_rules.BUCKET_POLICY}", "policy", document()),
    ("tls-only", f"work-{aws_rules.BUCKET_POLICY}", "policy", document(TLS | {"Condition": {"Bool": {}}})),
    ("tls-only", f"work-{aws_rules.BUCKET_POLICY}", "policy", document(TLS | {"Principal": {"AWS": "1"}})),
    ("tls-only", f"work-{aws_rules.BUCKET_POLICY}", "policy", document(TLS | {"Action": "s3:GetObject"})),
    ("tls-only", f"work-{aws_rules.BUCKET_POLICY}", "policy", document(TLS | {"Resource": "arn:aws:s3:::work/*"})),
    ("tls-only", f"work-{aws_rules.BUCKET_POLICY}", "policy", document(TLS | {"Condition": NARROW})),
    ("tls-only", "work", REMOVE, f"work-{aws_rules.BUCKET_POLICY}"),
    ("tls-only", "topic-policy", "policy", document(TLS | {"Condition": {}})),
    ("tls-only", "topic", REMOVE, "topic-policy"),
    ("encrypted", f"store-{aws_rules.ENCRYPTION}", "rules", [{"applyServerSideEncryptionByDefault": {}}]),
    ("encrypted", "store", REMOVE, f"store-{aws_rules.ENCRYPTION}"),
    ("encrypted", "images", "encryptionConfigurations", [{"encryptionType": "AES256"}]),
    ("encrypted", "key", "enableKeyRotation", False),
    ("encrypted", "topic", "kmsMasterKeyId", ""),
    ("encrypted", "logs", "kmsKeyId", None),
    ("encrypted", "config", "kmsKeyArn", None),
    ("encrypted", "config", "asyncInferenceConfig", {"outputConfig": {"s3OutputPath": "s3://work"}}),
    ("encrypted", "weekly", "kmsKeyArn", None),
    ("no-wildcard-principal", f"store-{aws_rules.BUCKET_POLICY}", "policy", document(TLS, ANYBODY)),
    ("no-wildcard-principal", "key", "policy", document(ANYBODY)),
    ("no-wildcard-principal", "topic-policy", "policy", document(TLS, ANYBODY | {"Principal": "*"})),
    ("no-wildcard-principal", "topic-policy", "policy", document(TLS, {"Effect": "Allow", "NotPrincipal": {}})),
    (
        "no-wildcard-principal",
        "pulls",
        ADD,
        Resource(aws_rules.REPOSITORY_POLICY, "pulls", {"policy": document(ANYBODY)}),
    ),
    ("no-wildcard-principal", "role", "assumeRolePolicy", document(ANYBODY)),
    ("no-wildcard-principal", "role", "assumeRolePolicy", trust()),
    ("no-shared-secret", "user", ADD, Resource("aws:iam/user:User", "user", {})),
    ("no-shared-secret", "keys", ADD, Resource("aws:iam/accessKey:AccessKey", "keys", {})),
    ("least-privilege", "role-policy", "policy", document({"Effect": "Allow", "Action": "s3:*"})),
    ("least-privilege", "role-policy", "policy", document({"Effect": "Allow", "Action": ["s3:GetObject", "*"]})),
    ("least-privilege", "role-policy", "policy", document({"Effect": "Allow", "NotAction": "iam:*"})),
    ("least-privilege", "role-policy", "policy", document({"Effect": "Allow", "Action": ["s3:GetObject"]})),
    (
        "least-privilege",
        "role-policy",
        "policy",
        document({"Effect": "Allow", "Action": "S3:Get*", "Condition": TLS_ONLY}),
    ),
    ("least-privilege", "more", ADD, Resource(aws_rules.MANAGED_POLICY, "more", {"policy": {"Statement": WHOLE}})),
    ("least-privilege", "more", ADD, Resource(aws_rules.MANAGED_POLICY, "more", {"policy": {"Statement": PUTS}})),
    ("least-privilege", "role", "managedPolicyArns", [SAGEMAKER]),
    ("least-privilege", "given", ADD, Resource(aws_rules.POLICY_ATTACHMENT, "given", {"policyArn": ADMINISTRATOR})),
    ("boundary", "role", "permissionsBoundary", None),
    ("boundary", "role", "permissionsBoundary", "arn:aws:iam::123456789012:policy/another"),
    ("endpoint-isolated", "model", "enableNetworkIsolation", False),
    ("endpoint-isolated", "weekly", "target.input", json.dumps({"EnableNetworkIsolation": True})),
    ("endpoint-isolated", "weekly", "target.input", json.dumps({"EnableInterContainerTrafficEncryption": True})),
    ("endpoint-isolated", "subnet", "mapPublicIpOnLaunch", True),
    ("endpoint-isolated", "port", "cidrIpv4", "0.0.0.0/0"),
    ("endpoint-isolated", "group", ADD, Resource(f"{EC2}/securityGroup:SecurityGroup", "group", {"egress": [OPEN]})),
    ("endpoint-isolated", "rule", ADD, Resource(f"{EC2}/securityGroupRule:SecurityGroupRule", "rule", OPEN)),
    ("endpoint-isolated", "out", ADD, Resource(OUT, "out", {"cidrIpv6": "::/0"})),
    ("endpoint-isolated", "way", ADD, Resource(f"{EC2}/internetGateway:InternetGateway", "way", {})),
    ("endpoint-isolated", "way", ADD, Resource(f"{EC2}/natGateway:NatGateway", "way", {})),
    ("data-protected", "store", UNPROTECT, None),
    ("data-protected", "images", UNPROTECT, None),
    ("data-protected", "signing", UNPROTECT, None),
    ("data-protected", "models", ADD, Resource(aws_rules.PACKAGE_GROUP, "models", {})),
    ("data-protected", "signing", "deletionWindowInDays", 7),
    ("data-protected", f"store-{aws_rules.VERSIONING}", "versioningConfiguration.status", "Suspended"),
    ("data-protected", "store", REMOVE, f"store-{aws_rules.VERSIONING}"),
    ("retention-set", "logs", "retentionInDays", None),
    ("retention-set", f"store-{aws_rules.LIFECYCLE}", "rules", []),
    ("retention-set", f"work-{aws_rules.LIFECYCLE}", "rules", HALF_EXPIRY),
    ("retention-set", "work", REMOVE, f"work-{aws_rules.LIFECYCLE}"),
]
ON_AZURE: list[Change] = [
    ("no-public-store", "storage", "allowBlobPublicAccess", None),
    ("no-public-store", "store", "publicAccess", "Blob"),
    ("no-public-store", "registry", "anonymousPullEnabled", True),
    ("tls-only", "storage", "enableHttpsTrafficOnly", False),
    ("tls-only", "storage", "minimumTlsVersion", "TLS1_0"),
    ("encrypted", "storage", "encryption.requireInfrastructureEncryption", None),
    ("no-shared-secret", "storage", "allowSharedKeyAccess", None),
    ("no-shared-secret", "storage", "isLocalUserEnabled", True),
    ("no-shared-secret", "registry", "adminUserEnabled", True),
    ("no-shared-secret", "vault", "properties.enableRbacAuthorization", None),
    ("no-shared-secret", "endpoint", "properties.authMode", "Key"),
    ("no-shared-secret", "datastore", "properties.credentials.credentialsType", "AccountKey"),
    ("no-shared-secret", "logs", "features.disableLocalAuth", None),
    ("no-shared-secret", "cpu", "properties.disableLocalAuth", False),
    ("least-privilege", "assignment", "roleDefinitionId", OWNER),
    ("least-privilege", "assignment", "scope", GROUP),
    ("least-privilege", "assignment", "scope", GROUP.partition("/resourceGroups/")[0]),
    ("least-privilege", "assignment", "principalType", None),
    ("endpoint-isolated", "workspace", "managedNetwork.isolationMode", "AllowInternetOutbound"),
    ("endpoint-isolated", "endpoint", "properties.publicNetworkAccess", "Enabled"),
    ("endpoint-isolated", "storage", "publicNetworkAccess", "Enabled"),
    ("endpoint-isolated", "vault", "properties.publicNetworkAccess", None),
    ("endpoint-isolated", "registry", "publicNetworkAccess", "Enabled"),
    ("endpoint-isolated", "cpu", "properties.properties.enableNodePublicIp", None),
    ("endpoint-isolated", "cpu", "properties.properties.remoteLoginPortPublicAccess", "Enabled"),
    *(
        ("data-protected", n, UNPROTECT, None)
        for n in ("group", "storage", "vault", "signing", "registry", "workspace")
    ),
    ("data-protected", "store", UNPROTECT, None),
    ("data-protected", "vault", "properties.enablePurgeProtection", None),
    ("data-protected", "vault", "properties.enableSoftDelete", False),
    ("data-protected", "blobs", "isVersioningEnabled", False),
    ("data-protected", "blobs", "deleteRetentionPolicy.enabled", False),
    ("data-protected", "storage", REMOVE, "blobs"),
    ("retention-set", "logs", "retentionInDays", None),
    ("retention-set", "lifecycle", "policy.rules", [{"definition": {"actions": REPLACED}}]),
    ("retention-set", "lifecycle", "policy.rules", [{"definition": {"actions": EXPIRY}}]),
    ("retention-set", "storage", REMOVE, "lifecycle"),
]
CASES = [(aws_stack, change) for change in ON_AWS] + [(azure_stack, change) for change in ON_AZURE]


def worse(stack: list[Resource], change: Change) -> list[Resource]:
    """The stack with one change."""
    _, name, what, value = change
    if what == ADD:
        return [*stack, value]
    if what == REMOVE:
        return [each for each in stack if each.name != value]
    index = next(i for i, each in enumerate(stack) if each.name == name)
    if what == UNPROTECT:
        changed = dataclasses.replace(stack[index], protect=False)
    else:
        changed = dataclasses.replace(stack[index], properties=_with(stack[index].properties, what.split("."), value))
    return [*stack[:index], changed, *stack[index + 1 :]]


def _with(properties: Any, path: list[str], value: Any) -> dict[str, Any]:
    first, *rest = path
    inner = _with(properties.get(first, {}), rest, value) if rest else value
    return {**properties, first: inner}


@pytest.mark.parametrize("make", [aws_stack, azure_stack])
def test_a_stack_that_keeps_the_rules_passes(make: Callable[[], list[Resource]]) -> None:
    verdict = judge(make(), {})
    assert verdict.violations == []
    assert verdict.unjudged == []


@pytest.mark.scorecard("policy-pack")
@pytest.mark.parametrize(("make", "change"), CASES, ids=[" ".join(map(str, c[:3]))[:70] for _, c in CASES])
def test_each_rule_refuses_a_stack_that_breaks_it(make: Callable[[], list[Resource]], change: Change) -> None:
    verdict = judge(worse(make(), change), {})
    assert {(each.rule, each.resource) for each in verdict.refused} == {(change[0], change[1])}
    assert all(each.what and each.fix for each in verdict.refused)


def test_every_check_has_a_bad_stack() -> None:
    missed = {f"{rule}: {check}" for rule, check, _ in _checks()}
    for make, change in CASES:
        stack = Stack(worse(make(), change))
        missed -= {f"{rule}: {check}" for rule, check, finds in _checks() if finds(stack)}
    assert missed == set()


def _checks() -> Iterator[tuple[str, str, Callable[[Stack], bool]]]:
    """Every check: its rule, a name of its own, and whether it finds something that stops."""

    def of_resource(check: Any, type_: str) -> Callable[[Stack], bool]:
        return lambda stack: any(not f.advisory for each in stack.of(type_) for f in check(each))

    def of_stack(check: Any) -> Callable[[Stack], bool]:
        return lambda stack: any(not f.advisory for f in check(stack))

    for checks in (aws_rules.CHECKS, azure_rules.CHECKS):
        for rule, found in checks.items():
            for type_, several in found.resource.items():
                yield from ((rule, f"{type_} {n}", of_resource(c, type_)) for n, c in enumerate(several))
            yield from (
                (rule, f"stack {n} {next(iter(found.resource), '')}", of_stack(c)) for n, c in enumerate(found.stack)
            )


def test_every_rule_is_known_and_checked_somewhere() -> None:
    assert set(RULES) == {*aws_rules.CHECKS, *azure_rules.CHECKS}


def test_the_security_page_lists_the_rules() -> None:
    clouds = {"AWS": aws_rules.CHECKS, "Azure": azure_rules.CHECKS}
    for rule, keeps in RULES.items():
        on = ", ".join(cloud for cloud, checks in clouds.items() if rule in checks)
        assert f"| `{rule}` | {keeps} | {on} |" in (CHECKOUT / "docs/security.md").read_text()


def test_an_accepted_rule_is_told_and_stops_nothing() -> None:
    stack = worse(aws_stack(), ("", "model", "enableNetworkIsolation", False))
    verdict = judge(stack, {"endpoint-isolated": "downloads at start", "tls-only": "none"})
    assert (verdict.refused, verdict.unused) == ([], ["tls-only"])
    assert [each.resource for each in verdict.accepted] == ["model"]


@pytest.mark.parametrize(
    ("make", "name", "rule"), [(aws_stack, "role", "boundary"), (azure_stack, "workspace", "endpoint-isolated")]
)
def test_what_the_settings_leave_weak_is_advice(make: Callable[[], list[Resource]], name: str, rule: str) -> None:
    """No boundary on any role, no managed network: the settings' defaults are told, and stop nothing."""
    weak = ("permissionsBoundary", "managedNetwork", "publicNetworkAccess")
    stack = [
        dataclasses.replace(each, properties={k: v for k, v in each.properties.items() if k not in weak})
        for each in make()
    ]
    verdict = judge(stack, {})
    assert verdict.refused == []
    assert (rule, name) in {(each.rule, each.resource) for each in verdict.violations}


def test_what_is_known_only_after_up_is_not_judged_and_told() -> None:
    stack = worse(worse(aws_stack(), ("", "role-policy", "policy", UNKNOWN)), ("", "topic-policy", "arn", UNKNOWN))
    verdict = judge(stack, {})
    assert verdict.violations == []
    assert verdict.unjudged == ["least-privilege: role-policy: policy", "tls-only: topic: TopicPolicy"]


def test_a_secret_is_not_judged_and_told() -> None:
    secret = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "ciphertext": "…"}
    for value in (secret, "[secret]"):
        verdict = judge(worse(aws_stack(), ("", "role-policy", "policy", value)), {})
        assert verdict.unjudged == ["least-privilege: role-policy: policy"]
