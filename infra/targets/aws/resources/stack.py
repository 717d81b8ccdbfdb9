"""What every room of this target needs to declare something: where the stack lives, its names, its provider."""

from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_aws as aws

from clouds.names import COST_TAG
from contract.expiry import EXPIRES_TAG
from infra.names import CloudNames
from infra.settings import Settings
from infra.targets.aws.account import Account
from infra.targets.aws.preparation import IN_STATE
from infra.targets.aws.session import Caller, Place

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
class Here:
    """A stack's place on AWS, plain values all of them."""

    caller: Caller
    settings: Settings
    project: str
    stack: str
    provider: aws.Provider = field(repr=False)

    @property
    def names(self) -> CloudNames:
        """Names of things in the account."""
        return CloudNames(self.project, self.stack)

    @property
    def place(self) -> Place:
        """For dynamic resources and boto3."""
        return place_of(self.caller, self.settings)

    @property
    def account(self) -> str:
        """The account's id."""
        return self.caller.account

    @property
    def region(self) -> str:
        """The region's name."""
        return self.caller.region

    def arn(self, service: str, resource: str, *, region: bool = True) -> str:
        """`arn:aws:logs:eu-central-1:123456789012:log-group:…`; IAM's have no region."""
        return f"arn:{self.caller.partition}:{service}:{self.region if region else ''}:{self.account}:{resource}"

    def options(self, **given: Any) -> pulumi.ResourceOptions:
        """Options of a native resource, with the stack's provider."""
        return pulumi.ResourceOptions(provider=self.provider, **given)

    @property
    def tags(self) -> dict[str, str]:
        """The tags by which what is ours is told from what is not."""
        return stack_tags(self.project, self.stack)

    @property
    def job_tags(self) -> dict[str, str]:
        """What the provider puts on everything else: the stack's own tags, and those that are asked for."""
        return {**self.settings.aws.tags, **self.tags, **cost_tag(self.project, self.stack), **_expiry(self.settings)}


def make_here(caller: Caller, settings: Settings) -> Here:
    """Declare the account and the provider.

    The provider goes to that account alone: destroy and refresh run no program that could compare.
    """
    project, stack = pulumi.get_project(), pulumi.get_stack()
    account = Account(place_of(caller, settings))
    url = caller.twin
    provider = aws.Provider(
        "aws",
        region=caller.region,  # type: ignore[arg-type]  # any region's name
        profile=settings.aws.profile or None,
        allowed_account_ids=[caller.account],
        default_tags=aws.ProviderDefaultTagsArgs(
            tags={
                **settings.aws.tags,
                **stack_tags(project, stack),
                **cost_tag(project, stack),
                **_expiry(settings),
                "llmops:managed-by": "pulumi",
            }
        ),
        ignore_tags=aws.ProviderIgnoreTagsArgs(keys=[IN_STATE]),
        endpoints=[aws.ProviderEndpointArgs(**dict.fromkeys(_SERVICES, url))] if url else None,
        s3_use_path_style=True if url else None,
        skip_metadata_api_check=True if url else None,
        opts=pulumi.ResourceOptions(depends_on=[account]),
    )
    return Here(caller, settings, project, stack, provider)


def place_of(caller: Caller, settings: Settings) -> Place:
    """Where and as whom dynamic resources and boto3 reach the account."""
    return Place(caller.account, caller.region, settings.aws.profile)


def _expiry(settings: Settings) -> dict[str, str]:
    return {EXPIRES_TAG: settings.expires} if settings.expires else {}


def stack_tags(project: str, stack: str) -> dict[str, str]:
    """What says whose a thing is."""
    return {"llmops:project": project, "llmops:stack": stack}


def cost_tag(project: str, stack: str) -> dict[str, str]:
    """By which the budget counts: one tag for both names, since a budget's filter joins tags by "or"."""
    return {COST_TAG: f"{project}/{stack}"}
