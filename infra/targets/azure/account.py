"""The subscription that a stack lives in: what everything else depends on, and what refuses to be moved elsewhere."""

from typing import Any

import pulumi
from pulumi import dynamic

from contract.errors import KitError
from infra.targets.azure.session import Place, require_place
from infra.targets.dynamic import KitProvider, Properties, differ, inputs_of

_NAME = "account"


class AccountProvider(KitProvider):
    """Holds the subscription's id, and who deployed first. Makes nothing there."""

    def diff(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.DiffResult:
        """Refuse another subscription, tenant or location: what is there would be left behind.

        Raises:
            KitError: the stack was made elsewhere, on a twin or on Azure.
        """
        if any(_olds[key] != _news[key] for key in Place._fields):
            raise KitError(
                f"this stack lives in {_where(_olds)}, and would be deployed to {_where(_news)}",
                where="Azure environment, llmops:azure.subscription and llmops:azure.location",
                fix="go back to that subscription and location, or `pulumi stack init` another stack for this one",
            )
        return dynamic.DiffResult(changes=differ(_olds, _news))

    def create(self, props: Properties) -> dynamic.CreateResult:
        """See that this process reaches it, and keep who it is: the stack's first operator, whoever updates later."""
        who = require_place(Place.of(props))
        return dynamic.CreateResult(props["subscription"], inputs_of(props) | {"operator": who._asdict()})

    def read(self, id_: str, props: Properties) -> dynamic.ReadResult:
        """`pulumi refresh` runs no program: so the place is asked for here, before anything of it is read."""
        require_place(Place.of(props))
        return dynamic.ReadResult(id_, props)

    def update(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.UpdateResult:
        """Nothing but the place is held, which can't change."""
        who = _olds.get("operator") or require_place(Place.of(_news))._asdict()
        return dynamic.UpdateResult(inputs_of(_news) | {"operator": who})


class Account(dynamic.Resource, module="llmops", name="Account"):
    """Outputs: subscription, tenant, location, operator (of Who)."""

    operator: pulumi.Output[dict[str, str]]

    def __init__(self, place: Place) -> None:
        props: dict[str, Any] = {**place._asdict(), "operator": None}
        super().__init__(AccountProvider(), _NAME, props, pulumi.ResourceOptions())


def _where(props: Properties) -> str:
    place = Place.of(props)
    return f"{'the twin' if place.twin else f'subscription {place.subscription}'}, {place.location}"
