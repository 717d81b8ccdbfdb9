"""Settings of the target aws: one object, `llmops:aws`. Imports no SDK, so that every target can refuse it by name."""

import ipaddress
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from contract.documents.document import Part
from contract.documents.run import Compute
from contract.names import Name


def _private_range(text: str) -> str:
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError as e:
        raise ValueError(f"{text!r} is not a network: {e}") from None
    if not 16 <= network.prefixlen <= 24:
        raise ValueError(f"{text} has a /{network.prefixlen}; a VPC for two zones takes /16 to /24")
    return text


def _arn(kind: str) -> AfterValidator:
    """The ARN of a service's resource, or empty."""

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
    """Where endpoints and jobs have their network interfaces."""

    mode: Literal["none", "own", "existing"] = Field(
        default="none", description="none: SageMaker's own; own: a private VPC is made; existing: yours."
    )
    cidr: Annotated[str, AfterValidator(_private_range)] = Field(
        default="10.42.0.0/16", description="Of the VPC that is made."
    )
    zones: list[str] = Field(default=[], max_length=2, description="Two availability zones; empty: the region's first.")
    subnet_ids: list[str] = Field(default=[], description="Private subnets (existing).")
    security_group_ids: list[str] = Field(
        default=[],
        description="Security groups (existing); several instances need rules by which their members reach each other.",
    )

    interface_endpoints: list[Interface] = Field(
        default=[], description="Services with an interface endpoint in the VPC that is made; each costs by the hour."
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
    """Roles that exist already, by ARN; the kit makes those that are empty."""

    training: RoleArn = Field(default="", description="ARN of the role of training jobs.")
    endpoint: RoleArn = Field(default="", description="ARN of the role of endpoints.")
    scheduler: RoleArn = Field(default="", description="ARN of the role that starts scheduled jobs.")


class AwsBudgetSettings(Part):
    """A monthly limit that tells; it stops nothing."""

    monthly_usd: int = Field(default=100, ge=0, description="What the stack may cost a month; 0: no budget.")
    emails: list[str] = Field(default=[], max_length=10, description="Who is told of costs and alarms.")


class AwsAlarmSettings(Part):
    """When a rollout is rolled back, and its people are told."""

    error_rate: float = Field(default=0.05, gt=0, le=1, description="Share of the requests answered with 5xx.")
    latency_seconds: float = Field(default=20.0, gt=0, le=60, description="90th percentile of the model's latency.")
    quality: float = Field(default=1.0, gt=0, le=1, description="Share of the golden prompts answered as expected.")


class AwsScheduleSettings(Part):
    """A training run that is repeated."""

    run: str = Field(
        pattern=r"^[a-z][a-z0-9-]{2,62}$", description="A run that `llmops train` made: its recipe, dataset and base."
    )
    cron: Cron = Field(description="EventBridge Scheduler's form, such as `cron(0 3 ? * SUN *)` or `rate(7 days)`.")
    timezone: str = Field(default="UTC", min_length=1, description="In which the expression is read.")
    instance_type: InstanceType = Field(default="", description="Of the job; empty: that of `jobs`.")
    max_hours: int = Field(default=0, ge=0, le=120, description="Then the job is stopped; 0: that of `jobs`.")
    on: bool = Field(default=True, description="off: it stays, and starts nothing.")


class AwsJobSettings(Compute):
    """Defaults of runs."""

    instance_type: InstanceType = Field(default="ml.m5.xlarge", min_length=1, description="Such as ml.g5.xlarge.")


class AwsSettings(Part):
    """The key `aws`."""

    region: str = Field(default="", description="Such as eu-central-1; empty: that of the AWS environment or profile.")
    profile: str = Field(default="", description="Of ~/.aws/config; empty: the AWS environment's.")
    permissions_boundary_arn: PolicyArn = Field(default="", description="Put on every role that is made.")
    tags: dict[str, str] = Field(default={}, description="On everything, beside the kit's own.")
    kms_key_arn: KeyArn = Field(default="", description="A key that exists, for all data; empty: one is made.")
    signing_key_arn: KeyArn = Field(
        default="", description="An ECC_NIST_P256 key that exists, for signatures; empty: one is made."
    )
    store_bucket: BucketName = Field(default="", description="A bucket that exists, for versions; empty: one is made.")
    work_bucket: BucketName = Field(default="", description="A bucket that exists, for runs; empty: one is made.")
    registry: str = Field(
        default="",
        pattern=r"^([0-9]{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?(/[a-z0-9._/-]+)?)?$",
        description="An ECR registry or a path in one, with repositories training and serving; empty: they are made.",
    )
    roles: AwsRoleSettings = AwsRoleSettings()
    network: AwsNetworkSettings = AwsNetworkSettings()
    instance_type: InstanceType = Field(
        default="ml.m5.xlarge", min_length=1, description="Of endpoints that name none."
    )
    log_retention_days: Literal[1, 3, 5, 7, 14, 30, 60, 90, 120, 180, 365, 400, 545, 731] = Field(
        default=365, description="How long the endpoints' logs are kept."
    )
    runs_days: int = Field(default=90, ge=1, le=3650, description="How long files of runs are kept.")
    alarms: AwsAlarmSettings = AwsAlarmSettings()
    budget: AwsBudgetSettings = AwsBudgetSettings()
    jobs: AwsJobSettings = Field(default=AwsJobSettings(), description="What runs take that say nothing else.")
    schedules: dict[Name, AwsScheduleSettings] = Field(default={}, description="Runs that are repeated, by name.")
