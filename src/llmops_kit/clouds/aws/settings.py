"""Settings of the target aws: one object, `llmops:aws`. Imports no SDK, so that every target can refuse it by name."""

import ipaddress
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from llmops_kit.core.document import Part
from llmops_kit.core.documents.run import Compute
from llmops_kit.core.names import Name


def _private_range(text: str) -> str:
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError as e:
        raise ValueError(f"{text!r} is not a network: {e}") from None
    if not 16 <= network.prefixlen <= 24:
        raise ValueError(f"{text} has a /{network.prefixlen}; a VPC for two zones takes /16 to /24")
    return text


def _arn(kind: str) -> AfterValidator:
    """Returns a validator of ARNs of a kind; it accepts an empty text."""

    def check(text: str) -> str:
        parts = text.split(":", 5)
        if text and (len(parts) != 6 or parts[0] != "arn" or not f"{parts[2]}:{parts[5]}".startswith(kind)):
            raise ValueError(f"{text!r} is not an ARN of the form arn:aws:{kind.partition(':')[0]}:…:{kind}…")
        return text

    return AfterValidator(check)


RoleArn = Annotated[str, _arn("iam:role/")]
KeyArn = Annotated[str, _arn("kms:key/")]
PolicyArn = Annotated[str, _arn("iam:policy/")]
BucketName = Annotated[str, StringConstraints(pattern=r"^([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])?$")]
InstanceType = Annotated[str, StringConstraints(pattern=r"^(ml\.[a-z0-9-]+\.[a-z0-9-]+)?$")]
Cron = Annotated[str, StringConstraints(pattern=r"^(cron|rate)\(.+\)$")]
Interface = Literal["ecr.api", "ecr.dkr", "logs", "sts", "kms", "sagemaker.api", "sagemaker.runtime"]


class AwsNetworkSettings(Part):
    """Network of endpoints and jobs."""

    mode: Literal["none", "own", "existing"] = Field(
        default="none", description="none: SageMaker's own network; own: a new private VPC; existing: your VPC."
    )
    cidr: Annotated[str, AfterValidator(_private_range)] = Field(
        default="10.42.0.0/16", description="Address range of the new VPC (own)."
    )
    zones: list[str] = Field(default=[], max_length=2, description="Two availability zones; empty: the region's first.")
    subnet_ids: list[str] = Field(default=[], description="Private subnets (existing).")
    security_group_ids: list[str] = Field(
        default=[],
        description="Security groups (existing); several instances need rules that let members reach each other.",
    )

    interface_endpoints: list[Interface] = Field(
        default=[], description="Services with an interface endpoint in the new VPC (own); each is billed by the hour."
    )

    @model_validator(mode="after")
    def _fits_the_mode(self) -> "AwsNetworkSettings":
        own, existing = ("cidr", "zones", "interface_endpoints"), ("subnet_ids", "security_group_ids")
        belongs: dict[str, str] = dict.fromkeys(own, "own") | dict.fromkeys(existing, "existing")
        for field in sorted(self.model_fields_set & set(belongs)):
            if self.mode != belongs[field]:
                raise ValueError(f"{field} has no effect with `mode: {self.mode}`; write `mode: {belongs[field]}`")
        if self.mode == "existing" and not (self.subnet_ids and self.security_group_ids):
            raise ValueError("`mode: existing` needs subnet_ids and security_group_ids")
        if self.zones and len(set(self.zones)) != 2:
            raise ValueError("zones must be two different ones, or none")
        return self


class AwsRoleSettings(Part):
    """Existing roles, by ARN; empty ones are created."""

    training: RoleArn = Field(default="", description="Role of training jobs.")
    endpoint: RoleArn = Field(default="", description="Role of endpoints.")
    scheduler: RoleArn = Field(default="", description="Role that starts scheduled jobs.")


