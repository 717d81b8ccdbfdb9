"""Waits in an update until the first operator's new roles on the stack's data work.

Commands after the first `up`, such as `llmops train`, then need not wait for them.
"""

from llmops_kit.clouds.azure.errors import explained
from llmops_kit.clouds.azure.location import AzureLocation
from llmops_kit.clouds.azure.objects import AzureContainer
from llmops_kit.clouds.azure.roles import until_allowed
from llmops_kit.clouds.azure.session import open_session
from llmops_kit.infra.targets.azure.providers.located import AzureLocatedResource, LocatedProvider
from llmops_kit.infra.targets.dynamic import Properties, say


class AccessProvider(LocatedProvider):
    """Reads containers as the operator."""

    KEY = "operator"

    def put(self, props: Properties) -> Properties:
        """Waits for the operator's roles; does nothing for other callers, whose roles the stack does not assign."""
        session = open_session(AzureLocation.of(props))
        if session.caller.object_id == props["operator"]:
            for url in props["containers"]:
                with explained(url):
                    until_allowed(f"{url} can be read", AzureContainer(session, url).look, say)
        return {}


class DataAccess(AzureLocatedResource, module="llmops", name="Access"):
    """Depends on role assignments. Inputs: operator (object id of the roles' principal), containers (URLs)."""

    PROVIDER = AccessProvider
