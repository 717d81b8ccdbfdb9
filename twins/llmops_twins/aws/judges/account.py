"""Look-ups of the judges in the twin's account: principals, policies, encryption keys.

Refusals of unknown principals follow https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmops_twins.aws import buckets
from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.service_documents import shelf
from llmops_twins.aws.twin import AccountTwin


@dataclass(frozen=True)
class AwsIdentity:
    """A principal and its policies, as JSON texts. `role` is the ARN of an assumed session's role."""

    arn: str
    kind: str  # Account, User, AssumedRole
    user_id: str = ""
    policies: tuple[str, ...] = ()
    boundary: str | None = None
    session_policy: str | None = None
    role: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_root(self) -> bool:
        """Whether this is the account's root."""
        return self.kind == "Account"


class JudgedAccount:
    """Reads moto's backends, in the account and partition of the twin. Changes nothing."""

    def __init__(self, twin: AccountTwin, partition: str = "aws") -> None:
        self.twin = twin
        self.id = twin.account
        self.partition = partition

    # -- identities -------------------------------------------------------------------------------------------------

    def identity(self, principal: str, access_key: str = "") -> AwsIdentity:
        """Returns the identity of an ARN. For an assumed role's session, `access_key` selects the session policy.

        Raises:
            AwsApiError: no such principal exists (any more).
        """
        kind, _, name = principal.split(":", 5)[5].partition("/")
        if kind == "root":
            return AwsIdentity(principal, "Account", user_id=self.id)
        if kind == "user":
            return self._user(principal, name.rpartition("/")[2])
        if kind == "assumed-role":
            return self._session(principal, name.partition("/")[0], access_key)
        raise AwsApiError("InvalidClientTokenId", "The security token included in the request is invalid.", 403)

    def session_of(self, role_arn: str, name: str) -> AwsIdentity | None:
        """Returns a session of a role, as a service would assume it; None if there is no such role."""
        role = self.role(role_arn.rpartition("/")[2])
        if role is None or role.arn != role_arn:
            return None
        return self._session(f"arn:{self.partition}:sts::{self.id}:assumed-role/{role.name}/{name}", role.name, "")

    def role(self, name: str) -> Any | None:
        """Returns moto's role of that name."""
        return next((role for role in self._iam.get_roles() if role.name == name), None)

    def role_arn(self, name: str, path: str = "/") -> str:
        """Returns the ARN of a role that exists, or will exist under `path`."""
        role = self.role(name)
        return role.arn if role else f"arn:{self.partition}:iam::{self.id}:role{path}{name}"

    def user_arn(self, name: str, path: str = "/") -> str:
        """Returns the ARN of a user that exists, or will exist under `path`."""
        user = self._iam.users.get(name)
        return user.arn if user else f"arn:{self.partition}:iam::{self.id}:user{path}{name}"

    def boundary_of(self, kind: str, name: str) -> str:
        """Returns the ARN of the permissions boundary of a role or user; empty without one."""
        entity = self.role(name) if kind == "role" else self._iam.users.get(name)
        return getattr(entity, "permissions_boundary_arn", None) or ""

    def managed_policy(self, arn: str) -> Any | None:
        """Returns moto's record of a managed policy; None if there is none."""
        return self._iam.managed_policies.get(arn)

    def has_oidc_provider(self, arn: str) -> bool:
        """Returns whether an identity provider with that ARN exists."""
        return arn in self._iam.open_id_providers

    def _user(self, arn: str, name: str) -> AwsIdentity:
        user = self._iam.users.get(name)
        if user is None:
            raise AwsApiError("InvalidClientTokenId", "The security token included in the request is invalid.", 403)
        groups = [group for group in self._iam.groups.values() if user in group.users]
        policies = [text for owner in [user, *groups] for text in _policies_of(owner)]
        boundary = self._boundary(getattr(user, "permissions_boundary_arn", None))
        return AwsIdentity(arn, "User", user.id, tuple(policies), boundary, tags=self._tags("user", name))

    def _session(self, arn: str, role_name: str, access_key: str) -> AwsIdentity:
        from moto.sts.models import sts_backends

        role = self.role(role_name)
        if role is None:
            raise AwsApiError("InvalidClientTokenId", "The security token included in the request is invalid.", 403)
        session = sts_backends[self.id][self.partition].get_assumed_role_from_access_key(access_key)
        return AwsIdentity(
            arn,
            "AssumedRole",
            f"{role.id}:{arn.rpartition('/')[2]}",
            tuple(_policies_of(role)),
            self._boundary(role.permissions_boundary_arn),
            (session.policy or None) if session else None,
            role.arn,
            self._tags("role", role_name),
        )

    def _boundary(self, arn: str | None) -> str | None:
        """Returns a boundary's text. A boundary whose policy is gone allows nothing."""
        if not arn:
            return None
        policy = self._iam.managed_policies.get(arn)
        return _default_version(policy) if policy else '{"Version": "2012-10-17", "Statement": []}'

    def _tags(self, kind: str, name: str) -> dict[str, str]:
        if kind == "role":
            role = self.role(name)
            return {tag["Key"]: tag["Value"] for tag in role.tags or []} if role else {}
        arn = self.user_arn(name)
        return {tag["Key"]: tag["Value"] for tag in self._iam.tagger.list_tags_for_resource(arn)["Tags"]}

    @property
    def _iam(self) -> Any:
        from moto.iam.models import iam_backends

        return iam_backends[self.id][self.partition]

    # -- resources ---------------------------------------------------------------------------------------------------

    def policy_of(self, action: str, arn: str) -> str | None:
        """Returns the resource policy that applies to an action: of a bucket, key, topic, queue, repository or secret,
        or, for sts:AssumeRole*, a role's trust policy.
        """
        service = action.partition(":")[0]
        parts = arn.split(":", 5)
        if len(parts) < 6:
            return None
        region, name = parts[3], parts[5]
        if service == "sts" and name.startswith("role/"):
            role = self.role(name.rpartition("/")[2])
            return role.assume_role_policy_document if role else None
        reader = _POLICY_READERS.get(service)
        return _text(reader(self, region, name)) if reader else None

    def bucket(self, name: str) -> Any | None:
        """Returns moto's record of a bucket, whoever owns it; None if there is none."""
        return buckets.bucket_named(self.twin, name)

    def owner_of(self, arn: str) -> str:
        """Returns the account of a resource: of a bucket and its objects, whose ARNs name none, the bucket's owner."""
        before, _, path = arn.partition(":s3:::")
        return buckets.owner_of(self.twin, path.partition("/")[0]) if before.startswith("arn:") and path else self.id

    def bucket_key(self, name: str) -> tuple[str, bool]:
        """Returns the ARN of the KMS key that encrypts a bucket by default, and whether a bucket key is used; ("",
        False).
        """
        bucket = self.bucket(name)
        rule = ((bucket.encryption if bucket else None) or {}).get("Rule") or {}
        rule = rule[0] if isinstance(rule, list) else rule
        default = rule.get("ApplyServerSideEncryptionByDefault") or {}
        key = default.get("KMSMasterKeyID", "")
        if bucket is None or not key or not str(default.get("SSEAlgorithm", "")).startswith("aws:kms"):
            return "", False
        return self.key_arn(key, bucket.region_name), str(rule.get("BucketKeyEnabled", "")).lower() == "true"

    def object_key(self, bucket_name: str, key: str, version: str | None) -> str:
        """Returns the ARN of the KMS key that encrypts a stored object; empty without one."""
        stored = self._object(bucket_name, key, version)
        if stored is None or not str(stored.encryption or "").startswith("aws:kms"):
            return ""
        bucket = self.bucket(bucket_name)
        return self.key_arn(stored.kms_key_id, bucket.region_name) if bucket and stored.kms_key_id else ""

    def has_object(self, bucket_name: str, key: str, version: str | None = None) -> bool:
        """Returns whether a bucket has an object, in the given version or in its newest."""
        return self._object(bucket_name, key, version) is not None

    def _object(self, bucket_name: str, key: str, version: str | None) -> Any | None:
        from moto.s3.models import s3_backends

        if self.bucket(bucket_name) is None:
            return None
        return s3_backends[self.id][self.partition].get_object(bucket_name, key, version_id=version)

    def key_arn(self, key: str, region: str) -> str:
        """Returns the ARN of a KMS key by id, ARN or alias; where there is none, the ARN that it would have."""
        if key.startswith("arn:") and ":key/" in key:
            return key
        found = key
        if "alias/" in key:
            alias = "alias/" + key.partition("alias/")[2]
            backend = self._kms(region)
            found = next((each.id for each in backend.keys.values() if alias in each.aliases), "*")
        return f"arn:{self.partition}:kms:{region}:{self.id}:key/{found}"

    def key(self, arn: str) -> Any | None:
        """Returns moto's KMS key."""
        parts = arn.split(":")
        return self._kms(parts[3]).keys.get(parts[5].partition("/")[2]) if len(parts) == 6 else None

    def conditions_of_key(self, arn: str) -> dict[str, str | list[str]]:
        """Returns the condition keys of an existing key: its kind and its aliases.

        https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html (kms:KeyUsage, kms:ResourceAliases, …)
        """
        key = self.key(arn)
        if key is None:
            return {}
        found: dict[str, str | list[str]] = {
            "kms:KeyUsage": key.key_usage,
            "kms:KeySpec": key.key_spec,
            "kms:KeyOrigin": key.origin,
            "kms:MultiRegion": str(key.multi_region).lower(),
        }
        if key.aliases:
            found["kms:ResourceAliases"] = sorted(key.aliases)
        return found

    def grants_of(self, key_arn: str) -> list[Any]:
        """Returns the grants on a KMS key."""
        key = self.key(key_arn)
        return list(key.grants.values()) if key else []

    def _kms(self, region: str) -> Any:
        from moto.kms.models import kms_backends

        return kms_backends[self.id][region]

    def secret_arn(self, name: str, region: str) -> str:
        """Returns the ARN of a secret, existing or to be created (its last six characters are AWS's own)."""
        from moto.secretsmanager.models import secretsmanager_backends

        if name.startswith("arn:"):
            return name
        secrets = secretsmanager_backends[self.id][region].secrets
        known = secrets.get(name)
        return known.arn if known else f"arn:{self.partition}:secretsmanager:{region}:{self.id}:secret:{name}-*"

    def scalable_targets(self, resource_id: str, region: str) -> list[str]:
        """Returns the ARNs of the scalable targets of a resource ("endpoint/x/variant/main", or a prefix of it)."""
        targets = shelf(self.twin, "application-autoscaling", "targets", region).values()
        return [each["ScalableTargetARN"] for each in targets if f"{each['ResourceId']}/".startswith(f"{resource_id}/")]

    def vpcs_of(self, subnets: list[str], region: str) -> list[str]:
        """Returns the ids of the VPCs that subnets are in."""
        from moto.ec2.models import ec2_backends

        zones = ec2_backends[self.id][region].subnets.values()
        known = {name: subnet.vpc_id for zone in zones for name, subnet in zone.items()}
        return list(dict.fromkeys(known[subnet] for subnet in subnets if subnet in known))

    def associated(self, association: str, region: str) -> list[str]:
        """Returns route table and subnet of an association, as `route-table/ID` and `subnet/ID`; empty if it does not
        exist.
        """
        from moto.ec2.models import ec2_backends

        for table in ec2_backends[self.id][region].route_tables.values():
            if subnet := table._associations.get(association):
                return [f"route-table/{table.id}", f"subnet/{subnet}"]
        return []

    def vpc_endpoint(self, vpc: str, service: str, region: str) -> str:
        """Returns the id of a VPC's endpoint for a service; empty without one."""
        from moto.ec2.models import ec2_backends

        endpoints = ec2_backends[self.id][region].vpc_end_points.values()
        return next((each.id for each in endpoints if each.vpc_id == vpc and each.service_name == service), "")

    def describe(self, service: str, operation: str, region: str, **parameters: Any) -> dict[str, Any]:
        """Returns the answer of one of the twin's own operations; empty if it refuses, or is not the twin's own."""
        try:
            return self.twin.answer_at_once(ApiCall(service, operation, parameters, "", region, "")) or {}
        except AwsApiError:
            return {}

    def tags_of(self, arn: str) -> dict[str, str]:
        """Returns the tags of a resource, from the one API that covers all services; empty if unknown there."""
        from moto.resourcegroupstaggingapi.models import resourcegroupstaggingapi_backends

        parts = arn.split(":")
        if len(parts) < 6:
            return {}  # `*`: a resource that the action creates, or all of a service's
        region = parts[3] or "us-east-1"
        if parts[2] == "sagemaker":
            tags = self.describe("sagemaker", "ListTags", region, ResourceArn=arn).get("Tags", [])
            return {tag["Key"]: tag["Value"] for tag in tags}
        if parts[2] == "iam" and parts[5].startswith("role/"):
            return self._tags("role", parts[5].rpartition("/")[2])
        if parts[2] == "ec2":  # the one API lacks some of EC2's resources
            return self._ec2_tags(parts[5].rpartition("/")[2], region)
        if own := dict(self.twin.tagged()).get(arn):
            return own
        backend = resourcegroupstaggingapi_backends[self.id][region]
        return next((dict(each.tags) for each in backend._get_resources_generator(resource_arn_list=[arn])), {})

    def _ec2_tags(self, resource: str, region: str) -> dict[str, str]:
        from moto.ec2.models import ec2_backends

        return dict(ec2_backends[self.id][region].tags.get(resource, {}))


