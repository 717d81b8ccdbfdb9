"""Checks of each rule on AWS: by resource type, and for the whole stack."""

import json
import re
from collections.abc import Iterator

from llmops_kit.clouds.aws.job_requests import has_local_disks
from llmops_kit.policies import statements as iam
from llmops_kit.policies.model import (
    Check,
    Checks,
    Finding,
    NotKnownError,
    Resource,
    Stack,
    each_has,
    must_be,
    must_be_protected,
    must_be_set,
    refused,
)

BUCKET = "aws:s3/bucket:Bucket"
ACCESS_BLOCK = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
BUCKET_POLICY = "aws:s3/bucketPolicy:BucketPolicy"
BUCKET_ACL = "aws:s3/bucketAcl:BucketAcl"
ENCRYPTION = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
VERSIONING = "aws:s3/bucketVersioning:BucketVersioning"
LIFECYCLE = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"
KEY = "aws:kms/key:Key"
ROLE = "aws:iam/role:Role"
ROLE_POLICY = "aws:iam/rolePolicy:RolePolicy"
POLICY_ATTACHMENT = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
MANAGED_POLICY = "aws:iam/policy:Policy"
TOPIC = "aws:sns/topic:Topic"
TOPIC_POLICY = "aws:sns/topicPolicy:TopicPolicy"
REPOSITORY = "aws:ecr/repository:Repository"
REPOSITORY_POLICY = "aws:ecr/repositoryPolicy:RepositoryPolicy"
LOG_GROUP = "aws:cloudwatch/logGroup:LogGroup"
MODEL = "aws:sagemaker/model:Model"
CONFIGURATION = "aws:sagemaker/endpointConfiguration:EndpointConfiguration"
PACKAGE_GROUP = "aws:sagemaker/modelPackageGroup:ModelPackageGroup"
SCHEDULE = "aws:scheduler/schedule:Schedule"
SUBNET = "aws:ec2/subnet:Subnet"
_FOUR_BLOCKS = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
_ANSWERS_HTTP = "has no policy that rejects plain HTTP"
_NOT_ENCRYPTED = "is not encrypted with a key of the account"
_DENY_HTTP = "deny all actions to all principals if aws:SecureTransport is false"
_BROAD_POLICIES = re.compile(
    r"^arn:aws[a-z-]*:iam::aws:policy/.*(AdministratorAccess|PowerUserAccess|FullAccess|IAMFull)"
)
_OWNERS = {"aws:resourceaccount", "s3:resourceaccount", "aws:resourceorgid", "aws:resourceorgpaths"}
_ANYWHERE = ("0.0.0.0/0", "::/0")
_PORTS = (
    "aws:ec2/securityGroup:SecurityGroup",
    "aws:ec2/securityGroupRule:SecurityGroupRule",
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule",
)


_public_access_blocked: tuple[Check, ...] = tuple(
    must_be(
        name,
        True,
        what=f"leaves {name} off, so its bucket can become public",
        fix="set all four public access blocks to true",
    )
    for name in _FOUR_BLOCKS
)
_private_acl = must_be(
    "acl", None, "private", what="has an ACL that lets others read", fix="remove it, and grant access by policies"
)
_every_topic_has_policy = each_has(
    TOPIC,
    TOPIC_POLICY,
    "arn",
    "name",
    what=_ANSWERS_HTTP,
    fix="add a TopicPolicy that denies aws:SecureTransport = false",
)
_BUCKET_PARTS = {
    ACCESS_BLOCK: ("has no public access block", "add a BucketPublicAccessBlock with all four settings on"),
    BUCKET_POLICY: (_ANSWERS_HTTP, "add a BucketPolicy that denies aws:SecureTransport = false"),
    ENCRYPTION: (_NOT_ENCRYPTED, "add a BucketServerSideEncryptionConfiguration with aws:kms"),
    VERSIONING: ("does not keep overwritten objects", "add a BucketVersioning that is Enabled"),
    LIFECYCLE: ("keeps replaced objects forever", "add a BucketLifecycleConfiguration"),
}
_every_bucket_has = {
    kind: each_has(BUCKET, kind, "bucket", "bucket", what=what, fix=fix) for kind, (what, fix) in _BUCKET_PARTS.items()
}
_topic_encrypted = must_be_set("kmsMasterKeyId", "is not encrypted", "set kms_master_key_id")
_logs_encrypted = must_be_set("kmsKeyId", _NOT_ENCRYPTED, "set kms_key_id")
_schedule_encrypted = must_be_set("kmsKeyArn", _NOT_ENCRYPTED, "set kms_key_arn")
_logs_expire = must_be_set("retentionInDays", "keeps logs forever", "set retention_in_days")
_network_isolated = must_be(
    "enableNetworkIsolation",
    True,
    what="lets the container use the network",
    fix="set enable_network_isolation=True",
)
_versioning_on = must_be(
    "versioningConfiguration.status",
    "Enabled",
    what="does not keep overwritten objects",
    fix="set its status to Enabled",
)
_no_public_address = must_be(
    "mapPublicIpOnLaunch", None, False, what="assigns public addresses", fix="set map_public_ip_on_launch=False"
)


