"""The stack's account, on which all other resources depend; a stack can't move to another one."""

import pulumi
from pulumi import dynamic

from llmops_kit.clouds.aws.location import AwsLocation
from llmops_kit.clouds.aws.session import require_account
from llmops_kit.core.errors import KitError
from llmops_kit.infra.targets.aws.providers.located import AwsLocatedResource
from llmops_kit.infra.targets.dynamic import KitProvider, Properties, differ, inputs_of


class AwsAccountProvider(KitProvider):
    """Records the account and region. Creates nothing on AWS."""

    def diff(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.DiffResult:
        """Reject another account or region: the existing resources would be left behind.

        Raises:
            KitError: the stack was created elsewhere, on a twin or on AWS.
        """
        if _olds["account"] != _news["account"] or _olds["region"] != _news["region"]:
            raise KitError(
                f"this stack lives in {_where(_olds)}, and would be deployed to {_where(_news)}",
                where="AWS environment, llmops:aws.region and llmops:aws.profile",
                fix="go back to that account and region, or `pulumi stack init` another stack for this one",
            )
        return dynamic.DiffResult(changes=differ(_olds, _news))

    def create(self, props: Properties) -> dynamic.CreateResult:
        """Checks that this process's credentials belong to the account."""
        require_account(AwsLocation.of(props))
        return dynamic.CreateResult(props["account"], inputs_of(props))

    def read(self, id_: str, props: Properties) -> dynamic.ReadResult:
        """Checks the account: `pulumi refresh` runs no program, so this is done before anything in it is read."""
        require_account(AwsLocation.of(props))
        return dynamic.ReadResult(id_, props)

    def update(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.UpdateResult:
        """Checks the account with the new profile."""
        require_account(AwsLocation.of(_news))
        return dynamic.UpdateResult(inputs_of(_news))


class AwsAccount(AwsLocatedResource, module="llmops", name="Account"):
    """Outputs: account, region, profile."""

    def __init__(self, name: str, location: AwsLocation, opts: pulumi.ResourceOptions) -> None:
        super().__init__(AwsAccountProvider(), name, location, opts)


def _where(props: Properties) -> str:
    location = AwsLocation.of(props)
    return f"{'the twin' if location.twin else f'account {location.account}'}, {location.region}"
