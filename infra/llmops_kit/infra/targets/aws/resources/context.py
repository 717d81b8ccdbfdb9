"""State of a declaration: the stack's location, names, tags and provider."""

from dataclasses import dataclass, field, replace
from typing import Any

import pulumi
import pulumi_aws as aws

from llmops_kit.clouds.aws.location import AwsCaller, AwsLocation
from llmops_kit.clouds.aws.names import COST_TAG, stack_tags
from llmops_kit.clouds.aws.settings import AwsSettings
from llmops_kit.core.expiry import EXPIRES_TAG
from llmops_kit.infra.resource_names import CloudNames
from llmops_kit.infra.targets.aws.leftovers.hooks import leftover_hooks
from llmops_kit.infra.targets.aws.providers.account import AwsAccount
from llmops_kit.infra.targets.aws.providers.preparation import IN_STATE

_SERVICES = (
    "applicationautoscaling",
    "budgets",
    "cloudwatch",
    "ec2",
    "ecr",
    "iam",
    "kms",
    "logs",
    "s3",
    "sagemaker",
    "scheduler",
    "sns",
    "sts",
)


@dataclass(frozen=True)
class AwsContext:
    """A stack on AWS that is being declared."""

    caller: AwsCaller
    names: CloudNames
    """Names of resources, in the program and in the account."""
    profile: str
    job_tags: dict[str, str]
    """The provider's default tags, for jobs, which the provider does not create."""
    provider: aws.Provider = field(repr=False)
    hooks: pulumi.ResourceHookBinding | None = field(repr=False)
    """Hooks of native resources: see llmops_kit.infra.targets.aws.leftovers.hooks."""
    parent: pulumi.Resource | None = field(repr=False)
    """Component that is being declared; None for resources outside of components."""

    @property
    def project(self) -> str:
        """Name of the Pulumi project."""
        return self.names.project

    @property
    def name(self) -> str:
        """Name of the stack."""
        return self.names.stack

    @property
    def location(self) -> AwsLocation:
        """Location of dynamic resources."""
        return AwsLocation(self.caller.account, self.caller.region, self.profile)

    @property
    def account(self) -> str:
        """Id of the account of the credentials, 12 digits."""
        return self.caller.account

    @property
    def region(self) -> str:
        """Region of the stack, such as eu-central-1."""
        return self.caller.region

    @property
    def tags(self) -> dict[str, str]:
        """The tags by which the stack's resources are found."""
        return stack_tags(self.project, self.name)

    @property
    def job_prefix(self) -> str:
        """Prefix of jobs' names; scheduled jobs add a UUID, and no name exceeds 63 characters."""
        return self.names.of("run", 26)

    @property
    def schedule_group(self) -> str:
        """Name of the group that the stack's schedules are in."""
        return self.names.of("schedules")

    def arn(self, service: str, resource: str, *, region: bool = True) -> str:
        """Returns an ARN such as `arn:aws:logs:eu-central-1:123456789012:log-group:…`; IAM's have no region."""
        return f"arn:{self.caller.partition}:{service}:{self.region if region else ''}:{self.account}:{resource}"

    def bucket_arn(self, name: str) -> str:
        """Returns the ARN of a bucket, which has neither region nor account, in the caller's partition."""
        return f"arn:{self.caller.partition}:s3:::{name}"

    def options(self, **given: Any) -> pulumi.ResourceOptions:
        """Returns options of a native resource, with the stack's provider."""
        return pulumi.ResourceOptions(parent=self.parent, provider=self.provider, hooks=self.hooks, **given)

    def after(self, *others: pulumi.Resource) -> pulumi.ResourceOptions:
        """Returns options of a dynamic resource that comes after others."""
        return pulumi.ResourceOptions(parent=self.parent, depends_on=list(others))

    def below(self, parent: pulumi.Resource | None) -> "AwsContext":
        """Returns the context of another component's resources."""
        return replace(self, parent=parent)


def declare_context(
    caller: AwsCaller, names: CloudNames, settings: AwsSettings, expires: str, parent: pulumi.Resource
) -> AwsContext:
    """Declare the account and the provider, below a component.

    The provider is pinned to that account, since destroy and refresh run no program that could compare.
    """
    profile = settings.profile
    location, below = AwsLocation(caller.account, caller.region, profile), pulumi.ResourceOptions(parent=parent)
    account = AwsAccount(names.logical("account"), location, below)
    # One cost tag for both names: a budget's filter joins tags by "or".
    tags = {**settings.tags, **stack_tags(names.project, names.stack), COST_TAG: f"{names.project}/{names.stack}"}
    tags |= {EXPIRES_TAG: expires} if expires else {}
    url = caller.twin
    services = (*_SERVICES, "cloudtrail") if settings.audit else _SERVICES  # without it, released states stay equal
    provider = aws.Provider(
        names.logical("aws"),
        region=caller.region,  # type: ignore[arg-type]  # any region's name
        profile=profile or None,
        allowed_account_ids=[caller.account],
        default_tags=aws.ProviderDefaultTagsArgs(tags={**tags, "llmops:managed-by": "pulumi"}),
        ignore_tags=aws.ProviderIgnoreTagsArgs(keys=[IN_STATE]),
        endpoints=[aws.ProviderEndpointArgs(**dict.fromkeys(services, url))] if url else None,
        s3_use_path_style=True if url else None,
        skip_metadata_api_check=True if url else None,
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[account]),
    )
    hooks = leftover_hooks(location, names.logical("leftovers"), stack_tags(names.project, names.stack))
    return AwsContext(caller, names, profile, tags, provider, hooks, parent)