def _policies_of(owner: Any) -> Iterator[str]:
    for text in owner.policies.values():
        yield _text(text) or "{}"
    for policy in owner.managed_policies.values():
        yield _default_version(policy)


def _default_version(policy: Any) -> str:
    version = next(each for each in policy.versions if each.version_id == policy.default_version_id)
    return _text(version.document) or '{"Version": "2012-10-17", "Statement": []}'


def _text(policy: Any) -> str | None:
    if not policy:
        return None
    if isinstance(policy, bytes):
        return policy.decode()
    return policy if isinstance(policy, str) else json.dumps(policy)


def _bucket_policy(account: JudgedAccount, _region: str, name: str) -> Any:
    bucket = account.bucket(name.partition("/")[0])
    return bucket.policy if bucket else None


def _key_policy(account: JudgedAccount, region: str, name: str) -> Any:
    """Returns the policy of a KMS key; for a key that does not exist (yet), one that leaves access to the account's own
    policies.
    """
    if not name.startswith("key/"):
        return None
    key = account._kms(region).keys.get(name.partition("/")[2])
    root = {"AWS": f"arn:{account.partition}:iam::{account.id}:root"}
    rule = {"Effect": "Allow", "Principal": root, "Action": "kms:*", "Resource": "*"}
    return key.policy if key else {"Version": "2012-10-17", "Statement": [rule]}


