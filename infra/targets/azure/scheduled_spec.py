"""A run's spec that is kept for the schedule which repeats the run: files of runs expire."""

from pulumi import dynamic

from clouds.azure.location import AzureLocation
from clouds.azure.objects import AzureContainer
from clouds.azure.session import open_session
from infra.targets.azure.located import LocatedResource
from infra.targets.dynamic import KitProvider, Properties, inputs_of


class ScheduledSpecProvider(KitProvider):
    """Writes a blob, and removes it with the schedule."""

    def create(self, props: Properties) -> dynamic.CreateResult:
        """Idempotent."""
        _write(props)
        return dynamic.CreateResult(props["key"], inputs_of(props))

    def update(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.UpdateResult:
        """Another run; the old one's spec goes when nothing starts with it any more."""
        _write(_news)
        if _olds["key"] != _news["key"]:
            _container(_olds).remove(_olds["key"])
        return dynamic.UpdateResult(inputs_of(_news))

    def delete(self, _id: str, _props: Properties) -> None:
        """Remove it."""
        _container(_props).remove(_props["key"])


class AzureScheduledSpec(LocatedResource, module="llmops", name="ScheduledSpec"):
    """Inputs and outputs: container (URL of the one of runs), key (the blob's name), content (the RunSpec as JSON)."""

    PROVIDER = ScheduledSpecProvider


def _write(props: Properties) -> None:
    _container(props).write(props["key"], props["content"].encode())


def _container(props: Properties) -> AzureContainer:
    return AzureContainer(open_session(AzureLocation.of(props)), props["container"])