def _bucket_refuses_http(resource: Resource) -> Iterator[Finding]:
    """A bucket's policy must deny requests without TLS, to the bucket and its objects."""
    found = [each for each in iam.statements(resource, "policy") if iam.refuses_plain_http(each, "s3:*")]
    if not any(iam.is_whole_bucket(each) for each in found):
        yield Finding(resource, "answers plain HTTP", _DENY_HTTP)


def _topic_refuses_http(resource: Resource) -> Iterator[Finding]:
    """A topic's policy must deny publishing without TLS."""
    if not any(iam.refuses_plain_http(each, "sns:Publish") for each in iam.statements(resource, "policy")):
        yield Finding(resource, "answers plain HTTP", _DENY_HTTP)


def _bucket_encryption(resource: Resource) -> Iterator[Finding]:
    """A bucket's default encryption must use a key of the account."""
    for rule in resource.get("rules", []):
        default = rule.get("applyServerSideEncryptionByDefault") or {}
        if default.get("sseAlgorithm") not in ("aws:kms", "aws:kms:dsse") or not default.get("kmsMasterKeyId"):
            yield Finding(resource, "encrypts with a key of AWS", "set sse_algorithm='aws:kms' and kms_master_key_id")


def _repository_encryption(resource: Resource) -> Iterator[Finding]:
    """A repository's images must be encrypted with a key of the account."""
    found = resource.get("encryptionConfigurations", [])
    if not any(each.get("encryptionType") == "KMS" and each.get("kmsKey") for each in found):
        yield Finding(resource, "encrypts with a key of AWS", "set encryption_type='KMS' and kms_key")


def _key_rotation(resource: Resource) -> Iterator[Finding]:
    """A symmetric key must be rotated; an asymmetric one can't be."""
    symmetric = resource.get("customerMasterKeySpec", "SYMMETRIC_DEFAULT") == "SYMMETRIC_DEFAULT"
    if symmetric and resource.get("enableKeyRotation") is not True:
        yield Finding(resource, "is never rotated", "set enable_key_rotation=True")


def _endpoint_disks(resource: Resource) -> Iterator[Finding]:
    """An endpoint's disks and asynchronous responses must be encrypted; SageMaker encrypts local instance storage."""
    types = [str(each.get("instanceType", "")) for each in resource.get("productionVariants", [])]
    if not all(has_local_disks(each) for each in types) and not _given(resource, "kmsKeyArn"):
        yield Finding(resource, "has disks that are not encrypted with a key of the account", "set kms_key_arn")
    output = "asyncInferenceConfig.outputConfig"
    if resource.get(output) and not _given(resource, f"{output}.kmsKeyId"):
        yield Finding(resource, "writes unencrypted responses", "set kms_key_id of output_config")


def _no_anybody(resource: Resource) -> Iterator[Finding]:
    """The policy of a resource or role must not allow principals of any account."""
    path = "assumeRolePolicy" if resource.type == ROLE else "policy"
    for statement in iam.allowed(resource, path):
        if iam.is_anybody(statement):
            yield Finding(resource, "allows any principal of any account", "name the principals")