def _topic_policy(account: JudgedAccount, region: str, name: str) -> Any:
    from moto.sns.models import sns_backends

    topic = sns_backends[account.id][region].topics.get(f"arn:{account.partition}:sns:{region}:{account.id}:{name}")
    return topic.policy if topic else None


def _queue_policy(account: JudgedAccount, region: str, name: str) -> Any:
    from moto.sqs.models import sqs_backends

    queue = sqs_backends[account.id][region].queues.get(name)
    return queue.policy if queue and queue._policy_json.get("Statement") else None


def _repository_policy(account: JudgedAccount, region: str, name: str) -> Any:
    from moto.ecr.models import ecr_backends

    repository = ecr_backends[account.id][region].repositories.get(name.partition("/")[2])
    return repository.policy if repository else None


def _secret_policy(account: JudgedAccount, region: str, name: str) -> Any:
    from moto.secretsmanager.models import secretsmanager_backends

    arn = f"arn:{account.partition}:secretsmanager:{region}:{account.id}:{name}"
    secrets = secretsmanager_backends[account.id][region].secrets
    return next((getattr(each, "policy", None) for each in secrets.values() if each.arn == arn), None)


_POLICY_READERS = {
    "s3": _bucket_policy,
    "kms": _key_policy,
    "sns": _topic_policy,
    "sqs": _queue_policy,
    "ecr": _repository_policy,
    "secretsmanager": _secret_policy,
}