class AwsBudgetSettings(Part):
    """A monthly budget that sends notifications; it stops nothing."""

    monthly_usd: int = Field(default=100, ge=0, description="Monthly budget of the stack; 0: none.")
    emails: list[str] = Field(
        default=[], max_length=10, description="Recipient of notifications about costs and alarms."
    )


class AwsAlarmSettings(Part):
    """Limits beyond which a rollout is rolled back and a notification is sent."""

    error_rate: float = Field(default=0.05, gt=0, le=1, description="Share of requests answered with 5xx.")
    latency_seconds: float = Field(default=20.0, gt=0, le=60, description="90th percentile of the model's latency.")
    quality: float = Field(default=1.0, gt=0, le=1, description="Share of golden prompts answered as expected.")


class AwsScheduleSettings(Part):
    """A scheduled training run."""

    run: str = Field(
        pattern=r"^[a-z][a-z0-9-]{2,62}$",
        description="Run of `llmops train` whose recipe, dataset and base model are used.",
    )
    cron: Cron = Field(
        description="Expression of EventBridge Scheduler, such as `cron(0 3 ? * SUN *)` or `rate(7 days)`."
    )
    timezone: str = Field(default="UTC", min_length=1, description="Time zone of the expression.")
    instance_type: InstanceType = Field(default="", description="Instance type of the job; empty: that of `jobs`.")
    max_hours: int = Field(default=0, ge=0, le=120, description="Maximum duration of the job; 0: that of `jobs`.")
    on: bool = Field(default=True, description="off: keep the schedule, but start nothing.")


class AwsJobSettings(Compute):
    """Defaults of runs."""

    instance_type: InstanceType = Field(
        default="ml.m5.xlarge", min_length=1, description="Instance type, such as ml.g5.xlarge."
    )


class AwsSettings(Part):
    """Settings of target `aws`, the key `llmops:aws` of a stack file."""

    region: str = Field(
        default="", description="Region, such as eu-central-1; empty: that of the AWS environment or profile."
    )
    profile: str = Field(default="", description="Profile in ~/.aws/config; empty: that of the AWS environment.")
    permissions_boundary_arn: PolicyArn = Field(default="", description="Permissions boundary of every created role.")
    tags: dict[str, str] = Field(default={}, description="Further tags of all resources.")
    kms_key_arn: KeyArn = Field(default="", description="Existing key for all data; empty: create one.")
    signing_key_arn: KeyArn = Field(
        default="", description="Existing ECC_NIST_P256 key for signatures; empty: create one."
    )
    store_bucket: BucketName = Field(default="", description="Existing bucket for versions; empty: create one.")
    work_bucket: BucketName = Field(default="", description="Existing bucket for runs; empty: create one.")
    registry: str = Field(
        default="",
        pattern=r"^([0-9]{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?(/[a-z0-9._/-]+)?)?$",
        description="Existing ECR registry or path in one, with repositories training and serving; empty: create them.",
    )
    roles: AwsRoleSettings = AwsRoleSettings()
    network: AwsNetworkSettings = AwsNetworkSettings()
    instance_type: InstanceType = Field(
        default="ml.m5.xlarge", min_length=1, description="Default instance type of endpoints."
    )
    log_retention_days: Literal[1, 3, 5, 7, 14, 30, 60, 90, 120, 180, 365, 400, 545, 731] = Field(
        default=365, description="Retention of the endpoints' logs."
    )
    runs_days: int = Field(default=90, ge=1, le=3650, description="Retention of runs' files.")
    audit: bool = Field(
        default=False,
        description="on: a CloudTrail trail of the store's objects and of each signature, in a bucket where nobody can "
        "delete them for log_retention_days, and alarms on signatures and on changes of trail, keys and buckets.",
    )
    alarms: AwsAlarmSettings = AwsAlarmSettings()
    budget: AwsBudgetSettings = AwsBudgetSettings()
    jobs: AwsJobSettings = Field(default=AwsJobSettings(), description="Defaults of runs.")
    schedules: dict[Name, AwsScheduleSettings] = Field(default={}, description="Scheduled runs, by name.")
