"""The right to the stack's data that its first operator was given: an update ends when it works.

So what comes after the first `up`, such as a run that lays out its files, need not wait for it.
"""

from llmops_kit.clouds.azure.errors import explained
from llmops_kit.clouds.azure.location import AzureLocation
from llmops_kit.clouds.azure.objects import AzureContainer
from llmops_kit.clouds.azure.roles import until_allowed
from llmops_kit.clouds.azure.session import open_session
from llmops_kit.infra.targets.azure.located import AzureLocatedResource, LocatedProvider
from llmops_kit.infra.targets.dynamic import Properties, say


class AccessProvider(LocatedProvider):
    """Looks into containers, as the operator."""

    KEY = "operator"

    def put(self, props: Properties) -> Properties:
        """Wait for the roles; anyone but the operator has roles of their own, or none."""
        session = open_session(AzureLocation.of(props))
        if session.caller.object_id == props["operator"]:
            for url in props["containers"]:
                with explained(url):
                    until_allowed(f"{url} can be read", AzureContainer(session, url).look, say)
        return {}


class DataAccess(AzureLocatedResource, module="llmops", name="Access"):
    """Stands after role assignments. Inputs: operator (object id of who was given the roles), containers (URLs)."""

    PROVIDER = AccessProvider
