"""The stack's subscription, on which all other resources depend; a stack can't move to another one."""

import pulumi
from pulumi import dynamic

from llmops_kit.clouds.azure.location import AzureLocation
from llmops_kit.clouds.azure.session import open_session
from llmops_kit.core.errors import KitError
from llmops_kit.infra.targets.azure.providers.located import AzureLocatedResource
from llmops_kit.infra.targets.dynamic import KitProvider, Properties, differ, inputs_of

_NAME = "account"


class AzureAccountProvider(KitProvider):
    """Records the subscription and the first deployer. Creates nothing on Azure."""

    def diff(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.DiffResult:
        """Reject another subscription, tenant or location: the existing resources would be left behind.

        Raises:
            KitError: the stack was created elsewhere, on a twin or on Azure.
        """
        if any(_olds[key] != _news[key] for key in AzureLocation._fields):
            raise KitError(
                f"this stack is in {_where(_olds)}, and would be deployed to {_where(_news)}",
                where="Azure environment, llmops:azure.subscription and llmops:azure.location",
                fix="use that subscription and location again, or create another stack with `pulumi stack init`",
            )
        return dynamic.DiffResult(changes=differ(_olds, _news))

    def create(self, props: Properties) -> dynamic.CreateResult:
        """Check access, and record the caller as the stack's first operator; later callers don't replace it."""
        return dynamic.CreateResult(props["subscription"], inputs_of(props) | {"operator": _operator(props)})

    def read(self, id_: str, props: Properties) -> dynamic.ReadResult:
        """Checks the tenant here, since `pulumi refresh` runs no program, and reads this resource first."""
        open_session(AzureLocation.of(props))
        return dynamic.ReadResult(id_, props)

    def update(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.UpdateResult:
        """Keeps the operator who created it; the location can't change."""
        return dynamic.UpdateResult(inputs_of(_news) | {"operator": _olds.get("operator") or _operator(_news)})


class AzureAccount(AzureLocatedResource, module="llmops", name="Account"):
    """Outputs: subscription, tenant, location, operator (object_id, kind)."""

    PROVIDER, COMPUTED = AzureAccountProvider, ("operator",)
    operator: pulumi.Output[dict[str, str]]


def _operator(props: Properties) -> dict[str, str]:
    caller = open_session(AzureLocation.of(props)).caller
    return {"object_id": caller.object_id, "kind": caller.kind}


def _where(props: Properties) -> str:
    at = AzureLocation.of(props)
    return f"{'the twin' if at.twin else f'subscription {at.subscription}'}, {at.location}"
