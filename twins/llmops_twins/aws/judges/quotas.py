"""The judge of quotas, and of references that AWS checks on a call: roles, images, model data, subnets.

The limits are the twin's own, because a real account's are unknown here: `LIMITS`, overridden by the setting `quotas`
(quota name to limit). Capacity is unlimited, as its current state on AWS can't be known, unless the fault `capacity` is
active.

Wording of the refusals, from field reports and references:
https://github.com/aws/amazon-sagemaker-examples/issues/307 (quotas),
https://github.com/aws-samples/easy-amazon-sagemaker-deployments/issues/4 (images of models),
https://github.com/philschmid/llm-sagemaker-sample/issues/2 (model data),
https://github.com/aws/amazon-sagemaker-examples/issues/2489 (channels),
https://github.com/awslabs/predictive-maintenance-using-machine-learning/issues/3 (roles),
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html (IAM's own limits).
"""

import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from botocore.session import get_session

from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.judges.account import JudgedAccount
from llmops_twins.aws.judges.fleets import InstanceDemand, fleets_after, fleets_of, jobs_of
from llmops_twins.aws.judges.permissions import AwsPermissionJudge
from llmops_twins.aws.twin import AccountTwin

UNJUDGED = [
    "quotas: the limits of a real account, and quotas other than SageMaker's instances and IAM's policies",
    "capacity: a region's instance types and free instances",
]
ACROSS_ENDPOINTS = "Number of instances across active endpoints"
ACROSS_JOBS = "Number of instances across all training jobs"
LIMIT_OF_A_TYPE = 10
LIMITS = {ACROSS_ENDPOINTS: 40, ACROSS_JOBS: 20}
# AWS grants these types on request only: their quotas are 0 until they are raised.
_ON_REQUEST = re.compile(r"ml\.(p4d|p4de|p5|p5e|p5en|p6|trn1n|trn2)[.-]")
_ECR = re.compile(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/([^:@]+)(?::([^@]+))?(?:@(.+))?")


@cache
def _codes() -> dict[str, str]:
    return json.loads(Path(__file__).with_name("quota_codes.json").read_text())["codes"]


@cache
def listed_codes() -> dict[str, str]:
    """Returns quota -> code for every quota of the twin: each of SageMaker's instance types in each use that has
    quotas.

    A code that is missing in `quota_codes.json` is the twin's own, and begins with TWIN-. Naming of the quotas:
    https://docs.aws.amazon.com/general/latest/gr/sagemaker.html
    """
    model = get_session().get_service_model("sagemaker")
    training, hosting = (
        [each for each in model.shape_for(shape).enum if each.startswith("ml.")]
        for shape in ("TrainingInstanceType", "ProductionVariantInstanceType")
    )
    names = [f"{each} for {use} usage" for use in ("training job", "spot training job") for each in training]
    names += [f"{each} for endpoint usage" for each in hosting]
    return {name: f"TWIN-{zlib.crc32(name.encode()):08X}" for name in names} | _codes()


class QuotaJudge:
    """Refuses calls that exceed a quota or refer to something that does not exist."""

    def __init__(self, twin: AccountTwin, permissions: AwsPermissionJudge | None = None) -> None:
        self._twin = twin
        self._permissions = permissions
        self.account = JudgedAccount(twin)
        twin.unjudged += UNJUDGED
        self._rules: dict[tuple[str, str], list[Callable[[ApiCall], None]]] = {
            ("sagemaker", "CreateModel"): [self._role, self._image, self._model_data, self._network],
            ("sagemaker", "CreateTrainingJob"): [self._role, self._image, self._channels, self._network, self._job],
            ("sagemaker", "CreateEndpoint"): [self._fleet],
            ("sagemaker", "UpdateEndpoint"): [self._fleet],
            ("sagemaker", "UpdateEndpointWeightsAndCapacities"): [self._fleet],
            ("iam", "PutRolePolicy"): [self._inline_size],
            ("iam", "CreatePolicy"): [self._managed_size],
            ("iam", "CreatePolicyVersion"): [self._managed_size, self._versions],
            ("iam", "AttachRolePolicy"): [self._attached],
        }

    def __call__(self, call: ApiCall) -> None:
        """Judges a call.

        Raises:
            AwsApiError: a quota is exceeded, or something that the call names does not exist.
        """
        for rule in self._rules.get((call.service, call.operation), []):
            rule(call)

    def limit(self, quota: str) -> int:
        """Returns the limit of a quota: that of the setting `quotas`, or else the twin's default."""
        own = self._twin.settings.quotas
        if quota in own:
            return int(own[quota])
        return LIMITS.get(quota, 0 if _ON_REQUEST.match(quota) else LIMIT_OF_A_TYPE)

    def check_instances(self, uses: Mapping[str, int], wanted: Mapping[str, int]) -> None:
        """Refuses a demand that exceeds a quota.

        Args:
            uses: quota name -> instances in use.
            wanted: quota name -> additional instances.

        Raises:
            AwsApiError: ResourceLimitExceeded, with AWS's name of the quota.
        """
        for quota, delta in wanted.items():
            if delta > 0 and uses.get(quota, 0) + delta > self.limit(quota):
                raise _exceeded(quota, self.limit(quota), uses.get(quota, 0), delta)

    # -- quotas of instances ----------------------------------------------------------------------------------------

    def _fleet(self, call: ApiCall) -> None:
        now = fleets_of(self.account, call.region)
        after = fleets_after(call, now, self.account)
        self.check_instances(_endpoint_uses(now), _endpoint_uses(after))

    def _job(self, call: ApiCall) -> None:
        running = jobs_of(self.account, call.region)
        self.check_instances(_job_uses(running), _job_uses([InstanceDemand.of_job(call.parameters)]))

    # -- references of a call -----------------------------------------------------------------------------------------

    def _role(self, call: ApiCall) -> None:
        arn = call.parameters.get("ExecutionRoleArn") or call.parameters.get("RoleArn")
        if not arn:
            return
        role = self.account.role(arn.rpartition("/")[2])
        usable = role is not None and role.arn == arn
        if usable and self._permissions:
            usable = self._permissions.trusts(arn, "sagemaker.amazonaws.com", self._arn_made_by(call))
        if not usable:
            raise AwsApiError(
                "ValidationException",
                f"Could not assume role {arn}. Please ensure that the role exists and allows principal "
                "'sagemaker.amazonaws.com' to assume the role.",
            )

    def _image(self, call: ApiCall) -> None:
        for image in _images(call.parameters):
            found = _ECR.fullmatch(image)
            if found is None or found[1] != self.account.id:
                continue  # the twin doesn't hold other accounts' registries
            if not self._has_image(found[2], found[3], found[4], found[5]):
                # unsure (60 %): these are the words of CreateModel; CreateTrainingJob has others, as in
                # https://github.com/aws/amazon-sagemaker-examples/issues/1476
                raise AwsApiError("ValidationException", f"Requested image {image} not found.")

    def _has_image(self, region: str, repository: str, tag: str | None, digest: str | None) -> bool:
        from moto.ecr.models import ecr_backends

        known = ecr_backends[self.account.id][region].repositories.get(repository)
        images = known.images if known else []
        if digest:
            return any(image.image_digest == digest for image in images)
        return any((tag or "latest") in image.image_tags for image in images)

    def _model_data(self, call: ApiCall) -> None:
        role = call.parameters.get("ExecutionRoleArn", "")
        for uri in _model_data(call.parameters):
            if not self._may_read(uri, role, self._arn_made_by(call)):
                raise AwsApiError(
                    "ValidationException",
                    f'Could not access model data at {uri}. Please ensure that the role "{role}" exists and that its '
                    'trust relationship policy allows the action "sts:AssumeRole" for the service principal '
                    '"sagemaker.amazonaws.com". Also ensure that the role has "s3:GetObject" permissions and that the '
                    f"object is located in {call.region}. If your Model uses multiple models or uncompressed models, "
                    'please ensure that the role has "s3:ListBucket" permission.',
                )

    def _channels(self, call: ApiCall) -> None:
        role = call.parameters["RoleArn"]
        for channel in call.parameters.get("InputDataConfig") or []:
            source = (channel.get("DataSource") or {}).get("S3DataSource") or {}
            uri = source.get("S3Uri", "")
            if uri and not self._may_read(uri, role, self._arn_made_by(call)):
                raise AwsApiError(
                    "ValidationException",
                    f'No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure that the '
                    f"bucket exists in the selected region ({call.region}), that objects exist under that S3 prefix, "
                    f'and that the role "{role}" has "s3:ListBucket" permissions on bucket "{_split(uri)[0]}".',
                )

    def _may_read(self, uri: str, role: str, source_arn: str) -> bool:
        """Returns whether there is something under an S3 prefix that the role may list, and get if it is one object."""
        bucket, prefix = _split(uri)
        found = self.account.bucket(bucket)
        if found is None or not any(key.startswith(prefix) for key in found.keys):
            return False
        arn = f"arn:{self.account.partition}:s3:::{bucket}"
        if prefix and not prefix.endswith("/") and prefix in found.keys:
            asked = ("s3:GetObject", f"{arn}/{prefix}", {})
        else:
            asked = ("s3:ListBucket", arn, {"s3:prefix": prefix})
        context = {**asked[2], "aws:SourceArn": source_arn}
        return not role or self._twin.may(role, asked[0], asked[1], context) is None

    def _network(self, call: ApiCall) -> None:
        network = call.parameters.get("VpcConfig")
        if not network:
            return  # avoids importing moto's EC2, which takes more than a second of processor time
        from moto.ec2.models import ec2_backends

        backend = ec2_backends[self.account.id][call.region]
        known = {subnet for zone in backend.subnets.values() for subnet in zone}
        for subnet in network.get("Subnets", []):
            if subnet not in known:
                # unsure (60 %): no source found for SageMaker: assumed from EC2's InvalidSubnetID.NotFound
                raise AwsApiError("ValidationException", f"The subnet ID '{subnet}' does not exist")
        groups = {group for each in backend.groups.values() for group in each}
        for group in network.get("SecurityGroupIds", []):
            if group not in groups:
                # unsure (60 %): no source found for SageMaker: assumed from EC2's InvalidGroup.NotFound
                raise AwsApiError("ValidationException", f"The security group '{group}' does not exist")

    def _arn_made_by(self, call: ApiCall) -> str:
        base = f"arn:{self.account.partition}:sagemaker:{call.region}:{self.account.id}"
        if "TrainingJobName" in call.parameters:
            return f"{base}:training-job/{call.parameters['TrainingJobName']}"
        return f"{base}:model/{call.parameters.get('ModelName', '')}"

    # -- IAM's own quotas (IAM and AWS STS quotas, in the IAM User Guide) ----------------------------------------------

    def _inline_size(self, call: ApiCall) -> None:
        name = call.parameters["RoleName"]
        role = self.account.role(name)
        others = {} if role is None else {k: v for k, v in role.policies.items() if k != call.parameters["PolicyName"]}
        size = sum(_size(text) for text in [*others.values(), call.parameters["PolicyDocument"]])
        if size > 10_240:
            raise AwsApiError("LimitExceeded", f"Maximum policy size of 10240 bytes exceeded for role {name}", 409)

    def _managed_size(self, call: ApiCall) -> None:
        if _size(call.parameters["PolicyDocument"]) > 6_144:
            raise AwsApiError("LimitExceeded", "Cannot exceed quota for PolicySize: 6144", 409)

    def _versions(self, call: ApiCall) -> None:
        policy = self.account.managed_policy(call.parameters["PolicyArn"])
        if policy is not None and len(policy.versions) >= 5:
            raise AwsApiError(
                "LimitExceeded",
                "A managed policy can have up to 5 versions. Before you create a new version, you must delete an "
                "existing version.",
                409,
            )

    def _attached(self, call: ApiCall) -> None:
        role = self.account.role(call.parameters["RoleName"])
        if role is not None and len({*role.managed_policies, call.parameters["PolicyArn"]}) > 10:
            raise AwsApiError("LimitExceeded", "Cannot exceed quota for PoliciesPerRole: 10", 409)


def _exceeded(quota: str, limit: int, used: int, delta: int) -> AwsApiError:
    return AwsApiError(
        "ResourceLimitExceeded",
        f"The account-level service limit '{quota}' is {limit} Instances, with current utilization of {used} Instances "
        f"and a request delta of {delta} Instances. Please use AWS Service Quotas to request an increase for this "
        "quota. If AWS Service Quotas is not available, contact AWS support to request an increase for this quota.",
    )


def _endpoint_uses(fleets: list[InstanceDemand]) -> dict[str, int]:
    return _uses(fleets, "endpoint", ACROSS_ENDPOINTS)


def _job_uses(fleets: list[InstanceDemand]) -> dict[str, int]:
    found = _uses([each for each in fleets if not each.spot], "training job", ACROSS_JOBS)
    for name, count in _uses([each for each in fleets if each.spot], "spot training job", "").items():
        if name:
            found[name] = count
    return found


def _uses(fleets: list[InstanceDemand], use: str, across: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for fleet in fleets:
        for instance_type, count in fleet.instances.items():
            name = f"{instance_type} for {use} usage"
            found[name] = found.get(name, 0) + count
            found[across] = found.get(across, 0) + count
    return found


def _images(given: dict[str, Any]) -> Iterator[str]:
    for container in [given.get("PrimaryContainer"), *(given.get("Containers") or [])]:
        if container and container.get("Image"):
            yield container["Image"]
    image = (given.get("AlgorithmSpecification") or {}).get("TrainingImage")
    if image:
        yield image


def _model_data(given: dict[str, Any]) -> Iterator[str]:
    for container in [given.get("PrimaryContainer"), *(given.get("Containers") or [])]:
        source = ((container or {}).get("ModelDataSource") or {}).get("S3DataSource") or {}
        uri = source.get("S3Uri") or (container or {}).get("ModelDataUrl")
        if uri:
            yield uri


def _split(uri: str) -> tuple[str, str]:
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    return bucket, prefix


def _size(policy: str) -> int:
    """Returns the size of a policy as IAM counts it: characters without white space."""
    return len(re.sub(r"\s", "", policy))