def _no_confused_deputy(resource: Resource) -> Iterator[Finding]:
    """A role may be assumed by a service for this account only.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html
    """
    for statement in iam.allowed(resource, "assumeRolePolicy"):
        keys = iam.condition_keys(statement)
        if iam.services(statement) and not keys & {"aws:sourceaccount", "aws:sourcearn", "aws:sourceorgid"}:
            what = f"is assumed by {iam.services(statement)[0]} for any account"
            yield Finding(resource, what, "add a condition on aws:SourceAccount")


def _no_whole_service(resource: Resource) -> Iterator[Finding]:
    """A role's policy must not allow all actions of a service."""
    for statement in iam.allowed(resource, "policy"):
        for action in iam.values(statement.get("Action")):
            if action == "*" or action.partition(":")[2] == "*":
                yield Finding(resource, f"allows {action}", "name the actions")
        if "NotAction" in statement:
            yield Finding(resource, "allows all but some actions", "name the actions")


def _s3_of_known_accounts(resource: Resource) -> Iterator[Finding]:
    """A role's policy must name the account of its buckets: a name or pattern may match another account's bucket.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html (aws:ResourceAccount)
    """
    for statement in iam.allowed(resource, "policy"):
        # CreateBucket always creates in the caller's account.
        actions = [each for each in iam.values(statement.get("Action")) if each.lower() != "s3:createbucket"]
        reaching = next((each for each in actions if each.lower().startswith("s3:")), "")
        if reaching and not iam.condition_keys(statement) & _OWNERS:
            yield Finding(resource, f"allows {reaching} in any account", "add a condition on aws:ResourceAccount")


def _no_broad_policy(resource: Resource) -> Iterator[Finding]:
    """A role must not have an AWS managed policy that allows a whole service, or all services."""
    for arn in [resource.get("policyArn", ""), *resource.get("managedPolicyArns", [])]:
        if _BROAD_POLICIES.match(str(arn)):
            yield Finding(
                resource, f"has {str(arn).rpartition('/')[2]}", "write a policy with the actions that the role needs"
            )


def _one_boundary(stack: Stack) -> Iterator[Finding]:
    """All roles must have the same permissions boundary; if none has one, this is reported as advice."""
    roles = stack.of(ROLE)
    found = {each.properties.get("permissionsBoundary") or "" for each in roles}
    boundary = max(found, default="")
    for role in roles:
        if (role.properties.get("permissionsBoundary") or "") != boundary:
            yield Finding(role, "lacks the boundary of the other roles", f"set permissions_boundary={boundary!r}")
        elif not boundary:
            fix = "`llmops bootstrap aws` creates one; set llmops:aws.permissions_boundary_arn"
            yield Finding(role, "has no permissions boundary", fix, advisory=True)


def _job_isolated(resource: Resource) -> Iterator[Finding]:
    """A scheduled job must have no network access, and encrypt traffic between its hosts."""
    if not str(resource.get("target.arn", "")).endswith(":sagemaker:createTrainingJob"):
        return
    job = json.loads(resource.get("target.input", "{}"))
    for key in ("EnableNetworkIsolation", "EnableInterContainerTrafficEncryption"):
        if job.get(key) is not True:
            yield Finding(resource, f"starts jobs without {key}", f"set {key} in the job's request")


def _no_open_port(resource: Resource) -> Iterator[Finding]:
    """A security group must not be open to all addresses, in either direction."""
    ranges = [resource.get("cidrIpv4"), resource.get("cidrIpv6")]
    ranges += [*resource.get("cidrBlocks", []), *resource.get("ipv6CidrBlocks", [])]
    for direction in ("ingress", "egress"):
        for rule in resource.get(direction, []):
            ranges += [*(rule.get("cidrBlocks") or []), *(rule.get("ipv6CidrBlocks") or [])]
    if any(each in _ANYWHERE for each in ranges):
        yield Finding(resource, "is open to the whole Internet", "name the prefix list or the security group")


def _protected(resource: Resource) -> Iterator[Finding]:
    """Resources that outlive the stack must be protected; a bucket that is emptied with the stack is not one."""
    if resource.get("forceDestroy") is not True:
        yield from must_be_protected(resource)


def _replaced_expire(resource: Resource) -> Iterator[Finding]:
    """Replaced objects must expire."""
    rules = [each for each in resource.get("rules", []) if each.get("status") == "Enabled"]
    if not any(each.get("noncurrentVersionExpiration") for each in rules):
        yield Finding(resource, "keeps replaced objects forever", "add a noncurrent_version_expiration")


