"""Copy of a run's spec for the schedule that repeats the run, since files of runs expire."""

from pulumi import dynamic

from llmops_kit.clouds.azure.location import AzureLocation
from llmops_kit.clouds.azure.objects import AzureContainer
from llmops_kit.clouds.azure.session import open_session
from llmops_kit.infra.targets.azure.providers.located import AzureLocatedResource, LocatedProvider
from llmops_kit.infra.targets.dynamic import Properties


class AzureScheduledSpecProvider(LocatedProvider):
    """Writes a blob, and removes it with the schedule."""

    KEY = "key"

    def put(self, props: Properties) -> Properties:
        """Writes the RunSpec into the container of runs, replacing an earlier one."""
        _container(props).write(props["key"], props["content"].encode())
        return {}

    def update(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.UpdateResult:
        """Writes the new run's spec, then removes the old one, which no job uses any more."""
        updated = super().update(_id, _olds, _news)
        if _olds["key"] != _news["key"]:
            _container(_olds).remove(_olds["key"])
        return updated

    def delete(self, _id: str, _props: Properties) -> None:
        """Removes the blob, if it exists."""
        _container(_props).remove(_props["key"])


class AzureScheduledSpec(AzureLocatedResource, module="llmops", name="ScheduledSpec"):
    """Inputs and outputs: container (URL of the one of runs), key (the blob's name), content (the RunSpec as JSON)."""

    PROVIDER = AzureScheduledSpecProvider


def _container(props: Properties) -> AzureContainer:
    return AzureContainer(open_session(AzureLocation.of(props)), props["container"])