def _runs_expire(stack: Stack) -> Iterator[Finding]:
    """Objects of runs must expire: the bucket that is emptied with its stack must have a rule for them."""
    for bucket in stack.of(BUCKET):
        if bucket.get("forceDestroy") is not True:
            continue
        for lifecycle in stack.parts_of(bucket, LIFECYCLE, "bucket", "bucket", "id"):
            rules = [each for each in lifecycle.get("rules", []) if each.get("status") == "Enabled"]
            if not any((each.get("expiration") or {}).get("days") for each in rules):
                yield Finding(lifecycle, "keeps files of runs forever", "add an expiration in days")


def _deletion_waits(resource: Resource) -> Iterator[Finding]:
    """A deleted key must be recoverable for a month."""
    if int(resource.get("deletionWindowInDays", 30)) < 30:
        yield Finding(resource, "can be lost within days of its deletion", "set deletion_window_in_days=30")


def _given(resource: Resource, path: str) -> bool:
    """Returns whether a property is given; a value that is known only after `up` counts."""
    try:
        return resource.get(path) not in (None, "")
    except NotKnownError:
        return True


CHECKS = {
    "no-public-store": Checks(
        {ACCESS_BLOCK: _public_access_blocked, BUCKET_ACL: (_private_acl,)}, (_every_bucket_has[ACCESS_BLOCK],)
    ),
    "tls-only": Checks(
        {BUCKET_POLICY: (_bucket_refuses_http,), TOPIC_POLICY: (_topic_refuses_http,)},
        (_every_bucket_has[BUCKET_POLICY], _every_topic_has_policy),
    ),
    "encrypted": Checks(
        {
            ENCRYPTION: (_bucket_encryption,),
            REPOSITORY: (_repository_encryption,),
            KEY: (_key_rotation,),
            TOPIC: (_topic_encrypted,),
            LOG_GROUP: (_logs_encrypted,),
            CONFIGURATION: (_endpoint_disks,),
            SCHEDULE: (_schedule_encrypted,),
        },
        (_every_bucket_has[ENCRYPTION],),
    ),
    "no-wildcard-principal": Checks(
        {
            **dict.fromkeys((BUCKET_POLICY, KEY, TOPIC_POLICY, REPOSITORY_POLICY), (_no_anybody,)),
            ROLE: (_no_anybody, _no_confused_deputy),
        }
    ),
    "no-shared-secret": Checks(
        {
            "aws:iam/accessKey:AccessKey": (refused("is a key that never expires", "let a role be assumed"),),
            "aws:iam/user:User": (refused("is a user, whose keys never expire", "let a role be assumed"),),
        }
    ),
    "least-privilege": Checks(
        {
            **dict.fromkeys((ROLE_POLICY, MANAGED_POLICY), (_no_whole_service, _s3_of_known_accounts)),
            **dict.fromkeys((ROLE, POLICY_ATTACHMENT), (_no_broad_policy,)),
        }
    ),
    "boundary": Checks(stack=(_one_boundary,)),
    "endpoint-isolated": Checks(
        {
            MODEL: (_network_isolated,),
            SCHEDULE: (_job_isolated,),
            SUBNET: (_no_public_address,),
            **dict.fromkeys(_PORTS, (_no_open_port,)),
            "aws:ec2/internetGateway:InternetGateway": (
                refused("opens the network to the Internet", "reach AWS by VPC endpoints"),
            ),
            "aws:ec2/natGateway:NatGateway": (
                refused("lets endpoints and jobs reach the Internet", "reach AWS by VPC endpoints"),
            ),
        }
    ),
    "data-protected": Checks(
        {
            **dict.fromkeys((BUCKET, REPOSITORY, PACKAGE_GROUP), (_protected,)),
            KEY: (_protected, _deletion_waits),
            VERSIONING: (_versioning_on,),
        },
        (_every_bucket_has[VERSIONING],),
    ),
    "retention-set": Checks(
        {LOG_GROUP: (_logs_expire,), LIFECYCLE: (_replaced_expire,)}, (_every_bucket_has[LIFECYCLE], _runs_expire)
    ),
}
